/**
 * Every right that the agent uses, as k8s/rbac.yaml grants them; a test compares the two. Pure.
 * @module
 */
import { ISSUED_KEYS, JOURNAL } from "../kubernetes/stores.ts";
import type { Config } from "../cli/options.ts";

/** Some verbs on one resource. */
export interface Permission {
  /** Empty for the core group. */
  readonly group: string;
  readonly resource: string;
  /** The only object that it is about; empty for all. */
  readonly name: string;
  readonly verbs: readonly string[];
  /** What does not work without it, as the end of "without this …". */
  readonly loss: string;
  /** Whether an agent with these settings does without; absent: never. */
  readonly isSpare?: (config: Config) => boolean;
  /** Whether sessions run without it, in a smaller way. */
  readonly isOptional?: true;
}

/** All of them. */
export const PERMISSIONS: readonly Permission[] = [
  {
    group: "apps",
    resource: "deployments",
    name: "",
    verbs: ["create", "get", "list", "watch", "patch", "delete"],
    loss: "no session starts, hibernates, wakes or stops",
  },
  {
    group: "",
    resource: "services",
    name: "",
    verbs: ["create", "get", "list", "watch", "patch", "delete"],
    loss: "no session has an address",
  },
  {
    group: "",
    resource: "persistentvolumeclaims",
    name: "",
    verbs: ["create", "get", "list", "watch", "delete"],
    loss: "no session has a home",
  },
  {
    group: "networking.k8s.io",
    resource: "networkpolicies",
    name: "",
    verbs: ["create", "get", "list", "watch", "delete"],
    loss: "the agent does not know who may reach a session",
  },
  {
    group: "",
    resource: "pods",
    name: "",
    verbs: ["list", "watch"],
    loss: "the agent never sees that a session is ready",
  },
  {
    group: "",
    resource: "events",
    name: "",
    verbs: ["list", "watch"],
    loss: "errors say less of why a session does not start",
    isOptional: true,
  },
  {
    group: "stream.space",
    resource: "templates",
    name: "",
    verbs: ["list", "watch"],
    loss: "Template objects of the cluster are not used",
    isOptional: true,
  },
  {
    group: "stream.space",
    resource: "sessions",
    name: "",
    verbs: ["create", "list", "watch", "patch"],
    loss: "sessions are not shown as Session objects",
    isOptional: true,
  },
  {
    group: "stream.space",
    resource: "sessions/status",
    name: "",
    verbs: ["patch"],
    loss: "Session objects have no status",
    isOptional: true,
  },
  {
    group: "",
    resource: "configmaps",
    name: JOURNAL,
    verbs: ["get", "patch"],
    loss: "commands can be lost with the process",
  },
  {
    group: "coordination.k8s.io",
    resource: "leases",
    name: "",
    verbs: ["create", "get", "update"],
    loss: "no replica ever leads",
    isSpare: (config) => !config.leaderElection,
  },
  {
    group: "",
    resource: "secrets",
    name: ISSUED_KEYS,
    verbs: ["get", "patch"],
    loss: "a key that the Control Plane issues is lost with the process",
    isOptional: true,
  },
];
