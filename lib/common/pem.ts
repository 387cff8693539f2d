/**
 * Checks certificates and private keys in PEM format, as the TLS library ignores or misreports most invalid ones. Problems say what a text contains
 * instead, and never quote it.
 * @module
 */
import { X509Certificate } from "node:crypto";
import { messageOf } from "./errors.ts";

/** A certificate and its private key, as PEM. */
export interface CertificatePair {
  readonly cert: string;
  readonly key: string;
}

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g;
const KEY_LABELS: readonly string[] = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];

/**
 * Extracts the certificates from a text.
 *
 * @returns their PEM blocks without those that cannot be parsed, as other TLS libraries do, or the problem if none remains
 */
export function readCertificates(text: string): { readonly pem: string } | { readonly problem: string } {
  const blocks = blocksOf(text).filter(({ label }) => label === "CERTIFICATE");
  if (blocks.length === 0) return { problem: formatProblem(text, "certificate") };
  const valid = blocks.map(({ block }) => block).filter(isCertificate);
  return valid.length > 0
    ? { pem: `${valid.join("\n")}\n` }
    : { problem: "contains a certificate that cannot be parsed: it is damaged" };
}

/** Parses all certificates of a text that passed {@linkcode readCertificates}. */
export function parseCertificates(text: string): X509Certificate[] {
  return blocksOf(text).filter(({ label }) => label === "CERTIFICATE").map(({ block }) =>
    new X509Certificate(block)
  );
}

/** The problem with a text that should contain a private key; `undefined` if there is none. {@linkcode pairProblem} parses the key. */
export function privateKeyProblem(text: string): string | undefined {
  const blocks = blocksOf(text);
  const isEncrypted = blocks.some(({ label, block }) =>
    label === "ENCRYPTED PRIVATE KEY" || block.includes("Proc-Type: 4,ENCRYPTED")
  );
  if (isEncrypted) return "contains an encrypted private key: decrypt it with openssl pkey";
  return blocks.some(({ label }) => KEY_LABELS.includes(label))
    ? undefined
    : formatProblem(text, "private key");
}

/** The problem with a private key as the key of the first certificate, by the TLS library itself; `undefined` if there is none. */
export function pairProblem(pair: CertificatePair): string | undefined {
  try {
    Deno.createHttpClient({ cert: pair.cert, key: pair.key }).close();
    return undefined;
  } catch (error) {
    const reason = messageOf(error);
    return reason.includes("KeyMismatch")
      ? "does not belong to the certificate"
      : `cannot be used with the certificate: ${reason}`;
  }
}

function blocksOf(text: string): Array<{ label: string; block: string }> {
  return [...text.matchAll(BLOCK)].map(([block, label = ""]) => ({ label, block }));
}

function isCertificate(block: string): boolean {
  try {
    new X509Certificate(block);
    return true;
  } catch {
    return false;
  }
}

/** Why a text contains nothing of the wanted kind. */
function formatProblem(text: string, wanted: "certificate" | "private key"): string {
  if (text.trim() === "") return "is empty";
  if (text.includes("\0") && text.replaceAll("\0", "").includes("-----BEGIN ")) {
    return "is in UTF-16, not in UTF-8";
  }
  const labels = new Set([...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----/g)].map(([, label = ""]) => label));
  const blocks = new Set(blocksOf(text).map(({ label }) => label));
  if (labels.size > blocks.size) return "is truncated: a PEM block has no end line";
  if (labels.size > 0) {
    const names = [...labels].map((label) => label.toLowerCase()).join(" and ");
    return `contains no ${wanted}, but a ${names}`;
  }
  // "0" is the first byte of every DER structure of this size, and is followed by bytes that are not UTF-8.
  if (text.startsWith("0") && /[\ufffd\0]/.test(text)) {
    return "is in a binary format, such as DER or PKCS #12, not in PEM: convert it with openssl";
  }
  return `contains no ${wanted} in PEM format`;
}
