import { assertEquals } from "@std/assert";
import { judgeClock } from "../../lib/doctor/clock.ts";

const NOON = Date.parse("2026-01-01T12:00:00Z");
const ADVICE = "set both by NTP: certificates, tokens and timestamps are judged by them";

const CASES = [
  ["2026-01-01T12:00:00Z", "ok", "Its clock and this machine's agree", ""],
  ["2026-01-01T12:00:04Z", "ok", "Its clock and this machine's agree", ""],
  ["2026-01-01T12:00:06Z", "warn", "Its clock is 6s ahead of this machine's", ADVICE],
  ["2026-01-01T11:59:50Z", "warn", "Its clock is 10s behind this machine's", ADVICE],
  ["2026-01-01T12:01:30Z", "fail", "Its clock is 1m30s ahead of this machine's", ADVICE],
  ["2026-01-01T10:00:00Z", "fail", "Its clock is 2h behind this machine's", ADVICE],
  [undefined, "skip", "Its clock is not known", "its answer has no Date header"],
  ["noon", "skip", "Its clock is not known", "its answer has no Date header"],
] as const;

for (const [date, status, message, advice] of CASES) {
  Deno.test(`judgeClock() says ${status} to ${date}`, () => {
    // The header leaves the half second out.
    const answer = { sentAt: NOON, answeredAt: NOON + 1000, date };
    assertEquals(judgeClock("kubernetes-clock", "Its clock", answer), {
      check: "kubernetes-clock",
      status,
      message,
      advice,
    });
  });
}
