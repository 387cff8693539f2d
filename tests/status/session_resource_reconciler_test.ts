import { assertEquals } from "@std/assert";
import type { V1Deployment } from "@kubernetes/client-node";
import type { SessionState } from "../../lib/control_plane/protocol.ts";
import { ReportedStatuses } from "../../lib/control_plane/reported_statuses.ts";
import { SessionCache } from "../../lib/kubernetes/session_cache.ts";
import {
  SessionResourceReconciler,
  type StateRequest,
} from "../../lib/status/session_resource_reconciler.ts";
import { statusOf } from "../../lib/status/status.ts";
import type { CustomObject } from "../support/custom_kinds.ts";
import { FakeCustomApi } from "../support/fake_custom_api.ts";
import { FakeTime } from "../support/fake_time.ts";
import { FixedRandom } from "../support/fixed_random.ts";
import { LogCapture } from "../support/log_capture.ts";

/** How long changes are collected. */
const BATCH = 500;
/** Time between two checks for a missing kind. */
const MINUTE = 60_000;
/** Long enough for everything that is due. */
const LATER = 15_000;

/** A reconciler with a fake API. */
class Scene implements AsyncDisposable {
  readonly time = new FakeTime();
  readonly api = new FakeCustomApi();
  readonly cache = new SessionCache("a1");
  readonly reported = new ReportedStatuses();
  readonly reconciler = new SessionResourceReconciler({
    cache: this.cache,
    reported: this.reported,
    api: this.api,
  });
  readonly #stop = new AbortController();
  readonly #random = new FixedRandom(1);
  #following: Promise<void> | undefined;
  #version = 0;

  /** Starts the reconciler after the first list. */
  async start(): Promise<void> {
    this.#following = this.reconciler.follow(this.api.transport, {
      namespace: "streamspace",
      signal: this.#stop.signal,
    });
    await this.time.tickAsync(0);
    this.reconciler.start(this.#stop.signal);
  }

  /** Sets a session's Deployment. */
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

  report(sessionId: string, state: SessionState): void {
    this.reported.set(statusOf(sessionId, state));
  }

  /** Adds a running session with its object. */
  async addRunning(sessionId: string): Promise<void> {
    this.deploy(sessionId);
    this.report(sessionId, "running");
    await this.time.tickAsync(BATCH);
    await this.time.tickAsync(BATCH);
    assertEquals(this.state(sessionId), "running");
    this.api.requests.length = 0;
  }

  /** Changes the spec of an object, as anybody may. */
  set(sessionId: string, change: Readonly<Record<string, unknown>>): void {
    const { metadata, spec, status } = this.api.get(sessionId) as CustomObject;
    this.api.put({
      metadata: { ...metadata, generation: (metadata?.generation ?? 0) + 1 },
      spec: { ...spec, ...change },
      status,
    });
  }

  state(sessionId: string): unknown {
    return this.api.get(sessionId)?.status?.state;
  }

  /** The requests of the next milliseconds. */
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

Deno.test("SessionResourceReconciler writes the changes of a batch together", async () => {
  await using scene = new Scene();
  await scene.start();
  scene.report("s1", "pending");
  scene.deploy("s1");
  assertEquals(await scene.requestsAfter(BATCH - 1), []);
  scene.report("s1", "running");
  assertEquals(await scene.requestsAfter(1), ["create s1", "patch status of s1"]);
  assertEquals([scene.state("s1"), scene.api.get("s1")?.spec.state], ["running", "running"]);
});

Deno.test("SessionResourceReconciler writes nothing without changes", async () => {
  await using scene = new Scene();
  await scene.start();
  await scene.addRunning("s1");
  scene.deploy("s1");
  scene.report("s1", "running");
  assertEquals(await scene.requestsAfter(LATER), []);
});

Deno.test("SessionResourceReconciler writes each state of a session, and leaves the deletion to Kubernetes", async () => {
  await using scene = new Scene();
  await scene.start();
  await scene.addRunning("s1");
  scene.deploy("s1", { replicas: 0 });
  assertEquals(await scene.requestsAfter(BATCH), ["patch s1", "patch status of s1"]);
  assertEquals([scene.state("s1"), scene.api.get("s1")?.spec.state], ["running", "hibernated"]);
  scene.report("s1", "hibernated");
  assertEquals(await scene.requestsAfter(BATCH), ["patch status of s1"]);
  assertEquals(scene.state("s1"), "hibernated");
  scene.deploy("s1", { isLeaving: true });
  scene.report("s1", "terminated");
  scene.api.remove("s1");
  assertEquals(await scene.requestsAfter(LATER), []);
});

Deno.test("SessionResourceReconciler writes nothing before the first status of a session", async () => {
  await using scene = new Scene();
  await scene.start();
  scene.deploy("s1");
  assertEquals(await scene.requestsAfter(LATER), []);
  scene.report("s1", "running");
  assertEquals(await scene.requestsAfter(BATCH), ["create s1", "patch status of s1"]);
});

Deno.test("SessionResourceReconciler writes all objects after the missing kind is installed", async () => {
  await using scene = new Scene();
  scene.api.isInstalled = false;
  await scene.start();
  for (const id of ["s1", "s2"]) {
    scene.deploy(id);
    scene.report(id, "running");
  }
  assertEquals(await scene.requestsAfter(MINUTE - 1), []);
  scene.api.isInstalled = true;
  await scene.time.tickAsync(1);
  const requests = await scene.requestsAfter(BATCH);
  assertEquals(requests.toSorted(), ["create s1", "create s2", "patch status of s1", "patch status of s2"]);
});

Deno.test("SessionResourceReconciler of a new process repairs only the objects that differ", async () => {
  const objects: CustomObject[] = [];
  {
    await using before = new Scene();
    await before.start();
    for (const id of ["right", "stale"]) await before.addRunning(id);
    objects.push(...["right", "stale"].flatMap((id) => before.api.get(id) ?? []));
  }
  await using scene = new Scene();
  for (const object of objects) scene.api.put({ ...object, metadata: { ...object.metadata } });
  for (const id of ["right", "stale", "missing"]) scene.deploy(id);
  scene.report("right", "running");
  scene.report("missing", "running");
  scene.report("stale", "pending");
  await scene.start();
  assertEquals(await scene.requestsAfter(BATCH), [
    "patch status of stale",
    "create missing",
    "patch status of missing",
  ]);
});

Deno.test("SessionResourceReconciler reverts changes of others, and keeps their additions", async () => {
  await using scene = new Scene();
  await scene.start();
  await scene.addRunning("s1");
  const { metadata, spec, status } = scene.api.get("s1") as CustomObject;
  scene.api.put({
    metadata: {
      ...metadata,
      labels: { ...metadata?.labels, team: "blue" },
      ownerReferences: [],
    },
    spec: { ...spec, user: "mallory", state: "hibernated" },
    status: { ...status, state: "failed", lastActivity: "2026-01-01T00:00:00Z" },
  });
  assertEquals(await scene.requestsAfter(BATCH), ["patch s1", "patch status of s1"]);
  const restored = scene.api.get("s1");
  // The Control Plane's idle hibernation reads the activity and writes the state.
  assertEquals(restored?.spec, { ...spec, state: "hibernated" });
  assertEquals(restored?.status?.lastActivity, "2026-01-01T00:00:00Z");
  assertEquals(restored?.metadata?.ownerReferences, metadata?.ownerReferences);
  assertEquals(restored?.metadata?.labels?.team, "blue");
  assertEquals(scene.state("s1"), "running");
  scene.api.remove("s1");
  assertEquals(await scene.requestsAfter(BATCH), ["create s1", "patch status of s1"]);
});

for (
  const [name, labels] of [
    ["lost its labels", {}],
    ["was assigned to another agent", { app: "streamspace-session", "stream.space/agent": "another" }],
  ] as const
) {
  Deno.test(`SessionResourceReconciler repairs an object that ${name}`, async () => {
    await using scene = new Scene();
    await scene.start();
    await scene.addRunning("s1");
    const { metadata, ...rest } = scene.api.get("s1") as CustomObject;
    scene.api.put({ ...rest, metadata: { ...metadata, labels } });
    assertEquals(await scene.requestsAfter(BATCH), ["patch s1"]);
    assertEquals(scene.api.get("s1")?.metadata?.labels, metadata?.labels);
  });
}

Deno.test("SessionResourceReconciler does not change an object of another agent", async () => {
  await using scene = new Scene();
  const labels = { app: "streamspace-session", session: "s1", "stream.space/agent": "another" };
  scene.api.put({ metadata: { name: "s1", uid: "u1", labels }, spec: {} });
  await scene.start();
  scene.deploy("s1");
  scene.report("s1", "running");
  assertEquals(await scene.requestsAfter(LATER), []);
});

Deno.test("SessionResourceReconciler waits for the deletion of the object of an earlier session", async () => {
  await using scene = new Scene();
  await scene.start();
  await scene.addRunning("s1");
  scene.deploy("s1", { uid: "another Deployment" });
  assertEquals(await scene.requestsAfter(LATER), []);
  scene.api.remove("s1");
  assertEquals(await scene.requestsAfter(BATCH), ["create s1", "patch status of s1"]);
  const [owner] = scene.api.get("s1")?.metadata?.ownerReferences ?? [];
  assertEquals(owner?.uid, "another Deployment");
});

Deno.test("SessionResourceReconciler retries after temporary failures, and writes the latest state", async () => {
  await using scene = new Scene();
  await scene.start();
  await scene.addRunning("s1");
  for (const status of [0, 503, 429]) scene.api.refuse(status);
  scene.report("s1", "pending");
  assertEquals(await scene.requestsAfter(BATCH), ["patch status of s1"]);
  assertEquals(await scene.requestsAfter(BATCH + 2000), ["patch status of s1"]);
  assertEquals(await scene.requestsAfter(BATCH + 4000), ["patch status of s1"]);
  scene.report("s1", "hibernated");
  assertEquals(await scene.requestsAfter(BATCH + 8000), ["patch status of s1"]);
  assertEquals(scene.state("s1"), "hibernated");
  assertEquals(await scene.requestsAfter(LATER), []);
});

Deno.test("SessionResourceReconciler logs once that it is forbidden to write, and retries with each change", async () => {
  await using scene = new Scene();
  using log = new LogCapture({ level: "info" });
  await scene.start();
  for (const state of ["pending", "running"] as const) {
    scene.api.refuse(403, "sessions is forbidden");
    scene.deploy("s1");
    scene.report("s1", state);
    assertEquals(await scene.requestsAfter(LATER), ["create s1"]);
  }
  assertEquals(log.lines.map((line) => line.replace(/^\S+ /, "")), [
    "[K8sAgent] WARN: Cannot write Session objects: sessions is forbidden",
  ]);
});

Deno.test("SessionResourceReconciler writes a status that changed during a write", async () => {
  await using scene = new Scene();
  await scene.start();
  const { promise, resolve } = Promise.withResolvers<void>();
  scene.api.gate = promise;
  scene.deploy("s1");
  scene.report("s1", "pending");
  assertEquals(await scene.requestsAfter(BATCH), ["create s1"]);
  scene.report("s1", "running");
  resolve();
  assertEquals(await scene.requestsAfter(0), ["patch status of s1"]);
  assertEquals(scene.state("s1"), "running");
  assertEquals(await scene.requestsAfter(LATER), []);
});

Deno.test("SessionResourceReconciler writes four objects at a time", async () => {
  await using scene = new Scene();
  await scene.start();
  const { promise, resolve } = Promise.withResolvers<void>();
  scene.api.gate = promise;
  for (let i = 0; i < 20; i++) {
    scene.deploy(`s${i}`);
    scene.report(`s${i}`, "running");
  }
  await scene.time.tickAsync(BATCH);
  assertEquals(scene.api.active, 4);
  resolve();
  await scene.time.tickAsync(BATCH);
  for (let i = 0; i < 20; i++) assertEquals(scene.state(`s${i}`), "running");
  assertEquals(scene.api.requests.length, 40);
});

Deno.test("SessionResourceReconciler writes the state of a spec only when it changes", async () => {
  await using scene = new Scene();
  await scene.start();
  await scene.addRunning("s1");
  scene.set("s1", { state: "hibernated" });
  // Only the observed generation.
  assertEquals(await scene.requestsAfter(LATER), ["patch status of s1"]);
  assertEquals(scene.api.get("s1")?.spec.state, "hibernated");
  scene.deploy("s1", { replicas: 0 });
  assertEquals(await scene.requestsAfter(BATCH), ["patch s1", "patch status of s1"]);
  scene.deploy("s1");
  assertEquals(await scene.requestsAfter(BATCH), ["patch s1", "patch status of s1"]);
  assertEquals(scene.api.get("s1")?.spec.state, "running");
});

Deno.test("SessionResourceReconciler writes the fields once that the Control Plane's kind does not have", async () => {
  await using scene = new Scene();
  scene.api.schema = {
    spec: ["user", "template", "state", "resources", "persistentHome", "idleTimeout", "tags"],
    status: ["phase", "podName", "url", "lastActivity", "conditions"],
  };
  await scene.start();
  scene.deploy("s1");
  scene.report("s1", "running");
  assertEquals(await scene.requestsAfter(LATER), ["create s1", "patch status of s1"]);
  assertEquals(scene.api.get("s1")?.status?.phase, "Running");
  scene.set("s1", { user: "mallory", tags: ["a"] });
  // The status has the generation in its conditions.
  assertEquals(await scene.requestsAfter(LATER), ["patch s1", "patch status of s1"]);
  assertEquals(scene.api.get("s1")?.spec.tags, ["a"]);
});

Deno.test("SessionResourceReconciler has a requested state carried out once, and shows that it is rejected", async () => {
  await using scene = new Scene();
  const requests: StateRequest[] = [];
  const done = Promise.withResolvers<boolean>();
  scene.reconciler.onStateRequest((request) => {
    requests.push(request);
    return done.promise;
  });
  await scene.start();
  await scene.addRunning("s1");
  scene.set("s1", { state: "terminated" });
  await scene.requestsAfter(LATER);
  scene.set("s1", { state: "terminated", user: "mallory" });
  await scene.requestsAfter(LATER);
  assertEquals(requests, [{ sessionId: "s1", state: "terminated", generation: 2 }]);
  done.resolve(true);
  await scene.requestsAfter(LATER);
  assertEquals(scene.api.get("s1")?.spec.state, "running");
  assertEquals(requests.length, 1);
});

Deno.test("SessionResourceReconciler of a new process has a state carried out that was requested before", async () => {
  let object: CustomObject;
  {
    await using before = new Scene();
    await before.start();
    await before.addRunning("s1");
    object = before.api.get("s1") as CustomObject;
  }
  await using scene = new Scene();
  const requests: unknown[] = [];
  scene.reconciler.onStateRequest(({ state }) => {
    requests.push(state);
    return Promise.resolve(false);
  });
  scene.api.put({
    ...object,
    spec: { ...object.spec, state: "hibernated" },
    metadata: { ...object.metadata },
  });
  scene.deploy("s1");
  scene.report("s1", "running");
  await scene.start();
  await scene.requestsAfter(BATCH);
  assertEquals(requests, ["hibernated"]);
});
