/**
 * Whether the namespace's quotas leave room.
 * @module
 */
import type { V1ResourceQuota } from "@kubernetes/client-node";
import { parseQuantity } from "../quantities.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type Finding, Findings } from "./finding.ts";

const findings = new Findings("quota");

/** One finding for each quota of the namespace. */
export async function checkQuota(view: ClusterView): Promise<Finding[]> {
  const { namespace } = view;
  if (!await view.may({ verb: "list", resource: "resourcequotas" })) {
    const why = `the agent may not read quotas: kubectl -n ${namespace} describe resourcequota`;
    return [findings.skip("What the namespace's quotas leave is not known", why)];
  }
  const quotas = await view.list<V1ResourceQuota>(`/api/v1/namespaces/${namespace}/resourcequotas`);
  if (quotas.length === 0) return [findings.ok(`Namespace ${namespace} has no quota`)];
  return quotas.map(judgeQuota);
}

function judgeQuota({ metadata, status }: V1ResourceQuota): Finding {
  const used = Object.entries(status?.hard ?? {}).map(([resource, hard]) => {
    const taken = status?.used?.[resource] ?? "0";
    const [most, now] = [parseQuantity(hard), parseQuantity(taken)];
    const isFull = most !== undefined && now !== undefined && now >= most;
    return { words: `${resource} ${taken} of ${hard}`, isFull };
  });
  const full = used.filter(({ isFull }) => isFull);
  const words = (of: typeof used) => of.map((one) => one.words).join(", ");
  return full.length > 0
    ? findings.fail(`Quota ${metadata?.name} is used up: ${words(full)}`, "raise it, or stop sessions")
    : findings.ok(`Quota ${metadata?.name} leaves room: ${words(used)}`);
}
