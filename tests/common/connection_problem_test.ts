import { assertEquals } from "@std/assert";
import { connectionProblem, plainReason, rootMessage } from "../../lib/common/connection_problem.ts";

/** Error messages of Deno. */
const CASES = [
  ["invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))", "authority-as-server"],
  ["invalid peer certificate: UnknownIssuer", "unknown-issuer"],
  ["invalid peer certificate: BadSignature", "unknown-issuer"],
  [
    'invalid peer certificate: certificate not valid for name "cp"; certificate is only valid for DnsName("localhost")',
    "wrong-name",
  ],
  [
    "invalid peer certificate: certificate expired: verification time 1795529279 (UNIX), but certificate is not valid after 1580515200",
    "expired",
  ],
  [
    "invalid peer certificate: certificate not valid yet: verification time 1 (UNIX), but certificate is not valid before 2",
    "not-yet-valid",
  ],
  ["received fatal alert: CertificateRequired", "client-certificate-required"],
  ["received fatal alert: UnknownCA", "client-certificate-rejected"],
  ["received fatal alert: CertificateExpired", "client-certificate-rejected"],
  ["received fatal alert: ProtocolVersion", "tls-version"],
  ["received fatal alert: HandshakeFailure", "handshake"],
  ["received corrupt message of type InvalidContentType", "no-tls"],
  ["invalid HTTP version parsed", "needs-tls"],
  ["connection closed before message completed", "closed"],
  ["connection error: Connection reset by peer (os error 104)", "closed"],
  ["failed to lookup address information: Name or service not known", "dns"],
  ["Connection refused (os error 111)", "refused"],
  ["no response within 4s", "timeout"],
  ["not open within 15 seconds", "timeout"],
  ["something else", undefined],
] as const;

for (const [message, problem] of CASES) {
  Deno.test(`connectionProblem() recognizes: ${message}`, () => {
    assertEquals(connectionProblem(message), problem);
  });
}

Deno.test("plainReason() explains problems of TLS and keeps the original", () => {
  assertEquals(
    plainReason("NetworkError: failed to connect to WebSocket: invalid peer certificate: UnknownIssuer"),
    "the server's certificate is not signed by a trusted authority (invalid peer certificate: UnknownIssuer)",
  );
  assertEquals(plainReason("Connection refused (os error 111)"), "Connection refused (os error 111)");
});

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
