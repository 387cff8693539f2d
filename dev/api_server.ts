/**
 * An API server as a kubeconfig names it, for programs that speak to it by themselves.
 * @module
 */
import { loadKubeConfig, readCredentials } from "../lib/kubernetes/kubeconfig.ts";

/** Its address, and a client with the kubeconfig's certificates; close the client. */
export async function connectToApiServer(
  kubeconfig: string,
): Promise<{ server: string; client: Deno.HttpClient }> {
  const config = loadKubeConfig(kubeconfig);
  const { client } = await readCredentials(config);
  return { server: config.getCurrentCluster()?.server ?? "", client: Deno.createHttpClient(client) };
}
