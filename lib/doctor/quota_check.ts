/**
 * Whether the namespace's quotas leave room for one more session.
 * @module
 */
import type { V1ResourceQuota } from "@kubernetes/client-node";
import type { Config } from "../cli/options.ts";
import { parseQuantity } from "../common/quantities.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type Finding, Findings } from "./finding.ts";
import { type Demand, demandOf } from "./quota_demand.ts";
import { trialObjects, trialTemplate } from "./trial_session.ts";

/** Amounts are fractions of two kinds, which a sum may miss by this. */
const ROUNDING = 1e-6;
const findings = new Findings("quota");

/** One finding for each quota of the namespace. */
export async function checkQuota(view: ClusterView, config: Config): Promise<Finding[]> {
  const { namespace } = view;
  if (!await view.may({ verb: "list", resource: "resourcequotas" })) {
    const why = `the agent may not read quotas: kubectl -n ${namespace} describe resourcequota`;
    return [findings.skip("What the namespace's quotas leave is not known", why)];
  }
  const quotas = await view.list<V1ResourceQuota>(`/api/v1/namespaces/${namespace}/resourcequotas`);
  if (quotas.length === 0) return [findings.ok(`Namespace ${namespace} has no quota`)];
  const template = trialTemplate(config);
  if (template === undefined) {
    return [
      findings.skip("Whether the namespace's quotas leave room is not known", "no template can be used"),
    ];
  }
  const demand = demandOf(trialObjects(template, config));
  return quotas.map((quota) => judgeQuota(quota, demand));
}

function judgeQuota({ metadata, spec, status }: V1ResourceQuota, demand: Demand): Finding {
  const { name } = metadata ?? {};
  if (spec?.scopes || spec?.scopeSelector) {
    return findings.skip(
      `Whether quota ${name} leaves room is not known`,
      "it counts only what its scopes select",
    );
  }
  const amounts = Object.entries(status?.hard ?? {}).flatMap(([resource, hard]) => {
    const more = demand.get(resource);
    const taken = status?.used?.[resource] ?? "0";
    const [most, now] = [parseQuantity(hard), parseQuantity(taken)];
    if (more === undefined || most === undefined || now === undefined) return [];
    return [{ words: `${resource} ${taken} of ${hard}`, isShort: now + more > most + ROUNDING }];
  });
  const short = amounts.filter(({ isShort }) => isShort);
  const words = (of: typeof amounts) => of.map((one) => one.words).join(", ");
  if (short.length > 0) {
    const message = `Quota ${name} leaves no room for one more session: ${words(short)}`;
    return findings.fail(message, "raise it, or stop sessions");
  }
  return amounts.length > 0
    ? findings.ok(`Quota ${name} leaves room for one more session: ${words(amounts)}`)
    : findings.ok(`Quota ${name} counts nothing of a session`);
}
