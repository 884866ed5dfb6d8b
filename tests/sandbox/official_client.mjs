// HubSpot's own client for Node starts a task of each kind at the sandbox, by its basePath alone, and asks for its
// end; prints what it read, as JSON.

import { Client } from "@hubspot/api-client";

const client = new Client({ accessToken: "sandbox-token", basePath: process.env.SANDBOX });
const { files, crm, cms } = client;
const url = "https://files.example.com/report.csv";
const read = {};

const imported = await files.filesApi.importFromUrl({ access: "PRIVATE", url, folderPath: "/imports" });
const { status, result } = await files.filesApi.checkImport(imported.id);
read["file-import"] = { status, name: result.name, file: (await files.filesApi.getById(result.id)).name };

const update = await files.foldersApi.updatePropertiesRecursively({ id: "17", name: "reports" });
const folder = await files.foldersApi.checkUpdateStatus(update.id);
read["folder-update"] = { status: folder.status, name: folder.result.name };

// The client's own publicExportsApi.start fails before it sends anything (13.5.0): the type of its body is a union.
const body = {
  exportType: "LIST",
  format: "CSV",
  exportName: "contacts",
  objectProperties: ["email"],
  objectType: "CONTACT",
  language: "EN",
  exportInternalValuesOptions: ["NAMES"],
  overrideAssociatedObjectsPerDefinitionPerRowLimit: false,
  listId: "1",
};
const answer = await client.apiRequest({ method: "POST", path: "/crm/v3/exports/export/async", body });
const asked = await answer.json();
read["crm-export"] = { status: (await crm.exports.publicExportsApi.getStatus(asked.id)).status };

const file = { data: Buffer.from("email\na@example.com\n"), name: "contacts.csv" };
const startRequest = { name: "November", files: [{ fileName: file.name, fileFormat: "CSV" }] };
const records = await crm.imports.coreApi.create(file, JSON.stringify(startRequest));
read["crm-import"] = { state: (await crm.imports.coreApi.getById(records.id)).state };

const extract = await cms.sourceCode.extractApi.doAsync({ path: "theme.zip" });
read["source-code-extract"] = { status: (await cms.sourceCode.extractApi.getAsyncStatus(extract.id)).status };

try {
  await files.filesApi.importFromUrl({ access: "PRIVATE", url });
} catch (error) {
  read.refused = { code: error.code, category: error.body.category };
}

console.log(JSON.stringify(read));
