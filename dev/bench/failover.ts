/**
 * Measures how long a Control Plane has no connected agent when the leader ends. Two replicas run; the leader is ended and replaced repeatedly.
 * @module
 */
import { AgentProcess } from "../agent_process.ts";
import { ControlPlane } from "../control_plane/control_plane.ts";

/** Times from the signal to the leader to the connection of the other replica, in milliseconds. */
export interface Failovers {
  /** After SIGTERM. */
  readonly cleanMs: number[];
  /** After SIGKILL. */
  readonly killedMs: number[];
}

/** Measures each kind of end the given number of times; `agentId` is the agent whose sessions exist. */
export async function measureFailovers(
  options: { kubeconfig: string; namespace: string; rounds: number; agentId?: string },
): Promise<Failovers> {
  await using controlPlane = ControlPlane.start();
  await using replicas = new AsyncDisposableStack();
  let nth = 0;
  const launch = async () => {
    const args = [
      `--agent-id=${options.agentId ?? "bench-failover"}`,
      `--control-plane-url=${controlPlane.url}`,
      `--kubeconfig=${options.kubeconfig}`,
      `--namespace=${options.namespace}`,
      "--leader-election",
      `--pod-name=replica-${++nth}`,
    ];
    return replicas.use(await AgentProcess.start({ args }));
  };
  let leader = await launch();
  await leader.line(/Starting heartbeat sender/);
  const measure = async (signal: Deno.Signal): Promise<number> => {
    const standby = await launch();
    await standby.line(/Waiting for leadership/);
    const startedAt = performance.now();
    leader.kill(signal);
    await standby.line(/Starting heartbeat sender/);
    const took = performance.now() - startedAt;
    await leader.exit();
    leader = standby;
    return took;
  };
  const failovers: Failovers = { cleanMs: [], killedMs: [] };
  for (let round = 0; round < options.rounds; round += 1) {
    failovers.cleanMs.push(await measure("SIGTERM"));
    failovers.killedMs.push(await measure("SIGKILL"));
  }
  return failovers;
}
