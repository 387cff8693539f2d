import { assertEquals } from "@std/assert";
import { judgeValidity, readCertificate } from "../../lib/doctor/certificates.ts";
import { FakeTime } from "../support/fake_time.ts";

/** Valid from 2026-11-23 to 2126-10-30. */
const PEM = Deno.readTextFileSync(new URL("../fixtures/tls/server.pem", import.meta.url));

const CASES = [
  ["2026-01-01", "fail", "It is not valid before Nov 23 16:52:34 2026 GMT", "wait, or set the clocks by NTP"],
  ["2027-01-01", "ok", "It is valid until 2126-10-30", ""],
  ["2126-10-15", "warn", "It is valid until 2126-10-30, for 15 more days", "renew it"],
  ["2126-10-31", "fail", "It was valid until 2126-10-30", "renew it"],
] as const;

for (const [day, status, message, advice] of CASES) {
  Deno.test(`judgeValidity() says ${status} on ${day}`, () => {
    using _time = new FakeTime(Date.parse(day));
    assertEquals(judgeValidity("client-certificate", "It", readCertificate(PEM)), {
      check: "client-certificate",
      status,
      message,
      advice,
    });
  });
}
