import { assertEquals } from "@std/assert";
import type { V1Deployment, V1Pod, V1Service } from "@kubernetes/client-node";
import { Outbox } from "../../lib/control_plane/outbox.ts";
import type { SessionStatus } from "../../lib/control_plane/protocol.ts";
import { ReportedStatuses } from "../../lib/control_plane/reported_statuses.ts";
import { Reporter } from "../../lib/control_plane/reporter.ts";
import { type ObservedVersions, SessionCache } from "../../lib/kubernetes/session_cache.ts";
import { followSessions } from "../../lib/kubernetes/session_watch.ts";
import { BusySessions } from "../../lib/status/busy_sessions.ts";
import { Monitor } from "../../lib/status/monitor.ts";
import { SessionActivity } from "../../lib/status/session_activity.ts";
import { statusOf } from "../../lib/status/status.ts";
import { FakeTransport } from "../support/fake_transport.ts";
import { FakeTime } from "../support/fake_time.ts";

const never = new AbortController().signal;
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

/** What the previous process left, and the current state. */
interface Situation {
  /** Sessions with running commands. */
  readonly busy?: readonly string[];
  /** The recorded status. */
  readonly recorded?: { state: string; podName: string; reason?: string };
  readonly known?: readonly string[];
  readonly uncertain?: readonly string[];
  readonly reportedUpTo?: ObservedVersions;
  readonly isLinkDown?: boolean;
  /** Why the container was restarted. */
  readonly restarted?: string;
  /** Records the use of the session. */
  readonly recordActivity?: () => Promise<void>;
  /** Happens before the sessions are taken over. */
  readonly before?: (
    parts: { activity: SessionActivity; cache: SessionCache; reporter: Reporter },
  ) => void;
  /** Happens while the sessions are taken over. */
  readonly meanwhile?: (
    parts: { cache: SessionCache; reporter: Reporter; reported: ReportedStatuses },
  ) => void;
}

/** A session that runs in pod p1, a started monitor, the statuses that it sends, and those that it records. */
async function monitoredSession(situation: Situation = {}): Promise<{
  cache: SessionCache;
  reports: () => string[];
  sent: string[];
  recorded: string[];
  outbox: Outbox;
  busy: BusySessions;
  reported: ReportedStatuses;
  monitor: Monitor;
  activity: SessionActivity;
}> {
  const { recorded: recordedStatus, known = [], uncertain = [], isLinkDown = false } = situation;
  const cache = new SessionCache("agent");
  cache.put("deployment", deployment(1, 1));
  const status = situation.restarted ? restarted(situation.restarted) : {};
  cache.put("pod", pod("p1", { version: 2, isReady: true, status }));
  const annotations: Record<string, string> = recordedStatus
    ? { "stream.space/status": JSON.stringify(recordedStatus) }
    : {};
  cache.put("service", {
    metadata: { name: "s1", uid: "service", resourceVersion: "3", labels: LABELS, annotations },
    spec: { selector: LABELS },
  } as V1Service);
  const sent: string[] = [];
  const recorded: string[] = [];
  const outbox = new Outbox();
  if (!isLinkDown) outbox.attach({ send: (text) => sent.push(text) > 0 });
  const recordStatus = ({ state }: SessionStatus) => Promise.resolve(void recorded.push(state));
  const busy = new BusySessions();
  for (const sessionId of situation.busy ?? []) busy.mark(sessionId);
  const reported = new ReportedStatuses();
  for (const sessionId of known) reported.set(statusOf(sessionId, "pending"));
  const activity = new SessionActivity();
  const reporter = new Reporter(outbox, reported, { activityOf: (sessionId) => activity.of(sessionId) });
  const { recordActivity = () => Promise.resolve() } = situation;
  const monitor = new Monitor({ cache, reported, reporter, busy, recordStatus, activity, recordActivity });
  monitor.prepare();
  situation.before?.({ activity, cache, reporter });
  const started = monitor.start({ known, uncertain, reportedUpTo: situation.reportedUpTo }, never);
  situation.meanwhile?.({ cache, reporter, reported });
  await started;
  const reports = () =>
    sent.map((text) => JSON.parse(text).payload).map((one) =>
      [
        one.sessionId === "s1" ? "" : one.sessionId,
        one.state,
        one.platformMetadata.podName,
        one.platformMetadata.reason,
        one.platformMetadata.message,
      ].filter(Boolean).join(" ")
    );
  return { cache, reports, sent, recorded, outbox, busy, reported, monitor, activity };
}

Deno.test("monitor reports a Service that does not lead to the pod, after the grace period", async () => {
  using time = new FakeTime();
  const { cache, reports, monitor } = await monitoredSession();
  using _ = monitor;
  const metadata = { name: "s1", uid: "service", resourceVersion: "4", labels: LABELS };
  cache.put("service", { metadata, spec: { selector: { session: "other" } } } as V1Service);
  time.tick(1999);
  assertEquals(reports(), []);
  time.tick(1);
  assertEquals(reports(), ["pending ServiceMissing its Service is missing or does not lead to its pod"]);
});

Deno.test("monitor reports a pod whose Deployment is gone, unless it is deleted within the grace period", async () => {
  using time = new FakeTime();
  const { cache, reports, monitor } = await monitoredSession();
  using _ = monitor;
  cache.change("deployment", "remove", deployment(1, 5));
  time.tick(2000);
  assertEquals(reports(), ["failed DeploymentDeleted its Deployment was deleted"]);
});

/** Scales the session to zero, optionally with annotations; its pod has ended. */
function hibernate(cache: SessionCache, annotations: Record<string, string> = {}): void {
  const hibernated = deployment(0, 11);
  cache.put("deployment", { ...hibernated, metadata: { ...hibernated.metadata, annotations } });
  cache.put("pod", pod("p1", { version: 12, isReady: false, status: { phase: "Succeeded" } }));
}

Deno.test("monitor reports nothing for sessions without changes", async () => {
  using time = new FakeTime();
  const { reports, monitor } = await monitoredSession();
  using _ = monitor;
  time.tick(10_000);
  assertEquals(reports(), []);
});

Deno.test("monitor does not report again what the previous process reported", async () => {
  const reports = async (version: number, uncertain: readonly string[] = []) => {
    const reportedUpTo = { pod: version, deployment: version };
    const { reports, monitor } = await monitoredSession({ known: ["s1"], uncertain, reportedUpTo });
    using _ = monitor;
    return reports();
  };
  assertEquals(await reports(2), []);
  // The pod changed since.
  assertEquals(await reports(1), ["running p1"]);
  assertEquals(await reports(2, ["s1"]), ["running p1"]);
});

for (const when of ["before", "meanwhile"] as const) {
  const what = when === "before" ? "before sessions are taken over" : "while sessions are taken over";
  Deno.test(`monitor neither repeats nor replaces what a command reports ${what}`, async () => {
    using time = new FakeTime();
    const { reports, reported, monitor } = await monitoredSession({
      recorded: { state: "running", podName: "p1" },
      [when]: ({ cache, reporter }: { cache: SessionCache; reporter: Reporter }) => {
        hibernate(cache);
        reporter.status(statusOf("s1", "hibernated"));
      },
    });
    using _ = monitor;
    time.tick(10_000);
    assertEquals(reports(), ["hibernated"]);
    assertEquals(reported.get("s1")?.state, "hibernated");
  });
}

Deno.test("monitor reports what changes while sessions are taken over", async () => {
  using time = new FakeTime();
  const { reports, monitor } = await monitoredSession({
    recorded: { state: "running", podName: "p1" },
    known: ["s1", "s2"],
    // While the second session is taken over.
    meanwhile: ({ cache, reported }) =>
      reported.listen((sessionId) => sessionId === "s2" && hibernate(cache)),
  });
  using _ = monitor;
  time.tick(10_000);
  assertEquals(reports(), ["s2 terminated", "hibernated"]);
});

Deno.test("monitor reports the streams that were opened before", async () => {
  using _time = new FakeTime();
  const session = await monitoredSession({
    recorded: { state: "running", podName: "p1" },
    before: ({ activity }) => void activity.opened("s1"),
  });
  using _ = session.monitor;
  using _activity = session.activity;
  await Promise.resolve();
  assertEquals(session.sent.map((text) => JSON.parse(text).payload.viewers), [1]);
});

Deno.test("monitor knows up to which resource versions it reported all changes", async () => {
  const { cache, outbox, busy, reported, monitor } = await monitoredSession();
  using _ = monitor;
  const change = (version: number, isReady = true) => {
    cache.change("pod", "put", pod("p1", { version, isReady }));
    return reported.upTo?.pod;
  };
  assertEquals(change(10), 10);
  const work = busy.markUnrecordedWork();
  assertEquals(change(11), 10);
  work[Symbol.dispose]();
  assertEquals(change(12), 12);
  outbox.detach({ isDelivered: true });
  monitor.report(statusOf("s1", "pending"));
  assertEquals(change(13), 12);
});

Deno.test("K20 monitor reports a replacement pod when it is ready, and not that there was none", async () => {
  using time = new FakeTime();
  const { cache, reports, monitor } = await monitoredSession();
  using _ = monitor;
  cache.put("pod", pod("p1", { version: 3, isReady: true, isLeaving: true }));
  time.tick(500);
  cache.put("pod", pod("p2", { version: 4, isReady: true }));
  time.tick(10_000);
  assertEquals(reports(), ["running p2"]);
});

Deno.test("K21 monitor reports a session that is not ready after the grace period", async () => {
  using time = new FakeTime();
  const { cache, reports, monitor } = await monitoredSession();
  using _ = monitor;
  cache.put("pod", pod("p1", { version: 3, isReady: false }));
  time.tick(1999);
  assertEquals(reports(), []);
  time.tick(1);
  assertEquals(reports(), ["pending"]);
  cache.put("pod", pod("p1", { version: 4, isReady: true }));
  assertEquals(reports(), ["pending", "running p1"]);
});

Deno.test("monitor reports a second replica of a session that runs", async () => {
  using time = new FakeTime();
  const { cache, reports, monitor } = await monitoredSession();
  using _ = monitor;
  cache.put("deployment", deployment(2, 3));
  cache.put("pod", pod("p2", { version: 4, isReady: false }));
  time.tick(10_000);
  cache.put("pod", pod("p2", { version: 5, isReady: true }));
  const message =
    "its Deployment has 2 replicas instead of 1: a policy, a webhook, an autoscaler or a user changed it";
  assertEquals(reports(), [`running p1 ReplicasChanged ${message}`]);
  cache.put("deployment", deployment(1, 6));
  cache.put("pod", pod("p2", { version: 7, isReady: true, isLeaving: true }));
  time.tick(10_000);
  assertEquals(reports().slice(1), []);
});

Deno.test("monitor reports a hibernation by others when the pod is gone, and a deletion only at its end", async () => {
  const { cache, reports, monitor } = await monitoredSession();
  using _ = monitor;
  cache.put("deployment", deployment(0, 3));
  const ended = { version: 4, isReady: false, status: { phase: "Succeeded" } };
  cache.put("pod", pod("p1", { ...ended, isLeaving: true }));
  assertEquals(reports(), []);
  // An ended pod that nobody deletes, such as an evicted one, holds no volume.
  cache.put("pod", pod("p1", { ...ended, version: 5 }));
  assertEquals(reports(), ["hibernated"]);
  const leaving = deployment(0, 6);
  cache.put("deployment", { ...leaving, metadata: { ...leaving.metadata, deletionTimestamp: new Date() } });
  assertEquals(reports(), ["hibernated"]);
});

Deno.test("monitor reports nothing while a command of the session is running", async () => {
  const { cache, reports, busy, monitor } = await monitoredSession();
  using _ = monitor;
  const marks = [busy.mark("s1"), busy.mark("s1")];
  hibernate(cache);
  assertEquals(reports(), []);
  marks[0]?.[Symbol.dispose]();
  assertEquals(reports(), []);
  marks[1]?.[Symbol.dispose]();
  assertEquals(reports(), ["hibernated"]);
});

/** The status of a session container that was restarted for a reason. */
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

Deno.test("K4 monitor reports a container that ran out of memory and is ready again within the grace period", async () => {
  using time = new FakeTime();
  const { cache, reports, monitor } = await monitoredSession();
  using _ = monitor;
  cache.put("pod", pod("p1", { version: 4, isReady: false, status: restarted("OOMKilled") }));
  time.tick(1999);
  cache.put("pod", pod("p1", { version: 5, isReady: true, status: restarted("OOMKilled") }));
  time.tick(10_000);
  assertEquals(reports(), [`running p1 ${OUT_OF_MEMORY}`]);
});

Deno.test("K4 monitor reports a container that ran out of memory while it restarts", async () => {
  using time = new FakeTime();
  const { cache, reports, monitor } = await monitoredSession();
  using _ = monitor;
  cache.put("pod", pod("p1", { version: 4, isReady: false, status: restarted("OOMKilled") }));
  time.tick(15_000);
  cache.put("pod", pod("p1", { version: 5, isReady: true, status: restarted("OOMKilled") }));
  assertEquals(reports(), [`pending ${OUT_OF_MEMORY}`, "running p1"]);
});

Deno.test("K3 monitor reports a crash loop once and not for each restart", async () => {
  using time = new FakeTime();
  const { cache, reports, monitor } = await monitoredSession();
  using _ = monitor;
  for (let nth = 1; nth <= 20; nth++) {
    cache.put("pod", pod("p1", { version: 3 + nth, isReady: false, status: restarted("Error", nth) }));
    time.tick(1000);
  }
  assertEquals(reports(), [`pending ${CRASHED}`]);
});

const DISRUPTED = { type: "DisruptionTarget", status: "True" };
const DISRUPTIONS: ReadonlyArray<[name: string, status: V1Pod["status"], detail: string]> = [
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
    { conditions: [{ ...DISRUPTED, reason: "EvictionByEvictionAPI", message: "Eviction API: evicting" }] },
    "Evicted its pod was evicted: Eviction API: evicting",
  ],
  [
    "K20 a preemption",
    {
      conditions: [{
        ...DISRUPTED,
        reason: "PreemptionByScheduler",
        message: "preempting to accommodate a higher priority pod",
      }],
    },
    "Evicted its pod was evicted: preempting to accommodate a higher priority pod",
  ],
  [
    "K20 an unreachable node",
    {
      conditions: [
        { type: "ContainersReady", status: "True" },
        { ...DISRUPTED, reason: "DeletionByTaintManager", message: "Taint manager: deleting" },
      ],
    },
    'NodeLost node "n1" is unreachable',
  ],
  [
    "K20 a taint by an administrator",
    {
      conditions: [
        { type: "ContainersReady", status: "False" },
        {
          ...DISRUPTED,
          reason: "DeletionByTaintManager",
          message: "Taint manager: deleting due to NoExecute taint",
        },
      ],
    },
    "Evicted its pod was evicted: Taint manager: deleting due to NoExecute taint",
  ],
  [
    "K20 a drain of a container that exits with an error",
    {
      phase: "Failed",
      containerStatuses: restarted("Error")?.containerStatuses ?? [],
      conditions: [{ ...DISRUPTED, reason: "EvictionByEvictionAPI", message: "Eviction API: evicting" }],
    },
    "Evicted its pod was evicted: Eviction API: evicting",
  ],
];

Deno.test("K20 monitor reports no reason for a deleted pod with phase Failed", async () => {
  using time = new FakeTime();
  const { cache, reports, monitor } = await monitoredSession();
  using _ = monitor;
  const { containerStatuses = [] } = restarted("Error") ?? {};
  const status = { phase: "Failed", containerStatuses };
  cache.put("pod", pod("p1", { version: 4, isReady: false, isLeaving: true, status }));
  time.tick(500);
  cache.put("pod", pod("p2", { version: 5, isReady: true }));
  time.tick(10_000);
  assertEquals(reports(), ["running p2"]);
});

for (const [name, status, detail] of DISRUPTIONS) {
  const disrupted = (version: number) =>
    pod("p1", { version, isReady: false, isLeaving: status?.phase !== "Failed", status });
  Deno.test(`${name} is reported once, with the replacement pod`, async () => {
    using time = new FakeTime();
    const { cache, reports, monitor } = await monitoredSession();
    using _ = monitor;
    cache.put("pod", disrupted(4));
    cache.put("pod", pod("p2", { version: 5, isReady: false }));
    time.tick(500);
    // The first pod no longer has the disruption.
    cache.put("pod", pod("p1", { version: 6, isReady: false, isLeaving: true }));
    cache.put("pod", pod("p2", { version: 7, isReady: true }));
    cache.put("pod", pod("p2", { version: 8, isReady: true }));
    time.tick(10_000);
    assertEquals(reports(), [`running p2 ${detail}`]);
  });

  Deno.test(`${name} is reported once, while the replacement pod starts`, async () => {
    using time = new FakeTime();
    const { cache, reports, monitor } = await monitoredSession();
    using _ = monitor;
    cache.put("pod", disrupted(4));
    cache.put("pod", pod("p2", { version: 5, isReady: false }));
    time.tick(2000);
    cache.put("pod", pod("p2", { version: 6, isReady: false }));
    time.tick(10_000);
    assertEquals(reports(), [`pending ${detail}`]);
    cache.put("pod", pod("p2", { version: 7, isReady: true }));
    assertEquals(reports(), [`pending ${detail}`, "running p2"]);
  });
}

Deno.test("R13 monitor reports a deleted Deployment as a failure", async () => {
  const cluster = new FakeTransport();
  const stop = new AbortController();
  const { cache, reports, monitor } = await monitoredSession();
  using _ = monitor;
  cluster.items.services = [{
    metadata: { name: "s1", uid: "service", resourceVersion: "3", labels: LABELS },
  }];
  const following = followSessions({ cache, transport: cluster.transport }, {
    namespace: "n",
    signal: stop.signal,
  });
  await cache.synced(stop.signal);
  assertEquals(reports(), ["failed DeploymentDeleted its Deployment was deleted"]);
  stop.abort();
  await following;
});

Deno.test("monitor reports the maximum duration as the reason of a hibernation by an agent", async () => {
  const { cache, sent, monitor } = await monitoredSession();
  using _ = monitor;
  hibernate(cache, {
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

const TAKEOVERS: ReadonlyArray<{ name: string; situation: Situation; expected: string[] }> = [
  {
    name: "nothing for a session whose recorded status is current",
    situation: { recorded: { state: "running", podName: "p1" }, known: ["s1"] },
    expected: [],
  },
  {
    name: "the replacement pod of a session",
    situation: { recorded: { state: "running", podName: "p0" } },
    expected: ["running p1"],
  },
  {
    name: "a running session that was hibernated",
    situation: { recorded: { state: "hibernated", podName: "" } },
    expected: ["running p1"],
  },
  {
    name: "no recorded reason again",
    situation: { recorded: { state: "running", podName: "p1", reason: "OOMKilled" }, restarted: "OOMKilled" },
    expected: [],
  },
  {
    name: "a reason from the time without a process",
    situation: { recorded: { state: "running", podName: "p1" }, restarted: "OOMKilled" },
    expected: [`running p1 ${OUT_OF_MEMORY}`],
  },
  { name: "the end of a deleted session", situation: { known: ["s0"] }, expected: ["s0 terminated"] },
  {
    name: "the status of a session with an unfinished command",
    situation: { recorded: { state: "running", podName: "p1" }, uncertain: ["s1"] },
    expected: ["running p1"],
  },
  {
    name: "nothing for a session with a running command",
    situation: { busy: ["s0", "s1"], known: ["s0"], uncertain: ["s1"] },
    expected: [],
  },
];

for (const { name, situation, expected } of TAKEOVERS) {
  Deno.test(`monitor of a new process reports ${name}`, async () => {
    const { reports, monitor } = await monitoredSession(situation);
    using _ = monitor;
    assertEquals(reports(), expected);
  });
}

Deno.test("monitor records a status when it is sent, which is later if there is no connection", async () => {
  for (const isLinkDown of [false, true]) {
    const { cache, recorded, outbox, monitor } = await monitoredSession({ isLinkDown });
    using _ = monitor;
    hibernate(cache);
    assertEquals(recorded, isLinkDown ? [] : ["hibernated"]);
    outbox.attach({ send: () => true });
    assertEquals(recorded, ["hibernated"]);
  }
});

Deno.test("monitor of a new process reports a lost Deployment until it was sent, and never again", async () => {
  const recordedStatus = { state: "running", podName: "p1" };
  const first = await monitoredSession({ recorded: recordedStatus, isLinkDown: true, known: ["s1"] });
  using _first = first.monitor;
  first.cache.change("pod", "remove", pod("p1", { version: 3, isReady: false }));
  first.cache.change("deployment", "remove", deployment(1, 4));
  first.outbox.attach({ send: () => true });
  assertEquals(first.recorded, ["failed"]);
  const next = await monitoredSession({ recorded: { state: "failed", podName: "" }, known: ["s1"] });
  using _next = next.monitor;
  next.cache.change("pod", "remove", pod("p1", { version: 3, isReady: false }));
  next.cache.change("deployment", "remove", deployment(1, 4));
  assertEquals(next.reports(), []);
});

Deno.test("monitor records viewers before it reports them, and reports their end before it records that", async () => {
  using time = new FakeTime();
  const records: PromiseWithResolvers<void>[] = [];
  const recordActivity = () => {
    const record = Promise.withResolvers<void>();
    records.push(record);
    return record.promise;
  };
  const recordedStatus = { state: "running", podName: "p1" };
  const session = await monitoredSession({ recorded: recordedStatus, known: ["s1"], recordActivity });
  using _ = session.monitor;
  using activity = session.activity;
  const stream = activity.opened("s1");
  assertEquals([records.length, session.reports().length], [1, 0]);
  records[0]?.resolve();
  await records[0]?.promise;
  assertEquals(session.reports(), ["running p1"]);
  stream[Symbol.dispose]();
  time.tick(60_000);
  assertEquals([records.length, session.reports().length], [2, 2]);
});
