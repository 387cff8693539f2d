import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type CheckResult, SessionCache, type SessionObjects } from "../../lib/kubernetes/session_cache.ts";
import { KubernetesError } from "../../lib/common/errors.ts";
import { followSessions } from "../../lib/kubernetes/session_watch.ts";
import { SESSION_ANNOTATION, sessionName } from "../../lib/model/names.ts";
import { FakeTime } from "../support/fake_time.ts";
import { type FakeObject, FakeTransport } from "../support/fake_transport.ts";
import { FixedRandom } from "../support/fixed_random.ts";

const never = new AbortController().signal;
const LABELS = { app: "streamspace-session", session: "s1", "stream.space/agent": "a1" };
const USER_LABELS = { app: "streamspace-session", user: "alice", "stream.space/agent": "a1" };

interface Parts {
  uid?: string;
  version?: number | string;
  labels?: Record<string, string>;
  isDeleted?: boolean;
  replicas?: number;
}

function object(name: string, parts: Parts = {}): FakeObject {
  const { uid = `uid-${name}`, version = 1, labels = LABELS, isDeleted, replicas } = parts;
  return {
    metadata: {
      name,
      uid,
      resourceVersion: String(version),
      labels,
      ...(isDeleted ? { deletionTimestamp: new Date(0) } : {}),
    },
    ...(replicas === undefined ? {} : { spec: { replicas, template: {} } }),
  };
}

/** Cached objects of a session: kind → resource version. */
function known(cache: SessionCache, sessionId = "s1"): Record<string, string> {
  const { deployment, service, claim, pods } = cache.session(sessionId);
  const entries = Object.entries({ deployment, service, claim }).concat(
    pods.map((pod) => [`pod ${pod.metadata?.name}`, pod]),
  );
  return Object.fromEntries(
    entries.flatMap(([kind, one]) => one ? [[kind, one.metadata?.resourceVersion ?? ""]] : []),
  );
}

/** A cache that watches a fake cluster. */
class Following implements AsyncDisposable {
  readonly cluster = new FakeTransport();
  readonly cache = new SessionCache("a1");
  readonly #stop = new AbortController();
  readonly #random = new FixedRandom(0);
  #following: Promise<void> | undefined;

  async begin(): Promise<void> {
    const { cache, cluster: { transport } } = this;
    const options = { namespace: "streamspace", signal: this.#stop.signal };
    this.#following = followSessions({ cache, transport }, options);
    await this.cache.synced(never);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#following;
    this.#random[Symbol.dispose]();
  }
}

Deno.test("SessionCache is synced once all kinds were listed, and holds their objects", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  cluster.items.deployments = [object("s1"), object("s2", { labels: { ...LABELS, session: "s2" } })];
  cluster.items.services = [object("s1", { uid: "u2" })];
  cluster.items.persistentvolumeclaims = [object("s1-home")];
  cluster.items.pods = [object("s1-a"), object("s1-b", { isDeleted: true })];
  await assertRejects(() => cache.synced(AbortSignal.abort(new Error("no wait"))), Error, "no wait");
  assertEquals(known(cache), {});
  await following.begin();
  assertEquals(known(cache), { deployment: "1", service: "1", claim: "1", "pod s1-a": "1", "pod s1-b": "1" });
  assertEquals(known(cache, "s2"), { deployment: "1" });
  assertEquals(known(cache, "none"), {});
  assertEquals(cluster.lists.slice(0, 5).map((path) => new URL(path, "http://server").pathname), [
    "/apis/apps/v1/namespaces/streamspace/deployments",
    "/api/v1/namespaces/streamspace/services",
    "/api/v1/namespaces/streamspace/persistentvolumeclaims",
    "/apis/networking.k8s.io/v1/namespaces/streamspace/networkpolicies",
    "/api/v1/namespaces/streamspace/pods",
  ]);
  for (const path of cluster.lists.slice(0, 5)) {
    assertStringIncludes(path, "labelSelector=app%3Dstreamspace-session&");
  }
});

/** A minimal event about an object. */
function event(about: string, parts: { version: number; reason?: string; message?: string }): FakeObject {
  const { version, reason = "FailedMount", message = `message ${version}` } = parts;
  const metadata = { name: `${about}.${version}`, uid: `event-${version}`, resourceVersion: String(version) };
  return { metadata, involvedObject: { kind: "Pod", uid: `uid-${about}` }, reason, message };
}

function eventsOf(cache: SessionCache, sessionId = "s1"): string[] {
  return cache.session(sessionId).events.map(({ reason, message }) => `${reason}: ${message}`);
}

Deno.test("SessionCache.session() returns the events of the pods and the claim, oldest first", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  cluster.items.pods = [object("p1"), object("p2", { labels: { ...LABELS, session: "s2" } })];
  cluster.items.persistentvolumeclaims = [object("home")];
  cluster.items.deployments = [object("s1")];
  cluster.items.events = [event("p1", { version: 90 }), event("s1", { version: 91 })];
  await following.begin();
  await cluster.emit("events", "ADDED", event("home", { version: 101, reason: "ProvisioningFailed" }));
  const seen: string[] = [];
  cache.listen((sessionId) => seen.push(sessionId));
  await cluster.emit("events", "ADDED", event("p2", { version: 102 }));
  await cluster.emit("events", "MODIFIED", event("p1", { version: 103, reason: "Pulling" }));
  assertEquals(eventsOf(cache), [
    "FailedMount: message 90",
    "ProvisioningFailed: message 101",
    "Pulling: message 103",
  ]);
  assertEquals(eventsOf(cache, "s2"), ["FailedMount: message 102"]);
  assertEquals(seen, ["s2", "s1"]);
  const events = new URL(cluster.lists.at(-1) ?? "", "http://server");
  assertEquals([events.pathname, events.searchParams.get("fieldSelector")], [
    "/api/v1/namespaces/streamspace/events",
    "involvedObject.kind!=Deployment,involvedObject.kind!=ReplicaSet,involvedObject.kind!=Service," +
    "involvedObject.kind!=Endpoints,reason!=Scheduled,reason!=Pulled,reason!=Created,reason!=Started,reason!=Killing",
  ]);
});

Deno.test("SessionCache keeps an event that arrives before its pod, and drops events with their object", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  await following.begin();
  await cluster.emit("events", "ADDED", event("p1", { version: 101 }));
  await cluster.emit("pods", "ADDED", object("p1", { version: 102 }));
  assertEquals(eventsOf(cache), ["FailedMount: message 101"]);
  await cluster.emit("pods", "DELETED", object("p1", { version: 103 }));
  cache.put("pod", object("p1", { uid: "uid-later", version: 104 }));
  assertEquals(eventsOf(cache), []);
});

Deno.test("SessionCache is synced when listing events is forbidden", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  cluster.refuses = "events";
  await following.begin();
  await cluster.emit("pods", "ADDED", object("p1", { version: 101 }));
  assertEquals(known(cache), { "pod p1": "101" });
});

Deno.test("SessionCache applies additions, changes and removals", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  await following.begin();
  await cluster.emit("pods", "ADDED", object("p1", { version: 101 }));
  await cluster.emit("deployments", "ADDED", object("s1", { version: 102 }));
  assertEquals(known(cache), { deployment: "102", "pod p1": "101" });
  await cluster.emit("pods", "MODIFIED", object("p1", { version: 103 }));
  assertEquals(known(cache), { deployment: "102", "pod p1": "103" });
  await cluster.emit("pods", "DELETED", object("p1", { version: 104 }));
  await cluster.emit("deployments", "DELETED", object("s1", { version: 105 }));
  assertEquals(known(cache), {});
});

Deno.test("K18 SessionCache.put() takes effect immediately and older states are ignored", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  await following.begin();
  cache.put("deployment", object("s1", { version: 110 }));
  assertEquals(known(cache), { deployment: "110" });
  await cluster.emit("deployments", "ADDED", object("s1", { version: 109 }));
  assertEquals(known(cache), { deployment: "110" });
  await cluster.emit("deployments", "MODIFIED", object("s1", { version: 111 }));
  assertEquals(known(cache), { deployment: "111" });
});

Deno.test("SessionCache compares resource versions as numbers", () => {
  const cache = new SessionCache("a1");
  cache.put("pod", object("p1", { version: 99 }));
  cache.put("pod", object("p1", { version: 100 }));
  cache.put("pod", object("p1", { version: 99 }));
  assertEquals(known(cache), { "pod p1": "100" });
});

Deno.test("K18 R12 SessionCache does not restore an object after its removal", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  await following.begin();
  await cluster.emit("deployments", "ADDED", object("s1", { version: 101 }));
  await cluster.emit("deployments", "DELETED", object("s1", { version: 103 }));
  cache.put("deployment", object("s1", { version: 102 }));
  assertEquals(known(cache), {});
  cache.put("deployment", object("s1", { uid: "later", version: 104 }));
  assertEquals(known(cache), { deployment: "104" });
});

Deno.test("SessionCache remembers the removal of an object that it never held", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  await following.begin();
  await cluster.emit("deployments", "DELETED", object("s1", { version: 103 }));
  cache.put("deployment", object("s1", { version: 102 }));
  assertEquals(known(cache), {});
});

Deno.test("R12 SessionCache keeps an object when an earlier one with its name is removed late", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  await following.begin();
  await cluster.emit("deployments", "ADDED", object("s1", { uid: "old", version: 101 }));
  cache.put("deployment", object("s1", { uid: "new", version: 105 }));
  await cluster.emit("deployments", "DELETED", object("s1", { uid: "old", version: 104 }));
  assertEquals(known(cache), { deployment: "105" });
});

Deno.test("R12 SessionCache keeps an object when an earlier one with its name changes late", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  await following.begin();
  await cluster.emit("deployments", "ADDED", object("s1", { uid: "old", version: 101 }));
  cache.put("deployment", object("s1", { uid: "new", version: 105 }));
  await cluster.emit("deployments", "MODIFIED", object("s1", { uid: "old", version: 103, isDeleted: true }));
  await cluster.emit("deployments", "DELETED", object("s1", { uid: "old", version: 104 }));
  assertEquals(known(cache), { deployment: "105" });
  assertEquals(cache.session("s1").deployment?.metadata?.uid, "new");
});

Deno.test("SessionCache removes objects that a later list lacks, unless they were put after that list", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  cluster.items.pods = [object("p1"), object("p2")];
  await following.begin();
  cache.put("pod", object("p3", { version: 201 }));
  cache.put("pod", object("p4", { version: 199 }));
  cluster.items.pods = [object("p2", { version: 150 })];
  cluster.version = "200";
  await cluster.expire("pods");
  assertEquals(known(cache), { "pod p2": "150", "pod p3": "201" });
  cache.put("pod", object("p1", { version: 199 }));
  assertEquals(known(cache), { "pod p2": "150", "pod p3": "201" });
});

Deno.test("K18 SessionCache adds an object again whose labels were removed and restored", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  cluster.items.deployments = [object("s1")];
  cluster.items.services = [object("s1", { uid: "service" })];
  await following.begin();
  await cluster.emit("deployments", "DELETED", object("s1", { version: 103 }));
  await cluster.emit("deployments", "ADDED", object("s1", { version: 104 }));
  assertEquals(known(cache), { deployment: "104", service: "1" });
  cluster.items.services = [];
  cluster.version = "200";
  await cluster.expire("services");
  assertEquals(known(cache), { deployment: "104" });
  cluster.items.services = [object("s1", { uid: "service", version: 201 })];
  cluster.version = "300";
  await cluster.expire("services");
  assertEquals(known(cache), { deployment: "104", service: "201" });
});

Deno.test("K18 SessionCache accepts a list with lower versions after a cluster was restored", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  cluster.version = "500";
  cluster.items.pods = [object("p1", { version: 400 }), object("p2", { version: 401 })];
  cluster.items.persistentvolumeclaims = [
    object("home-alice", { labels: USER_LABELS, version: 450 }),
    object("home-bob", { labels: USER_LABELS, version: 451 }),
  ];
  await following.begin();
  await cluster.emit("pods", "DELETED", object("p2", { version: 501 }));
  await cluster.emit("pods", "ADDED", object("p3", { version: 502 }));
  const seen: string[] = [];
  cache.listen((sessionId) => seen.push(`${sessionId}: ${Object.keys(known(cache)).join(", ")}`));
  cluster.version = "300";
  cluster.items.pods = [object("p1", { version: 200 }), object("p2", { version: 201 })];
  cluster.items.persistentvolumeclaims = [object("home-alice", { labels: USER_LABELS, version: 250 })];
  await cluster.expire("pods");
  await cluster.expire("persistentvolumeclaims");
  assertEquals(known(cache), { "pod p1": "200", "pod p2": "201" });
  await cluster.emit("pods", "MODIFIED", object("p1", { version: 301 }));
  assertEquals(known(cache), { "pod p1": "301", "pod p2": "201" });
  const isGone = (name: string) => cache.isGone(object(name), "s1");
  assertEquals([isGone("home-alice"), isGone("home-bob")], [false, true]);
  // No listener sees the session without its remaining pod.
  assertEquals(seen.filter((objects) => !objects.includes("pod p1")), []);
});

Deno.test("K18 SessionCache holds exactly the 1,000 objects of a new list", async () => {
  await using following = new Following();
  const { cluster, cache } = following;
  const labels = (nth: number) => ({ ...LABELS, session: `s${nth}` });
  cluster.items.pods = Array.from({ length: 1000 }, (_, nth) => object(`old${nth}`, { labels: labels(nth) }));
  await following.begin();
  assertEquals(cache.sessionIds().length, 1000);
  cluster.items.pods = Array.from(
    { length: 1000 },
    (_, nth) => object(`new${nth}`, { labels: labels(nth + 500), version: 200 }),
  );
  cluster.version = "300";
  await cluster.expire("pods");
  assertEquals(
    new Set(cache.sessionIds()),
    new Set(Array.from({ length: 1000 }, (_, nth) => `s${nth + 500}`)),
  );
  assertEquals(known(cache, "s500"), { "pod new0": "200" });
  // Late and repeated changes have no effect.
  await cluster.emit("pods", "MODIFIED", object("new0", { labels: labels(500), version: 150 }));
  await cluster.emit("pods", "ADDED", object("new0", { labels: labels(500), version: 200 }));
  assertEquals(known(cache, "s500"), { "pod new0": "200" });
});

Deno.test("SessionCache keeps other kinds when one is listed again", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  cluster.items.deployments = [object("s1")];
  cluster.items.pods = [object("p1")];
  await following.begin();
  cluster.items.pods = [];
  cluster.items.deployments = [];
  await cluster.expire("pods");
  assertEquals(known(cache), { deployment: "1" });
});

Deno.test("SessionCache holds only objects of this agent and objects without an agent", () => {
  const cache = new SessionCache("a1");
  const { "stream.space/agent": _, ...withoutAgent } = LABELS;
  cache.put("pod", object("ours"));
  cache.put("pod", object("of an earlier agent", { labels: withoutAgent }));
  cache.put("pod", object("of another agent", { labels: { ...LABELS, "stream.space/agent": "a2" } }));
  cache.put("pod", object("of another app", { labels: { ...LABELS, app: "database" } }));
  cache.put("pod", object("without session", { labels: { app: LABELS.app } }));
  cache.put("pod", object("without labels", { labels: {} }));
  cache.put("pod", {});
  assertEquals(known(cache), { "pod ours": "1", "pod of an earlier agent": "1" });
});

Deno.test("SessionCache handles session ids that are names of object properties", () => {
  const cache = new SessionCache("a1");
  for (const session of ["__proto__", "constructor"]) {
    assertEquals(known(cache, session), {});
    cache.put("pod", object("p1", { labels: { ...LABELS, session } }));
    assertEquals(known(cache, session), { "pod p1": "1" });
  }
  assertEquals(known(cache, "toString"), {});
});

Deno.test("SessionCache.activeSessions() counts the sessions whose Deployment requests a pod", () => {
  const cache = new SessionCache("a1");
  const deployment = (session: string, parts: Parts) =>
    cache.put("deployment", object(session, { labels: { ...LABELS, session }, ...parts }));
  assertEquals(cache.activeSessions(), 0);
  deployment("running", { replicas: 1 });
  deployment("unset", {});
  deployment("hibernated", { replicas: 0 });
  deployment("deleting", { replicas: 1, isDeleted: true });
  cache.put("pod", object("p1", { labels: { ...LABELS, session: "only a pod" } }));
  assertEquals(cache.activeSessions(), 2);
  deployment("hibernated", { replicas: 1, version: 2 });
  assertEquals(cache.activeSessions(), 3);
});

Deno.test("SessionCache uses the session id, not the name of the objects", () => {
  const cache = new SessionCache("a1");
  const labels = { ...LABELS, session: sessionName("Alice's") };
  const annotated = (id: string) => {
    const { metadata, ...rest } = object("x", { uid: `uid-${id}`, labels });
    return { ...rest, metadata: { ...metadata, annotations: { [SESSION_ANNOTATION]: id } } };
  };
  cache.put("service", annotated("Alice's"));
  assertEquals(cache.sessionIds(), ["Alice's"]);
  // An annotation that does not match the label is ignored.
  assertEquals(cache.owns(annotated("s1"), "s1"), false);
});

/** A session's Deployment that mounts a home volume. */
function withHome(session: string, claimName: string): FakeObject {
  const volumes = [{ name: "home", persistentVolumeClaim: { claimName } }];
  const labels = { ...LABELS, session, user: "alice" };
  return { ...object(session, { labels }), spec: { replicas: 1, template: { spec: { volumes } } } };
}

Deno.test("SessionCache.session() returns the user's home volume for each session that mounts it", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  const home = object("home-alice", { labels: USER_LABELS });
  cluster.items.deployments = [
    withHome("s1", "home-alice"),
    withHome("s2", "home-alice"),
    withHome("s3", "other"),
  ];
  cluster.items.persistentvolumeclaims = [home];
  await following.begin();
  assertEquals(["s1", "s2", "s3"].map((id) => cache.session(id).claim?.metadata?.name), [
    "home-alice",
    "home-alice",
    undefined,
  ]);
  assertEquals(cache.sessionIds(), ["s1", "s2", "s3"]);
  assertEquals(cache.isGone(home, "s1"), false);
  await cluster.emit("persistentvolumeclaims", "DELETED", home);
  assertEquals(cache.isGone(home, "s1"), true);
  assertEquals(cache.session("s1").claim, undefined);
});

Deno.test("SessionCache removes an object from a session when its labels name another one, or none", () => {
  const cache = new SessionCache("a1");
  const changed: string[] = [];
  cache.change("deployment", "put", object("s1"));
  cache.change("pod", "put", object("s1-a"));
  cache.listen((sessionId) => changed.push(sessionId));
  cache.change("deployment", "put", object("s1", { version: 2, labels: { ...LABELS, session: "s2" } }));
  cache.change("pod", "put", object("s1-a", { version: 2, labels: { app: "streamspace-session" } }));
  assertEquals([known(cache), known(cache, "s2")], [{}, { deployment: "2" }]);
  assertEquals(changed, ["s1", "s2", "s1"]);
  cache.change("deployment", "remove", object("s1", { version: 3, labels: { app: "streamspace-session" } }));
  assertEquals(cache.sessionIds(), []);
});

Deno.test("SessionCache.sessionsMounting() follows claims, names and labels of Deployments and pods", () => {
  const cache = new SessionCache("a1");
  const mounting = () => ["home-alice", "other"].map((name) => cache.sessionsMounting(name));
  const of = (
    session: string,
    claimName: string,
    parts: { name?: string; uid?: string; version?: number } = {},
  ) => {
    const { name = session, version = 1 } = parts;
    const { metadata, ...rest } = withHome(session, claimName);
    const uid = parts.uid ?? `uid-${name}`;
    return { ...rest, metadata: { ...metadata, name, uid, resourceVersion: String(version) } };
  };
  for (const id of ["s1", "s2"]) cache.change("deployment", "put", of(id, "home-alice"));
  const volumes = [{ name: "home", persistentVolumeClaim: { claimName: "home-alice" } }];
  const pod = { ...of("s1", "", { name: "s1-x" }), spec: { volumes } };
  cache.change("pod", "put", pod);
  assertEquals(mounting(), [["s1", "s2"], []]);
  cache.change("deployment", "put", of("s2", "other", { version: 2 }));
  assertEquals(mounting(), [["s1"], ["s2"]]);
  // Another object with the same name.
  cache.change("deployment", "put", of("s1", "other", { uid: "new", version: 3 }));
  assertEquals(mounting(), [["s1"], ["s2", "s1"]]);
  cache.change("pod", "remove", { ...pod, metadata: { ...pod.metadata, resourceVersion: "4" } });
  cache.change("deployment", "put", of("s3", "other", { name: "s2", version: 5 }));
  assertEquals(mounting(), [[], ["s1", "s3"]]);
  cache.replace("deployment", [], "6");
  assertEquals(mounting(), [[], []]);
});

Deno.test("SessionCache.foreign names the agents of other sessions, and what mounts a claim", () => {
  const cache = new SessionCache(["a1", "a0"]);
  const of = (agent: string, session: string) => ({
    ...withHome(session, "home-alice"),
    metadata: object(session, { labels: { ...LABELS, session, "stream.space/agent": agent } }).metadata,
  });
  for (const [agent, id] of [["a2", "s3"], ["a2", "s2"], ["a1", "s1"], ["a0", "s0"]] as const) {
    cache.change("deployment", "put", of(agent, id));
  }
  cache.change(
    "claim",
    "put",
    object("home-alice", { labels: { ...USER_LABELS, "stream.space/agent": "a2" } }),
  );
  assertEquals(cache.sessionIds(), ["s1", "s0"]);
  assertEquals(cache.session("s1").claim?.metadata?.name, "home-alice");
  assertEquals([...cache.foreign.sessionsByAgent()], [["a2", ["s2", "s3"]]]);
  assertEquals(["s1", "s2", "s9"].map((id) => cache.foreign.agentOfSession(id)), [
    undefined,
    "a2",
    undefined,
  ]);
  assertEquals(cache.foreign.mounting("home-alice"), [
    'Deployment "s3" of agent "a2"',
    'Deployment "s2" of agent "a2"',
  ]);
  cache.replace("deployment", [of("a1", "s1")], "5");
  assertEquals([...cache.foreign.sessionsByAgent()], []);
});

Deno.test("SessionCache.waitFor() rechecks a session when the home volume of its user changes", async () => {
  const cache = new SessionCache("a1");
  cache.put("deployment", withHome("s1", "home-alice"));
  const waiting = cache.waitFor<string>("s1", {
    signal: never,
    check: ({ claim }): CheckResult<string> => claim ? { value: claim.metadata?.name ?? "" } : {},
  });
  cache.put("claim", object("home-alice", { labels: USER_LABELS }));
  assertEquals(await waiting, "home-alice");
});

/** A check that returns the name of a pod, and the number of its calls. */
function checkForPod(): { check: (objects: SessionObjects) => CheckResult<string>; calls: () => number } {
  let calls = 0;
  return {
    check: ({ pods: [pod] }): CheckResult<string> => {
      calls += 1;
      return pod ? { value: pod.metadata?.name ?? "" } : {};
    },
    calls: () => calls,
  };
}

Deno.test("SessionCache.waitFor() returns immediately when its check succeeds", async () => {
  const cache = new SessionCache("a1");
  cache.put("pod", object("p1"));
  const { check, calls } = checkForPod();
  assertEquals(await cache.waitFor("s1", { check, signal: never }), "p1");
  assertEquals(calls(), 1);
});

Deno.test("SessionCache.waitFor() returns a value that is undefined", async () => {
  const cache = new SessionCache("a1");
  assertEquals(await cache.waitFor("s1", { check: () => ({ value: undefined }), signal: never }), undefined);
});

Deno.test("SessionCache.waitFor() checks after each change to its session and to no other", async () => {
  await using following = new Following();
  const { cache, cluster } = following;
  cluster.items.services = [object("s1")];
  await following.begin();
  const { check, calls } = checkForPod();
  const waiting = cache.waitFor("s1", { check, signal: never });
  await cluster.emit("pods", "ADDED", object("p9", { version: 101, labels: { ...LABELS, session: "s9" } }));
  assertEquals(calls(), 1);
  await cluster.emit("deployments", "ADDED", object("s1", { version: 102 }));
  assertEquals(calls(), 2);
  await cluster.emit("services", "DELETED", object("s1", { version: 103 }));
  assertEquals(calls(), 3);
  await cluster.emit("pods", "ADDED", object("p1", { version: 104 }));
  assertEquals(await waiting, "p1");
});

Deno.test("SessionCache.waitFor() serves many waits for one session", async () => {
  const cache = new SessionCache("a1");
  const waiting = Array.from(
    { length: 20 },
    () => cache.waitFor("s1", { check: checkForPod().check, signal: never }),
  );
  cache.put("pod", object("p1"));
  assertEquals(await Promise.all(waiting), Array(20).fill("p1"));
});

Deno.test("SessionCache.waitFor() rechecks after the time that the check returned", async () => {
  using time = new FakeTime();
  const cache = new SessionCache("a1");
  const waiting = cache.waitFor("s1", {
    check: () => Date.now() < 5000 ? { recheckInMs: 5000 } : { value: Date.now() },
    signal: never,
  });
  await time.tickAsync(4999);
  assertEquals(time.pending, [5000]);
  await time.tickAsync(1);
  assertEquals(await waiting, 5000);
  assertEquals(time.pending, []);
});

Deno.test("SessionCache.waitFor() clears its timer after a change or an abort", async () => {
  const cache = new SessionCache("a1");
  const stop = new AbortController();
  const check = ({ pods }: SessionObjects) => pods.length > 0 ? { value: 1 } : { recheckInMs: 3_600_000 };
  const changed = cache.waitFor("s1", { check, signal: never });
  cache.put("pod", object("p1"));
  await changed;
  const ended = assertRejects(() => cache.waitFor("s2", { check, signal: stop.signal }), Error, "enough");
  stop.abort(new Error("enough"));
  await ended;
});

Deno.test("SessionCache.waitFor() does not check when the signal is already aborted", async () => {
  const cache = new SessionCache("a1");
  const { check, calls } = checkForPod();
  const signal = AbortSignal.abort(new Error("no"));
  await assertRejects(() => cache.waitFor("s1", { check, signal }), Error, "no");
  assertEquals(calls(), 0);
});

Deno.test("SessionCache.waitFor() rejects with what its check throws, immediately or later", async () => {
  const cache = new SessionCache("a1");
  const check = ({ pods }: SessionObjects) => {
    if (pods.length > 0) throw new Error("a pod");
    return {};
  };
  const later = assertRejects(() => cache.waitFor("s1", { check, signal: never }), Error, "a pod");
  cache.put("pod", object("p1"));
  await later;
  await assertRejects(() => cache.waitFor("s1", { check, signal: never }), Error, "a pod");
});

Deno.test("SessionCache.session() returns a copy of its list of pods", () => {
  const cache = new SessionCache("a1");
  cache.put("pod", object("p1"));
  (cache.session("s1").pods as unknown[]).length = 0;
  assert(known(cache)["pod p1"]);
});

Deno.test("SessionCache.waitFor() fails when a kind cannot be watched for some time", async () => {
  using time = new FakeTime();
  const cache = new SessionCache("a1");
  const refusal = new KubernetesError("Kubernetes refused to read pods: no", { status: 403, reason: "" });
  const wait = () => cache.waitFor("s1", { check: () => ({}), signal: never });
  cache.setForbidden("pod", refusal);
  const waiting = assertRejects(wait, KubernetesError, "refused to read pods");
  await time.tickAsync(5000);
  cache.setForbidden("pod", refusal);
  await time.tickAsync(5000);
  await waiting;
  await assertRejects(wait, KubernetesError, "refused to read pods");
  assertEquals(await cache.waitFor("s1", { check: () => ({ value: 1 }), signal: never }), 1);
});

Deno.test("SessionCache.waitFor() goes on when a kind can be watched again in time", async () => {
  using time = new FakeTime();
  const cache = new SessionCache("a1");
  const refusal = new KubernetesError("Kubernetes refused to read pods: no", { status: 403, reason: "" });
  const stop = new AbortController();
  cache.setForbidden("pod", refusal);
  const waiting = assertRejects(
    () => cache.waitFor("s1", { check: () => ({}), signal: stop.signal }),
    Error,
    "stopped",
  );
  await time.tickAsync(9000);
  cache.setForbidden("pod", undefined);
  await time.tickAsync(60_000);
  stop.abort(new Error("stopped"));
  await waiting;
});

Deno.test("SessionCache ignores foreign pods that end with their Deployment as users of a home volume", () => {
  const cache = new SessionCache("a1");
  const labels = { ...LABELS, session: "s2", "stream.space/agent": "a2" };
  const volumes = [{ name: "home", persistentVolumeClaim: { claimName: "home-alice" } }];
  const pod = { ...object("s2-x", { labels }), spec: { volumes } };
  cache.change("pod", "put", pod);
  cache.change("deployment", "put", object("s2", { labels }));
  assertEquals(cache.foreign.mounting("home-alice"), ['Pod "s2-x" of agent "a2"']);
  cache.change("deployment", "put", object("s2", { labels, version: 2, isDeleted: true }));
  assertEquals(cache.foreign.mounting("home-alice"), []);
});

Deno.test("SessionCache does not give a session the objects of another one whose label was changed", () => {
  const cache = new SessionCache("a1");
  const labels = { ...LABELS, session: "s2" };
  const service = object("s1", { uid: "service", labels });
  cache.change("service", "put", {
    ...service,
    metadata: { ...service.metadata, annotations: { [SESSION_ANNOTATION]: "s1" } },
  });
  const selector = { matchLabels: { app: "streamspace-session", session: "s1" } };
  const deployment = { ...object("s1", { labels }), spec: { selector, template: {} } };
  cache.change("deployment", "put", deployment);
  assertEquals(cache.sessionIds(), []);
});
