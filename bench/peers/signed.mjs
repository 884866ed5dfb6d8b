// A signed callback of a task, as the bridge sends it.
import { createHmac } from "node:crypto";

const key = Buffer.alloc(32, "s");

export function signed(task, answer) {
  const body = JSON.stringify({ type: "import.completed", data: { task_id: task, hubspot: answer } });
  const id = `wat_${task}`;
  const timestamp = Math.floor(Date.now() / 1000);
  const signature = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64");
  const headers = {
    "Content-Type": "application/json",
    "webhook-id": id,
    "webhook-timestamp": String(timestamp),
    "webhook-signature": `v1,${signature}`,
  };
  return { headers, body };
}
