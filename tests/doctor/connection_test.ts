import { assertEquals } from "@std/assert";
import {
  checkValidity,
  compareClocks,
  connectionCause,
  parseCertificate,
  rootMessage,
} from "../../lib/doctor/connection.ts";
import { FakeTime } from "../support/fake_time.ts";

const ADDRESS = "control-plane-address";
const TLS = "control-plane-tls";

/** Error messages of Deno. */
const CAUSE_CASES = [
  [
    "invalid peer certificate: UnknownIssuer",
    TLS,
    "set --ca-file (CA_FILE) to a file with its CA certificate",
  ],
  [
    'invalid peer certificate: certificate not valid for name "cp"; certificate is only valid for DnsName("localhost")',
    TLS,
    "set --control-plane-url (CONTROL_PLANE_URL) to a host name that the certificate is valid for",
  ],
  [
    "invalid peer certificate: certificate expired: verification time 1795529279 (UNIX), but certificate is not valid after 1580515200",
    TLS,
    "renew the Control Plane's certificate, or synchronize the clocks with NTP",
  ],
  [
    "invalid peer certificate: certificate not valid yet: verification time 1 (UNIX), but certificate is not valid before 2",
    TLS,
    "synchronize the clocks with NTP",
  ],
  [
    "received fatal alert: CertificateRequired",
    TLS,
    "set --client-cert and --client-key (CLIENT_CERT, CLIENT_KEY)",
  ],
  ["received fatal alert: HandshakeFailure", TLS, "check the certificates of both sides"],
  [
    "received corrupt message of type InvalidContentType",
    TLS,
    "the server does not use TLS: check --control-plane-url (CONTROL_PLANE_URL)",
  ],
  [
    "invalid HTTP version parsed",
    ADDRESS,
    "the server requires TLS: use wss:// in --control-plane-url (CONTROL_PLANE_URL)",
  ],
  [
    "failed to lookup address information: Name or service not known",
    ADDRESS,
    "check the host name in --control-plane-url (CONTROL_PLANE_URL), and the cluster's DNS",
  ],
  [
    "Connection refused (os error 111)",
    ADDRESS,
    "check the port in --control-plane-url (CONTROL_PLANE_URL), and that the Control Plane is running",
  ],
  [
    "no response within 4s",
    ADDRESS,
    "check for a NetworkPolicy or firewall in between, or set HTTPS_PROXY",
  ],
  ["something else", ADDRESS, "check --control-plane-url (CONTROL_PLANE_URL)"],
] as const;

for (const [message, check, advice] of CAUSE_CASES) {
  Deno.test(`connectionCause() gives advice for: ${message}`, () => {
    assertEquals(connectionCause(message), { check, advice });
  });
}

Deno.test("rootMessage() removes the description of the request", () => {
  for (
    const [message, plain] of [
      [
        "error sending request for url (https://h/a?b=c): client error (Connect): invalid peer certificate: UnknownIssuer",
        "invalid peer certificate: UnknownIssuer",
      ],
      [
        "error sending request from 127.0.0.1:1 for http://h/ (127.0.0.1:2): client error (SendRequest): invalid HTTP version parsed",
        "invalid HTTP version parsed",
      ],
      ["Connection refused", "Connection refused"],
    ] as const
  ) assertEquals(rootMessage(message), plain);
});

/** Valid from 2026-11-23 to 2126-10-30. */
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
