import { assertEquals } from "@std/assert";
import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import { CommandError } from "../../lib/common/errors.ts";
import type { SessionObjects } from "../../lib/kubernetes/session_cache.ts";
import { CommandTelemetry, phaseOf } from "../../lib/telemetry/commands.ts";
import { Meter } from "../../lib/telemetry/metrics.ts";
import { FakeTime } from "../support/fake_time.ts";
import { parseExposition } from "../support/scrape.ts";

const START = { action: "start_session", receivedAt: 0 };
const WAKE = { action: "wake_session", sessionId: "s1" } as const;

/** Exported values that are not 0, without buckets. */
async function counted(meter: Meter): Promise<Record<string, number>> {
  const all = [...parseExposition(await meter.text())];
  return Object.fromEntries(
    all.filter(([name, value]) => value !== 0 && !name.includes("_bucket"))
      .map(([name, value]) => [name.replace("k8s_agent_", ""), value]),
  );
}

/** Objects of a session with one pod. */
function objects(conditions: ReadonlyArray<string> = [], isRunning = false): SessionObjects {
  const pod = {
    metadata: { name: "p1" },
    status: {
      conditions: conditions.map((type) => ({ type, status: "True" })),
      ...(isRunning ? { containerStatuses: [{ state: { running: {} } }] } : {}),
    },
  } as V1Pod;
  const deployment: V1Deployment = { metadata: { name: "s1" }, spec: { replicas: 1 } } as V1Deployment;
  return {
    deployment,
    service: undefined,
    claim: undefined,
    policy: undefined,
    pods: [pod],
    events: [],
  };
}

Deno.test("CommandTelemetry measures the phases of a start as the cluster shows them", async () => {
  using time = new FakeTime();
  const meter = new Meter();
  const commands = new CommandTelemetry(meter);
  commands.received("c1", START);
  await time.tickAsync(1000);
  commands.started("c1", WAKE);
  await time.tickAsync(1000);
  commands.admitted("c1");
  await time.tickAsync(3000);
  commands.onSessionChange("s1", () => objects());
  await time.tickAsync(4000);
  commands.onSessionChange("s1", () => objects(["PodScheduled"]));
  await time.tickAsync(5000);
  commands.onSessionChange("s1", () => objects(["PodScheduled"], true));
  // A replaced pod does not start the phases over.
  commands.onSessionChange("s1", () => objects());
  await time.tickAsync(6000);
  commands.onSessionChange("s1", () => objects(["PodScheduled", "Ready"], true));
  await time.tickAsync(500);
  assertEquals(commands.open, 1);
  commands.ended("c1", "complete");
  assertEquals(commands.open, 0);
  const phase = (name: string) => `start_phase_duration_seconds_sum{action="start_session",phase="${name}"}`;
  const times = await counted(meter);
  assertEquals(
    ["queue", "objects", "scheduling", "pulling", "ready"].map((name) => times[phase(name)]),
    [2, 3, 4, 5, 6],
  );
  assertEquals(
    times['command_duration_seconds_sum{action="start_session",outcome="complete"}'],
    20.5,
  );
});

Deno.test("CommandTelemetry measures no phases of a command that an earlier process received", async () => {
  using time = new FakeTime();
  await time.tickAsync(60_000);
  const meter = new Meter();
  const commands = new CommandTelemetry(meter);
  commands.received("c1", START);
  commands.started("c1", WAKE);
  commands.admitted("c1");
  commands.onSessionChange("s1", () => objects(["Ready"]));
  commands.ended("c1", "complete");
  assertEquals(await counted(meter), {
    'commands_received_total{action="start_session"}': 1,
    'commands_total{action="start_session",outcome="complete"}': 1,
    'command_duration_seconds_sum{action="start_session",outcome="complete"}': 60,
    'command_duration_seconds_count{action="start_session",outcome="complete"}': 1,
  });
});

const FAILURES: ReadonlyArray<[name: string, error: unknown, reason: string]> = [
  [
    "the cause of a failed start",
    new CommandError("start_failed", "no", { reason: "ImagePull" }),
    "ImagePull",
  ],
  ["the failure code without a cause", new CommandError("not_found", "no"), "not_found"],
  ["internal for an unexpected error", new TypeError("x is undefined"), "internal"],
];

for (const [name, error, reason] of FAILURES) {
  Deno.test(`CommandTelemetry counts a failure with ${name}`, async () => {
    const meter = new Meter();
    const commands = new CommandTelemetry(meter);
    commands.received("c1", { ...START, receivedAt: Date.now() });
    commands.ended("c1", "failed", error);
    const counts = await counted(meter);
    assertEquals(counts[`command_failures_total{action="start_session",reason="${reason}"}`], 1);
  });
}

Deno.test("CommandTelemetry counts a command that is handed over, without a duration", async () => {
  const meter = new Meter();
  const commands = new CommandTelemetry(meter);
  commands.received("c1", { ...START, receivedAt: Date.now() });
  commands.ended("c1", "handed_over");
  assertEquals(await counted(meter), {
    'commands_received_total{action="start_session"}': 1,
    'commands_total{action="start_session",outcome="handed_over"}': 1,
  });
});

Deno.test("CommandTelemetry does not use actions from payloads as label values", async () => {
  const meter = new Meter();
  const commands = new CommandTelemetry(meter);
  for (let nth = 0; nth < 1000; nth++) {
    commands.received(`c${nth}`, { action: `explode_${nth}`, receivedAt: Date.now() });
    commands.ended(`c${nth}`, "failed", new CommandError("unknown_action", `no ${nth}`));
  }
  const names = Object.keys(await counted(meter)).filter((name) => !name.includes("_seconds_sum"));
  assertEquals(names, [
    'commands_received_total{action="unknown"}',
    'commands_total{action="unknown",outcome="failed"}',
    'command_failures_total{action="unknown",reason="unknown_action"}',
    'command_duration_seconds_count{action="unknown",outcome="failed"}',
  ]);
});

Deno.test("CommandTelemetry counts the end of a command once", async () => {
  const meter = new Meter();
  const commands = new CommandTelemetry(meter);
  commands.received("c1", { ...START, receivedAt: Date.now() });
  commands.ended("c1", "failed", new Error("no"));
  commands.ended("c1", "complete");
  const counts = await counted(meter);
  assertEquals(counts['commands_total{action="start_session",outcome="failed"}'], 1);
  assertEquals(counts['commands_total{action="start_session",outcome="complete"}'], undefined);
});

const NONE: SessionObjects = {
  deployment: undefined,
  service: undefined,
  claim: undefined,
  policy: undefined,
  pods: [],
  events: [],
};

function deployment(replicas: number, isDeleted = false): V1Deployment {
  const metadata = { name: "s1", ...(isDeleted ? { deletionTimestamp: new Date() } : {}) };
  return { metadata, spec: { replicas } } as V1Deployment;
}

function pod(status: V1Pod["status"], nodeName?: string): V1Pod {
  return { metadata: { name: "p1" }, spec: { containers: [], ...(nodeName ? { nodeName } : {}) }, status };
}

const SCHEDULED = { type: "PodScheduled", status: "True" };
const UNSCHEDULED = { type: "PodScheduled", status: "False" };
const READY = { type: "Ready", status: "True" };

function container(state: "waiting" | "running") {
  const common = { name: "session", image: "x", imageID: "", ready: false, restartCount: 0 };
  return { ...common, state: { [state]: {} } };
}

const CASES: ReadonlyArray<[name: string, phase: string, objects: Partial<SessionObjects>]> = [
  ["without a Deployment", "objects", {}],
  ["that is hibernated", "objects", { deployment: deployment(0) }],
  ["whose earlier Deployment is being deleted", "objects", {
    deployment: deployment(1, true),
  }],
  ["without a pod", "scheduling", { deployment: deployment(1) }],
  ["with a pod without a node", "scheduling", {
    deployment: deployment(1),
    pods: [pod({ conditions: [UNSCHEDULED] })],
  }],
  ["with a pod on a node", "pulling", {
    deployment: deployment(1),
    pods: [pod({ conditions: [SCHEDULED] })],
  }],
  ["with a pod on a node and no conditions yet", "pulling", {
    deployment: deployment(1),
    pods: [pod({}, "node-1")],
  }],
  ["with a waiting container", "pulling", {
    deployment: deployment(1),
    pods: [pod({ conditions: [SCHEDULED], containerStatuses: [container("waiting")] })],
  }],
  ["with one of two containers running", "pulling", {
    deployment: deployment(1),
    pods: [
      pod({ conditions: [SCHEDULED], containerStatuses: [container("running"), container("waiting")] }),
    ],
  }],
  ["with a running container", "ready", {
    deployment: deployment(1),
    pods: [pod({ conditions: [SCHEDULED], containerStatuses: [container("running")] })],
  }],
  ["with a ready pod", "served", {
    deployment: deployment(1),
    pods: [pod({ conditions: [SCHEDULED, READY] })],
  }],
];

for (const [name, phase, objects] of CASES) {
  Deno.test(`phaseOf() returns "${phase}" for a session ${name}`, () => {
    assertEquals(phaseOf({ ...NONE, ...objects }), phase);
  });
}
