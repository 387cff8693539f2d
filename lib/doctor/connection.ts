/**
 * What a connection reveals: the likely cause of its failure, how long certificates are valid, and whether the clocks of both sides agree.
 * @module
 */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { connect } from "node:tls";
import { formatDuration } from "../common/quantities.ts";
import { hostOf } from "../control_plane/addresses.ts";
import { type CheckName, type Finding, Findings } from "./report.ts";

/** The likely cause of a failed connection: the check that it fails, and what to do. */
export interface ConnectionCause {
  readonly check: "control-plane-address" | "control-plane-tls";
  readonly advice: string;
}

const URL_SETTING = "--control-plane-url (CONTROL_PLANE_URL)";

/** By parts of messages of rustls and the system. Source: https://docs.rs/rustls/latest/rustls/enum.CertificateError.html */
const CONNECTION_CAUSES: ReadonlyArray<readonly [RegExp, ConnectionCause]> = [
  [
    /UnknownIssuer|CaUsedAsEndEntity|BadSignature/i,
    tls("set --ca-file (CA_FILE) to a file with its CA certificate"),
  ],
  [
    /not valid for name|NotValidForName/i,
    tls(`set ${URL_SETTING} to a host name that the certificate is valid for`),
  ],
  [
    /certificate expired|Expired/i,
    tls("renew the Control Plane's certificate, or synchronize the clocks with NTP"),
  ],
  [/NotValidYet|not valid yet/i, tls("synchronize the clocks with NTP")],
  [
    /CertificateRequired|certificate required/i,
    tls("set --client-cert and --client-key (CLIENT_CERT, CLIENT_KEY)"),
  ],
  [/invalid peer certificate|received fatal alert/i, tls("check the certificates of both sides")],
  [
    /InvalidContentType|corrupt message|wrong version number/i,
    tls(`the server does not use TLS: check ${URL_SETTING}`),
  ],
  [/invalid HTTP version/i, address(`the server requires TLS: use wss:// in ${URL_SETTING}`)],
  [
    /lookup address|dns error|not known/i,
    address(`check the host name in ${URL_SETTING}, and the cluster's DNS`),
  ],
  [/refused/i, address(`check the port in ${URL_SETTING}, and that the Control Plane is running`)],
  [
    /no response within/,
    address("check for a NetworkPolicy or firewall in between, or set HTTPS_PROXY"),
  ],
];

/** Finds the likely cause of a failure by its error message. */
export function connectionCause(message: string): ConnectionCause {
  const match = CONNECTION_CAUSES.find(([pattern]) => pattern.test(message));
  return match?.[1] ?? address(`check ${URL_SETTING}`);
}

/** Removes the description of the request from an error message of the runtime. */
export function rootMessage(message: string): string {
  return message.replace(/^error sending request .*?client error \(\w+\): /, "");
}

function tls(advice: string): ConnectionCause {
  return { check: "control-plane-tls", advice };
}

function address(advice: string): ConnectionCause {
  return { check: "control-plane-address", advice };
}

const RENEWAL_DAYS = 30;
const DAY_MS = 24 * 3_600_000;

/** The client certificate for servers that request one, as PEM. */
export interface ClientCertificate {
  readonly cert?: string;
  readonly key?: string;
}

/**
 * Fetches the certificate of a server. It is not verified here: no data is sent over this connection.
 *
 * @throws {Error} when there is no TLS server
 */
export function serverCertificate(
  url: URL,
  { signal, ...client }: ClientCertificate & { signal: AbortSignal },
): Promise<X509Certificate> {
  const { promise, resolve, reject } = Promise.withResolvers<X509Certificate>();
  const host = hostOf(url);
  // SNI allows host names only.
  const name = isIP(host) === 0 ? { servername: host } : {};
  const options = { host, ...name, ...client, port: Number(url.port || 443), rejectUnauthorized: false };
  const socket = connect(options, () => {
    const certificate = socket.getPeerX509Certificate();
    if (certificate) resolve(certificate);
    else reject(new Error("the server sends no certificate"));
  });
  socket.once("error", reject);
  signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  return promise.finally(() => socket.destroy());
}

/** Parses a PEM certificate. */
export function parseCertificate(pem: string): X509Certificate {
  return new X509Certificate(pem);
}

/** Checks the validity period of a certificate; `subject` starts the message. */
export function checkValidity(check: CheckName, subject: string, certificate: X509Certificate): Finding {
  const findings = new Findings(check);
  const [from = 0, until = 0] = [certificate.validFrom, certificate.validTo].map((text) =>
    new Date(text).getTime()
  );
  const day = new Date(until).toISOString().slice(0, 10);
  const now = Date.now();
  if (now < from) {
    return findings.fail(
      `${subject} is not valid before ${certificate.validFrom}`,
      "wait, or synchronize the clocks with NTP",
    );
  }
  const daysLeft = Math.floor((until - now) / DAY_MS);
  if (daysLeft < 0) return findings.fail(`${subject} expired on ${day}`, "renew it");
  const message = `${subject} is valid until ${day}`;
  return daysLeft < RENEWAL_DAYS
    ? findings.warn(`${message}, for ${daysLeft} more days`, "renew it")
    : findings.ok(message);
}

const CLOCK_WARN_MS = 5000;
const CLOCK_FAIL_MS = 60_000;
/** The `Date` header has whole seconds, rounded down. */
const DATE_ROUNDING_MS = 500;

/** The `Date` header of a response, and the local times of the request and the response in milliseconds since 1970. */
export interface DatedResponse {
  readonly sentAt: number;
  readonly answeredAt: number;
  readonly date: string | undefined;
}

/** Compares a server's clock with this machine's; `subject` starts the message, such as `The API server's clock`. */
export function compareClocks(check: CheckName, subject: string, response: DatedResponse): Finding {
  const findings = new Findings(check);
  const remote = Date.parse(response.date ?? "");
  if (Number.isNaN(remote)) {
    return findings.skip(`${subject} was not checked`, "the response has no Date header");
  }
  const skewMs = remote + DATE_ROUNDING_MS - (response.sentAt + response.answeredAt) / 2;
  const distanceMs = Math.abs(skewMs);
  if (distanceMs <= CLOCK_WARN_MS) return findings.ok(`${subject} agrees with this machine's`);
  const direction = skewMs > 0 ? "ahead of" : "behind";
  const message = `${subject} is ${formatDuration(distanceMs)} ${direction} this machine's`;
  const advice = "synchronize both with NTP: certificates, tokens and timestamps depend on them";
  return distanceMs > CLOCK_FAIL_MS ? findings.fail(message, advice) : findings.warn(message, advice);
}
