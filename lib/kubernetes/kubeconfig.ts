/**
 * What a kubeconfig says: which API server, what proves its user, and the way there.
 * @module
 */
import { KubeConfig } from "@kubernetes/client-node";
import { messageOf } from "../common/errors.ts";
import { clientProxy, parseProxy } from "../common/proxies.ts";

/**
 * Loads a kubeconfig file, or the service account's credentials where none is named.
 *
 * @throws {Error} when the file cannot be read, or there is no service account
 */
export function loadKubeConfig(path: string): KubeConfig {
  const config = path ? loadFile(path) : loadServiceAccount();
  const cluster = config.getCurrentCluster();
  if (!cluster) throw new TypeError(`Cannot use kubeconfig ${path} as it names no current cluster`);
  if (cluster.proxyUrl && !parseProxy(cluster.proxyUrl)) {
    throw new TypeError(`Cannot use kubeconfig ${path} as its proxy-url is no http or https URL`);
  }
  if (cluster.tlsServerName) {
    throw new TypeError(
      `Cannot use kubeconfig ${path} as it names a tls-server-name, which Deno cannot send`,
    );
  }
  if (cluster.server.startsWith("http:")) {
    // There is no certificate to verify, and client-node refuses plain HTTP unless told so.
    config.clusters = config.clusters.map((one) => one === cluster ? { ...one, skipTLSVerify: true } : one);
  } else if (cluster.skipTLSVerify) {
    throw new TypeError(
      `Cannot use kubeconfig ${path} as it turns off the check of the server's certificate`,
    );
  }
  return config;
}

function loadFile(path: string): KubeConfig {
  const config = new KubeConfig();
  try {
    config.loadFromFile(path);
  } catch (error) {
    throw new Error(`Cannot read the kubeconfig of --kubeconfig (KUBECONFIG): ${messageOf(error)}`, {
      cause: error,
    });
  }
  return config;
}

function loadServiceAccount(): KubeConfig {
  const config = new KubeConfig();
  config.loadFromCluster();
  const token = config.getCurrentUser()?.authProvider?.config?.tokenFile;
  try {
    Deno.readTextFileSync(token);
  } catch (error) {
    const problem = "Cannot find a pod's credentials: outside of a cluster, set --kubeconfig (KUBECONFIG)";
    throw new Error(problem, { cause: error });
  }
  return config;
}

/** What a kubeconfig proves its user with right now: headers, and certificates and proxy as the HTTP client takes them. */
export async function readCredentials(
  config: KubeConfig,
): Promise<{ headers: Record<string, string>; client: Parameters<typeof Deno.createHttpClient>[0] }> {
  const options: Parameters<KubeConfig["applyToHTTPSOptions"]>[0] & Record<string, unknown> = { headers: {} };
  await config.applyToHTTPSOptions(options);
  const headers: Record<string, string> = { ...options.headers as Record<string, string> };
  if (typeof options.auth === "string") headers.Authorization = `Basic ${btoa(options.auth)}`;
  const [ca, cert, key] = [pem(options.ca), pem(options.cert), pem(options.key)];
  const authority = ca ? { caCerts: [ca] } : {};
  const own = cert && key ? { cert, key } : {};
  return { headers, client: { ...authority, ...own, ...wayOf(config) } };
}

/** The kubeconfig alone says whether the way to Kubernetes leads through a proxy. */
function wayOf(config: KubeConfig): Pick<Deno.CreateHttpClientOptions, "proxy"> {
  const proxy = parseProxy(config.getCurrentCluster()?.proxyUrl ?? "");
  return proxy ? { proxy: clientProxy(proxy) } : {};
}

function pem(value: unknown): string | undefined {
  return value instanceof Uint8Array ? new TextDecoder().decode(value) : undefined;
}
