import { assert, assertEquals } from "@std/assert";
import type { ChaosEvent } from "../../dev/chaos/event.ts";
import { lastAgentFaultMs, makePlan } from "../../dev/chaos/plan.ts";
import { Random } from "../../dev/chaos/random.ts";

const OPTIONS = { seed: 1, durationMs: 3_600_000, canFreezeServer: true };

function count(kind: ChaosEvent["kind"]): number {
  return makePlan(OPTIONS).filter(({ event }) => event.kind === kind).length;
}

Deno.test("Random.next() returns the same numbers from 0 to 1 for the same seed", () => {
  const [one, other] = [new Random(5), new Random(5)];
  const numbers = Array.from({ length: 1000 }, () => one.next());
  assertEquals(numbers, numbers.map(() => other.next()));
  assert(numbers.every((number) => number >= 0 && number < 1));
  assertEquals(new Set(numbers).size, 1000);
});

Deno.test("Random.integer() includes both bounds", () => {
  const random = new Random(5);
  const found = new Set(Array.from({ length: 200 }, () => random.integer(2, 4)));
  assertEquals([...found].toSorted(), [2, 3, 4]);
});

Deno.test("Random.weighted() picks in proportion to the weights", () => {
  const random = new Random(5);
  const picked = Array.from(
    { length: 10_000 },
    () => random.weighted([[9, "often"], [1, "seldom"], [0, "no"]]),
  );
  const seldom = picked.filter((one) => one === "seldom").length;
  assert(seldom > 900 && seldom < 1100, `${seldom}`);
  assert(!picked.includes("no"));
});

Deno.test("makePlan() depends on the seed only", () => {
  assertEquals(makePlan(OPTIONS), makePlan(OPTIONS));
  assert(JSON.stringify(makePlan(OPTIONS)) !== JSON.stringify(makePlan({ ...OPTIONS, seed: 2 })));
});

Deno.test("makePlan() is in chronological order, and ends with the run", () => {
  const times = makePlan(OPTIONS).map(({ atMs }) => atMs);
  assertEquals(times, times.toSorted((one, other) => one - other));
  assert((times.at(-1) ?? Infinity) < OPTIONS.durationMs);
});

Deno.test("makePlan() has the expected number of events", () => {
  const near = (found: number, everyMs: number) => {
    const expected = OPTIONS.durationMs / everyMs;
    assert(Math.abs(found - expected) < expected * 0.15, `${found} of about ${expected}`);
  };
  near(count("link"), 11_000);
  near(count("api"), 4000);
  near(count("administrator"), 9000);
  near(count("repeat"), 7000);
  near(count("server"), 40_000);
});

Deno.test("makePlan() has no faults of agents in the last part", () => {
  for (const durationMs of [20_000, 60_000, 600_000]) {
    const faults = makePlan({ ...OPTIONS, durationMs }).filter(({ event }) =>
      event.kind === "kill" || event.kind === "terminate" || event.kind === "freeze"
    );
    assert(faults.every(({ atMs }) => atMs < lastAgentFaultMs(durationMs)));
  }
  assertEquals([20_000, 60_000, 600_000].map(lastAgentFaultMs), [0, 30_000, 480_000]);
});

Deno.test("makePlan() has commands for leaders that drain", () => {
  const plan = makePlan({ ...OPTIONS, durationMs: 600_000 });
  const isDrainCommand = ({ event }: (typeof plan)[number]) =>
    event.kind === "commands" && event.commands.some(({ commandId }) => commandId.startsWith("d-"));
  const drains = plan.flatMap(({ event }, index) => event.kind === "terminate" ? [index] : []);
  assert(drains.filter((index) => plan.slice(index, index + 8).some(isDrainCommand)).length > 10);
});

Deno.test("makePlan() does not change other events without freezes of the API server", () => {
  const rest = makePlan(OPTIONS).filter(({ event }) => event.kind !== "server");
  assertEquals(makePlan({ ...OPTIONS, canFreezeServer: false }), rest);
});

Deno.test("makePlan() gives each command its own id", () => {
  const scenes = makePlan(OPTIONS).flatMap(({ event }) => event.kind === "commands" ? [event.commands] : []);
  const ids = scenes.flatMap((commands) => [...new Set(commands.map(({ commandId }) => commandId))]);
  assertEquals(new Set(ids).size, ids.length);
  const actions = new Set(scenes.flat().map(({ action }) => action));
  for (const action of ["start_session", "stop_session", "hibernate_session", "wake_session"]) {
    assert(actions.has(action), action);
  }
});
