/**
 * What an operator can do about a connection to the Control Plane that failed. Never advises what the settings already do. Pure.
 * @module
 */
import { connectionProblem } from "../common/connection_problem.ts";
import { parseCertificates } from "../common/pem.ts";

/** The settings that the advice depends on. */
export interface ConnectionSettings {
  /** Empty if not set. */
  readonly caFile: string;
  /** Empty if not set. */
  readonly clientCert: string;
  /** `undefined` if there is no proxy. */
  readonly proxy: unknown;
  /** Certificates in the file of `caFile`, as PEM. @default unknown */
  readonly authorities?: string | undefined;
}

const URL_SETTING = "--control-plane-url (CONTROL_PLANE_URL)";
const CA_SETTING = "--ca-file (CA_FILE)";

/** Advice for an error message; `undefined` if the reason is not known. */
export function connectionAdvice(message: string, settings: ConnectionSettings): string | undefined {
  const { caFile, clientCert, proxy } = settings;
  switch (connectionProblem(message)) {
    case "authority-as-server":
      return caFile
        ? `give the Control Plane a certificate with basicConstraints CA:FALSE, and update the file of ${CA_SETTING} if it is self-signed`
        : `give the Control Plane a certificate with basicConstraints CA:FALSE, and set ${CA_SETTING} to its CA certificate`;
    case "unknown-issuer":
      return issuerAdvice(settings);
    case "wrong-name":
      return `set ${URL_SETTING} to a host name that the certificate is valid for, or add the name to its subjectAltName`;
    case "expired":
      return "renew the Control Plane's certificate, or synchronize the clocks with NTP";
    case "not-yet-valid":
      return "synchronize the clocks with NTP";
    case "client-certificate-required":
    case "client-certificate-rejected":
      return clientCert
        ? "set --client-cert and --client-key (CLIENT_CERT, CLIENT_KEY) to a valid certificate of an authority that the Control Plane trusts"
        : "set --client-cert and --client-key (CLIENT_CERT, CLIENT_KEY)";
    case "tls-version":
      return "enable TLS 1.2 or 1.3 at the Control Plane";
    case "handshake":
      return "check the certificates of both sides";
    case "no-tls":
      return `check the port in ${URL_SETTING}, or use ws:// if the Control Plane has no TLS`;
    case "needs-tls":
      return `if the Control Plane uses TLS, use wss:// in ${URL_SETTING}, otherwise check the port`;
    case "closed":
      // Some TLS servers close unencrypted connections without a response.
      return / (http|ws):\/\//.test(message)
        ? `if the Control Plane uses TLS, use wss:// in ${URL_SETTING}`
        : undefined;
    case "dns":
      return proxy ? PROXY_ADVICE : `check the host name in ${URL_SETTING}, and the cluster's DNS`;
    case "refused":
      return proxy ? PROXY_ADVICE : `check the port in ${URL_SETTING}, and that the Control Plane is running`;
    case "timeout":
      return proxy
        ? "check the proxy, and for a NetworkPolicy or firewall in between"
        : "check for a NetworkPolicy or firewall in between, or set HTTPS_PROXY";
    case undefined:
      return undefined;
  }
}

const PROXY_ADVICE = "check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, and that the proxy is running";

function issuerAdvice({ caFile, proxy, authorities }: ConnectionSettings): string {
  const interceptor = proxy ? ", or that of the proxy if it intercepts TLS" : "";
  if (!caFile) return `set ${CA_SETTING} to a file with its CA certificate${interceptor}`;
  if (authorities !== undefined && hasNoAuthority(authorities)) {
    return `the file of ${CA_SETTING} contains the certificate of a server: replace it with the CA certificate that issued it`;
  }
  const intermediates = "or let the Control Plane send its intermediate certificates";
  return `add the CA certificate that issued it to the file of ${CA_SETTING}${interceptor}, ${intermediates}`;
}

function hasNoAuthority(pem: string): boolean {
  return parseCertificates(pem).every(({ ca, subject, issuer }) => !ca && subject !== issuer);
}
