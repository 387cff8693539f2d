import { assertEquals } from "@std/assert";
import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import { CommandError } from "../../lib/common/errors.ts";
import type { SessionObjects } from "../../lib/kubernetes/session_cache.ts";
import { CommandTelemetry } from "../../lib/telemetry/command_telemetry.ts";
import { Meter } from "../../lib/telemetry/meter.ts";
import { FakeTime } from "../support/fake_time.ts";
import { parseExposition } from "../support/scrape.ts";

const START = { action: "start_session", receivedAt: 0 };
const WAKE = { action: "wake_session", sessionId: "s1" } as const;

/** What was counted and summed, without buckets and what is 0. */
async function counted(meter: Meter): Promise<Record<string, number>> {
  const all = [...parseExposition(await meter.text())];
  return Object.fromEntries(
    all.filter(([name, value]) => value !== 0 && !name.includes("_bucket"))
      .map(([name, value]) => [name.replace("k8s_agent_", ""), value]),
  );
}

/** A session whose Deployment wants a pod. */
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

Deno.test("the phases of a start are timed one after the other, by what the cluster shows", async () => {
  using time = new FakeTime();
  const meter = new Meter();
  const commands = new CommandTelemetry(meter);
  commands.received("c1", START);
  await time.tickAsync(1000);
  commands.started("c1", WAKE);
  await time.tickAsync(1000);
  commands.admitted("c1");
  await time.tickAsync(3000);
  commands.look("s1", () => objects());
  await time.tickAsync(4000);
  commands.look("s1", () => objects(["PodScheduled"]));
  await time.tickAsync(5000);
  commands.look("s1", () => objects(["PodScheduled"], true));
  // A pod that is replaced does not begin the phases anew.
  commands.look("s1", () => objects());
  await time.tickAsync(6000);
  commands.look("s1", () => objects(["PodScheduled", "Ready"], true));
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

Deno.test("a command that an earlier process received has its whole time, and no phases", async () => {
  using time = new FakeTime();
  await time.tickAsync(60_000);
  const meter = new Meter();
  const commands = new CommandTelemetry(meter);
  commands.received("c1", START);
  commands.started("c1", WAKE);
  commands.admitted("c1");
  commands.look("s1", () => objects(["Ready"]));
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
  ["the kind of failure where there is no cause", new CommandError("not_found", "no"), "not_found"],
  ["internal for what nobody foresaw", new TypeError("x is undefined"), "internal"],
];

for (const [name, error, reason] of FAILURES) {
  Deno.test(`the reason of a failure is ${name}`, async () => {
    const meter = new Meter();
    const commands = new CommandTelemetry(meter);
    commands.received("c1", { ...START, receivedAt: Date.now() });
    commands.ended("c1", "failed", error);
    const counts = await counted(meter);
    assertEquals(counts[`command_failures_total{action="start_session",reason="${reason}"}`], 1);
  });
}

Deno.test("a command that is handed over is counted, and has no duration", async () => {
  const meter = new Meter();
  const commands = new CommandTelemetry(meter);
  commands.received("c1", { ...START, receivedAt: Date.now() });
  commands.ended("c1", "handed_over");
  assertEquals(await counted(meter), {
    'commands_received_total{action="start_session"}': 1,
    'commands_total{action="start_session",outcome="handed_over"}': 1,
  });
});

Deno.test("what a payload says becomes no label", async () => {
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

Deno.test("a command is counted as ended once", async () => {
  const meter = new Meter();
  const commands = new CommandTelemetry(meter);
  commands.received("c1", { ...START, receivedAt: Date.now() });
  commands.ended("c1", "failed", new Error("no"));
  commands.ended("c1", "complete");
  const counts = await counted(meter);
  assertEquals(counts['commands_total{action="start_session",outcome="failed"}'], 1);
  assertEquals(counts['commands_total{action="start_session",outcome="complete"}'], undefined);
});
