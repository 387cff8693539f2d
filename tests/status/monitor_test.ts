import { assertEquals } from "@std/assert";
import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import { Outbox } from "../../lib/control_plane/outbox.ts";
import type { SessionStatus } from "../../lib/control_plane/protocol.ts";
import { ReportedStatuses } from "../../lib/control_plane/reported_statuses.ts";
import { Reporter } from "../../lib/control_plane/reporter.ts";
import { SessionCache } from "../../lib/kubernetes/session_cache.ts";
import { followSessions } from "../../lib/kubernetes/session_watch.ts";
import { BusySessions } from "../../lib/status/busy_sessions.ts";
import { Monitor } from "../../lib/status/monitor.ts";
import { statusOf } from "../../lib/status/status.ts";
import { FakeTransport } from "../support/fake_transport.ts";
import { FakeTime } from "../support/fake_time.ts";

const LABELS = { app: "streamspace-session", session: "s1" };

function deployment(replicas: number, version: number): V1Deployment {
  return {
    metadata: { name: "s1", uid: "deployment", resourceVersion: String(version), labels: LABELS },
    spec: { replicas, selector: {}, template: {} },
  };
}

interface PodParts {
  version: number;
  isReady: boolean;
  isLeaving?: boolean;
  status?: V1Pod["status"];
}

function pod(name: string, options: PodParts): V1Pod {
  const { version, isReady, isLeaving = false, status = {} } = options;
  return {
    metadata: {
      name,
      uid: name,
      resourceVersion: String(version),
      labels: LABELS,
      ...(isLeaving ? { deletionTimestamp: new Date() } : {}),
    },
    spec: { nodeName: "n1", containers: [] },
    status: {
      phase: "Running",
      ...status,
      conditions: [{ type: "Ready", status: isReady ? "True" : "False" }, ...status.conditions ?? []],
    },
  };
}

/** What an earlier process left, and what is the case now. */
interface Situation {
  /** Sessions that commands work on. */
  readonly busy?: readonly string[];
  /** What the session remembers of what was told. */
  readonly told?: { state: string; podName: string; reason?: string };
  readonly expected?: readonly string[];
  readonly uncertain?: readonly string[];
  readonly isLinkDown?: boolean;
  /** For which reason the container was started again. */
  readonly restarted?: string;
}

/** A session that runs in pod p1, a monitor that begins, what it tells and what it lets the session remember. */
function watchedSession(situation: Situation = {}): {
  cache: SessionCache;
  told: () => string[];
  sent: string[];
  remembered: string[];
  busy: BusySessions;
  monitor: Monitor;
} {
  const { told: toldBefore, expected = [], uncertain = [], isLinkDown = false } = situation;
  const cache = new SessionCache("agent");
  cache.put("deployment", deployment(1, 1));
  const status = situation.restarted ? restarted(situation.restarted) : {};
  cache.put("pod", pod("p1", { version: 2, isReady: true, status }));
  const annotations: Record<string, string> = toldBefore
    ? { "stream.space/status": JSON.stringify(toldBefore) }
    : {};
  cache.put("service", {
    metadata: { name: "s1", uid: "service", resourceVersion: "3", labels: LABELS, annotations },
  });
  const sent: string[] = [];
  const remembered: string[] = [];
  const outbox = new Outbox();
  if (!isLinkDown) outbox.attach({ send: (text) => sent.push(text) > 0 });
  const recordStatus = ({ state }: SessionStatus) => Promise.resolve(void remembered.push(state));
  const busy = new BusySessions();
  for (const sessionId of situation.busy ?? []) busy.mark(sessionId);
  const reported = new ReportedStatuses();
  for (const sessionId of expected) reported.set(statusOf(sessionId, "pending"));
  const reporter = new Reporter(outbox, reported);
  const monitor = new Monitor({ cache, reported, reporter, busy, recordStatus });
  monitor.start({ known: expected, uncertain });
  const told = () =>
    sent.map((text) => JSON.parse(text).payload).map((one) =>
      [
        one.sessionId === "s1" ? "" : one.sessionId,
        one.state,
        one.platformMetadata.podName,
        one.platformMetadata.reason,
        one.platformMetadata.message,
      ].filter(Boolean).join(" ")
    );
  return { cache, told, sent, remembered, busy, monitor };
}

/** The session is put to sleep, perhaps with annotations, and its pod has ended. */
function fallAsleep(cache: SessionCache, annotations: Record<string, string> = {}): void {
  const asleep = deployment(0, 11);
  cache.put("deployment", { ...asleep, metadata: { ...asleep.metadata, annotations } });
  cache.put("pod", pod("p1", { version: 12, isReady: false, status: { phase: "Succeeded" } }));
}

Deno.test("monitor tells nothing of sessions as it finds them", () => {
  using time = new FakeTime();
  const { told, monitor } = watchedSession();
  using _ = monitor;
  time.tick(10_000);
  assertEquals(told(), []);
});

Deno.test("K20 monitor tells a new pod as soon as it serves, and not the moment between", () => {
  using time = new FakeTime();
  const { cache, told, monitor } = watchedSession();
  using _ = monitor;
  cache.put("pod", pod("p1", { version: 3, isReady: true, isLeaving: true }));
  time.tick(500);
  cache.put("pod", pod("p2", { version: 4, isReady: true }));
  time.tick(10_000);
  assertEquals(told(), ["running p2"]);
});

Deno.test("K21 monitor tells that a session is not ready once that has lasted", () => {
  using time = new FakeTime();
  const { cache, told, monitor } = watchedSession();
  using _ = monitor;
  cache.put("pod", pod("p1", { version: 3, isReady: false }));
  time.tick(1999);
  assertEquals(told(), []);
  time.tick(1);
  assertEquals(told(), ["pending"]);
  cache.put("pod", pod("p1", { version: 4, isReady: true }));
  assertEquals(told(), ["pending", "running p1"]);
});

Deno.test("monitor tells hibernation by others once the pod is gone, and no end before the end", () => {
  const { cache, told, monitor } = watchedSession();
  using _ = monitor;
  cache.put("deployment", deployment(0, 3));
  const ended = { version: 4, isReady: false, status: { phase: "Succeeded" } };
  cache.put("pod", pod("p1", { ...ended, isLeaving: true }));
  assertEquals(told(), []);
  // Nobody deletes it, as one that was evicted: it has no volume any more.
  cache.put("pod", pod("p1", { ...ended, version: 5 }));
  assertEquals(told(), ["hibernated"]);
  const leaving = deployment(0, 6);
  cache.put("deployment", { ...leaving, metadata: { ...leaving.metadata, deletionTimestamp: new Date() } });
  assertEquals(told(), ["hibernated"]);
});

Deno.test("monitor leaves a session to the command that is at work on it", () => {
  const { cache, told, busy, monitor } = watchedSession();
  using _ = monitor;
  const marks = [busy.mark("s1"), busy.mark("s1")];
  fallAsleep(cache);
  assertEquals(told(), []);
  marks[0]?.[Symbol.dispose]();
  assertEquals(told(), []);
  marks[1]?.[Symbol.dispose]();
  assertEquals(told(), ["hibernated"]);
});

/** The session's container as it is after it ended for a reason and was started again. */
function restarted(reason: string, restartCount = 1): V1Pod["status"] {
  const lastState = { terminated: { reason, exitCode: 137 } };
  const state = { running: {} };
  return {
    containerStatuses: [
      { name: "session", image: "x", imageID: "", ready: false, restartCount, state, lastState },
    ],
  };
}

const OUT_OF_MEMORY = "OOMKilled its container ran out of memory (OOMKilled): its node has no memory left";
const CRASHED = "CrashLoop its container crashed: exit code 137";

Deno.test("K4 monitor tells that a container was killed for want of memory, also when it is back at once", () => {
  using time = new FakeTime();
  const { cache, told, monitor } = watchedSession();
  using _ = monitor;
  cache.put("pod", pod("p1", { version: 4, isReady: false, status: restarted("OOMKilled") }));
  time.tick(1999);
  cache.put("pod", pod("p1", { version: 5, isReady: true, status: restarted("OOMKilled") }));
  time.tick(10_000);
  assertEquals(told(), [`running p1 ${OUT_OF_MEMORY}`]);
});

Deno.test("K4 monitor tells that a container was killed for want of memory while it comes back", () => {
  using time = new FakeTime();
  const { cache, told, monitor } = watchedSession();
  using _ = monitor;
  cache.put("pod", pod("p1", { version: 4, isReady: false, status: restarted("OOMKilled") }));
  time.tick(15_000);
  cache.put("pod", pod("p1", { version: 5, isReady: true, status: restarted("OOMKilled") }));
  assertEquals(told(), [`pending ${OUT_OF_MEMORY}`, "running p1"]);
});

Deno.test("K3 monitor tells a crash loop once and not at each restart, however fast it goes", () => {
  using time = new FakeTime();
  const { cache, told, monitor } = watchedSession();
  using _ = monitor;
  for (let nth = 1; nth <= 20; nth++) {
    cache.put("pod", pod("p1", { version: 3 + nth, isReady: false, status: restarted("Error", nth) }));
    time.tick(1000);
  }
  assertEquals(told(), [`pending ${CRASHED}`]);
});

const GONE = { type: "DisruptionTarget", status: "True" };
const LOSSES: ReadonlyArray<[name: string, loss: V1Pod["status"], note: string]> = [
  [
    "K20 an eviction by its node",
    {
      phase: "Failed",
      reason: "Evicted",
      message: "The node was low on resource: memory. ",
      containerStatuses: restarted("Error")?.containerStatuses ?? [],
    },
    "Evicted its pod was evicted: The node was low on resource: memory.",
  ],
  [
    "K20 a drain",
    { conditions: [{ ...GONE, reason: "EvictionByEvictionAPI", message: "Eviction API: evicting" }] },
    "Evicted its pod was evicted: Eviction API: evicting",
  ],
  [
    "K20 a preemption",
    {
      conditions: [{
        ...GONE,
        reason: "PreemptionByScheduler",
        message: "preempting to accommodate a higher priority pod",
      }],
    },
    "Evicted its pod was evicted: preempting to accommodate a higher priority pod",
  ],
  [
    "K20 the loss of its node",
    {
      conditions: [
        { type: "ContainersReady", status: "True" },
        { ...GONE, reason: "DeletionByTaintManager", message: "Taint manager: deleting" },
      ],
    },
    'NodeLost node "n1" is unreachable',
  ],
  [
    "K20 a taint of an administrator's",
    {
      conditions: [
        { type: "ContainersReady", status: "False" },
        {
          ...GONE,
          reason: "DeletionByTaintManager",
          message: "Taint manager: deleting due to NoExecute taint",
        },
      ],
    },
    "Evicted its pod was evicted: Taint manager: deleting due to NoExecute taint",
  ],
  [
    "K20 a drain of a container that ends with an error",
    {
      phase: "Failed",
      containerStatuses: restarted("Error")?.containerStatuses ?? [],
      conditions: [{ ...GONE, reason: "EvictionByEvictionAPI", message: "Eviction API: evicting" }],
    },
    "Evicted its pod was evicted: Eviction API: evicting",
  ],
];

Deno.test("K20 monitor has no reason for a pod that somebody deleted, though its node calls it failed", () => {
  using time = new FakeTime();
  const { cache, told, monitor } = watchedSession();
  using _ = monitor;
  const { containerStatuses = [] } = restarted("Error") ?? {};
  const status = { phase: "Failed", containerStatuses };
  cache.put("pod", pod("p1", { version: 4, isReady: false, isLeaving: true, status }));
  time.tick(500);
  cache.put("pod", pod("p2", { version: 5, isReady: true }));
  time.tick(10_000);
  assertEquals(told(), ["running p2"]);
});

for (const [name, status, note] of LOSSES) {
  const lost = (version: number) =>
    pod("p1", { version, isReady: false, isLeaving: status?.phase !== "Failed", status });
  Deno.test(`${name} is told with the pod that takes the place, once`, () => {
    using time = new FakeTime();
    const { cache, told, monitor } = watchedSession();
    using _ = monitor;
    cache.put("pod", lost(4));
    cache.put("pod", pod("p2", { version: 5, isReady: false }));
    time.tick(500);
    // By now, nothing is known any more of why the first one went.
    cache.put("pod", pod("p1", { version: 6, isReady: false, isLeaving: true }));
    cache.put("pod", pod("p2", { version: 7, isReady: true }));
    cache.put("pod", pod("p2", { version: 8, isReady: true }));
    time.tick(10_000);
    assertEquals(told(), [`running p2 ${note}`]);
  });

  Deno.test(`${name} is told as what the session waits for another pod for, once`, () => {
    using time = new FakeTime();
    const { cache, told, monitor } = watchedSession();
    using _ = monitor;
    cache.put("pod", lost(4));
    cache.put("pod", pod("p2", { version: 5, isReady: false }));
    time.tick(2000);
    cache.put("pod", pod("p2", { version: 6, isReady: false }));
    time.tick(10_000);
    assertEquals(told(), [`pending ${note}`]);
    cache.put("pod", pod("p2", { version: 7, isReady: true }));
    assertEquals(told(), [`pending ${note}`, "running p2"]);
  });
}

Deno.test("R13 monitor tells that a Deployment was deleted as the reason of the failure", async () => {
  const cluster = new FakeTransport();
  const stop = new AbortController();
  const { cache, told, monitor } = watchedSession();
  using _ = monitor;
  cluster.items.services = [{
    metadata: { name: "s1", uid: "service", resourceVersion: "3", labels: LABELS },
  }];
  const following = followSessions({ cache, transport: cluster.transport }, {
    namespace: "n",
    signal: stop.signal,
  });
  await cache.synced(stop.signal);
  assertEquals(told(), ["failed DeploymentDeleted its Deployment was deleted"]);
  stop.abort();
  await following;
});

Deno.test("monitor tells why a session sleeps that an agent put to sleep as its time was up", () => {
  const { cache, sent, monitor } = watchedSession();
  using _ = monitor;
  fallAsleep(cache, {
    "stream.space/command-id": "max-duration",
    "stream.space/max-session-duration": "28800s",
  });
  assertEquals(sent.map((text) => JSON.parse(text).payload), [{
    sessionId: "s1",
    state: "hibernated",
    vncReady: false,
    vncPort: 3000,
    platformMetadata: {
      podName: "",
      podIP: "",
      nodeName: "",
      reason: "MaxDuration",
      message: "it reached its maximum duration of 8h",
    },
  }]);
});

const BEGINNINGS: ReadonlyArray<{ name: string; situation: Situation; tells: string[] }> = [
  {
    name: "nothing of a session that is as it was told",
    situation: { told: { state: "running", podName: "p1" }, expected: ["s1"] },
    tells: [],
  },
  {
    name: "the new pod of a session",
    situation: { told: { state: "running", podName: "p0" } },
    tells: ["running p1"],
  },
  {
    name: "that a session runs which was hibernated",
    situation: { told: { state: "hibernated", podName: "" } },
    tells: ["running p1"],
  },
  {
    name: "no reason that was told already",
    situation: { told: { state: "running", podName: "p1", reason: "OOMKilled" }, restarted: "OOMKilled" },
    tells: [],
  },
  {
    name: "a reason that came while there was no process",
    situation: { told: { state: "running", podName: "p1" }, restarted: "OOMKilled" },
    tells: [`running p1 ${OUT_OF_MEMORY}`],
  },
  { name: "the end of a session that is gone", situation: { expected: ["s0"] }, tells: ["s0 terminated"] },
  {
    name: "the state of a session whose last result may not have arrived",
    situation: { told: { state: "running", podName: "p1" }, uncertain: ["s1"] },
    tells: ["running p1"],
  },
  {
    name: "nothing of a session that a command is at work on",
    situation: { busy: ["s0", "s1"], expected: ["s0"], uncertain: ["s1"] },
    tells: [],
  },
];

for (const { name, situation, tells } of BEGINNINGS) {
  Deno.test(`monitor that begins after another process tells ${name}`, () => {
    const { told, monitor } = watchedSession(situation);
    using _ = monitor;
    assertEquals(told(), tells);
  });
}

Deno.test("monitor lets a session remember what was told, and not what waits for a link", () => {
  for (const isLinkDown of [false, true]) {
    const { cache, remembered, monitor } = watchedSession({ isLinkDown });
    using _ = monitor;
    fallAsleep(cache);
    assertEquals(remembered, isLinkDown ? [] : ["hibernated"]);
  }
});
