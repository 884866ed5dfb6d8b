// BullMQ over Redis: two queues, a worker for each.
// `node bullmq_app.mjs work`, or `… STEM COUNT`, which enqueues.
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import { signed } from "./signed.mjs";

const port = process.env.BENCH_PORT;
const connection = new Redis({ port: Number(process.env.BENCH_REDIS_PORT), maxRetriesPerRequest: null });
const options = { connection, concurrency: 50 };
const defaults = { removeOnComplete: true, attempts: 5, backoff: { type: "exponential", delay: 1000 } };
const polls = new Queue("polls", { connection, defaultJobOptions: defaults });
const callbacks = new Queue("callbacks", { connection, defaultJobOptions: defaults });
const authorization = { Authorization: "Bearer pat-na1-00000000-0000-0000-0000-000000000000" };

async function poll({ data: { task } }) {
  const url = `http://127.0.0.1:${port}/files/v3/files/import-from-url/async/tasks/${task}/status`;
  const answer = await (await fetch(url, { headers: authorization })).json();
  if (answer.status !== "COMPLETE") throw new Error("not yet");
  await callbacks.add("deliver", { task, answer });
}

async function deliver({ data: { task, answer } }) {
  const { headers, body } = signed(task, answer);
  const host = `127.0.0.${(Number(task.split("-").at(-1)) % 8) + 1}`;
  const response = await fetch(`http://${host}:${port}/${task}`, { method: "POST", headers, body });
  if (!response.ok) throw new Error(`answered with ${response.status}`);
  await response.arrayBuffer();
}

const [what, count] = process.argv.slice(2);
if (what === "work") {
  new Worker("polls", poll, options);
  new Worker("callbacks", deliver, options);
} else {
  const jobs = Array.from({ length: Number(count) }, (_, n) => ({ name: "poll", data: { task: `${what}-${n}` } }));
  await polls.addBulk(jobs);
  process.exit(0);
}
