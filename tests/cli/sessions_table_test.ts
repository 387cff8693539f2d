import { assertEquals, assertRejects } from "@std/assert";
import type { V1Deployment, V1PersistentVolumeClaim, V1Pod, V1Service } from "@kubernetes/client-node";
import { SessionCache } from "../../lib/kubernetes/session_cache.ts";
import { loadConfig } from "../../lib/cli/config.ts";
import { formatHomes, homeRows } from "../../lib/cli/homes_table.ts";
import { formatRows, listRows, listSessions } from "../../lib/cli/sessions_table.ts";

const NOON = Date.parse("2026-01-01T12:00:00Z");
const TEN = new Date("2026-01-01T11:50:00Z");

function metadata(name: string) {
  return {
    name,
    uid: name,
    resourceVersion: "1",
    creationTimestamp: TEN,
    labels: { app: "streamspace-session", session: name, user: "alice", "stream.space/agent": "a1" },
    annotations: { "stream.space/session": name, "stream.space/user": "Alice B." },
  };
}

function deployment(name: string, parts: { replicas?: number; isGoing?: boolean } = {}): V1Deployment {
  const { replicas = 1, isGoing = false } = parts;
  const limits = { cpu: "250m", memory: "512Mi" };
  return {
    metadata: { ...metadata(name), ...(isGoing ? { deletionTimestamp: TEN } : {}) },
    spec: {
      replicas,
      selector: {},
      template: { spec: { containers: [{ name: "session", resources: { limits } }] } },
    },
  };
}

function pod(session: string, name: string, isReady: boolean): V1Pod {
  const conditions = [{ type: "Ready", status: isReady ? "True" : "False" }];
  return {
    metadata: { ...metadata(session), name, uid: name },
    spec: { containers: [], nodeName: "n1" },
    status: { conditions },
  };
}

function cacheOf(...sessions: ReadonlyArray<readonly [V1Deployment | undefined, V1Pod | undefined]>) {
  const cache = new SessionCache("a1");
  for (const [deployment, pod] of sessions) {
    if (deployment) cache.put("deployment", deployment);
    if (pod) cache.put("pod", pod);
    const name = deployment?.metadata?.name ?? "";
    if (name) {
      cache.put("service", { metadata: metadata(name), spec: { selector: { session: name } } } as V1Service);
    }
  }
  return cache;
}

Deno.test("listRows() returns the details of a session", () => {
  assertEquals(listRows(cacheOf([deployment("s1"), pod("s1", "s1-x", true)]), NOON), [{
    session: "s1",
    user: "Alice B.",
    template: "",
    state: "running",
    pod: "s1-x",
    node: "n1",
    ageSeconds: 600,
    viewers: 0,
    lastActivity: "",
    home: "",
    cpu: "250m",
    memory: "512Mi",
    reason: "",
  }]);
});

Deno.test("listRows() returns each state, and a reason for sessions that should be running", () => {
  const service: V1Service = { metadata: metadata("lost") };
  const cache = cacheOf(
    [deployment("going", { isGoing: true }), pod("going", "going-x", true)],
    [deployment("nods", { replicas: 0 }), pod("nods", "nods-x", false)],
    [deployment("sleeps", { replicas: 0 }), undefined],
    [deployment("waits"), pod("waits", "waits-x", false)],
  );
  cache.put("service", service);
  const rows = listRows(cache, NOON);
  assertEquals(rows.map(({ session, state, pod }) => [session, state, pod]), [
    ["going", "terminating", "going-x"],
    ["lost", "failed", ""],
    ["nods", "hibernating", "nods-x"],
    ["sleeps", "hibernated", ""],
    ["waits", "pending", "waits-x"],
  ]);
  assertEquals(rows.map(({ reason }) => reason !== ""), [false, true, false, false, true]);
});

Deno.test("listRows() rounds the age of a session up to a second", () => {
  const [row] = listRows(cacheOf([deployment("s1"), undefined]), TEN.getTime());
  assertEquals(row?.ageSeconds, 1);
});

Deno.test("formatRows() aligns the columns, and shortens and escapes text", () => {
  const [row] = listRows(cacheOf([deployment("s1"), undefined]), NOON);
  if (!row) throw new Error("There is no row");
  const rows = [
    { ...row, viewers: 2, lastActivity: "2026-01-01T11:00:00.000Z", reason: "it waits" },
    { ...row, session: `x\n${"y".repeat(99)}`, user: "", reason: "" },
    { ...row, session: "s3", lastActivity: "2026-01-01T11:58:30.000Z", reason: "" },
  ];
  const long = `x\\n${"y".repeat(59)}…`;
  assertEquals(formatRows(rows, "text", NOON).split("\n"), [
    `${
      "SESSION".padEnd(63)
    }  USER      TEMPLATE  STATE    POD  NODE  AGE  VIEWERS  LAST USED  HOME  CPU   MEMORY  REASON`,
    `${
      "s1".padEnd(63)
    }  Alice B.  -         pending  -    -     10m  2        now        -     250m  512Mi   it waits`,
    `${long}  -         -         pending  -    -     10m  0        never      -     250m  512Mi`,
    `${"s3".padEnd(63)}  Alice B.  -         pending  -    -     10m  0        1m30s      -     250m  512Mi`,
  ]);
  assertEquals(JSON.parse(formatRows(rows, "json", NOON)), { sessions: rows });
  assertEquals(formatRows([], "text", NOON), "No sessions");
});

Deno.test("listSessions() reports a timeout when the API server does not answer", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const kubeconfig = await Deno.makeTempFile();
  await Deno.writeTextFile(
    kubeconfig,
    JSON.stringify({
      clusters: [{ name: "mute", cluster: { server: `http://127.0.0.1:${listener.addr.port}` } }],
      users: [{ name: "mute", user: {} }],
      contexts: [{ name: "mute", context: { cluster: "mute", user: "mute" } }],
      "current-context": "mute",
    }),
  );
  const invocation = loadConfig({
    args: [
      "sessions",
      "--agent-id=a1",
      "--control-plane-url=ws://localhost",
      `--kubeconfig=${kubeconfig}`,
    ],
    env: () => undefined,
    readFile: (path) => Deno.readTextFileSync(path),
  });
  if (invocation.kind !== "sessions") throw new Error(`This lists no sessions: ${invocation.kind}`);
  const listing = listSessions(invocation.config, "text", { timeoutMs: 100 });
  using _connection = await listener.accept();
  await assertRejects(() => listing, Error, "Kubernetes did not answer within 100ms");
  listener.close();
  await Deno.remove(kubeconfig);
});

function claim(
  name: string,
  labels: Readonly<Record<string, string>>,
  unusedSince?: string,
): V1PersistentVolumeClaim {
  return {
    metadata: {
      name,
      uid: name,
      resourceVersion: "1",
      creationTimestamp: TEN,
      labels: { app: "streamspace-session", ...labels },
      ...(unusedSince ? { annotations: { "stream.space/unused-since": unusedSince } } : {}),
    },
    spec: { resources: { requests: { storage: "1Gi" } }, storageClassName: "fast" },
  };
}

Deno.test("formatHomes() shows which home volumes are used, and when the others are deleted", () => {
  const cache = new SessionCache("a1");
  const used = deployment("s1");
  const volumes = [{ name: "home", persistentVolumeClaim: { claimName: "s1-home" } }];
  const spec = { selector: {}, replicas: 0, template: { spec: { containers: [], volumes } } };
  cache.put("deployment", { ...used, spec } as V1Deployment);
  cache.put("claim", claim("s1-home", { session: "s1", user: "alice" }));
  cache.put("claim", claim("s2-home", { session: "s2", user: "bob" }, "2026-01-01T10:00:00Z"));
  cache.put("claim", claim("home-carol", { user: "carol" }, "2026-01-01T11:00:00Z"));
  cache.put("claim", claim("s3-home", { session: "s3", user: "dave" }));
  const table = (retention: number | "keep") =>
    formatHomes(homeRows(cache, { now: NOON, retention }), { format: "text", now: NOON }).split("\n");
  assertEquals(table(5_400_000), [
    "HOME        SESSION  USER   SIZE  CLASS  STATE   AGE  UNUSED  DELETED",
    "home-carol  -        carol  1Gi   fast   unused  10m  1h      in 30m",
    "s1-home     s1       alice  1Gi   fast   used    10m  -       -",
    "s2-home     s2       bob    1Gi   fast   unused  10m  2h      now",
    "s3-home     s3       dave   1Gi   fast   unused  10m  -       -",
  ]);
  assertEquals(table("keep")[1], "home-carol  -        carol  1Gi   fast   unused  10m  1h      -");
  assertEquals(formatHomes([], { format: "text", now: NOON }), "No home volumes");
});
