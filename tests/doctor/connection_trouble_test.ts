import { assertEquals } from "@std/assert";
import { plainWords, troubleOf } from "../../lib/doctor/connection_trouble.ts";

const ADDRESS = "control-plane-address";
const TLS = "control-plane-tls";

/** Messages as Deno gives them. */
const CASES = [
  ["invalid peer certificate: UnknownIssuer", TLS, "name its authority's file in --ca-file (CA_FILE)"],
  [
    'invalid peer certificate: certificate not valid for name "cp"; certificate is only valid for DnsName("localhost")',
    TLS,
    "set --control-plane-url (CONTROL_PLANE_URL) to a name that the certificate has",
  ],
  [
    "invalid peer certificate: certificate expired: verification time 1795529279 (UNIX), but certificate is not valid after 1580515200",
    TLS,
    "renew the Control Plane's certificate, or set the clocks by NTP",
  ],
  [
    "invalid peer certificate: certificate not valid yet: verification time 1 (UNIX), but certificate is not valid before 2",
    TLS,
    "set the clocks by NTP",
  ],
  [
    "received fatal alert: CertificateRequired",
    TLS,
    "set --client-cert and --client-key (CLIENT_CERT, CLIENT_KEY)",
  ],
  ["received fatal alert: HandshakeFailure", TLS, "look at the certificates of both sides"],
  [
    "received corrupt message of type InvalidContentType",
    TLS,
    "it speaks no TLS there: check --control-plane-url (CONTROL_PLANE_URL)",
  ],
  [
    "invalid HTTP version parsed",
    ADDRESS,
    "it speaks TLS there: begin --control-plane-url (CONTROL_PLANE_URL) with wss://",
  ],
  [
    "failed to lookup address information: Name or service not known",
    ADDRESS,
    "check the name in --control-plane-url (CONTROL_PLANE_URL), and the cluster's DNS",
  ],
  [
    "Connection refused (os error 111)",
    ADDRESS,
    "check the port in --control-plane-url (CONTROL_PLANE_URL), and that the Control Plane runs",
  ],
  [
    "no answer within 4 seconds",
    ADDRESS,
    "look for a NetworkPolicy or firewall on the way, or set HTTPS_PROXY",
  ],
  ["something else", ADDRESS, "check --control-plane-url (CONTROL_PLANE_URL)"],
] as const;

for (const [message, check, advice] of CASES) {
  Deno.test(`troubleOf() knows what to do about: ${message}`, () => {
    assertEquals(troubleOf(message), { check, advice });
  });
}

Deno.test("plainWords() leaves out what the runtime says of the request", () => {
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
  ) assertEquals(plainWords(message), plain);
});
