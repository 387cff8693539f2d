/**
 * Which agents a namespace shows: the one that leads by the lease, and the pods of agents.
 * @module
 */
import type { V1Lease, V1Pod } from "@kubernetes/client-node";
import { hasEnded } from "../status/readiness.ts";
import { leaseName } from "../model/names.ts";
import { settingOf } from "./agent_pod.ts";
import type { ClusterView } from "./cluster_view.ts";

/** A leader renews every 2 s; one that has not for so long is gone, even if clocks differ a little. */
const GONE_MS = 60_000;

/** What is seen. */
export interface AgentsSeen {
  /** Who leads as the agent of the id. */
  readonly leader: string | undefined;
  /** Agents' pods that run, of any id; `undefined` where they may not be listed. */
  readonly pods: readonly V1Pod[] | undefined;
}

/** Looks for agents; rejects with a {@linkcode KubernetesError}. */
export async function agentsSeen(view: ClusterView, agentId: string): Promise<AgentsSeen> {
  const [leader, pods] = await Promise.all([leaderOf(view, agentId), podsOf(view)]);
  return { leader, pods };
}

/** Whether no agent of the id can be seen, where one that is there would be; rejects with a {@linkcode KubernetesError}. */
export async function isNoneSeen(view: ClusterView, agentId: string): Promise<boolean> {
  const { leader, pods } = await agentsSeen(view, agentId);
  return leader === undefined && pods !== undefined && pods.every((pod) => isOf(pod, agentId) === false);
}

/** Whether a pod is of the agent of the id; `undefined` where that is not known. */
export function isOf(pod: V1Pod, agentId: string): boolean | undefined {
  const id = settingOf(pod, "agentId");
  return id.isKnown ? id.value === agentId : undefined;
}

async function leaderOf(view: ClusterView, agentId: string): Promise<string | undefined> {
  const [group, resource, name] = ["coordination.k8s.io", "leases", leaseName(agentId)];
  if (!await view.may({ verb: "get", group, resource, name })) return undefined;
  const lease = await view.read<V1Lease>(
    `/apis/${group}/v1/namespaces/${view.namespace}/${resource}/${name}`,
  );
  const isFresh = Date.now() - new Date(lease?.spec?.renewTime ?? 0).getTime() < GONE_MS;
  return isFresh ? lease?.spec?.holderIdentity || undefined : undefined;
}

async function podsOf(view: ClusterView): Promise<readonly V1Pod[] | undefined> {
  if (!await view.may({ verb: "list", resource: "pods" })) return undefined;
  const query = new URLSearchParams({ labelSelector: "component=k8s-agent" });
  const pods = await view.list<V1Pod>(`/api/v1/namespaces/${view.namespace}/pods?${query}`);
  return pods.filter((pod) => !hasEnded(pod));
}
