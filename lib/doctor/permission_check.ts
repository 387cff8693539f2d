/**
 * Which of its rights the agent lacks, by an access review each.
 * @module
 */
import type { Config } from "../cli/options.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type Finding, Findings } from "./finding.ts";
import { type Permission, PERMISSIONS } from "./permissions.ts";

const ADVICE = "apply k8s/rbac.yaml in it, and let the agent run as the account that it names";

/** One finding for each resource with which something may not be done, or one for all. */
export async function checkPermissions(view: ClusterView, config: Config): Promise<Finding[]> {
  const needed = PERMISSIONS.filter(({ isSpare }) => !isSpare?.(config));
  const missing = await Promise.all(needed.map((permission) => missingVerbs(view, permission)));
  const findings = new Findings("permissions");
  const place = `in namespace ${view.namespace}`;
  if (missing.every((verbs, i) => verbs.length === needed[i]?.verbs.length)) {
    return [findings.fail(`The agent may do nothing of what it needs ${place}`, ADVICE)];
  }
  const lacks = needed.flatMap((permission, i) => {
    const verbs = missing[i] ?? [];
    if (verbs.length === 0) return [];
    const message = `The agent may not ${verbs.join(", ")} ${rightName(permission)} ${place}`;
    const advice = `${ADVICE}; without this, ${permission.loss}`;
    return [permission.isOptional ? findings.warn(message, advice) : findings.fail(message, advice)];
  });
  const count = needed.reduce((sum, { verbs }) => sum + verbs.length, 0);
  return lacks.length > 0 ? lacks : [findings.ok(`The agent has all ${count} rights that it needs ${place}`)];
}

async function missingVerbs(view: ClusterView, permission: Permission): Promise<string[]> {
  const { group, resource, name, verbs } = permission;
  const allowed = await Promise.all(verbs.map((verb) => view.may({ verb, group, resource, name })));
  return verbs.filter((_, i) => !allowed[i]);
}

function rightName({ group, resource, name }: Permission): string {
  return `${group === "" ? resource : `${resource}.${group}`}${name === "" ? "" : ` ${name}`}`;
}
