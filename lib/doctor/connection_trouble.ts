/**
 * What to do about a connection that does not come about, by what the runtime says of it. Pure.
 * @module
 */

/** Where the trouble lies, and what to do about it. */
export interface ConnectionTrouble {
  readonly check: "control-plane-address" | "control-plane-tls";
  readonly advice: string;
}

const URL_SETTING = "--control-plane-url (CONTROL_PLANE_URL)";

/** Parts of rustls' and the system's messages. Source: https://docs.rs/rustls/latest/rustls/enum.CertificateError.html */
const TROUBLES: ReadonlyArray<readonly [RegExp, ConnectionTrouble]> = [
  [/UnknownIssuer|CaUsedAsEndEntity|BadSignature/i, tls("name its authority's file in --ca-file (CA_FILE)")],
  [/not valid for name|NotValidForName/i, tls(`set ${URL_SETTING} to a name that the certificate has`)],
  [/certificate expired|Expired/i, tls("renew the Control Plane's certificate, or set the clocks by NTP")],
  [/NotValidYet|not valid yet/i, tls("set the clocks by NTP")],
  [
    /CertificateRequired|certificate required/i,
    tls("set --client-cert and --client-key (CLIENT_CERT, CLIENT_KEY)"),
  ],
  [/invalid peer certificate|received fatal alert/i, tls("look at the certificates of both sides")],
  [
    /InvalidContentType|corrupt message|wrong version number/i,
    tls(`it speaks no TLS there: check ${URL_SETTING}`),
  ],
  [/invalid HTTP version/i, address(`it speaks TLS there: begin ${URL_SETTING} with wss://`)],
  [/lookup address|dns error|not known/i, address(`check the name in ${URL_SETTING}, and the cluster's DNS`)],
  [/refused/i, address(`check the port in ${URL_SETTING}, and that the Control Plane runs`)],
  [/within \d+ seconds/, address("look for a NetworkPolicy or firewall on the way, or set HTTPS_PROXY")],
];

/** What the runtime says of a request without an answer, less what it says of the request. */
export function plainWords(message: string): string {
  return message.replace(/^error sending request .*?client error \(\w+\): /, "");
}

/** Finds what a message is about. */
export function troubleOf(message: string): ConnectionTrouble {
  const found = TROUBLES.find(([pattern]) => pattern.test(message));
  return found?.[1] ?? address(`check ${URL_SETTING}`);
}

function tls(advice: string): ConnectionTrouble {
  return { check: "control-plane-tls", advice };
}

function address(advice: string): ConnectionTrouble {
  return { check: "control-plane-address", advice };
}
