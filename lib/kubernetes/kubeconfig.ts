/**
 * Access to a cluster: by a kubeconfig, or by the service account of the agent's pod. All settings are checked when they are loaded: the agent never
 * becomes anonymous by mistake, and settings that it cannot honour are rejected.
 * @module
 */
import { KubeconfigError, messageOf } from "../common/errors.ts";
import { LastValid } from "../common/last_valid.ts";
import { readCertificates } from "../common/pem.ts";
import { clientProxy, type HttpProxy, parseProxy } from "../common/proxies.ts";
import { type Entry, type EntryKind, type Kubeconfig, readKubeconfig } from "./kubeconfig_file.ts";
import {
  contentOf,
  describeMissing,
  type Header,
  type UserCredentials,
  userCredentials,
} from "./kubeconfig_user.ts";

/** Current credentials: headers of each request, and options of an HTTP client with certificates and proxy. */
export interface ApiCredentials {
  readonly headers: readonly Header[];
  readonly client: Parameters<typeof Deno.createHttpClient>[0];
}

/** Access to the API server of a cluster. */
export interface ClusterAccess {
  /** URL of the API server, without a trailing slash. */
  readonly server: string;
  /** Whether the settings intend that no credentials are sent. */
  readonly isAnonymous: boolean;
  /** Reads the current credentials; rejects if a plug-in returns none. */
  readonly credentials: () => Promise<ApiCredentials>;
}

/** Where a pod finds its service account. */
export interface PodSources {
  readonly env: (name: string) => string | undefined;
  /** Folder of the service account's token and CA certificate. */
  readonly folder: string;
}

const POD: PodSources = {
  env: (name) => Deno.env.get(name),
  folder: "/var/run/secrets/kubernetes.io/serviceaccount",
};

/**
 * Loads access to a cluster.
 *
 * @param paths kubeconfig files separated by colons; empty for the service account of the pod
 * @throws {KubeconfigError} if a setting is invalid or not supported, or a file cannot be used
 */
export function loadAccess(paths: string, pod: PodSources = POD): ClusterAccess {
  return paths ? kubeconfigAccess(readKubeconfig(paths)) : podAccess(pod);
}

function kubeconfigAccess(kubeconfig: Kubeconfig): ClusterAccess {
  const { cluster, user, context } = currentEntries(kubeconfig);
  const server = serverOf(cluster);
  const proxy = proxyOf(cluster);
  const authority = authorityOf(cluster);
  const credentials = user && userCredentials(user);
  checkIdentity(credentials?.kind ?? "none", {
    server,
    fail: (problem) => user ? user.error(problem) : context.error(problem),
    missing: user ? describeMissing(user) : "user is not set",
  });
  return {
    server,
    isAnonymous: credentials === undefined || credentials.kind === "none",
    credentials: async () => {
      const { headers, pair } = await credentials?.read() ?? { headers: [] };
      const caCerts = authority ? { caCerts: [authority.current()] } : {};
      return { headers, client: { ...caCerts, ...pair, ...(proxy ? { proxy: clientProxy(proxy) } : {}) } };
    },
  };
}

/** The entries that the current context names. */
function currentEntries(
  { source, currentContext, find }: Kubeconfig,
): { context: Entry; cluster: Entry; user: Entry | undefined } {
  const fail = (problem: string) => new KubeconfigError(`Cannot use kubeconfig ${source}: ${problem}`);
  if (!currentContext) throw fail("current-context is not set");
  const context = find("context", currentContext);
  if (!context) throw fail(`current-context: there is no context ${JSON.stringify(currentContext)}`);
  const named = (kind: EntryKind) => {
    const name = context.text(kind);
    const entry = name ? find(kind, name) : undefined;
    if (name && !entry) throw context.error(`${kind}: there is no ${kind} ${JSON.stringify(name)}`);
    return entry;
  };
  const cluster = named("cluster");
  if (!cluster) throw context.error("cluster is not set");
  return { context, cluster, user: named("user") };
}

function serverOf(cluster: Entry): string {
  const server = cluster.text("server");
  if (!server) throw cluster.error("server is not set");
  if (!/^https?:\/\//i.test(server) || !URL.canParse(server)) {
    throw cluster.error("server must be an https or http URL, such as https://10.0.0.1:6443");
  }
  const { protocol, username, password, search, hash } = new URL(server);
  if (username || password || search || hash) {
    throw cluster.error("server must not contain a user, password, query or fragment");
  }
  const isInsecure = cluster.flag("insecure-skip-tls-verify");
  if (protocol === "https:" && isInsecure) {
    throw cluster.error(
      "insecure-skip-tls-verify disables verification of the server's certificate: set certificate-authority instead",
    );
  }
  if (cluster.text("tls-server-name")) {
    throw cluster.error("tls-server-name is set, which Deno does not support");
  }
  // The client library requires the scheme in lower case.
  return server.replace(/^https?/i, (scheme) => scheme.toLowerCase()).replace(/\/+$/, "");
}

/** Only the kubeconfig sets a proxy for Kubernetes; the proxy variables of the environment apply to the Control Plane. */
function proxyOf(cluster: Entry): HttpProxy | undefined {
  const text = cluster.text("proxy-url");
  const proxy = text ? parseProxy(text) : undefined;
  if (text && !proxy) throw cluster.error("proxy-url is not an http or https URL");
  return proxy;
}

function authorityOf(cluster: Entry): LastValid<string> | undefined {
  const content = contentOf(cluster, "certificate-authority");
  return content && new LastValid(() => {
    const certificates = readCertificates(content.read());
    if ("problem" in certificates) throw cluster.error(`${content.field} ${certificates.problem}`);
    return certificates.pem;
  });
}

/** Rejects a user that would be anonymous, as kubectl does. Without encryption, there may be a proxy that authenticates, such as `kubectl proxy`. */
function checkIdentity(
  kind: UserCredentials["kind"],
  { server, fail, missing }: { server: string; fail: (problem: string) => Error; missing: string },
): void {
  const isEncrypted = /^https:/i.test(server);
  if (kind === "none" && isEncrypted) {
    throw fail(`${missing}: Kubernetes would treat the agent as system:anonymous`);
  }
  if (kind === "certificate" && !isEncrypted) {
    throw fail(
      `client-certificate cannot be sent to ${server}, and Kubernetes would treat the agent as system:anonymous: use https:// in server`,
    );
  }
}

function podAccess({ env, folder }: PodSources): ClusterAccess {
  const [host = "", port = ""] = [env("KUBERNETES_SERVICE_HOST"), env("KUBERNETES_SERVICE_PORT")];
  const tokenPath = `${folder}/token`;
  const authorityPath = `${folder}/ca.crt`;
  if (!host && !isFile(tokenPath)) {
    throw new KubeconfigError(
      "Cannot find the pod's service account: outside a cluster, set --kubeconfig (KUBECONFIG)",
    );
  }
  const missing = [["HOST", host], ["PORT", port]].find(([, value]) => value === "")?.[0];
  if (missing) throw podError(`the variable KUBERNETES_SERVICE_${missing} is not set`);
  const token = new LastValid(() => {
    const text = readPodFile(tokenPath).trim();
    if (text === "") throw podError(`${tokenPath} is empty`);
    return text;
  });
  const authority = new LastValid(() => {
    const certificates = readCertificates(readPodFile(authorityPath));
    if ("problem" in certificates) throw podError(`${authorityPath} ${certificates.problem}`);
    return certificates.pem;
  });
  return {
    isAnonymous: false,
    server: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    credentials: () =>
      Promise.resolve({
        headers: [["Authorization", `Bearer ${token.current()}`]],
        client: { caCerts: [authority.current()] },
      }),
  };
}

function readPodFile(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw podError(`the file cannot be read: ${messageOf(error)}`, error);
  }
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

function podError(problem: string, cause?: unknown): KubeconfigError {
  return new KubeconfigError(`Cannot use the pod's service account: ${problem}`, { cause });
}
