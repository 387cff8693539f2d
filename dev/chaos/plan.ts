/**
 * The plan of a run: a seed goes in, all that will happen and when comes out. Pure; each kind of event has a sequence of its own, so that
 * leaving one out leaves the others as they are.
 * @module
 */
import type { ChaosEvent, TimedEvent } from "./event.ts";
import { SceneWriter } from "./planned_commands.ts";
import { agentFault, apiFault, deletion, linkFault } from "./planned_faults.ts";
import { Random } from "./random.ts";

/** What a plan is made of. */
export interface PlanOptions {
  /** An unsigned integer of 32 bits. */
  readonly seed: number;
  readonly durationMs: number;
  /** Whether the API server itself can be stopped. */
  readonly freezesServer: boolean;
}

/** The part of a run, and the least time of it, in which no agent is harmed any more: what is left of it then says something. */
const CALM_SHARE = 0.2;
const LEAST_CALM_MS = 30_000;

/** Mean times between two events, in milliseconds. */
const SCENE_EVERY_MS = 900;
const REPEAT_EVERY_MS = 7000;
const AGENT_FAULT_EVERY_MS = 18_000;
const LINK_FAULT_EVERY_MS = 11_000;
const API_FAULT_EVERY_MS = 4000;
const DELETION_EVERY_MS = 9000;
const SERVER_FREEZE_EVERY_MS = 40_000;

/** When the agents are harmed for the last time, in milliseconds from the start of the run. */
export function calmAtMs(durationMs: number): number {
  return Math.max(0, durationMs - Math.max(LEAST_CALM_MS, durationMs * CALM_SHARE));
}

/** All that happens in a run, in order. */
export function makePlan({ seed, durationMs, freezesServer }: PlanOptions): TimedEvent[] {
  const calmMs = calmAtMs(durationMs);
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
    ...(freezesServer
      ? series(6, {
        everyMs: SERVER_FREEZE_EVERY_MS,
        make: (random) => ({ kind: "server", ms: random.integer(1000, 8000) }),
      })
      : []),
  ];
  return plan.toSorted((one, other) => one.atMs - other.atMs);
}

/** A sequence of its own for each kind of event. */
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

function scenes(random: Random, durationMs: number): TimedEvent[] {
  const writer = new SceneWriter(random);
  return times(random, { everyMs: SCENE_EVERY_MS, untilMs: durationMs }).flatMap((startMs) => {
    let atMs = startMs;
    return writer.next().map(({ waitMs, commands }) => {
      atMs += waitMs;
      return { atMs, event: commands };
    });
  }).filter(({ atMs }) => atMs < durationMs);
}
