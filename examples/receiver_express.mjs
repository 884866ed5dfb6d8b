// Receives the bridge's callbacks with Express.
//
//   npm install express standardwebhooks
//   SIGNING_SECRET=whsec_… node receiver_express.mjs

import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { link, readFile, unlink, writeFile } from "node:fs/promises";
import express from "express";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.SIGNING_SECRET);
const app = express();

// express.raw, not express.json: the signature is over the raw bytes, not over parsed and serialized JSON.
app.post("/hooks/hubspot", express.raw({ type: "application/json", limit: "1mb" }), async (request, response) => {
  try {
    webhook.verify(request.body, request.headers);
  } catch {
    return response.sendStatus(400);
  }
  if (await note(request.headers["webhook-id"], request.body)) work();
  response.sendStatus(204);
});

// The inbox: a file for each event, and one that ends in .done when it has been handled. In your app: a table of
// your own database, with the id as its key.
const inbox = "inbox";
mkdirSync(inbox, { recursive: true });
const left = readdirSync(inbox) // after a crash: stored events that were not handled
  .filter((name) => name.endsWith(".json"))
  .map((name) => name.slice(0, -".json".length))
  .filter((id) => !existsSync(`${inbox}/${id}.done`));

// Store an event; false when it is stored already. A callback may come twice, with the same id.
async function note(id, body) {
  const draft = `${inbox}/${randomUUID()}.draft`;
  await writeFile(draft, body, { flush: true });
  try {
    await link(draft, `${inbox}/${id}.json`); // atomic: the whole event or nothing
  } catch (error) {
    if (error.code === "EEXIST") return false;
    throw error;
  } finally {
    await unlink(draft);
  }
  left.push(id);
  return true;
}

// Your work. It may be slow.
async function handle(event) {
  console.log(event.type, event.data.task_id);
}

let working = false;

// Handle the pending events, one after another.
async function work() {
  if (working) return;
  working = true;
  for (let id = left.shift(); id; id = left.shift()) {
    try {
      await handle(JSON.parse(await readFile(`${inbox}/${id}.json`)));
      await writeFile(`${inbox}/${id}.done`, "");
    } catch (error) {
      console.error(`${id} failed, and is tried again:`, error);
      setTimeout(() => left.push(id) && work(), 10_000);
    }
  }
  working = false;
}

work();
app.listen(process.env.PORT ?? 9000, "127.0.0.1");
