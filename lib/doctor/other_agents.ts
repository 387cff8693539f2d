/**
 * Finds other agents in the namespace by the leader election's Lease and by their pods. Two agents with the same id that do not elect a leader
 * disconnect each other again and again. Settings are read from pod manifests only: flags and variables, not ConfigMaps, Secrets or files.
 * @module
 */
import type { V1Lease, V1Pod } from "@kubernetes/client-node";
import { parseCommandLine } from "../cli/command_line.ts";
import { switchValue } from "../cli/option_parsers.ts";
import { type Config, OPTIONS } from "../cli/options.ts";
import { replicaName } from "../kubernetes/leader_election.ts";
import { nameOf } from "../kubernetes/objects.ts";
import { leaseName } from "../model/names.ts";
import type { Settings } from "../model/settings.ts";
import { hasEnded } from "../status/readiness.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type Finding, Findings } from "./report.ts";

/** A setting in a pod's manifest; not known if it may come from a ConfigMap, a Secret or a file. */
export type PodSetting = { readonly isKnown: true; readonly value: string | undefined } | {
  readonly isKnown: false;
};

/** The agents in a namespace. */
interface VisibleAgents {
  /** Name of the replica that leads the agents of this id. */
  readonly leader: string | undefined;
  /** Running pods of agents of any id; `undefined` if pods may not be listed. */
  readonly pods: readonly V1Pod[] | undefined;
}

/** A leader renews its lease every 2 s; after this time without renewal it is gone, even with some clock skew. */
const STALE_LEASE_MS = 60_000;
const UNKNOWN: PodSetting = { isKnown: false };
const ADVICE =
  "give each agent its own --agent-id (AGENT_ID), or enable --leader-election (LEADER_ELECTION) for all of them";
const findings = new Findings("second-agent");

/** The finding of `second-agent` for this namespace. */
export async function checkSecondAgent(view: ClusterView, config: Config): Promise<Finding[]> {
  const { agentId, leaderElection } = config;
  const { leader, pods } = await visibleAgents(view, agentId);
  if (!pods) return [findings.skip("Second agents were not checked", "the agent may not list pods")];
  const sameId = pods.filter((pod) => hasAgentId(pod, agentId));
  const nonElecting = podNames(sameId, false).filter((name) => name !== leader);
  if (nonElecting.length > 1) {
    const message = `${nonElecting.length} agents with id ${agentId} run without leader election`;
    return [findings.fail(`${message}: pods ${nonElecting.join(", ")}`, ADVICE)];
  }
  if (leader !== undefined) return [leaderFinding(leader, { agentId, leaderElection, nonElecting })];
  const unknown = podNames(sameId, undefined);
  if (unknown.length > 0 && sameId.length > 1) {
    return [
      findings.skip(
        `Leader election of the ${sameId.length} agents with id ${agentId} was not checked`,
        `their settings are not in the manifests of pods ${unknown.join(", ")}`,
      ),
    ];
  }
  return [findings.ok(`No second agent with id ${agentId} found in namespace ${view.namespace}`)];
}

/** Whether no agent with the id is visible, and an existing one would be; rejects with a {@linkcode KubernetesError}. */
export async function hasNoAgent(view: ClusterView, agentId: string): Promise<boolean> {
  const { leader, pods } = await visibleAgents(view, agentId);
  return leader === undefined && pods !== undefined &&
    pods.every((pod) => hasAgentId(pod, agentId) === false);
}

/** The leader of an agent's id, or a pod that certainly has it; rejects with a {@linkcode KubernetesError}. */
export async function runningAgent(view: ClusterView, agentId: string): Promise<string | undefined> {
  const { leader, pods = [] } = await visibleAgents(view, agentId);
  const pod = pods.find((one) => hasAgentId(one, agentId));
  return leader !== undefined ? `${leader} is its leader` : pod && `pod ${nameOf(pod)}`;
}

/** Reads a setting with the precedence of the agent: flags, variables, file. */
export function podSetting(pod: V1Pod, key: keyof Settings): PodSetting {
  const { flag = "", variable = "" } = OPTIONS.find((option) => option.key === key) ?? {};
  const containers = pod.spec?.containers ?? [];
  const args = containers.flatMap(({ command = [], args = [] }) => [...command, ...args]);
  const { flags } = parseCommandLine(args, []);
  const flagValue = flags.get(flag);
  if (flagValue !== undefined) return { isKnown: true, value: flagValue };
  const env = containers.flatMap((container) => container.env ?? []);
  const entry = env.find(({ name }) => name === variable);
  if (entry?.valueFrom) return UNKNOWN;
  if (entry?.value) return { isKnown: true, value: entry.value };
  const hasOtherSource = containers.some(({ envFrom = [] }) => envFrom.length > 0) || flags.has("config") ||
    env.some(({ name }) => name === "CONFIG");
  return hasOtherSource ? UNKNOWN : { isKnown: true, value: undefined };
}

async function visibleAgents(view: ClusterView, agentId: string): Promise<VisibleAgents> {
  const [leader, pods] = await Promise.all([leaderOf(view, agentId), agentPods(view)]);
  return { leader, pods };
}

async function leaderOf(view: ClusterView, agentId: string): Promise<string | undefined> {
  const [group, resource, name] = ["coordination.k8s.io", "leases", leaseName(agentId)];
  if (!await view.may({ verb: "get", group, resource, name })) return undefined;
  const lease = await view.read<V1Lease>(
    `/apis/${group}/v1/namespaces/${view.namespace}/${resource}/${name}`,
  );
  const isFresh = Date.now() - new Date(lease?.spec?.renewTime ?? 0).getTime() < STALE_LEASE_MS;
  return isFresh ? replicaName(lease?.spec?.holderIdentity ?? "") || undefined : undefined;
}

async function agentPods(view: ClusterView): Promise<readonly V1Pod[] | undefined> {
  if (!await view.may({ verb: "list", resource: "pods" })) return undefined;
  const query = { labelSelector: "component=k8s-agent" };
  const pods = await view.list<V1Pod>(`/api/v1/namespaces/${view.namespace}/pods`, { query });
  return pods.filter((pod) => !hasEnded(pod));
}

/** `undefined` if the pod's agent id is not known. */
function hasAgentId(pod: V1Pod, agentId: string): boolean | undefined {
  const setting = podSetting(pod, "agentId");
  return setting.isKnown ? setting.value === agentId : undefined;
}

function leaderFinding(
  leader: string,
  { agentId, leaderElection, nonElecting }: {
    agentId: string;
    leaderElection: boolean;
    nonElecting: readonly string[];
  },
): Finding {
  const message = `${leader} is the leader of agent ${agentId}`;
  if (nonElecting.length > 0) {
    return findings.fail(`${message}, but pod ${nonElecting[0]} runs without leader election`, ADVICE);
  }
  return leaderElection
    ? findings.ok(`Replica ${message}`)
    : findings.warn(`${message}, but these settings do not enable leader election`, ADVICE);
}

/** Names of the pods with, without, or (`undefined`) with unknown leader election. */
function podNames(pods: readonly V1Pod[], isElecting: boolean | undefined): string[] {
  return pods.filter((pod) => usesLeaderElection(pod) === isElecting).map(nameOf);
}

function usesLeaderElection(pod: V1Pod): boolean | undefined {
  const setting = podSetting(pod, "leaderElection");
  if (!setting.isKnown) return undefined;
  const parsed = switchValue(setting.value ?? "false");
  return parsed.ok ? parsed.value : undefined;
}
