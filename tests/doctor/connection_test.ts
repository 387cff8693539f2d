import { assertEquals } from "@std/assert";
import { checkValidity, compareClocks, parseCertificate } from "../../lib/doctor/connection.ts";
import { FakeTime } from "../support/fake_time.ts";

const PEM = Deno.readTextFileSync(new URL("../fixtures/tls/server.pem", import.meta.url));

const VALIDITY_CASES = [
  [
    "2026-01-01",
    "fail",
    "It is not valid before Nov 23 16:52:34 2026 GMT",
    "wait, or synchronize the clocks with NTP",
  ],
  ["2027-01-01", "ok", "It is valid until 2126-10-30", ""],
  ["2126-10-15", "warn", "It is valid until 2126-10-30, for 15 more days", "renew it"],
  ["2126-10-31", "fail", "It expired on 2126-10-30", "renew it"],
] as const;

for (const [day, status, message, advice] of VALIDITY_CASES) {
  Deno.test(`checkValidity() returns ${status} on ${day}`, () => {
    using _time = new FakeTime(Date.parse(day));
    assertEquals(checkValidity("client-certificate", "It", parseCertificate(PEM)), {
      check: "client-certificate",
      status,
      message,
      advice,
    });
  });
}

const NOON = Date.parse("2026-01-01T12:00:00Z");
const ADVICE = "synchronize both with NTP: certificates, tokens and timestamps depend on them";

const CLOCK_CASES = [
  ["2026-01-01T12:00:00Z", "ok", "Its clock agrees with this machine's", ""],
  ["2026-01-01T12:00:04Z", "ok", "Its clock agrees with this machine's", ""],
  ["2026-01-01T12:00:06Z", "warn", "Its clock is 6s ahead of this machine's", ADVICE],
  ["2026-01-01T11:59:50Z", "warn", "Its clock is 10s behind this machine's", ADVICE],
  ["2026-01-01T12:01:30Z", "fail", "Its clock is 1m30s ahead of this machine's", ADVICE],
  ["2026-01-01T10:00:00Z", "fail", "Its clock is 2h behind this machine's", ADVICE],
  [undefined, "skip", "Its clock was not checked", "the response has no Date header"],
  ["noon", "skip", "Its clock was not checked", "the response has no Date header"],
] as const;

for (const [date, status, message, advice] of CLOCK_CASES) {
  Deno.test(`compareClocks() returns ${status} for ${date}`, () => {
    // The header has no fractions of a second.
    const answer = { sentAt: NOON, answeredAt: NOON + 1000, date };
    assertEquals(compareClocks("kubernetes-clock", "Its clock", answer), {
      check: "kubernetes-clock",
      status,
      message,
      advice,
    });
  });
}
