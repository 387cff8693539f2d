/**
 * Builds the fields of a Session object that are the agent's. Pure. The spec comes from the Deployment alone, so that every process writes the
 * same; the status comes from the last reported status and the pods. The kind is this agent's (k8s/crds/sessions.yaml) or the Control Plane's,
 * which has other fields besides.
 * @module
 */
import type { KubernetesObject, V1Deployment, V1OwnerReference, V1Pod } from "@kubernetes/client-node";
import type { SessionState, SessionStatus } from "../control_plane/protocol.ts";
import { asRecord } from "../common/json.ts";
import { CUSTOM_API } from "../kubernetes/custom_collection.ts";
import { mountedClaim } from "../kubernetes/objects.ts";
import {
  AGENT_LABEL,
  APP_LABEL,
  DESIRED_STATE_ANNOTATION,
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

/** The desired state. */
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

/** A condition. Source: Kubernetes API conventions, "Typical status properties" */
export interface Condition {
  readonly type: "Ready" | "Hibernated";
  readonly status: "True" | "False";
  readonly observedGeneration: number;
  /** When `status` last changed, RFC 3339. */
  readonly lastTransitionTime: string;
  readonly reason: string;
  readonly message: string;
}

/** The observed state. */
export interface SessionResourceStatus {
  readonly state: SessionState;
  /** The state as the Control Plane's kind spells it. */
  readonly phase: string;
  readonly podName: string;
  readonly podIP: string;
  readonly nodeName: string;
  readonly vncPort: number;
  readonly message: string;
  /** Absent if no stream was ever opened, as is the next one. */
  readonly viewers?: number;
  readonly lastActivity?: string;
  readonly observedGeneration: number;
  readonly conditions: readonly Condition[];
}

/** A Session object without its status. */
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
/** The pattern that Kubernetes requires of a condition's reason. */
const CONDITION_REASON = /^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/;
const MAX_MESSAGE_LENGTH = 1024;

/** Condition reasons for statuses without a reason. */
const DEFAULT_REASONS: Readonly<Record<SessionState, string>> = {
  pending: "Starting",
  running: "PodReady",
  hibernated: "Hibernated",
  terminated: "Terminated",
  failed: "Failed",
};

/** The Session object for a Deployment, which owns it: Kubernetes deletes both together. */
export function sessionResource(sessionId: string, deployment: V1Deployment): SessionResource {
  const { name = "", uid = "", labels = {}, annotations = {} } = deployment.metadata ?? {};
  return {
    apiVersion: CUSTOM_API,
    kind: "Session",
    metadata: {
      name,
      labels: Object.fromEntries(Object.entries(labels).filter(([label]) => LABELS.includes(label))),
      annotations: { [SESSION_ANNOTATION]: sessionId, [DESIRED_STATE_ANNOTATION]: desiredState(deployment) },
      ownerReferences: [{ apiVersion: "apps/v1", kind: "Deployment", name, uid }],
    },
    spec: {
      sessionId,
      // Sessions of the Go agent have labels only.
      user: annotations[USER_ANNOTATION] ?? labels[USER_LABEL] ?? "",
      template: annotations[TEMPLATE_ANNOTATION] ?? labels[TEMPLATE_LABEL] ?? "",
      persistentHome: mountedClaim(deployment) !== undefined,
      resources: requestedResources(deployment),
      state: desiredState(deployment),
      ...optional("idleTimeout", annotations[IDLE_TIMEOUT_ANNOTATION]),
      ...optional("maxSessionDuration", annotations[MAX_DURATION_ANNOTATION]),
    },
  };
}

/** What a status is built for. */
export interface StatusContext {
  /** The status of the session that was last reported to the Control Plane. */
  readonly lastReported: SessionStatus;
  /** Generation of the object's spec. */
  readonly generation: number;
  /** The object's current conditions, whose transition times are kept; untrusted. */
  readonly conditions: unknown;
  readonly now: Date;
}

/** The status of a Session object. */
export function sessionResourceStatus(
  { deployment, pods }: { readonly deployment: V1Deployment; readonly pods: readonly V1Pod[] },
  context: StatusContext,
): SessionResourceStatus {
  const { lastReported, generation } = context;
  const pod = lastReported.state === "hibernated" ? undefined : reportedPod(pods, lastReported);
  const { state, viewers, lastActivity } = lastReported;
  return {
    state,
    phase: `${state.charAt(0).toUpperCase()}${state.slice(1)}`,
    ...(pod ? podFields(pod) : { podName: "", podIP: "", nodeName: "" }),
    vncPort: displayPort(deployment.spec?.template ?? {}),
    message: messageOf(lastReported),
    ...(lastActivity === undefined ? {} : { viewers, lastActivity: withoutFraction(lastActivity) }),
    observedGeneration: generation,
    conditions: conditionsOf(lastReported, desiredState(deployment)).map((one) => complete(one, context)),
  };
}

/** The state that somebody else requested by changing the spec of a Session object since the agent wrote it; untrusted. */
export function requestedState(object: KubernetesObject, deployment: V1Deployment): unknown {
  const written = object.metadata?.annotations?.[DESIRED_STATE_ANNOTATION];
  const state = asRecord((object as { spec?: unknown }).spec)?.state;
  return written === desiredState(deployment) && state !== written ? state : undefined;
}

/** A condition without the fields that depend on the object. */
type PartialCondition = Pick<Condition, "type" | "status" | "reason" | "message">;

function conditionsOf(status: SessionStatus, desired: SessionResourceSpec["state"]): PartialCondition[] {
  const { state, platformMetadata: { reason = "" } } = status;
  const why = {
    reason: CONDITION_REASON.test(reason) ? reason : DEFAULT_REASONS[state],
    message: messageOf(status),
  };
  if (state === "hibernated") {
    return [{ type: "Ready", status: "False", ...why }, { type: "Hibernated", status: "True", ...why }];
  }
  // The pod may still be ready, but it is about to be deleted.
  if (desired === "hibernated") {
    const hibernating = { status: "False", reason: "Hibernating", message: "" } as const;
    return [{ type: "Ready", ...hibernating }, { type: "Hibernated", ...hibernating }];
  }
  return [
    { type: "Ready", status: state === "running" ? "True" : "False", ...why },
    { type: "Hibernated", status: "False", reason: "Awake", message: "" },
  ];
}

function complete(
  condition: PartialCondition,
  { generation, conditions, now }: StatusContext,
): Condition {
  const current = (Array.isArray(conditions) ? conditions : [])
    .map((one) => asRecord(one))
    .find((one) => one?.type === condition.type && one.status === condition.status);
  const since = current?.lastTransitionTime;
  const lastTransitionTime = typeof since === "string" ? since : withoutFraction(now.toISOString());
  return { ...condition, observedGeneration: generation, lastTransitionTime };
}

/** Kubernetes writes times without fractions of a second. */
function withoutFraction(time: string): string {
  return time.replace(/\.\d+Z$/, "Z");
}

function messageOf({ platformMetadata }: SessionStatus): string {
  return (platformMetadata.message ?? "").slice(0, MAX_MESSAGE_LENGTH);
}

/** The pod of the last reported status while it runs, otherwise the current one. */
function reportedPod(pods: readonly V1Pod[], { platformMetadata }: SessionStatus): V1Pod | undefined {
  const { podName } = platformMetadata;
  return pods.find((pod) => pod.metadata?.name === podName && !hasEnded(pod)) ?? currentPod(pods);
}

function desiredState(deployment: V1Deployment): "running" | "hibernated" {
  return deployment.spec?.replicas === 0 ? "hibernated" : "running";
}

/** The requests of a session's container, which are also its limits. */
function requestedResources(deployment: V1Deployment): Record<string, string> {
  const requests = deployment.spec?.template.spec?.containers[0]?.resources?.requests ?? {};
  return Object.fromEntries(Object.entries(requests).filter(([name]) => name === "cpu" || name === "memory"));
}

function optional<K extends string>(key: K, value: string | undefined): Partial<Record<K, string>> {
  return value === undefined ? {} : { [key]: value } as Record<K, string>;
}
