import { assertEquals } from "@std/assert";
import type { V1Deployment } from "@kubernetes/client-node";
import type { SessionState } from "../../lib/control_plane/protocol.ts";
import { ReportedStatuses } from "../../lib/control_plane/reported_statuses.ts";
import { SessionCache } from "../../lib/kubernetes/session_cache.ts";
import { SessionResourceReconciler } from "../../lib/status/session_resource_reconciler.ts";
import { statusOf } from "../../lib/status/status.ts";
import type { CustomObject } from "../support/custom_kinds.ts";
import { FakeCustomApi } from "../support/fake_custom_api.ts";
import { FakeTime } from "../support/fake_time.ts";
import { FixedRandom } from "../support/fixed_random.ts";
import { LogCapture } from "../support/log_capture.ts";

/** How long changes are gathered. */
const GATHER = 500;
/** How long a cluster without the kind is left alone. */
const MINUTE = 60_000;
/** Long enough for all that is due. */
const LATER = 15_000;

/** A mirror of sessions that a test makes. */
class Scene implements AsyncDisposable {
  readonly time = new FakeTime();
  readonly api = new FakeCustomApi();
  readonly cache = new SessionCache("a1");
  readonly reported = new ReportedStatuses();
  readonly mirror = new SessionResourceReconciler({
    cache: this.cache,
    reported: this.reported,
    api: this.api,
  });
  readonly #stop = new AbortController();
  readonly #random = new FixedRandom(1);
  #following: Promise<void> | undefined;
  #version = 0;

  /** Begins, and lets everything be known. */
  async begin(): Promise<void> {
    this.#following = this.mirror.follow(this.api.transport, {
      namespace: "streamspace",
      signal: this.#stop.signal,
    });
    await this.time.tickAsync(0);
    this.mirror.start(this.#stop.signal);
  }

  /** A session's Deployment as it is from now on. */
  deploy(sessionId: string, parts: { replicas?: number; uid?: string; isLeaving?: boolean } = {}): void {
    const { replicas = 1, uid = `deployment of ${sessionId}`, isLeaving = false } = parts;
    const labels = { app: "streamspace-session", session: sessionId, "stream.space/agent": "a1" };
    const deployment: V1Deployment = {
      metadata: {
        ...{ name: sessionId, uid, labels, resourceVersion: String(++this.#version) },
        ...(isLeaving ? { deletionTimestamp: new Date() } : {}),
      },
      spec: { replicas, selector: {}, template: { spec: { containers: [{ name: "session" }] } } },
    };
    this.cache.put("deployment", deployment);
  }

  tell(sessionId: string, state: SessionState): void {
    this.reported.set(statusOf(sessionId, state));
  }

  /** A session that runs and is shown. */
  async show(sessionId: string): Promise<void> {
    this.deploy(sessionId);
    this.tell(sessionId, "running");
    await this.time.tickAsync(GATHER);
    await this.time.tickAsync(GATHER);
    assertEquals(this.state(sessionId), "running");
    this.api.requests.length = 0;
  }

  state(sessionId: string): unknown {
    return this.api.get(sessionId)?.status?.state;
  }

  /** What was asked of the API after so many milliseconds. */
  async requestsAfter(ms: number): Promise<string[]> {
    await this.time.tickAsync(ms);
    return this.api.requests.splice(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.time.tickAsync(0);
    await this.#following;
    assertEquals(this.time.pending, []);
    this.#random[Symbol.dispose]();
    this.time[Symbol.dispose]();
  }
}

Deno.test("mirror writes all that happens within a moment as one", async () => {
  await using scene = new Scene();
  await scene.begin();
  scene.tell("s1", "pending");
  scene.deploy("s1");
  assertEquals(await scene.requestsAfter(GATHER - 1), []);
  scene.tell("s1", "running");
  assertEquals(await scene.requestsAfter(1), ["create s1", "patch status of s1"]);
  assertEquals([scene.state("s1"), scene.api.get("s1")?.spec.state], ["running", "running"]);
});

Deno.test("mirror writes nothing where nothing is to be changed", async () => {
  await using scene = new Scene();
  await scene.begin();
  await scene.show("s1");
  scene.deploy("s1");
  scene.tell("s1", "running");
  assertEquals(await scene.requestsAfter(LATER), []);
});

Deno.test("mirror follows a session through its states, and leaves its end to Kubernetes", async () => {
  await using scene = new Scene();
  await scene.begin();
  await scene.show("s1");
  scene.deploy("s1", { replicas: 0 });
  assertEquals(await scene.requestsAfter(GATHER), ["patch s1", "patch status of s1"]);
  assertEquals([scene.state("s1"), scene.api.get("s1")?.spec.state], ["running", "hibernated"]);
  scene.tell("s1", "hibernated");
  assertEquals(await scene.requestsAfter(GATHER), ["patch status of s1"]);
  assertEquals(scene.state("s1"), "hibernated");
  scene.deploy("s1", { isLeaving: true });
  scene.tell("s1", "terminated");
  scene.api.remove("s1");
  assertEquals(await scene.requestsAfter(LATER), []);
});

Deno.test("mirror writes nothing of a session before something was told of it", async () => {
  await using scene = new Scene();
  await scene.begin();
  scene.deploy("s1");
  assertEquals(await scene.requestsAfter(LATER), []);
  scene.tell("s1", "running");
  assertEquals(await scene.requestsAfter(GATHER), ["create s1", "patch status of s1"]);
});

Deno.test("mirror writes nothing where the kind is missing, and all once it is installed", async () => {
  await using scene = new Scene();
  scene.api.isInstalled = false;
  await scene.begin();
  for (const id of ["s1", "s2"]) {
    scene.deploy(id);
    scene.tell(id, "running");
  }
  assertEquals(await scene.requestsAfter(MINUTE - 1), []);
  scene.api.isInstalled = true;
  await scene.time.tickAsync(1);
  const requests = await scene.requestsAfter(GATHER);
  assertEquals(requests.toSorted(), ["create s1", "create s2", "patch status of s1", "patch status of s2"]);
});

Deno.test("mirror of a new process puts right what it finds, and takes over what is right", async () => {
  const objects: CustomObject[] = [];
  {
    await using before = new Scene();
    await before.begin();
    for (const id of ["right", "stale"]) await before.show(id);
    objects.push(...["right", "stale"].flatMap((id) => before.api.get(id) ?? []));
  }
  await using scene = new Scene();
  for (const object of objects) scene.api.put({ ...object, metadata: { ...object.metadata } });
  for (const id of ["right", "stale", "missing"]) scene.deploy(id);
  scene.tell("right", "running");
  scene.tell("missing", "running");
  scene.tell("stale", "pending");
  await scene.begin();
  assertEquals(await scene.requestsAfter(GATHER), [
    "patch status of stale",
    "create missing",
    "patch status of missing",
  ]);
});

Deno.test("mirror undoes what others change of an object, and keeps what they add", async () => {
  await using scene = new Scene();
  await scene.begin();
  await scene.show("s1");
  const { metadata, spec, status } = scene.api.get("s1") as CustomObject;
  scene.api.put({
    metadata: {
      ...metadata,
      labels: { ...metadata?.labels, team: "blue" },
      ownerReferences: [],
    },
    spec: { ...spec, user: "mallory", state: "hibernated" },
    status: { ...status, state: "failed" },
  });
  assertEquals(await scene.requestsAfter(GATHER), ["patch s1", "patch status of s1"]);
  const restored = scene.api.get("s1");
  assertEquals(restored?.spec, spec);
  assertEquals(restored?.metadata?.ownerReferences, metadata?.ownerReferences);
  assertEquals(restored?.metadata?.labels?.team, "blue");
  assertEquals(scene.state("s1"), "running");
  scene.api.remove("s1");
  assertEquals(await scene.requestsAfter(GATHER), ["create s1", "patch status of s1"]);
});

for (
  const [name, labels] of [
    ["lost its labels", {}],
    ["was given to another agent", { app: "streamspace-session", "stream.space/agent": "another" }],
  ] as const
) {
  Deno.test(`mirror puts an object right that ${name}`, async () => {
    await using scene = new Scene();
    await scene.begin();
    await scene.show("s1");
    const { metadata, ...rest } = scene.api.get("s1") as CustomObject;
    scene.api.put({ ...rest, metadata: { ...metadata, labels } });
    assertEquals(await scene.requestsAfter(GATHER), ["patch s1"]);
    assertEquals(scene.api.get("s1")?.metadata?.labels, metadata?.labels);
  });
}

Deno.test("mirror leaves an object alone that is another's", async () => {
  await using scene = new Scene();
  const labels = { app: "streamspace-session", session: "s1", "stream.space/agent": "another" };
  scene.api.put({ metadata: { name: "s1", uid: "u1", labels }, spec: {} });
  await scene.begin();
  scene.deploy("s1");
  scene.tell("s1", "running");
  assertEquals(await scene.requestsAfter(LATER), []);
});

Deno.test("mirror waits for the end of an earlier session's object", async () => {
  await using scene = new Scene();
  await scene.begin();
  await scene.show("s1");
  scene.deploy("s1", { uid: "another Deployment" });
  assertEquals(await scene.requestsAfter(LATER), []);
  scene.api.remove("s1");
  assertEquals(await scene.requestsAfter(GATHER), ["create s1", "patch status of s1"]);
  const [owner] = scene.api.get("s1")?.metadata?.ownerReferences ?? [];
  assertEquals(owner?.uid, "another Deployment");
});

Deno.test("mirror tries again while the API is in trouble, and writes the newest state then", async () => {
  await using scene = new Scene();
  await scene.begin();
  await scene.show("s1");
  for (const status of [0, 503, 429]) scene.api.refuse(status);
  scene.tell("s1", "pending");
  assertEquals(await scene.requestsAfter(GATHER), ["patch status of s1"]);
  assertEquals(await scene.requestsAfter(GATHER + 2000), ["patch status of s1"]);
  assertEquals(await scene.requestsAfter(GATHER + 4000), ["patch status of s1"]);
  scene.tell("s1", "hibernated");
  assertEquals(await scene.requestsAfter(GATHER + 8000), ["patch status of s1"]);
  assertEquals(scene.state("s1"), "hibernated");
  assertEquals(await scene.requestsAfter(LATER), []);
});

Deno.test("mirror says once that it may not write, and tries again at each change of a session", async () => {
  await using scene = new Scene();
  using log = new LogCapture({ level: "info" });
  await scene.begin();
  for (const state of ["pending", "running"] as const) {
    scene.api.refuse(403, "sessions is forbidden");
    scene.deploy("s1");
    scene.tell("s1", state);
    assertEquals(await scene.requestsAfter(LATER), ["create s1"]);
  }
  assertEquals(log.lines.map((line) => line.replace(/^\S+ /, "")), [
    "[K8sAgent] WARN: Cannot write Session objects: sessions is forbidden",
  ]);
});

Deno.test("mirror shows what came while an object was written", async () => {
  await using scene = new Scene();
  await scene.begin();
  const { promise, resolve } = Promise.withResolvers<void>();
  scene.api.gate = promise;
  scene.deploy("s1");
  scene.tell("s1", "pending");
  assertEquals(await scene.requestsAfter(GATHER), ["create s1"]);
  scene.tell("s1", "running");
  resolve();
  assertEquals(await scene.requestsAfter(0), ["patch status of s1"]);
  assertEquals(scene.state("s1"), "running");
  assertEquals(await scene.requestsAfter(LATER), []);
});

Deno.test("mirror writes four sessions at a time", async () => {
  await using scene = new Scene();
  await scene.begin();
  const { promise, resolve } = Promise.withResolvers<void>();
  scene.api.gate = promise;
  for (let i = 0; i < 20; i++) {
    scene.deploy(`s${i}`);
    scene.tell(`s${i}`, "running");
  }
  await scene.time.tickAsync(GATHER);
  assertEquals(scene.api.active, 4);
  resolve();
  await scene.time.tickAsync(GATHER);
  for (let i = 0; i < 20; i++) assertEquals(scene.state(`s${i}`), "running");
  assertEquals(scene.api.requests.length, 40);
});
