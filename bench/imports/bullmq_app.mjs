// BullMQ over Redis: two queues, a worker for each.
// `node bullmq_app.mjs work`, or `… FILE`, which enqueues each import when it begins.
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import { signed } from "./signed.mjs";

const LONGEST_WAIT = 60_000;
const port = process.env.BENCH_PORT;
const connection = new Redis(process.env.BENCH_REDIS, { maxRetriesPerRequest: null });
// The built-in exponential back-off doubles without end.
const backoffStrategy = (attemptsMade) => Math.min(1000 * 2 ** (attemptsMade - 1), LONGEST_WAIT);
const options = { connection, concurrency: 50, settings: { backoffStrategy } };
const fixed = { type: "fixed", delay: 5000 };
const capped = { type: "capped" };
const polls = new Queue("polls", {
  connection,
  defaultJobOptions: {
    removeOnComplete: true,
    attempts: 1_000_000,
    backoff: process.env.BENCH_RETRY === "fixed" ? fixed : capped,
  },
});
const callbacks = new Queue("callbacks", {
  connection,
  defaultJobOptions: { removeOnComplete: true, attempts: 10, backoff: capped },
});

async function poll({ data: { task, account, url } }) {
  const status = `http://127.0.0.1:${port}/files/v3/files/import-from-url/async/tasks/${task}/status`;
  const headers = { Authorization: `Bearer pat-${account}` };
  const response = await fetch(status, { headers, signal: AbortSignal.timeout(10_000) });
  const answer = await response.json();
  if (answer.status !== "COMPLETE") throw new Error("not yet"); // a 429 is one more time
  await callbacks.add("deliver", { task, url, answer });
}

async function deliver({ data: { task, url, answer } }) {
  const { headers, body } = signed(task, answer);
  const response = await fetch(url, { method: "POST", headers, body, signal: AbortSignal.timeout(10_000) });
  await response.arrayBuffer();
  if (!response.ok) throw new Error(`answered with ${response.status}`);
}

const [what] = process.argv.slice(2);
if (what === "work") {
  for (const worker of [new Worker("polls", poll, options), new Worker("callbacks", deliver, options)]) {
    worker.on("error", console.error);
  }
} else {
  for (const { task, account, receiver, begins_at: beginsAt } of JSON.parse(await readFile(what, "utf8"))) {
    await sleep(Math.max(beginsAt * 1000 - Date.now(), 0));
    await polls.add("poll", { task, account, url: `http://${receiver}:${port}/${task}` });
  }
  process.exit(0);
}
