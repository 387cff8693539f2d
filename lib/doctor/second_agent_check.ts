/**
 * Whether a second agent has this one's id without being its replica: two such close each other's link again and again.
 * @module
 */
import type { V1Lease, V1Pod } from "@kubernetes/client-node";
import type { Config } from "../options.ts";
import { hasEnded } from "../diagnosis/readiness.ts";
import { nameOf } from "../kubernetes/objects.ts";
import { leaseName } from "../manifests/names.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type Finding, Findings } from "./finding.ts";

/** A leader renews every 2 s; one that has not for so long is gone, even if clocks differ a little. */
const GONE_MS = 60_000;
const ADVICE =
  "give each agent an --agent-id (AGENT_ID) of its own, or all of them --leader-election (LEADER_ELECTION)";
const findings = new Findings("second-agent");

/** The finding of `second-agent`, as far as the namespace tells. */
export async function checkSecondAgent(view: ClusterView, config: Config): Promise<Finding[]> {
  const { agentId, leaderElection } = config;
  const leader = await leaderOf(view, agentId);
  const pods = await podsOf(view, agentId);
  if (!pods) {
    return [findings.skip("Whether a second agent runs is not known", "the agent may not list pods")];
  }
  const lonely = pods.filter((pod) => variable(pod, "LEADER_ELECTION") !== "true").map(nameOf);
  if (lonely.length > 1) {
    const message = `${lonely.length} agents of id ${agentId} run without leader election: pods ${
      lonely.join(", ")
    }`;
    return [findings.fail(message, ADVICE)];
  }
  if (leader !== undefined && (lonely.length > 0 || !leaderElection)) {
    const other = lonely[0] === undefined ? "this one is to run" : `pod ${lonely[0]} runs`;
    return [
      findings.fail(`${leader} leads as agent ${agentId}, and ${other} without leader election`, ADVICE),
    ];
  }
  if (leader !== undefined) return [findings.ok(`One replica of agent ${agentId} leads: ${leader}`)];
  return [findings.ok(`No second agent of id ${agentId} is seen in namespace ${view.namespace}`)];
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

/** Agents' pods that name the id; from a ConfigMap or Secret it cannot be seen. */
async function podsOf(view: ClusterView, agentId: string): Promise<readonly V1Pod[] | undefined> {
  if (!await view.may({ verb: "list", resource: "pods" })) return undefined;
  const query = new URLSearchParams({ labelSelector: "component=k8s-agent" });
  const pods = await view.list<V1Pod>(`/api/v1/namespaces/${view.namespace}/pods?${query}`);
  return pods.filter((pod) => variable(pod, "AGENT_ID") === agentId && !hasEnded(pod));
}

function variable(pod: V1Pod, name: string): string | undefined {
  const variables = pod.spec?.containers.flatMap((container) => container.env ?? []) ?? [];
  return variables.find((one) => one.name === name)?.value;
}
