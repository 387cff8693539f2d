/**
 * Recognizes why a connection failed by the error messages of the runtime, and says it in plain words. Pure.
 * @module
 */

/** The likely reason of a failed connection. */
export type ConnectionProblem =
  | "authority-as-server"
  | "unknown-issuer"
  | "wrong-name"
  | "expired"
  | "not-yet-valid"
  | "client-certificate-required"
  | "client-certificate-rejected"
  | "tls-version"
  | "handshake"
  | "no-tls"
  | "needs-tls"
  | "closed"
  | "dns"
  | "refused"
  | "timeout";

/**
 * By parts of messages of rustls, hyper and the system; those about TLS have a plain text.
 * Source: https://docs.rs/rustls/latest/rustls/enum.CertificateError.html
 */
const PROBLEMS: ReadonlyArray<readonly [pattern: RegExp, problem: ConnectionProblem, text?: string]> = [
  [
    /CaUsedAsEndEntity/i,
    "authority-as-server",
    "the server uses the certificate of an authority, which only signs other certificates, as its own",
  ],
  [
    /UnknownIssuer|BadSignature/i,
    "unknown-issuer",
    "the server's certificate is not signed by a trusted authority",
  ],
  [
    /not valid for name|NotValidForName/i,
    "wrong-name",
    "the server's certificate is not valid for this host name",
  ],
  [/certificate expired|: Expired/i, "expired", "the server's certificate has expired"],
  [/NotValidYet|not valid yet/i, "not-yet-valid", "the server's certificate is not valid yet"],
  [
    /CertificateRequired|certificate required/i,
    "client-certificate-required",
    "the server requires a client certificate",
  ],
  [
    /fatal alert: (UnknownCA|BadCertificate|CertificateUnknown|CertificateExpired|CertificateRevoked|UnsupportedCertificate|AccessDenied|DecryptError)/i,
    "client-certificate-rejected",
    "the server does not accept the client certificate",
  ],
  [/ProtocolVersion|PeerIncompatible/i, "tls-version", "the server does not support TLS 1.2 or 1.3"],
  [/invalid peer certificate|received fatal alert/i, "handshake", "the TLS handshake failed"],
  [
    /InvalidContentType|corrupt message|wrong version number/i,
    "no-tls",
    "the server does not use TLS on this port",
  ],
  [
    /invalid HTTP version/i,
    "needs-tls",
    "the server does not use unencrypted HTTP on this port",
  ],
  [/closed before message completed|connection reset|reset by peer/i, "closed"],
  [/lookup address|dns error|not known/i, "dns"],
  [/refused/i, "refused"],
  [/no response within|not open within/, "timeout"],
];

/** The reason of a failure by its error message; `undefined` if it is not known. */
export function connectionProblem(message: string): ConnectionProblem | undefined {
  return PROBLEMS.find(([pattern]) => pattern.test(message))?.[1];
}

/** A reason for people: in plain words with the original in parentheses if it is about TLS, otherwise the original. */
export function plainReason(message: string): string {
  const reason = rootMessage(message);
  const text = PROBLEMS.find(([pattern]) => pattern.test(reason))?.[2];
  return text ? `${text} (${reason})` : reason;
}

/** Removes the description of the request from an error message of the runtime. */
export function rootMessage(message: string): string {
  return message.replace(/^error sending request .*?client error \(\w+\): /, "")
    .replace(/^NetworkError: failed to connect to WebSocket: /, "");
}
