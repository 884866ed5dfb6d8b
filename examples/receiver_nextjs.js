// Receives the bridge's callbacks in Next.js, as a route handler: save it as app/hooks/hubspot/route.js
//
//   npm install standardwebhooks
//   SIGNING_SECRET=whsec_… npx next start --port 9000
//
// It needs a persistent disk. Where there is none (Vercel), store the events in your database.

import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { link, readFile, unlink, writeFile } from "node:fs/promises";
import { after } from "next/server";
import { Webhook } from "standardwebhooks";

export async function POST(request) {
  const body = await request.text(); // not request.json(): the signature is over the raw text
  try {
    new Webhook(process.env.SIGNING_SECRET).verify(body, Object.fromEntries(request.headers));
  } catch {
    return new Response(null, { status: 400 });
  }
  await note(request.headers.get("webhook-id"), body);
  after(work);
  return new Response(null, { status: 204 });
}

// The inbox: a file for each event, and one that ends in .done when it has been handled.
const inbox = "inbox";
mkdirSync(inbox, { recursive: true });
const left = readdirSync(inbox) // after a crash: stored events that were not handled; the next callback handles them
  .filter((name) => name.endsWith(".json"))
  .map((name) => name.slice(0, -".json".length))
  .filter((id) => !existsSync(`${inbox}/${id}.done`));

// Store an event. A callback may come twice, with the same id: the second one changes nothing.
async function note(id, body) {
  const draft = `${inbox}/${randomUUID()}.draft`;
  await writeFile(draft, body, { flush: true });
  try {
    await link(draft, `${inbox}/${id}.json`); // atomic: the whole event or nothing
    left.push(id);
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
  } finally {
    await unlink(draft);
  }
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
