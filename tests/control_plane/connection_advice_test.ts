import { assert, assertEquals } from "@std/assert";
import { connectionAdvice, type ConnectionSettings } from "../../lib/control_plane/connection_advice.ts";

const read = (name: string) => Deno.readTextFileSync(new URL(`../fixtures/tls/${name}`, import.meta.url));
const NOTHING: ConnectionSettings = { caFile: "", clientCert: "", proxy: undefined };
const WITH_CA = { caFile: "ca.pem", authorities: read("ca.pem") };
const UNKNOWN_ISSUER = "invalid peer certificate: UnknownIssuer";
const AUTHORITY = "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))";
const CERTIFICATE_REQUIRED = "received fatal alert: CertificateRequired";
const REFUSED = "Connection refused (os error 111)";

const CASES: ReadonlyArray<
  readonly [message: string, settings: Partial<ConnectionSettings>, advice: string]
> = [
  [UNKNOWN_ISSUER, {}, "set --ca-file (CA_FILE) to a file with its CA certificate"],
  [
    UNKNOWN_ISSUER,
    { proxy: {} },
    "set --ca-file (CA_FILE) to a file with its CA certificate, or that of the proxy if it intercepts TLS",
  ],
  [
    UNKNOWN_ISSUER,
    WITH_CA,
    "add the CA certificate that issued it to the file of --ca-file (CA_FILE), or let the Control Plane send its intermediate certificates",
  ],
  [
    UNKNOWN_ISSUER,
    { caFile: "server.pem", authorities: read("server.pem") },
    "the file of --ca-file (CA_FILE) contains the certificate of a server: replace it with the CA certificate that issued it",
  ],
  [
    UNKNOWN_ISSUER,
    { caFile: "self_signed.pem", authorities: read("self_signed.pem") },
    "add the CA certificate that issued it to the file of --ca-file (CA_FILE), or let the Control Plane send its intermediate certificates",
  ],
  [
    AUTHORITY,
    {},
    "give the Control Plane a certificate with basicConstraints CA:FALSE, and set --ca-file (CA_FILE) to its CA certificate",
  ],
  [
    AUTHORITY,
    WITH_CA,
    "give the Control Plane a certificate with basicConstraints CA:FALSE, and update the file of --ca-file (CA_FILE) if it is self-signed",
  ],
  [
    'certificate not valid for name "cp"',
    {},
    "set --control-plane-url (CONTROL_PLANE_URL) to a host name that the certificate is valid for, or add the name to its subjectAltName",
  ],
  [
    "certificate expired: verification time 2",
    {},
    "renew the Control Plane's certificate, or synchronize the clocks with NTP",
  ],
  ["certificate not valid yet: verification time 1", {}, "synchronize the clocks with NTP"],
  [CERTIFICATE_REQUIRED, {}, "set --client-cert and --client-key (CLIENT_CERT, CLIENT_KEY)"],
  [
    CERTIFICATE_REQUIRED,
    { clientCert: "client.pem" },
    "set --client-cert and --client-key (CLIENT_CERT, CLIENT_KEY) to a valid certificate of an authority that the Control Plane trusts",
  ],
  ["received fatal alert: ProtocolVersion", {}, "enable TLS 1.2 or 1.3 at the Control Plane"],
  ["received fatal alert: HandshakeFailure", {}, "check the certificates of both sides"],
  [
    "received corrupt message of type InvalidContentType",
    {},
    "check the port in --control-plane-url (CONTROL_PLANE_URL), or use ws:// if the Control Plane has no TLS",
  ],
  [
    "invalid HTTP version parsed",
    {},
    "if the Control Plane uses TLS, use wss:// in --control-plane-url (CONTROL_PLANE_URL), otherwise check the port",
  ],
  [
    "Cannot register at http://cp: connection closed before message completed",
    {},
    "if the Control Plane uses TLS, use wss:// in --control-plane-url (CONTROL_PLANE_URL)",
  ],
  [
    "failed to lookup address information",
    {},
    "check the host name in --control-plane-url (CONTROL_PLANE_URL), and the cluster's DNS",
  ],
  [
    REFUSED,
    {},
    "check the port in --control-plane-url (CONTROL_PLANE_URL), and that the Control Plane is running",
  ],
  [REFUSED, { proxy: {} }, "check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, and that the proxy is running"],
  ["no response within 4s", {}, "check for a NetworkPolicy or firewall in between, or set HTTPS_PROXY"],
  [
    "no response within 4s",
    { proxy: {} },
    "check the proxy, and for a NetworkPolicy or firewall in between",
  ],
];

for (const [message, settings, advice] of CASES) {
  Deno.test(`connectionAdvice() for ${message} with ${Object.keys(settings).join() || "no settings"}: ${advice.slice(0, 40)}`, () => {
    assertEquals(connectionAdvice(message, { ...NOTHING, ...settings }), advice);
  });
}

Deno.test("connectionAdvice() gives none for an unknown reason", () => {
  assertEquals(
    connectionAdvice("Cannot register at https://cp: connection closed before message completed", NOTHING),
    undefined,
  );
  assertEquals(connectionAdvice("something else", NOTHING), undefined);
});

Deno.test("connectionAdvice() never advises to set what is set", () => {
  const settings = { ...WITH_CA, clientCert: "client.pem", proxy: {} };
  for (const [message] of CASES) {
    const advice = connectionAdvice(message, settings) ?? "";
    assert(!/set --ca-file|HTTPS_PROXY$|\(CLIENT_CERT, CLIENT_KEY\)$/.test(advice), advice);
  }
});
