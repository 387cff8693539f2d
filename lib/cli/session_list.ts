/**
 * The command `sessions`: one list a kind, read as the agent reads it, and what it comes to as text.
 * @module
 */
import { loadKubeConfig } from "../kubernetes/kubeconfig.ts";
import { SessionCache } from "../kubernetes/session_cache.ts";
import { loadSessions } from "../kubernetes/session_watch.ts";
import { Transport } from "../kubernetes/transport.ts";
import type { Config, OutputFormat } from "./options.ts";
import { formatRows, listRows } from "./listing.ts";
import { labelValue } from "../model/names.ts";

/** Longest wait for the cluster, in milliseconds: somebody waits at a terminal. */
const PATIENCE_MS = 15_000;
const NO_ANSWER = `Kubernetes did not answer within ${PATIENCE_MS / 1000} seconds`;

/**
 * Lists this agent's sessions.
 *
 * @throws {KubernetesError} when the cluster does not let them be read
 * @throws {Error} when it does not answer in time, or Kubernetes' credentials cannot be loaded
 */
export async function listSessions(config: Config, format: OutputFormat): Promise<string> {
  using transport = new Transport(() => loadKubeConfig(config.kubeconfig));
  const cache = new SessionCache(labelValue(config.agentId));
  const signal = AbortSignal.timeout(PATIENCE_MS);
  await loadSessions({ cache, transport }, { namespace: config.namespace, signal }).catch((error) => {
    throw signal.aborted ? new Error(NO_ANSWER, { cause: error }) : error;
  });
  return formatRows(listRows(cache, Date.now()), format);
}
