import { assertEquals } from "@std/assert";
import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import { Outbox } from "../../lib/control_plane/outbox.ts";
import type { SessionStatus } from "../../lib/control_plane/protocol.ts";
import { Reporter } from "../../lib/control_plane/reporter.ts";
import { SessionCache } from "../../lib/kubernetes/session_cache.ts";
import { Monitor } from "../../lib/sessions/monitor.ts";
import { FakeTime } from "../support/fake_time.ts";

const LABELS = { app: "streamspace-session", session: "s1" };

function deployment(replicas: number, version: number): V1Deployment {
  return {
    metadata: { name: "s1", uid: "deployment", resourceVersion: String(version), labels: LABELS },
    spec: { replicas, selector: {}, template: {} },
  };
}

function pod(name: string, options: { version: number; isReady: boolean; isLeaving?: boolean }): V1Pod {
  const { version, isReady, isLeaving = false } = options;
  return {
    metadata: {
      name,
      uid: name,
      resourceVersion: String(version),
      labels: LABELS,
      ...(isLeaving ? { deletionTimestamp: new Date() } : {}),
    },
    status: { phase: "Running", conditions: [{ type: "Ready", status: isReady ? "True" : "False" }] },
  };
}

/** What an earlier process left, and what is the case now. */
interface Situation {
  readonly isBusy?: () => boolean;
  /** What the session remembers of what was told. */
  readonly told?: { state: string; podName: string };
  readonly expected?: readonly string[];
  readonly uncertain?: readonly string[];
  readonly isLinkDown?: boolean;
}

/** A session that runs in pod p1, a monitor that begins, what it tells and what it lets the session remember. */
function watchedSession(situation: Situation = {}): {
  cache: SessionCache;
  told: () => string[];
  sent: string[];
  remembered: string[];
  monitor: Monitor;
} {
  const { isBusy = () => false, told: toldBefore, expected = [], uncertain = [], isLinkDown = false } =
    situation;
  const cache = new SessionCache("agent");
  cache.put("deployment", deployment(1, 1));
  cache.put("pod", pod("p1", { version: 2, isReady: true }));
  const annotations: Record<string, string> = toldBefore
    ? { "stream.space/status": JSON.stringify(toldBefore) }
    : {};
  cache.put("service", {
    metadata: { name: "s1", uid: "service", resourceVersion: "3", labels: LABELS, annotations },
  });
  const sent: string[] = [];
  const remembered: string[] = [];
  const outbox = new Outbox();
  if (!isLinkDown) outbox.attach({ send: (text) => sent.push(text) });
  const remember = ({ state }: SessionStatus) => Promise.resolve(void remembered.push(state));
  const monitor = new Monitor({ cache, reporter: new Reporter(outbox), isBusy, remember });
  monitor.expect(expected);
  monitor.begin(uncertain);
  const told = () =>
    sent.map((text) => JSON.parse(text).payload).map((one) =>
      `${one.sessionId === "s1" ? "" : `${one.sessionId} `}${one.state} ${one.platformMetadata.podName}`
        .trim()
    );
  return { cache, told, sent, remembered, monitor };
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

Deno.test("monitor tells hibernation by others, and no end before the end", () => {
  const { cache, told, monitor } = watchedSession();
  using _ = monitor;
  cache.put("deployment", deployment(0, 3));
  assertEquals(told(), ["hibernated"]);
  const leaving = deployment(0, 4);
  cache.put("deployment", { ...leaving, metadata: { ...leaving.metadata, deletionTimestamp: new Date() } });
  assertEquals(told(), ["hibernated"]);
});

Deno.test("monitor leaves a session to the command that is at work on it", () => {
  let isBusy = true;
  const { cache, told, monitor } = watchedSession({ isBusy: () => isBusy });
  using _ = monitor;
  cache.put("deployment", deployment(0, 3));
  assertEquals(told(), []);
  isBusy = false;
  monitor.look("s1");
  assertEquals(told(), ["hibernated"]);
});

Deno.test("monitor tells why a session sleeps that an agent put to sleep as its time was up", () => {
  const { cache, sent, monitor } = watchedSession();
  using _ = monitor;
  const asleep = deployment(0, 3);
  const annotations = {
    "stream.space/command-id": "max-duration",
    "stream.space/max-session-duration": "28800s",
  };
  cache.put("deployment", { ...asleep, metadata: { ...asleep.metadata, annotations } });
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
      message: "It ran for 8h, the longest that it may",
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
  { name: "the end of a session that is gone", situation: { expected: ["s0"] }, tells: ["s0 terminated"] },
  {
    name: "the state of a session whose last result may not have arrived",
    situation: { told: { state: "running", podName: "p1" }, uncertain: ["s1"] },
    tells: ["running p1"],
  },
  {
    name: "nothing of a session that a command is at work on",
    situation: { isBusy: () => true, expected: ["s0"], uncertain: ["s1"] },
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
    cache.put("deployment", deployment(0, 4));
    assertEquals(remembered, isLinkDown ? [] : ["hibernated"]);
  }
});
