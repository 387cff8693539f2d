/**
 * What a connection reveals: which check its failure belongs to, how long certificates are valid, and whether the clocks of both sides agree.
 * @module
 */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { connect } from "node:tls";
import { connectionProblem } from "../common/connection_problem.ts";
import { formatDuration } from "../common/quantities.ts";
import { hostOf } from "../control_plane/addresses.ts";
import { type CheckName, type Finding, Findings } from "./report.ts";

/** The check that a failed connection to the Control Plane fails, by its error message. */
export function failedCheck(message: string): "control-plane-address" | "control-plane-tls" {
  return isTlsProblem(message) ? "control-plane-tls" : "control-plane-address";
}

/** Whether a connection failed because of TLS. */
export function isTlsProblem(message: string): boolean {
  const problem = connectionProblem(message);
  return problem !== undefined && !["needs-tls", "closed", "dns", "refused", "timeout"].includes(problem);
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
