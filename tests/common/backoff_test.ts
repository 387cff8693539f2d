import { assert, assertEquals } from "@std/assert";
import { Backoff } from "../../lib/common/backoff.ts";

/** Whole seconds of a wait: a tenth at most is added to each. */
function seconds(wait: number | undefined): number | undefined {
  if (wait === undefined) return undefined;
  const whole = [2, 4, 8, 16, 32].find((one) => wait >= one * 1000 && wait <= one * 1100);
  assert(whole !== undefined, String(wait));
  return whole;
}

Deno.test("Backoff waits 2, 4, 8, 16 and 32 seconds and then gives up", () => {
  const backoff = new Backoff(5);
  const waits = Array.from({ length: 7 }, () => seconds(backoff.next()));
  assertEquals(waits, [2, 4, 8, 16, 32, undefined, undefined]);
  assertEquals(backoff.failures, 5);
});

Deno.test("Backoff without a limit stays at 32 seconds for ever", () => {
  const backoff = new Backoff(0);
  const waits = Array.from({ length: 3000 }, () => seconds(backoff.next()));
  assertEquals(waits.slice(0, 6), [2, 4, 8, 16, 32, 32]);
  assertEquals(waits.at(-1), 32);
});

Deno.test("C1 Backoff spreads the waits of agents that were cut off together", () => {
  const waits = Array.from({ length: 50 }, () => new Backoff(1).next());
  assert(new Set(waits).size > 1);
});

Deno.test("C8 Backoff starts over after a link of 30 seconds, not after a shorter one", () => {
  const backoff = new Backoff(5);
  assertEquals([seconds(backoff.next()), seconds(backoff.next())], [2, 4]);
  backoff.linkEnded(29_999);
  assertEquals(seconds(backoff.next()), 8);
  backoff.linkEnded(30_000);
  assertEquals(backoff.failures, 0);
  assertEquals(seconds(backoff.next()), 2);
});

Deno.test("Backoff gives attempts again after they were used up and a link was stable", () => {
  const backoff = new Backoff(1);
  backoff.next();
  assertEquals(backoff.next(), undefined);
  backoff.linkEnded(60_000);
  assertEquals(seconds(backoff.next()), 2);
});

Deno.test("Backoff waits as long as the peer asks for, but never less than its own turn", () => {
  const backoff = new Backoff(5);
  const long = backoff.next(60_000) ?? 0;
  assert(long >= 60_000 && long <= 66_000, String(long));
  assertEquals(seconds(backoff.next(1)), 4);
});
