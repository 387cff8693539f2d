/**
 * Checks the agent's permissions with access reviews: every permission in k8s/rbac.yaml, with which a test compares this list.
 * @module
 */
import { dialMode } from "../model/settings.ts";
import type { Config } from "../cli/options.ts";
import { ISSUED_KEYS, JOURNAL } from "../kubernetes/stores.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type Finding, Findings } from "./report.ts";

/** Verbs on one resource. */
export interface Permission {
  /** @default {""} the core group */
  readonly group?: string;
  readonly resource: string;
  /** Name of the only object to which it applies. @default {""} all objects */
  readonly name?: string;
  readonly verbs: readonly string[];
  /** What does not work without it, as the end of "without it, …". */
  readonly consequence: string;
  /** Whether an agent with these settings does not use it. @default never */
  readonly isUnused?: (config: Config) => boolean;
  /** Whether sessions run without it, with limitations. */
  readonly isOptional?: true;
}

/** All permissions. */
export const PERMISSIONS: readonly Permission[] = [
  {
    group: "apps",
    resource: "deployments",
    verbs: ["create", "get", "list", "watch", "patch", "delete"],
    consequence: "sessions cannot start, hibernate, wake or stop",
  },
  {
    resource: "services",
    verbs: ["create", "get", "list", "watch", "patch", "delete"],
    consequence: "sessions have no address",
  },
  {
    resource: "persistentvolumeclaims",
    verbs: ["create", "get", "list", "watch", "patch", "delete"],
    consequence: "sessions have no home volume, or none is deleted by --home-retention",
  },
  {
    group: "networking.k8s.io",
    resource: "networkpolicies",
    verbs: ["create", "get", "list", "watch", "delete"],
    consequence: "the network policies of sessions cannot be managed",
  },
  {
    resource: "pods",
    verbs: ["list", "watch", "delete"],
    consequence: "the agent cannot detect that a session is ready, and not delete pods without a Deployment",
  },
  {
    group: "apps",
    resource: "replicasets",
    name: "",
    verbs: ["list", "delete"],
    consequence: "a session whose Deployment was deleted without its dependents cannot be stopped",
  },
  {
    resource: "pods/portforward",
    verbs: ["get", "create"],
    consequence: "nobody can see a session; apply k8s/components/port-forward or set --stream-dial=direct",
    isUnused: (config) => dialMode(config) === "direct",
    isOptional: true,
  },
  {
    resource: "events",
    verbs: ["list", "watch"],
    consequence: "errors contain fewer details about why a session does not start",
    isOptional: true,
  },
  {
    group: "stream.space",
    resource: "templates",
    verbs: ["list", "watch"],
    consequence: "Template objects in the cluster are ignored",
    isOptional: true,
  },
  {
    group: "stream.space",
    resource: "sessions",
    verbs: ["create", "list", "watch", "patch"],
    consequence: "there are no Session objects",
    isOptional: true,
  },
  {
    group: "stream.space",
    resource: "sessions/status",
    verbs: ["patch"],
    consequence: "Session objects have no status",
    isOptional: true,
  },
  {
    resource: "configmaps",
    name: JOURNAL,
    verbs: ["get", "patch"],
    consequence: "commands can be lost when the process ends",
  },
  {
    group: "coordination.k8s.io",
    resource: "leases",
    verbs: ["create", "get", "update"],
    consequence: "no replica can become the leader",
    isUnused: (config) => !config.leaderElection,
  },
  {
    resource: "secrets",
    name: ISSUED_KEYS,
    verbs: ["get", "patch"],
    consequence: "a key that the Control Plane issues is lost when the process ends",
    isOptional: true,
  },
];

const ADVICE = "apply k8s/rbac.yaml in this namespace, and run the agent with its service account";

/** The findings of `permissions`: one for each resource with missing verbs, or one for all. */
export async function checkPermissions(view: ClusterView, config: Config): Promise<Finding[]> {
  const needed = PERMISSIONS.filter(({ isUnused }) => !isUnused?.(config));
  const missing = await Promise.all(needed.map((permission) => missingVerbs(view, permission)));
  const findings = new Findings("permissions");
  const place = `in namespace ${view.namespace}`;
  if (missing.every((verbs, i) => verbs.length === needed[i]?.verbs.length)) {
    return [findings.fail(`The agent has none of the permissions that it needs ${place}`, ADVICE)];
  }
  const problems = needed.flatMap((permission, i) => {
    const verbs = missing[i] ?? [];
    if (verbs.length === 0) return [];
    const message = `The agent may not ${verbs.join(", ")} ${targetOf(permission)} ${place}`;
    const advice = `${ADVICE}; without it, ${permission.consequence}`;
    return [permission.isOptional ? findings.warn(message, advice) : findings.fail(message, advice)];
  });
  if (problems.length > 0) return problems;
  const count = needed.reduce((sum, { verbs }) => sum + verbs.length, 0);
  return [findings.ok(`The agent has all ${count} permissions that it needs ${place}`)];
}

async function missingVerbs(view: ClusterView, permission: Permission): Promise<string[]> {
  const { verbs, ...target } = permission;
  const allowed = await Promise.all(verbs.map((verb) => view.may({ ...target, verb })));
  return verbs.filter((_, i) => !allowed[i]);
}

function targetOf({ group = "", resource, name = "" }: Permission): string {
  return `${group === "" ? resource : `${resource}.${group}`}${name === "" ? "" : ` ${name}`}`;
}
