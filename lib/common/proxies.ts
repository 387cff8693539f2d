/**
 * Chooses the proxy for a URL from the usual environment variables (`HTTPS_PROXY`, `NO_PROXY`, …). Pure.
 * @module
 */
import { Secret } from "./secret.ts";

/** An HTTP proxy and its credentials. */
export interface HttpProxy {
  /** URL without user and password. */
  readonly url: string;
  /** Empty if the proxy needs no authentication. */
  readonly user: string;
  readonly password: Secret;
}

/** Names of all proxy variables; the upper-case variant has precedence. */
export const PROXY_VARIABLES: readonly string[] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"]
  .flatMap((name) => [name, name.toLowerCase()]);

/** Returns the variable that sets the proxy for a URL, and its value; `undefined` for a direct connection. */
export function chooseProxy(
  url: URL,
  env: (name: string) => string | undefined,
): { readonly variable: string; readonly text: string } | undefined {
  const isEncrypted = url.protocol === "https:" || url.protocol === "wss:";
  const names = [isEncrypted ? "HTTPS_PROXY" : "HTTP_PROXY", "ALL_PROXY"].flatMap(bothCases);
  const variable = names.find((name) => env(name)?.trim());
  const exceptions = bothCases("NO_PROXY").map((name) => env(name)).find(Boolean) ?? "";
  if (variable === undefined || isException(url, exceptions)) return undefined;
  return { variable, text: env(variable)?.trim() ?? "" };
}

/** Parses a proxy such as `http://user:password@proxy.example.com:3128`; `undefined` if it is invalid. */
export function parseProxy(text: string): HttpProxy | undefined {
  const full = text.includes("://") ? text : `http://${text}`;
  const url = URL.canParse(full) ? new URL(full) : undefined;
  if (url?.protocol !== "http:" && url?.protocol !== "https:") return undefined;
  try {
    const [user, password] = [decodeURIComponent(url.username), decodeURIComponent(url.password)];
    return { url: `${url.protocol}//${url.host}`, user, password: new Secret(password) };
  } catch {
    return undefined;
  }
}

/** Converts a proxy to the option of Deno's HTTP client. */
export function clientProxy(proxy: HttpProxy): NonNullable<Deno.CreateHttpClientOptions["proxy"]> {
  const { url, user, password } = proxy;
  return { url, ...(user ? { basicAuth: { username: user, password: password.reveal() } } : {}) };
}

function bothCases(name: string): string[] {
  return [name, name.toLowerCase()];
}

/** Whether the list in NO_PROXY contains the URL: by host, domain suffix, network or `*`, each with or without a port. */
function isException(url: URL, list: string): boolean {
  const host = url.hostname.replace(/^\[|\]$|\.$/g, "").toLowerCase();
  const port = url.port || (url.protocol === "https:" || url.protocol === "wss:" ? "443" : "80");
  const isAddress = bitsOf(host) !== undefined;
  return list.toLowerCase().split(/[\s,]+/).filter(Boolean).some((entry) => {
    const [, name = entry, entryPort = port] = /^\[(.+)\](?::(\d+))?$/.exec(entry) ??
      /^([^:]+):(\d+)$/.exec(entry) ?? [];
    return entryPort === port && (name === "*" || (isAddress ? isInNetwork : isInDomain)(host, name));
  });
}

function isInDomain(host: string, domain: string): boolean {
  return `.${host}`.endsWith(`.${domain.replace(/^\*?\.|\.$/g, "")}`);
}

/** Whether a host is in a network, which is an address or in CIDR notation such as `10.0.0.0/8`. */
function isInNetwork(host: string, network: string): boolean {
  const [address = "", length] = network.split("/");
  const [hostBits, networkBits] = [bitsOf(host), bitsOf(address)];
  if (!hostBits || hostBits.length !== networkBits?.length) return false;
  if (length === undefined) return hostBits === networkBits;
  return /^\d+$/.test(length) && hostBits.startsWith(networkBits.slice(0, Number(length)));
}

/** The bits of an IP address as a string; `undefined` for a host name. */
function bitsOf(address: string): string | undefined {
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(address)) return toBits(address.split("."), { radix: 10, size: 8 });
  if (!address.includes(":") || !URL.canParse(`http://[${address}]`)) return undefined;
  const [head = "", tail = ""] = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const [before, after] = [head.split(":").filter(Boolean), tail.split(":").filter(Boolean)];
  const zeros = Array<string>(8 - before.length - after.length).fill("0");
  return toBits([...before, ...zeros, ...after], { radix: 16, size: 16 });
}

function toBits(groups: readonly string[], { radix, size }: { radix: number; size: number }): string {
  return groups.map((group) => parseInt(group, radix).toString(2).padStart(size, "0")).join("");
}
