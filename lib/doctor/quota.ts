/**
 * Checks whether the namespace's ResourceQuotas have room for another session.
 * Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/
 * @module
 */
import type { V1Deployment, V1PersistentVolumeClaim, V1ResourceQuota } from "@kubernetes/client-node";
import type { Config } from "../cli/options.ts";
import { parseQuantity } from "../common/quantities.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type Finding, Findings } from "./report.ts";
import { type TrialObject, trialObjects, trialTemplate } from "./trial_session.ts";

/** Amounts by the names that quotas use, such as `pods`, `requests.cpu` and `count/deployments.apps`. */
export type ResourceUsage = ReadonlyMap<string, number>;

/** Tolerance for the rounding errors of sums of fractions. */
const TOLERANCE = 1e-6;
const findings = new Findings("quota");

/** The findings of `quota`: one for each ResourceQuota. */
export async function checkQuota(view: ClusterView, config: Config): Promise<Finding[]> {
  const { namespace } = view;
  if (!await view.may({ verb: "list", resource: "resourcequotas" })) {
    const reason = `the agent may not read them: kubectl -n ${namespace} describe resourcequota`;
    return [findings.skip("The namespace's quotas were not checked", reason)];
  }
  const quotas = await view.list<V1ResourceQuota>(`/api/v1/namespaces/${namespace}/resourcequotas`);
  if (quotas.length === 0) return [findings.ok(`Namespace ${namespace} has no quota`)];
  const template = trialTemplate(config);
  if (template === undefined) {
    return [findings.skip("The namespace's quotas were not checked", "no template is usable")];
  }
  const usage = usageOf(trialObjects(template, config));
  return quotas.map((quota) => checkOne(quota, usage));
}

/** The usage of a session's objects and of the pod that its Deployment creates. */
export function usageOf(objects: readonly TrialObject[]): ResourceUsage {
  const amounts = objects.flatMap(({ api, resource, object }) => [
    ...countOf(resource, /^\/apis\/([^/]+)/.exec(api)?.[1]),
    ...(resource === "deployments" ? podUsage(object as V1Deployment) : []),
    ...(resource === "persistentvolumeclaims" ? storageUsage(object as V1PersistentVolumeClaim) : []),
  ]);
  return new Map(amounts);
}

function checkOne({ metadata, spec, status }: V1ResourceQuota, usage: ResourceUsage): Finding {
  const { name } = metadata ?? {};
  if (spec?.scopes || spec?.scopeSelector) {
    return findings.skip(`Quota ${name} was not checked`, "it applies only to pods that its scopes select");
  }
  const amounts = Object.entries(status?.hard ?? {}).flatMap(([resource, hard]) => {
    const needed = usage.get(resource);
    const usedText = status?.used?.[resource] ?? "0";
    const [limit, used] = [parseQuantity(hard), parseQuantity(usedText)];
    if (needed === undefined || limit === undefined || used === undefined) return [];
    return [{ text: `${resource} ${usedText} of ${hard}`, isShort: used + needed > limit + TOLERANCE }];
  });
  const short = amounts.filter(({ isShort }) => isShort);
  const describe = (some: typeof amounts) => some.map(({ text }) => text).join(", ");
  if (short.length > 0) {
    const message = `Quota ${name} has no room for another session: ${describe(short)}`;
    return findings.fail(message, "raise the quota, or stop sessions");
  }
  return amounts.length > 0
    ? findings.ok(`Quota ${name} has room for another session: ${describe(amounts)}`)
    : findings.ok(`Quota ${name} does not apply to sessions`);
}

function countOf(resource: string, group?: string): Array<[string, number]> {
  return group ? [[`count/${resource}.${group}`, 1]] : [[resource, 1], [`count/${resource}`, 1]];
}

function podUsage({ spec }: V1Deployment): Array<[string, number]> {
  const { requests = {}, limits = {} } = spec?.template.spec?.containers[0]?.resources ?? {};
  return [
    ...countOf("pods"),
    ...countOf("replicasets", "apps"),
    ...Object.entries(requests).flatMap(([name, amount]) => [
      ...amountOf(name, amount),
      ...amountOf(`requests.${name}`, amount),
    ]),
    ...Object.entries(limits).flatMap(([name, amount]) => amountOf(`limits.${name}`, amount)),
  ];
}

function storageUsage({ spec }: V1PersistentVolumeClaim): Array<[string, number]> {
  const size = spec?.resources?.requests?.storage ?? "";
  const ofClass = `${spec?.storageClassName}.storageclass.storage.k8s.io`;
  return [
    ...amountOf("requests.storage", size),
    ...amountOf(`${ofClass}/requests.storage`, size),
    [`${ofClass}/persistentvolumeclaims`, 1],
  ];
}

function amountOf(name: string, amount: string): Array<[string, number]> {
  const parsed = parseQuantity(amount);
  return parsed === undefined ? [] : [[name, parsed]];
}
