// The life of a watch with openapi-typescript and openapi-fetch.
import createClient from "openapi-fetch";
import type { components, paths, webhooks } from "./schema";

declare const process: { env: Record<string, string> };

type Watch = components["schemas"]["Watch"];
// The body that every receiver must parse.
type Completed = webhooks["import.completed"]["post"]["requestBody"]["content"]["application/json"];

const { BRIDGE_URL, API_KEY, ADMIN_KEY, CALLBACK_URL, TASKS } = process.env;
const [first, second, third] = TASKS.split(",");
const as = (key: string) => ({ Authorization: `Bearer ${key}` });
const bridge = createClient<paths>({ baseUrl: BRIDGE_URL, headers: as(API_KEY) });
const admin = createClient<paths>({ baseUrl: BRIDGE_URL, headers: as(ADMIN_KEY) });

function got<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not so: ${what}`);
}

async function settled(watch_id: string): Promise<Watch> {
  for (let looks = 0; looks < 240; looks += 1) {
    const watch = got(await bridge.GET("/v1/watches/{watch_id}", { params: { path: { watch_id } } }));
    if (watch.settled_at !== null) return watch;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  throw new Error("the watch is not settled");
}

async function main(): Promise<void> {
  const registered = got(
    await bridge.POST("/v1/watches", { body: { task_id: first, callback_url: CALLBACK_URL } }),
  );
  must(registered.state === "watching", "a new watch is being watched");

  const batch = got(
    await bridge.POST("/v1/watches/batch", {
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
    const query = { limit: 1, cursor, state: ["watching", "delivering", "delivered"] as const };
    const page = got(
      await bridge.GET("/v1/watches", { params: { query: { ...query, state: [...query.state] } } }),
    );
    seen.push(...page.watches.map((watch) => watch.task_id));
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined);
  must(seen.includes(first) && seen.includes(third), "the list has them all");

  const ended = await settled(registered.id);
  must(ended.outcome === "completed" && ended.state === "delivered", `delivered, not ${ended.state}`);
  const path = { watch_id: registered.id };
  const { attempts } = got(await bridge.GET("/v1/watches/{watch_id}/attempts", { params: { path } }));
  must(attempts.length === 1 && attempts[0].status_code === 204, "there was one attempt");
  const again = got(await bridge.POST("/v1/watches/{watch_id}/redeliver", { params: { path } }));
  must(again.state === "delivering", "it is being delivered again");
  await settled(registered.id);

  const account = got(
    await admin.PUT("/v1/accounts/{name}", {
      params: { path: { name: "with-openapi-fetch" } },
      body: { access_token: "pat-test", rate_limit: "190/10" },
    }),
  );
  must(account.rate_limit === "190/10", "the account has its limit");

  const started = got(
    await bridge.POST("/v1/imports", {
      body: {
        import: { url: "https://files.example.com/report.csv", access: "PRIVATE", folderPath: "/imports" },
        callback_url: CALLBACK_URL,
      },
    }),
  );
  must(started.kind === "file-import", "the import is watched");

  const gone = await bridge.GET("/v1/watches/{watch_id}", { params: { path: { watch_id: "wat_nothing" } } });
  must(gone.error?.type === "/problems/not-found" && gone.error.status === 404, "a problem has a type");

  const event: Completed = {
    type: "import.completed",
    timestamp: ended.ended_at ?? "",
    data: {
      id: ended.id,
      task_id: ended.task_id,
      kind: ended.kind,
      account: ended.account,
      outcome: ended.outcome ?? "",
      metadata: ended.metadata,
      created_at: ended.created_at,
      ended_at: ended.ended_at ?? "",
      error: null,
      hubspot: ended.hubspot,
    },
  };
  must(event.type === "import.completed", "a receiver's type of event is known");
  console.log("done");
}

void main();
