import { assertEquals, assertRejects } from "@std/assert";
import type { V1ContainerStatus, V1Deployment, V1Pod } from "@kubernetes/client-node";
import { CommandError } from "../../lib/common/errors.ts";
import { type CheckResult, SessionCache } from "../../lib/kubernetes/session_cache.ts";
import { followSessions } from "../../lib/kubernetes/session_watch.ts";
import { waitUntil, waitUntilReady } from "../../lib/sessions/waiting.ts";
import { FakeTransport } from "../support/fake_transport.ts";
import { FakeTime } from "../support/fake_time.ts";

const LABELS = { app: "streamspace-session", session: "s1" };
const TIMEOUT_MS = 120_000;
const never = new AbortController().signal;

/** The status of a session's only container. */
type State = Partial<V1ContainerStatus>;

/** A new session, and a wait until it is ready. */
class Waiting {
  readonly cache = new SessionCache("a1");
  readonly ready: Promise<V1Pod>;
  /** The reported progress, with its time. */
  readonly progress: string[] = [];
  #version = 1;

  constructor(options: { spentMs?: number } = {}) {
    const deployment: V1Deployment = {
      metadata: { name: "s1", uid: "d", resourceVersion: "1", labels: LABELS },
      spec: { replicas: 1, selector: {}, template: {} },
    };
    this.cache.put("deployment", deployment);
    this.ready = waitUntilReady(this.cache, "s1", {
      timeoutMs: TIMEOUT_MS,
      ...options,
      signal: never,
      onProgress: ({ reason, message }) => this.progress.push(`${Date.now()} ${reason} ${message}`),
    });
    this.ready.catch(() => {});
  }

  /** Sets the status of the pod. */
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

const PROBLEMS: ReadonlyArray<[id: string, state: State, graceMs: number, message: string]> = [
  ["K1", waiting("ErrImagePull", "no such tag"), 30_000, 'image "x:1" cannot be pulled: no such tag'],
  ["K1", waiting("ImagePullBackOff", "denied"), 30_000, 'image "x:1" cannot be pulled: denied'],
  ["K2", waiting("InvalidImageName"), 0, 'image name "x:1" is invalid'],
  ["K2", waiting("ErrImageNeverPull"), 0, 'image "x:1" is not on the node, and its pull policy is Never'],
  [
    "K3",
    {
      ...waiting("CrashLoopBackOff"),
      restartCount: 2,
      lastState: { terminated: { exitCode: 1, reason: "Error" } },
    },
    10_000,
    "its container crashed: exit code 1",
  ],
  [
    "K4",
    {
      ...waiting("CrashLoopBackOff"),
      restartCount: 1,
      lastState: { terminated: { exitCode: 137, reason: "OOMKilled" } },
    },
    10_000,
    "its container ran out of memory (OOMKilled): its node has no memory left",
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
    "its container cannot be started: no such file",
  ],
];

for (const [id, state, graceMs, message] of PROBLEMS) {
  const name = state.state?.waiting?.reason;
  Deno.test(`${id} waitUntilReady() fails after ${graceMs} ms of ${name}`, async () => {
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
    assertEquals([error.failure, error.message], ["start_failed", message]);
    assertEquals(time.pending, []);
  });
}

for (const [id, state, graceMs] of PROBLEMS.filter(([, , graceMs]) => graceMs > 0)) {
  const name = state.state?.waiting?.reason;
  Deno.test(`${id} waitUntilReady() continues after less than ${graceMs} ms of ${name}`, async () => {
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

const CRASHED = { exitCode: 1, reason: "Error" };

Deno.test("K3 waitUntilReady() continues after one crash", async () => {
  using time = new FakeTime();
  const session = new Waiting();
  await time.tickAsync(1000);
  session.container({ state: { terminated: CRASHED } });
  session.container({ state: { running: {} }, restartCount: 1, lastState: { terminated: CRASHED } });
  await time.tickAsync(60_000);
  session.beReady();
  assertEquals((await session.ready).metadata?.name, "p1");
});

Deno.test("K3 waitUntilReady() fails after the second crash in ten seconds", async () => {
  using time = new FakeTime();
  const session = new Waiting();
  session.container({ state: { running: {} }, restartCount: 1, lastState: { terminated: CRASHED } });
  await time.tickAsync(10_000);
  session.container({ state: { running: {} }, restartCount: 2, lastState: { terminated: CRASHED } });
  const error = await assertRejects(() => session.ready, CommandError);
  assertEquals([error.failure, error.reason, error.message], [
    "start_failed",
    "CrashLoop",
    "its container crashed: exit code 1",
  ]);
});

function unscheduled(message: string): V1Pod["status"] {
  return { phase: "Pending", conditions: [{ type: "PodScheduled", status: "False", message }] };
}

const TIMEOUTS: ReadonlyArray<[name: string, status: V1Pod["status"], reason: string, message: string]> = [
  [
    "K6 an unschedulable pod",
    unscheduled("0/3 nodes are available."),
    "Unschedulable",
    ": its pod cannot be scheduled: 0/3 nodes are available.",
  ],
  ["a pod without a known problem", { phase: "Pending" }, "Timeout", ", still waiting for a node"],
];

for (const [name, status, reason, message] of TIMEOUTS) {
  Deno.test(`waitUntilReady() fails at the deadline for ${name}`, async () => {
    using time = new FakeTime();
    const session = new Waiting();
    session.report(status);
    let isOver = false;
    session.ready.catch(() => isOver = true);
    await time.tickAsync(TIMEOUT_MS - 1);
    assertEquals(isOver, false);
    await time.tickAsync(1);
    const error = await assertRejects(() => session.ready, CommandError);
    assertEquals([error.failure, error.reason], ["timeout", reason]);
    assertEquals(error.message, `it was not ready within 2m${message}`);
    assertEquals(time.pending, []);
  });
}

Deno.test("waitUntilReady() starts the grace period of a problem when the problem starts", async () => {
  using time = new FakeTime();
  const session = new Waiting();
  session.report(unscheduled("no node"));
  await time.tickAsync(60_000);
  session.container(waiting("ErrImagePull", "denied"));
  await time.tickAsync(29_999);
  session.container(waiting("ImagePullBackOff", "Back-off pulling image"));
  assertEquals(session.progress.at(-1), '60000 ImagePull image "x:1" cannot be pulled: denied');
  await time.tickAsync(1);
  await assertRejects(() => session.ready, CommandError);
});

Deno.test("waitUntilReady() reports no progress of a fast start", async () => {
  using time = new FakeTime();
  const session = new Waiting();
  await time.tickAsync(400);
  session.container(waiting("ContainerCreating"));
  await time.tickAsync(599);
  session.beReady();
  await session.ready;
  assertEquals([session.progress, time.pending], [[], []]);
});

Deno.test("waitUntilReady() reports each change of the progress once, at most one per second", async () => {
  using time = new FakeTime();
  const session = new Waiting();
  await time.tickAsync(500);
  session.report({ phase: "Pending" });
  await time.tickAsync(1000);
  session.container({ state: { running: {} } });
  session.container(waiting("ErrImagePull", "denied"));
  session.container(waiting("ErrImagePull", "denied"));
  await time.tickAsync(10_000);
  session.beReady();
  await session.ready;
  assertEquals(session.progress, [
    "1000  waiting for a node",
    '2000 ImagePull image "x:1" cannot be pulled: denied',
  ]);
});

Deno.test("waitUntilReady() reports a cause with changing messages once, and fails with the last message", async () => {
  using time = new FakeTime();
  const session = new Waiting();
  for (
    const message of ["lookup on 10.0.0.1:53211", "lookup on 10.0.0.1:40332", "lookup on 10.0.0.1:38921"]
  ) {
    await time.tickAsync(3000);
    session.container(waiting("CreateContainerError", message));
    await time.tickAsync(1000);
    session.container(waiting("RunContainerError", message));
  }
  await time.tickAsync(1000);
  const error = await assertRejects(() => session.ready, CommandError);
  assertEquals(error.message, "its container cannot be started: lookup on 10.0.0.1:38921");
  assertEquals(session.progress, [
    "1000  waiting for its pod to be created",
    "3000 CannotRun its container cannot be started: lookup on 10.0.0.1:53211",
  ]);
});

/** Adds an event about the pod. */
async function addEvent(
  session: Waiting,
  { reason, message, version = 1 }: { reason: string; message: string; version?: number },
): Promise<void> {
  const cluster = new FakeTransport();
  const stop = new AbortController();
  const metadata = { name: "e1", uid: "e1", resourceVersion: String(version) };
  // The lists are older than the session's objects.
  cluster.version = "0";
  cluster.items.events = [{ metadata, involvedObject: { kind: "Pod", uid: "p" }, reason, message }];
  const following = followSessions({ cache: session.cache, transport: cluster.transport }, {
    namespace: "n",
    signal: stop.signal,
  });
  await session.cache.waitFor("s1", {
    signal: never,
    check: ({ events }): CheckResult<true> => events.at(-1)?.version === version ? { value: true } : {},
  });
  stop.abort();
  await following;
}

const PULLING = { reason: "Pulling", message: 'Pulling image "x:1"' };
const NOT_PULLED = { reason: "Failed", message: 'Failed to pull image "x:1": TLS handshake timeout' };

Deno.test("K1 waitUntilReady() waits for a repeated pull, and fails with its next failure", async () => {
  using time = new FakeTime();
  const session = new Waiting();
  session.container(waiting("ErrImagePull", "TLS handshake timeout"));
  await addEvent(session, { ...NOT_PULLED, version: 1 });
  await time.tickAsync(10_000);
  // The pod still has the status of the first attempt.
  await addEvent(session, { ...PULLING, version: 2 });
  await time.tickAsync(60_000);
  let isOver = false;
  session.ready.catch(() => isOver = true);
  await time.tickAsync(1);
  assertEquals(isOver, false);
  await addEvent(session, { ...NOT_PULLED, version: 3 });
  const error = await assertRejects(() => session.ready, CommandError);
  assertEquals([error.failure, error.reason], ["start_failed", "ImagePull"]);
  assertEquals(error.message, 'image "x:1" cannot be pulled: TLS handshake timeout');
});

Deno.test("K6 waitUntilReady() extends the deadline to five minutes after a scale-up", async () => {
  using time = new FakeTime();
  const session = new Waiting();
  session.report(unscheduled("0/3 nodes are available."));
  await addEvent(session, { reason: "TriggeredScaleUp", message: "pod triggered scale-up" });
  let isOver = false;
  session.ready.catch(() => isOver = true);
  await time.tickAsync(299_999);
  assertEquals(isOver, false);
  await time.tickAsync(1);
  const error = await assertRejects(() => session.ready, CommandError);
  assertEquals(
    error.message,
    "it was not ready within 5m, still waiting for a node: the cluster is scaling up",
  );
  assertEquals(session.progress, ["1000  waiting for a node: the cluster is scaling up"]);
});

Deno.test("K22 waitUntil() fails after its timeout, and says what is pending", async () => {
  using time = new FakeTime();
  const { cache } = new Waiting();
  const gone = waitUntil(cache, "s1", {
    signal: never,
    timeoutMs: TIMEOUT_MS,
    isDone: ({ deployment }) => !deployment,
    pending: ({ deployment }) => `"${deployment?.metadata?.name}" is still being deleted`,
  });
  const rejected = assertRejects(() => gone, CommandError);
  await time.tickAsync(TIMEOUT_MS);
  const error = await rejected;
  assertEquals([error.failure, error.message], ["timeout", 'after 2m, "s1" is still being deleted']);
});

for (
  const [name, spentMs, leftMs] of [
    ["the remaining time", 50_000, 70_000],
    ["half a minute when little time is left", 110_000, 30_000],
    ["half a minute when by another clock no time is left", 300_000, 30_000],
  ] as const
) {
  Deno.test(`waitUntilReady() gives a resumed start ${name}`, async () => {
    using time = new FakeTime();
    const session = new Waiting({ spentMs });
    let isOver = false;
    session.ready.catch(() => isOver = true);
    await time.tickAsync(leftMs - 1);
    assertEquals(isOver, false);
    await time.tickAsync(1);
    await assertRejects(
      () => session.ready,
      CommandError,
      "it was not ready within 2m, still waiting for its pod to be created",
    );
  });
}
