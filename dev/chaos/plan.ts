/**
 * The plan of a run: a seed determines all events and their times. Pure. Each kind of event has its own random sequence, so that leaving one
 * out does not change the others.
 * @module
 */
import type { ChaosEvent, TimedEvent } from "./event.ts";
import { SceneGenerator } from "./planned_commands.ts";
import { agentFault, apiFault, deletion, linkFault } from "./planned_faults.ts";
import { Random } from "./random.ts";

/** Options of a plan. */
export interface PlanOptions {
  /** An unsigned 32-bit integer. */
  readonly seed: number;
  readonly durationMs: number;
  /** Whether the API server can be frozen. */
  readonly canFreezeServer: boolean;
}

/** The last part of a run is without faults of agents, so that the final measurement of the leader is meaningful. */
const CALM_SHARE = 0.2;
const MIN_CALM_MS = 30_000;

/** Mean times between two events, in milliseconds. */
const SCENE_EVERY_MS = 900;
const REPEAT_EVERY_MS = 7000;
const AGENT_FAULT_EVERY_MS = 18_000;
const LINK_FAULT_EVERY_MS = 11_000;
const API_FAULT_EVERY_MS = 4000;
const DELETION_EVERY_MS = 9000;
const SERVER_FREEZE_EVERY_MS = 40_000;
const DRAIN_EVERY_MS = 30_000;
/** Scenes that begin while a leader drains, and the longest time between two. */
const DRAIN_SCENES = 8;
const DRAIN_SCENE_EVERY_MS = 300;

/** Time of the last possible fault of an agent, in milliseconds from the start of the run. */
export function lastAgentFaultMs(durationMs: number): number {
  return Math.max(0, durationMs - Math.max(MIN_CALM_MS, durationMs * CALM_SHARE));
}

/** All events of a run in chronological order. */
export function makePlan({ seed, durationMs, canFreezeServer }: PlanOptions): TimedEvent[] {
  const calmMs = lastAgentFaultMs(durationMs);
  const series = (
    order: number,
    options: { everyMs: number; untilMs?: number; make: (random: Random) => ChaosEvent },
  ): TimedEvent[] => {
    const random = randomOf(seed, order);
    return times(random, { untilMs: durationMs, ...options })
      .map((atMs) => ({ atMs, event: options.make(random) }));
  };
  const plan = [
    ...scenes(randomOf(seed, 0), durationMs),
    ...series(1, { everyMs: REPEAT_EVERY_MS, make: () => ({ kind: "repeat" }) }),
    ...series(2, { everyMs: AGENT_FAULT_EVERY_MS, untilMs: calmMs, make: agentFault }),
    ...series(3, { everyMs: LINK_FAULT_EVERY_MS, make: linkFault }),
    ...series(4, { everyMs: API_FAULT_EVERY_MS, make: apiFault }),
    ...series(5, { everyMs: DELETION_EVERY_MS, make: deletion }),
    ...(canFreezeServer
      ? series(6, {
        everyMs: SERVER_FREEZE_EVERY_MS,
        make: (random) => ({ kind: "server", ms: random.integer(1000, 8000) }),
      })
      : []),
    ...drains(randomOf(seed, 7), calmMs),
  ];
  return plan.toSorted((one, other) => one.atMs - other.atMs);
}

/** The random sequence of a kind of event. */
function randomOf(seed: number, order: number): Random {
  return new Random(seed ^ Math.imul(order, 0x9e3779b1));
}

function times(random: Random, { everyMs, untilMs }: { everyMs: number; untilMs: number }): number[] {
  const found: number[] = [];
  let atMs = 0;
  while (true) {
    atMs += Math.round(everyMs * (0.4 + 1.2 * random.next()));
    if (atMs >= untilMs) return found;
    found.push(atMs);
  }
}

/** The leader is terminated while commands keep arriving, as the Control Plane ignores that it drains. */
function drains(random: Random, untilMs: number): TimedEvent[] {
  const generator = new SceneGenerator(random, "d-");
  return times(random, { everyMs: DRAIN_EVERY_MS, untilMs }).flatMap((drainMs) => {
    let startMs = drainMs;
    const load = Array.from({ length: DRAIN_SCENES }, () => {
      startMs += random.integer(0, DRAIN_SCENE_EVERY_MS);
      return timed(generator, startMs);
    });
    return [
      { atMs: drainMs, event: { kind: "terminate" as const, role: "leader" as const } },
      ...load.flat(),
    ];
  });
}

function scenes(random: Random, durationMs: number): TimedEvent[] {
  const generator = new SceneGenerator(random);
  return times(random, { everyMs: SCENE_EVERY_MS, untilMs: durationMs })
    .flatMap((startMs) => timed(generator, startMs))
    .filter(({ atMs }) => atMs < durationMs);
}

/** The next scene of a generator. */
function timed(generator: SceneGenerator, startMs: number): TimedEvent[] {
  let atMs = startMs;
  return generator.next().map(({ waitMs, commands }) => {
    atMs += waitMs;
    return { atMs, event: commands };
  });
}
