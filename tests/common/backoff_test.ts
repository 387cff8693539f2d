import { assert, assertEquals } from "@std/assert";
import { Backoff, parseRetryAfter } from "../../lib/common/backoff.ts";
import { FixedRandom } from "../support/fixed_random.ts";

Deno.test("Backoff doubles its pause up to the longest", () => {
  const backoff = new Backoff({ firstMs: 2000, longestMs: 32_000, jitter: [1, 1] });
  assertEquals(Array.from({ length: 7 }, () => backoff.next()), [
    2000,
    4000,
    8000,
    16_000,
    32_000,
    32_000,
    32_000,
  ]);
  assertEquals(backoff.failures, 7);
});

Deno.test("Backoff stays at its longest pause after thousands of failures", () => {
  const backoff = new Backoff({ jitter: [1, 1] });
  const pauses = Array.from({ length: 3000 }, () => backoff.next());
  assertEquals([pauses.at(-1), backoff.isExhausted], [10_000, false]);
});

Deno.test("Backoff is exhausted after the given number of attempts, and no longer after a reset", () => {
  const backoff = new Backoff({ attempts: 2, jitter: [1, 1] });
  assertEquals([backoff.isExhausted, backoff.next()], [false, 500]);
  assertEquals([backoff.isExhausted, backoff.next()], [false, 1000]);
  assertEquals(backoff.isExhausted, true);
  backoff.reset();
  assertEquals([backoff.isExhausted, backoff.failures, backoff.next()], [false, 0, 500]);
});

Deno.test("Backoff adds its pause to the one that the server requested", () => {
  const backoff = new Backoff({ jitter: [1, 1] });
  assertEquals([backoff.next(60_000), backoff.next(1)], [60_500, 1001]);
});

Deno.test("C1 Backoff multiplies each pause by a random factor within its bounds", () => {
  const pauses = Array.from({ length: 50 }, () => new Backoff({ firstMs: 1000, jitter: [1, 1.1] }).next());
  assert(new Set(pauses).size > 1);
  assert(pauses.every((pause) => pause >= 1000 && pause <= 1100), String(pauses));
});

for (const [random, pause] of [[0, 0], [0.5, 250], [1, 500]] as const) {
  Deno.test(`Backoff uses full jitter by default: ${random} of 500 ms is ${pause} ms`, () => {
    using _random = new FixedRandom(random);
    assertEquals(new Backoff().next(), pause);
  });
}

const NOW = Date.UTC(2026, 0, 1);
const HOUR_MS = 3_600_000;
const RETRY_AFTER: Array<[value: string | undefined, expected: number | undefined]> = [
  [undefined, undefined],
  ["", undefined],
  ["0", 0],
  ["120", 120_000],
  ["Thu, 01 Jan 2026 00:01:00 GMT", 60_000],
  ["Wed, 31 Dec 2025 00:00:00 GMT", 0],
  ["soon", undefined],
  ["99999999999999999999", HOUR_MS],
  ["9".repeat(400), undefined],
  ["Fri, 01 Jan 2100 00:00:00 GMT", HOUR_MS],
];

for (const [value, expected] of RETRY_AFTER) {
  Deno.test(`parseRetryAfter() parses ${JSON.stringify(value?.slice(0, 40))} as ${expected} milliseconds`, () => {
    const headers = new Headers(value === undefined ? {} : { "Retry-After": value });
    assertEquals(parseRetryAfter(headers, NOW), expected);
  });
}
