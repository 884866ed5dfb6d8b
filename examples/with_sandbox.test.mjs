// Tests of your own app with Node's test runner, against the simulated HubSpot.
//
//   npm install @hubspot/api-client
//   SANDBOX=http://127.0.0.1:8001 node --test with_sandbox.test.mjs

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Client } from "@hubspot/api-client";

const { SANDBOX } = process.env;
const files = new Client({ accessToken: "sandbox-token", basePath: SANDBOX }).files.filesApi;

// Your app's own code: tests only change the basePath.
async function startImport(fileName) {
  const url = `https://files.example.com/${fileName}`;
  return (await files.importFromUrl({ access: "PRIVATE", url, folderPath: "/imports" })).id;
}

async function control(method, path, body) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(`${SANDBOX}/sandbox/${path}`, { method, headers, body: JSON.stringify(body) });
  assert.ok(answer.ok, await answer.clone().text());
  return answer;
}

// The sandbox in its initial state, except that every task ends at once.
beforeEach(async () => {
  await control("POST", "reset");
  await control("PATCH", "options", { pending_seconds: 0, processing_seconds: 0 });
});

test("an import ends with a file in our folder", async () => {
  const { result } = await files.checkImport(await startImport("report.csv"));
  assert.equal(result.path, "/imports/report.csv");
});

test("an import that fails has no file", async () => {
  const { result } = await files.checkImport(await startImport("fail.csv")); // the file's name decides
  assert.equal(result, undefined);
});

test("we are told when HubSpot is down", async () => {
  await control("POST", "faults", { fault: "503", endpoint: "start-import" });
  await assert.rejects(startImport("report.csv"), { code: 503 });
});

test("one import is one request", async () => {
  await startImport("report.csv");
  const { endpoints } = await (await control("GET", "ledger")).json();
  assert.deepEqual(endpoints, { "start-import": 1 });
});
