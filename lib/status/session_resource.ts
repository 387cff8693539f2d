/**
 * A session as an object of the kind Session (k8s/crds/sessions.yaml): its Kubernetes objects and what was told of it go in, spec and status
 * come out. Pure. Everything in the spec is read from the Deployment, so that any process writes the same.
 * @module
 */
import type { V1Deployment, V1OwnerReference, V1Pod } from "@kubernetes/client-node";
import type { SessionState, SessionStatus } from "../control_plane/protocol.ts";
import { asRecord } from "../common/json.ts";
import { CUSTOM_API } from "../kubernetes/custom_collection.ts";
import { mountedClaim } from "../kubernetes/objects.ts";
import {
  AGENT_LABEL,
  APP_LABEL,
  IDLE_TIMEOUT_ANNOTATION,
  MANAGED_BY_LABEL,
  MAX_DURATION_ANNOTATION,
  SESSION_ANNOTATION,
  SESSION_LABEL,
  TEMPLATE_ANNOTATION,
  TEMPLATE_LABEL,
  USER_ANNOTATION,
  USER_LABEL,
} from "../model/names.ts";
import { currentPod, hasEnded } from "./readiness.ts";
import { displayPort, podFields } from "./status.ts";

/** What the Control Plane asked for. */
export interface SessionResourceSpec {
  readonly sessionId: string;
  readonly user: string;
  readonly template: string;
  readonly persistentHome: boolean;
  readonly resources: Readonly<Record<string, string>>;
  readonly state: "running" | "hibernated";
  readonly idleTimeout?: string;
  readonly maxSessionDuration?: string;
}

/** One thing that is so or is not. Source: Kubernetes' API conventions, "Typical status properties" */
export interface Condition {
  readonly type: "Ready" | "Hibernated";
  readonly status: "True" | "False";
  readonly observedGeneration: number;
  /** RFC 3339; when the status changed last. */
  readonly lastTransitionTime: string;
  readonly reason: string;
  readonly message: string;
}

/** What came of it. */
export interface SessionResourceStatus {
  readonly state: SessionState;
  readonly podName: string;
  readonly podIP: string;
  readonly nodeName: string;
  readonly vncPort: number;
  readonly message: string;
  readonly observedGeneration: number;
  readonly conditions: readonly Condition[];
}

/** An object of the kind Session, without its status. */
export interface SessionResource {
  readonly apiVersion: typeof CUSTOM_API;
  readonly kind: "Session";
  readonly metadata: {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
    readonly ownerReferences: [V1OwnerReference];
  };
  readonly spec: SessionResourceSpec;
}

const LABELS = [APP_LABEL, SESSION_LABEL, USER_LABEL, TEMPLATE_LABEL, AGENT_LABEL, MANAGED_BY_LABEL];
/** A word that Kubernetes takes as a condition's reason. */
const REASON = /^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/;
const MESSAGE_LENGTH = 1024;

/** Words for the conditions of a session of which nothing else was said. */
const REASONS: Readonly<Record<SessionState, string>> = {
  pending: "Starting",
  running: "PodReady",
  hibernated: "Hibernated",
  terminated: "Terminated",
  failed: "Failed",
};

/** The object for a session; it is its Deployment's, so that it goes with it. */
export function sessionResource(sessionId: string, deployment: V1Deployment): SessionResource {
  const { name = "", uid = "", labels = {}, annotations = {} } = deployment.metadata ?? {};
  return {
    apiVersion: CUSTOM_API,
    kind: "Session",
    metadata: {
      name,
      labels: Object.fromEntries(Object.entries(labels).filter(([label]) => LABELS.includes(label))),
      annotations: { [SESSION_ANNOTATION]: sessionId },
      ownerReferences: [{ apiVersion: "apps/v1", kind: "Deployment", name, uid }],
    },
    spec: {
      sessionId,
      // The Go agent's sessions have labels alone.
      user: annotations[USER_ANNOTATION] ?? labels[USER_LABEL] ?? "",
      template: annotations[TEMPLATE_ANNOTATION] ?? labels[TEMPLATE_LABEL] ?? "",
      persistentHome: mountedClaim(deployment) !== undefined,
      resources: amounts(deployment),
      state: wantedState(deployment),
      ...optional("idleTimeout", annotations[IDLE_TIMEOUT_ANNOTATION]),
      ...optional("maxSessionDuration", annotations[MAX_DURATION_ANNOTATION]),
    },
  };
}

/** What a status is made for. */
export interface StatusContext {
  /** What was told of the session last. */
  readonly told: SessionStatus;
  /** Generation of the object's spec. */
  readonly generation: number;
  /** The conditions that the object has by now, which keep their times; untrusted. */
  readonly conditions: unknown;
  readonly now: Date;
}

/** The status for a session. */
export function sessionResourceStatus(
  objects: { readonly deployment: V1Deployment; readonly pods: readonly V1Pod[] },
  context: StatusContext,
): SessionResourceStatus {
  const { told, generation } = context;
  const { deployment, pods } = objects;
  const pod = told.state === "hibernated" ? undefined : podOf(pods, told);
  return {
    state: told.state,
    ...(pod ? podFields(pod) : { podName: "", podIP: "", nodeName: "" }),
    vncPort: displayPort(deployment.spec?.template ?? {}),
    message: toldMessage(told),
    observedGeneration: generation,
    conditions: untimedConditions(told, wantedState(deployment)).map((one) => condition(one, context)),
  };
}

/** A condition before it has a time. */
type UntimedCondition = Pick<Condition, "type" | "status" | "reason" | "message">;

function untimedConditions(told: SessionStatus, wanted: SessionResourceSpec["state"]): UntimedCondition[] {
  const { state, platformMetadata: { reason = "" } } = told;
  const words = { reason: REASON.test(reason) ? reason : REASONS[state], message: toldMessage(told) };
  if (state === "hibernated") {
    return [{ type: "Ready", status: "False", ...words }, { type: "Hibernated", status: "True", ...words }];
  }
  // Its pod may still serve, but not for long.
  if (wanted === "hibernated") {
    const hibernating = { status: "False", reason: "Hibernating", message: "" } as const;
    return [{ type: "Ready", ...hibernating }, { type: "Hibernated", ...hibernating }];
  }
  return [
    { type: "Ready", status: state === "running" ? "True" : "False", ...words },
    { type: "Hibernated", status: "False", reason: "Awake", message: "" },
  ];
}

function condition(untimed: UntimedCondition, { generation, conditions, now }: StatusContext): Condition {
  const earlier = (Array.isArray(conditions) ? conditions : [])
    .map((one) => asRecord(one))
    .find((one) => one?.type === untimed.type && one.status === untimed.status)?.lastTransitionTime;
  // Kubernetes writes whole seconds.
  const lastTransitionTime = typeof earlier === "string"
    ? earlier
    : now.toISOString().replace(/\.\d+Z$/, "Z");
  return { ...untimed, observedGeneration: generation, lastTransitionTime };
}

function toldMessage({ platformMetadata }: SessionStatus): string {
  return (platformMetadata.message ?? "").slice(0, MESSAGE_LENGTH);
}

/** The pod that was told, or else the one that may come to be told. */
function podOf(pods: readonly V1Pod[], { platformMetadata }: SessionStatus): V1Pod | undefined {
  const told = pods.find((pod) => pod.metadata?.name === platformMetadata.podName && !hasEnded(pod));
  return told ?? currentPod(pods);
}

function wantedState(deployment: V1Deployment): "running" | "hibernated" {
  return deployment.spec?.replicas === 0 ? "hibernated" : "running";
}

/** A session's container has its requests as limits, too. */
function amounts(deployment: V1Deployment): Record<string, string> {
  const requests = deployment.spec?.template.spec?.containers[0]?.resources?.requests ?? {};
  return Object.fromEntries(Object.entries(requests).filter(([name]) => name === "cpu" || name === "memory"));
}

function optional<K extends string>(key: K, value: string | undefined): Partial<Record<K, string>> {
  return value === undefined ? {} : { [key]: value } as Record<K, string>;
}
