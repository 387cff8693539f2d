/**
 * Until when certificates are valid: the Control Plane's, as it shows it to whoever connects, and the agent's own, from its file.
 * @module
 */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { connect } from "node:tls";
import { hostOf } from "../control_plane/addresses.ts";
import { type CheckName, type Finding, Findings } from "./finding.ts";

const SOON_DAYS = 30;
const DAY_MS = 24 * 3_600_000;

/** What the agent proves itself with to a server that asks for it, as PEM. */
export interface OwnCertificate {
  readonly cert?: string;
  readonly key?: string;
}

/**
 * The certificate that a server shows. Nothing is verified here: that is for the connections which carry something.
 *
 * @throws {Error} when there is no TLS server
 */
export function shownCertificate(
  url: URL,
  { signal, ...own }: OwnCertificate & { signal: AbortSignal },
): Promise<X509Certificate> {
  const { promise, resolve, reject } = Promise.withResolvers<X509Certificate>();
  const host = hostOf(url);
  // An address is no name that could be asked for.
  const name = isIP(host) === 0 ? { servername: host } : {};
  const options = { host, ...name, ...own, port: Number(url.port || 443), rejectUnauthorized: false };
  const socket = connect(options, () => {
    const certificate = socket.getPeerX509Certificate();
    if (certificate) resolve(certificate);
    else reject(new Error("it shows no certificate"));
  });
  socket.once("error", reject);
  signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  return promise.finally(() => socket.destroy());
}

/** Judges until when a certificate is valid; `whose` begins the sentence. */
export function judgeValidity(check: CheckName, whose: string, certificate: X509Certificate): Finding {
  const findings = new Findings(check);
  const [from, until] = [certificate.validFrom, certificate.validTo].map((text) => new Date(text).getTime());
  const day = new Date(until ?? 0).toISOString().slice(0, 10);
  const now = Date.now();
  if (now < (from ?? 0)) {
    return findings.fail(
      `${whose} is not valid before ${certificate.validFrom}`,
      "wait, or set the clocks by NTP",
    );
  }
  const daysLeft = Math.floor(((until ?? 0) - now) / DAY_MS);
  if (daysLeft < 0) return findings.fail(`${whose} was valid until ${day}`, "renew it");
  const message = `${whose} is valid until ${day}`;
  return daysLeft < SOON_DAYS
    ? findings.warn(`${message}, for ${daysLeft} more days`, "renew it")
    : findings.ok(message);
}

/** Reads a certificate of a file's text. */
export function readCertificate(pem: string): X509Certificate {
  return new X509Certificate(pem);
}
