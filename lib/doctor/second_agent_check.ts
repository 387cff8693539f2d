/**
 * Whether a second agent has this one's id without being its replica: two such close each other's link again and again.
 * @module
 */
import type { V1Pod } from "@kubernetes/client-node";
import { nameOf } from "../kubernetes/objects.ts";
import { switchValue } from "../cli/option_parsers.ts";
import type { Config } from "../cli/options.ts";
import { settingOf } from "./agent_pod.ts";
import { agentsSeen, isOf } from "./agents_seen.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type Finding, Findings } from "./finding.ts";

const ADVICE =
  "give each agent an --agent-id (AGENT_ID) of its own, or all of them --leader-election (LEADER_ELECTION)";
const findings = new Findings("second-agent");

/** The finding of `second-agent`, as far as the namespace tells. */
export async function checkSecondAgent(view: ClusterView, config: Config): Promise<Finding[]> {
  const { agentId, leaderElection } = config;
  const { leader, pods } = await agentsSeen(view, agentId);
  if (!pods) {
    return [findings.skip("Whether a second agent runs is not known", "the agent may not list pods")];
  }
  const namesakes = pods.filter((pod) => isOf(pod, agentId));
  const lonely = namesOf(namesakes, false).filter((name) => name !== leader);
  if (lonely.length > 1) {
    const words = `${lonely.length} agents of id ${agentId} run without leader election`;
    return [findings.fail(`${words}: pods ${lonely.join(", ")}`, ADVICE)];
  }
  if (leader !== undefined) return [judgeLeader(leader, { agentId, leaderElection, lonely })];
  const unknown = namesOf(namesakes, undefined);
  if (unknown.length > 0 && namesakes.length > 1) {
    const why = `what their pods take from elsewhere is not read: ${unknown.join(", ")}`;
    return [
      findings.skip(
        `Whether the ${namesakes.length} agents of id ${agentId} elect a leader is not known`,
        why,
      ),
    ];
  }
  return [findings.ok(`No second agent of id ${agentId} is seen in namespace ${view.namespace}`)];
}

function judgeLeader(
  leader: string,
  { agentId, leaderElection, lonely }: {
    agentId: string;
    leaderElection: boolean;
    lonely: readonly string[];
  },
): Finding {
  const leads = `${leader} leads as agent ${agentId}`;
  if (lonely.length > 0) {
    return findings.fail(`${leads}, and pod ${lonely[0]} runs without leader election`, ADVICE);
  }
  return leaderElection
    ? findings.ok(`One replica of agent ${agentId} leads: ${leader}`)
    : findings.warn(`${leads}, and this one is to run without leader election`, ADVICE);
}

/** The pods that take part in an election, or do not, or of which that is not known. */
function namesOf(pods: readonly V1Pod[], isElecting: boolean | undefined): string[] {
  return pods.filter((pod) => elects(pod) === isElecting).map(nameOf);
}

function elects(pod: V1Pod): boolean | undefined {
  const setting = settingOf(pod, "leaderElection");
  if (!setting.isKnown) return undefined;
  const parsed = switchValue(setting.value ?? "false");
  return parsed.ok ? parsed.value : undefined;
}
