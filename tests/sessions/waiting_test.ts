import { assertEquals, assertRejects } from "@std/assert";
import type { V1ContainerStatus, V1Deployment, V1Pod } from "@kubernetes/client-node";
import { CommandError } from "../../lib/errors.ts";
import { SessionCache } from "../../lib/kubernetes/session_cache.ts";
import { waitUntil, waitUntilReady } from "../../lib/sessions/waiting.ts";
import { FakeTime } from "../support/fake_time.ts";

const LABELS = { app: "streamspace-session", session: "s1" };
const TIMEOUT_MS = 120_000;
const never = new AbortController().signal;

/** What a node says of a session's only container. */
type State = Partial<V1ContainerStatus>;

/** A session that was just created, and is waited for until it is ready. */
class Waiting {
  readonly cache = new SessionCache("a1");
  readonly ready: Promise<V1Pod>;
  #version = 1;

  constructor() {
    const deployment: V1Deployment = {
      metadata: { name: "s1", uid: "d", resourceVersion: "1", labels: LABELS },
      spec: { replicas: 1, selector: {}, template: {} },
    };
    this.cache.put("deployment", deployment);
    this.ready = waitUntilReady(this.cache, "s1", { timeoutMs: TIMEOUT_MS, signal: never });
    this.ready.catch(() => {});
  }

  /** Changes the pod. */
  report(status: V1Pod["status"]): void {
    this.#version += 1;
    const metadata = { name: "p1", uid: "p", resourceVersion: String(this.#version), labels: LABELS };
    this.cache.put("pod", { metadata, ...(status ? { status } : {}) });
  }

  container(state: State): void {
    const status = { name: "session", image: "x:1", imageID: "", ready: false, restartCount: 0, ...state };
    this.report({ phase: "Pending", containerStatuses: [status] });
  }

  beReady(): void {
    this.report({ phase: "Running", conditions: [{ type: "Ready", status: "True" }] });
  }
}

function waiting(reason: string, message = ""): State {
  return { state: { waiting: { reason, message } } };
}

const TROUBLES: ReadonlyArray<[kase: string, state: State, graceMs: number, reason: string]> = [
  ["K1", waiting("ErrImagePull", "no such tag"), 30_000, 'image "x:1" cannot be pulled: no such tag'],
  ["K1", waiting("ImagePullBackOff", "denied"), 30_000, 'image "x:1" cannot be pulled: denied'],
  ["K2", waiting("InvalidImageName"), 0, 'image "x:1" has no valid name'],
  ["K2", waiting("ErrImageNeverPull"), 0, 'image "x:1" is not on the node and may not be pulled'],
  [
    "K3",
    {
      ...waiting("CrashLoopBackOff"),
      restartCount: 2,
      lastState: { terminated: { exitCode: 1, reason: "Error" } },
    },
    10_000,
    "its container crashes again and again (2 times): Error, exit code 1",
  ],
  [
    "K4",
    {
      ...waiting("CrashLoopBackOff"),
      restartCount: 1,
      lastState: { terminated: { exitCode: 137, reason: "OOMKilled" } },
    },
    10_000,
    "its container crashes again and again (1 times): OOMKilled, exit code 137",
  ],
  [
    "K5",
    waiting("CreateContainerConfigError", 'secret "x" not found'),
    10_000,
    'its container cannot be created: secret "x" not found',
  ],
  [
    "K5",
    waiting("RunContainerError", "no such file"),
    10_000,
    "its container cannot be created: no such file",
  ],
];

for (const [kase, state, graceMs, reason] of TROUBLES) {
  const name = state.state?.waiting?.reason;
  Deno.test(`${kase} a start fails once ${name} has lasted for ${graceMs} ms`, async () => {
    using time = new FakeTime();
    const session = new Waiting();
    let isOver = false;
    session.ready.catch(() => isOver = true);
    await time.tickAsync(1000);
    session.container(state);
    if (graceMs > 0) {
      await time.tickAsync(graceMs - 1);
      assertEquals(isOver, false);
    }
    await time.tickAsync(1);
    const error = await assertRejects(() => session.ready, CommandError);
    assertEquals([error.failure, error.message], ["start_failed", reason]);
    assertEquals(time.pending, []);
  });
}

for (const [kase, state, graceMs] of TROUBLES.filter(([, , graceMs]) => graceMs > 0)) {
  const name = state.state?.waiting?.reason;
  Deno.test(`${kase} a start goes on after ${name} that is over within ${graceMs} ms`, async () => {
    using time = new FakeTime();
    const session = new Waiting();
    session.container(state);
    await time.tickAsync(graceMs - 1);
    session.container(waiting("ContainerCreating"));
    await time.tickAsync(graceMs);
    session.beReady();
    assertEquals((await session.ready).metadata?.name, "p1");
    assertEquals(time.pending, []);
  });
}

const PATIENCE: ReadonlyArray<[name: string, status: V1Pod["status"], waitsFor: string]> = [
  [
    "K6 a pod that fits no node",
    {
      phase: "Pending",
      conditions: [{ type: "PodScheduled", status: "False", message: "0/3 nodes are available." }],
    },
    "a node: 0/3 nodes are available.",
  ],
  [
    "K7 a home that waits for its first consumer",
    {
      phase: "Pending",
      conditions: [{ type: "PodScheduled", status: "False", message: "waiting for first consumer" }],
    },
    "a node: waiting for first consumer",
  ],
  [
    "K8 a home that is not mounted yet",
    {
      phase: "Pending",
      containerStatuses: [{
        name: "session",
        image: "x:1",
        imageID: "",
        ready: false,
        restartCount: 0,
        ...waiting("ContainerCreating"),
      }],
    },
    "its container: ContainerCreating",
  ],
];

for (const [name, status, waitsFor] of PATIENCE) {
  Deno.test(`${name} is waited for until the deadline, and the reason says what for`, async () => {
    using time = new FakeTime();
    const session = new Waiting();
    session.report(status);
    let isOver = false;
    session.ready.catch(() => isOver = true);
    await time.tickAsync(TIMEOUT_MS - 1);
    assertEquals(isOver, false);
    await time.tickAsync(1);
    const error = await assertRejects(() => session.ready, CommandError);
    assertEquals([error.failure, error.message], [
      "timeout",
      `it was not ready within 2m: it waits for ${waitsFor}`,
    ]);
  });
}

Deno.test("K22 a wait for what is stuck on its way out ends in time, and says what is stuck", async () => {
  using time = new FakeTime();
  const { cache } = new Waiting();
  const gone = waitUntil(cache, "s1", {
    signal: never,
    timeoutMs: TIMEOUT_MS,
    isDone: ({ deployment }) => !deployment,
    left: ({ deployment }) => `"${deployment?.metadata?.name}" is still being deleted`,
  });
  const rejected = assertRejects(() => gone, CommandError);
  await time.tickAsync(TIMEOUT_MS);
  const error = await rejected;
  assertEquals([error.failure, error.message], ["timeout", 'after 2m, "s1" is still being deleted']);
});
