/**
 * Decides that this process alone manages its sessions: with leader election, it becomes a candidate for the Leases of its agent and of those whose
 * sessions it adopts; without, no agent whose sessions it adopts may run.
 * @module
 */
import type { Config } from "./cli/options.ts";
import { ConfigError } from "./common/errors.ts";
import { ClusterView } from "./doctor/cluster_view.ts";
import { runningAgent } from "./doctor/other_agents.ts";
import { createLeaseApi } from "./kubernetes/client.ts";
import { loadAccess } from "./kubernetes/kubeconfig.ts";
import { acquireAll, electionIdentity, LeaderElection } from "./kubernetes/leader_election.ts";
import { Transport } from "./kubernetes/transport.ts";
import { leaseName } from "./model/names.ts";
import type { Environment } from "./wiring.ts";

/** Constructs this replica's candidate for leadership; dispose it after the leadership. */
export function createElection(
  config: Config,
  { timings, telemetry, onAnonymous }: Pick<Environment, "timings" | "telemetry" | "onAnonymous">,
): Pick<LeaderElection, "acquire"> & Disposable {
  // A connection of its own: a renewal never waits behind the requests of sessions.
  const transport = new Transport(() => loadAccess(config.kubeconfig), {
    onRequest: (record) => telemetry.request(record),
    onAnonymous,
    timings,
  });
  const identity = electionIdentity(config.podName || Deno.hostname());
  // An agent with a former id must not manage its sessions at the same time: with its Lease, it becomes a standby replica.
  const elections = [...config.adoptSessionsOf, config.agentId].map((agentId) =>
    new LeaderElection({
      leases: createLeaseApi(transport, config.namespace),
      name: leaseName(agentId),
      identity,
      timings,
      // This replica leads once it holds the last Lease, which is its own.
      onTick: (status) =>
        telemetry.health.onElectionTick(
          status === "leading" && agentId !== config.agentId ? "standby" : status,
        ),
    })
  );
  return {
    acquire: (signal) => acquireAll(elections, signal),
    [Symbol.dispose]: () => transport[Symbol.dispose](),
  };
}

/**
 * Without leader election, nothing but this check keeps two agents from managing the same sessions.
 *
 * @throws {ConfigError} if an agent whose sessions are adopted still runs
 */
export async function rejectRunningAgents({ adoptSessionsOf, namespace, kubeconfig }: Config): Promise<void> {
  if (adoptSessionsOf.length === 0) return;
  using transport = new Transport(() => loadAccess(kubeconfig));
  const view = new ClusterView(transport, namespace);
  const running = await Promise.all(adoptSessionsOf.map(async (agentId) => {
    const name = await runningAgent(view, agentId);
    return name === undefined ? [] : [`--adopt-sessions-of: agent ${agentId} still runs: ${name}`];
  }));
  if (running.flat().length > 0) throw new ConfigError(running.flat());
}
