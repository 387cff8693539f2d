/**
 * Loads a kubeconfig, or the pod's service account, and reads from it what an HTTP client needs: headers, certificates and proxy. It rejects
 * settings that the agent cannot honour.
 * @module
 */
import { KubeConfig } from "@kubernetes/client-node";
import { messageOf } from "../common/errors.ts";
import { clientProxy, parseProxy } from "../common/proxies.ts";

/**
 * Loads a kubeconfig file; an empty path loads the credentials of the pod's service account.
 *
 * @throws {TypeError} when the kubeconfig has no current cluster or needs something that the agent does not support
 * @throws {Error} when the file cannot be read, or there is no service account
 */
export function loadKubeConfig(path: string): KubeConfig {
  const config = path ? loadFile(path) : loadServiceAccount();
  const cluster = config.getCurrentCluster();
  if (!cluster) throw new TypeError(`Cannot use kubeconfig ${path}: it names no current cluster`);
  if (cluster.proxyUrl && !parseProxy(cluster.proxyUrl)) {
    throw new TypeError(`Cannot use kubeconfig ${path}: its proxy-url is not an http or https URL`);
  }
  if (cluster.tlsServerName) {
    throw new TypeError(
      `Cannot use kubeconfig ${path}: it sets tls-server-name, which Deno does not support`,
    );
  }
  if (cluster.server.startsWith("http:")) {
    // There is no certificate to verify, and client-node rejects plain HTTP without this setting.
    config.clusters = config.clusters.map((one) => one === cluster ? { ...one, skipTLSVerify: true } : one);
  } else if (cluster.skipTLSVerify) {
    throw new TypeError(
      `Cannot use kubeconfig ${path}: it disables verification of the server's certificate`,
    );
  }
  return config;
}

function loadFile(path: string): KubeConfig {
  const config = new KubeConfig();
  try {
    config.loadFromFile(path);
  } catch (error) {
    throw new Error(`Cannot read the kubeconfig given by --kubeconfig (KUBECONFIG): ${messageOf(error)}`, {
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
    const problem = "Cannot find the pod's service account: outside a cluster, set --kubeconfig (KUBECONFIG)";
    throw new Error(problem, { cause: error });
  }
  return config;
}

/** Current credentials of a kubeconfig: request headers, and options of an HTTP client with certificates and proxy. */
export async function readCredentials(
  config: KubeConfig,
): Promise<{ headers: Record<string, string>; client: Parameters<typeof Deno.createHttpClient>[0] }> {
  const options: Parameters<KubeConfig["applyToHTTPSOptions"]>[0] & Record<string, unknown> = { headers: {} };
  await config.applyToHTTPSOptions(options);
  const headers: Record<string, string> = { ...options.headers as Record<string, string> };
  if (typeof options.auth === "string") headers.Authorization = `Basic ${btoa(options.auth)}`;
  const [ca, cert, key] = [pem(options.ca), pem(options.cert), pem(options.key)];
  const authority = ca ? { caCerts: [ca] } : {};
  const identity = cert && key ? { cert, key } : {};
  return { headers, client: { ...authority, ...identity, ...proxyOf(config) } };
}

/** Only the kubeconfig sets a proxy for Kubernetes; the proxy variables of the environment apply to the Control Plane. */
function proxyOf(config: KubeConfig): Pick<Deno.CreateHttpClientOptions, "proxy"> {
  const proxy = parseProxy(config.getCurrentCluster()?.proxyUrl ?? "");
  return proxy ? { proxy: clientProxy(proxy) } : {};
}

function pem(value: unknown): string | undefined {
  return value instanceof Uint8Array ? new TextDecoder().decode(value) : undefined;
}
