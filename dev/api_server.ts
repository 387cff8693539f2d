/**
 * Access to the API server of a kubeconfig, for programs that send requests themselves or with client-node.
 * @module
 */
import type { KubernetesObjectApi } from "@kubernetes/client-node";
import { KubeConfig } from "@kubernetes/client-node";
import { loadAccess } from "../lib/kubernetes/kubeconfig.ts";

/** Returns the URL, and a client with the kubeconfig's certificates; close the client. */
export async function connectToApiServer(
  kubeconfig: string,
): Promise<{ server: string; client: Deno.HttpClient }> {
  const { server, credentials } = loadAccess(kubeconfig);
  const { client } = await credentials();
  return { server, client: Deno.createHttpClient(client) };
}

/** Loads a kubeconfig for client-node's own HTTP client, which rejects unencrypted servers without a setting. */
export function clientNodeConfig(kubeconfig: string): KubeConfig {
  const config = new KubeConfig();
  config.loadFromFile(kubeconfig);
  config.clusters = config.clusters.map((cluster) => ({
    ...cluster,
    skipTLSVerify: cluster.server.startsWith("http:"),
  }));
  return config;
}

/** Creates a namespace unless it exists; returns whether it was created. */
export async function ensureNamespace(objects: KubernetesObjectApi, name: string): Promise<boolean> {
  const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name } };
  try {
    await objects.read(namespace);
    return false;
  } catch {
    await objects.create(namespace);
    return true;
  }
}
