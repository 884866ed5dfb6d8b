// The life of a watch with @hey-api/openapi-ts.
import { client } from "./hey/client.gen";
import {
  listAttempts,
  listWatches,
  putAccount,
  redeliverWatch,
  registerWatch,
  registerWatches,
  showWatch,
  startImport,
} from "./hey/index";
import type { TaskEvent, Watch } from "./hey/index";

declare const process: { env: Record<string, string> };

const { BRIDGE_URL, API_KEY, ADMIN_KEY, CALLBACK_URL, TASKS } = process.env;
const [first, second, third] = TASKS.split(",");
client.setConfig({ baseUrl: BRIDGE_URL, auth: () => API_KEY });

function got<T>(answer: { data?: T; error?: unknown }): NonNullable<T> {
  if (answer.data === undefined || answer.data === null) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not so: ${what}`);
}

async function settled(watch_id: string): Promise<Watch> {
  for (let looks = 0; looks < 240; looks += 1) {
    const watch = got(await showWatch({ path: { watch_id } }));
    if (watch.settled_at !== null) return watch;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  throw new Error("the watch is not settled");
}

async function main(): Promise<void> {
  const registered = got(await registerWatch({ body: { task_id: first, callback_url: CALLBACK_URL } }));
  must(registered.state === "watching", "a new watch is being watched");

  const batch = got(
    await registerWatches({
      body: {
        watches: [
          { task_id: second, callback_url: CALLBACK_URL, metadata: { order: 17, nested: { any: ["thing"] } } },
          { task_id: third, callback_url: CALLBACK_URL, kind: "file-import", timeout_seconds: 3600 },
          { task_id: "", callback_url: CALLBACK_URL },
        ],
      },
    }),
  );
  must(batch.results.map((result) => result.status).join() === "201,201,422", "each has its own answer");
  must(batch.results[2].problem?.type === "/problems/invalid-input", "the problem is typed");

  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = got(
      await listWatches({ query: { limit: 1, cursor, state: ["watching", "delivering", "delivered"] } }),
    );
    seen.push(...page.watches.map((watch) => watch.task_id));
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined);
  must(seen.includes(first) && seen.includes(third), "the list has them all");

  const ended = await settled(registered.id);
  must(ended.outcome === "completed" && ended.state === "delivered", `delivered, not ${ended.state}`);
  const path = { watch_id: registered.id };
  const { attempts } = got(await listAttempts({ path }));
  must(attempts.length === 1 && attempts[0].status_code === 204, "there was one attempt");
  must(got(await redeliverWatch({ path })).state === "delivering", "it is being delivered again");
  await settled(registered.id);

  const account = got(
    await putAccount({
      auth: () => ADMIN_KEY,
      path: { name: "with-hey-api" },
      body: { access_token: "pat-test", rate_limit: "190/10" },
    }),
  );
  must(account.rate_limit === "190/10", "the account has its limit");

  const started = got(
    await startImport({
      body: {
        import: { url: "https://files.example.com/report.csv", access: "PRIVATE", folderPath: "/imports" },
        callback_url: CALLBACK_URL,
      },
    }),
  );
  must(started.kind === "file-import", "the import is watched");

  const gone = await showWatch({ path: { watch_id: "wat_nothing" } });
  must(gone.error?.type === "/problems/not-found" && gone.error.status === 404, "a problem has a type");

  const parse = (body: string): TaskEvent => JSON.parse(body) as TaskEvent;
  must(parse('{"type": "import.completed"}').type === "import.completed", "a receiver's event has a type");
  console.log("done");
}

void main();
