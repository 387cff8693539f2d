/**
 * Builds the Kubernetes objects of a session. Nothing of a payload reaches an object except through the typed fields of
 * {@linkcode SessionSpec}. Pure.
 * @module
 */
import type {
  V1Deployment,
  V1NetworkPolicy,
  V1NetworkPolicyPeer,
  V1ObjectMeta,
  V1PersistentVolumeClaim,
  V1Service,
} from "@kubernetes/client-node";
import { DEFAULT_CPU, DEFAULT_MEMORY } from "../templates/resources.ts";
import { buildClaim, type HomeSettings } from "./home.ts";
import {
  AGENT_LABEL,
  APP,
  APP_LABEL,
  COMMAND_ANNOTATION,
  DISPLAY_PORT_ANNOTATION,
  IDLE_TIMEOUT_ANNOTATION,
  labelValue,
  MANAGED_BY,
  MANAGED_BY_LABEL,
  MAX_DURATION_ANNOTATION,
  RUNNING_SINCE_ANNOTATION,
  SESSION_ANNOTATION,
  SESSION_LABEL,
  sessionName,
  shortHash,
  SPEC_HASH_ANNOTATION,
  TEMPLATE_ANNOTATION,
  TEMPLATE_LABEL,
  USER_ANNOTATION,
  USER_LABEL,
} from "../model/names.ts";
import { buildService, originalAnnotations } from "./restoration.ts";
import { buildPodSpec, type PodPlan, type PodSettings } from "./pod.ts";
import type { StartRequest } from "../model/requests.ts";
import { dialMode, type Settings } from "../model/settings.ts";
import { SCALE_UP_EXTENSION_MS } from "../model/timings.ts";

/** https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#progress-deadline-seconds */
const DEFAULT_PROGRESS_DEADLINE_SECONDS = 600;
/** Time for the requests of a start before its timeout begins. */
const PROGRESS_MARGIN_MS = 60_000;
/** Kubernetes sets this label on every namespace. https://kubernetes.io/docs/reference/labels-annotations-taints/ */
const NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name";

/** Labels of the agent's pods in k8s/deployment.yaml. */
const AGENT_PODS = { component: "k8s-agent" };

/** The settings of network policies. */
export type IngressSettings = Pick<Settings, "ingressNamespaces" | "streamDial" | "kubeconfig">;

/** The settings of all session objects. */
export type SessionSettings =
  & HomeSettings
  & IngressSettings
  & PodSettings
  & Pick<Settings, "agentId" | "namespace" | "startTimeout">;

/** Everything that the objects of a session are built from. */
export interface SessionSpec extends PodPlan {
  readonly settings: SessionSettings;
  /** ID of the command that starts the session. */
  readonly commandId: string;
  readonly startedAt: Date;
}

/** The objects of one session. */
export interface SessionManifests {
  readonly deployment: V1Deployment;
  readonly service: V1Service;
  /** The home volume, if the session has one. */
  readonly claim: V1PersistentVolumeClaim | undefined;
  /** Restricts ingress to the session, if the operator configured it. */
  readonly policy: V1NetworkPolicy | undefined;
}

/** Builds all objects of a session. */
export function buildManifests(spec: SessionSpec): SessionManifests {
  const { request, settings, homeVolume } = spec;
  const name = sessionName(request.sessionId);
  const selector = { [APP_LABEL]: APP, [SESSION_LABEL]: name };
  const labels = {
    ...selector,
    [USER_LABEL]: labelValue(request.user),
    [AGENT_LABEL]: labelValue(settings.agentId),
    [MANAGED_BY_LABEL]: MANAGED_BY,
    [TEMPLATE_LABEL]: labelValue(request.template),
  };
  const annotations = {
    [SESSION_ANNOTATION]: request.sessionId,
    [USER_ANNOTATION]: request.user,
    [TEMPLATE_ANNOTATION]: request.template,
  };
  const metadata = { name, namespace: settings.namespace, labels, annotations };
  const deployment = buildDeployment(spec, { metadata, selector });
  return {
    claim: homeVolume && buildClaim(homeVolume, metadata),
    policy: buildPolicy(settings, deployment),
    deployment,
    service: buildService(deployment),
  };
}

function buildDeployment(
  spec: SessionSpec,
  { metadata, selector }: { metadata: V1ObjectMeta; selector: Record<string, string> },
): V1Deployment {
  const { labels = {}, annotations } = metadata;
  const displayPort = String(spec.template.vnc.port);
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: {
      ...metadata,
      annotations: {
        ...annotations,
        [SPEC_HASH_ANNOTATION]: specHash(spec.request),
        [COMMAND_ANNOTATION]: spec.commandId,
        ...runAnnotations(spec),
      },
    },
    spec: {
      replicas: 1,
      progressDeadlineSeconds: progressDeadlineSeconds(spec.settings),
      selector: { matchLabels: selector },
      // Only one pod at a time can mount the home volume, so the old pod is removed before the new one is created.
      strategy: { type: "Recreate" },
      template: {
        metadata: { labels, annotations: { ...annotations, [DISPLAY_PORT_ANNOTATION]: displayPort } },
        spec: buildPodSpec(spec),
      },
    },
  };
}

/** The Deployment's own deadline must not end a start, even one that waits for a new node at the end of its timeout. */
function progressDeadlineSeconds({ startTimeout }: Pick<Settings, "startTimeout">): number {
  const longestStartMs = startTimeout + SCALE_UP_EXTENSION_MS + PROGRESS_MARGIN_MS;
  return Math.max(DEFAULT_PROGRESS_DEADLINE_SECONDS, Math.ceil(longestStartMs / 1000));
}

/**
 * Hashes a start request: two requests for one session with the same hash are the same start. A request without the fields that were added
 * later has the same hash as in the first version.
 */
export function specHash(request: StartRequest): string {
  const { user, template, persistentHome, memory = DEFAULT_MEMORY, cpu = DEFAULT_CPU } = request;
  const { templateManifest, env, idleTimeoutMs, maxSessionDurationMs } = request;
  const more = { templateManifest, env, idleTimeoutMs, maxSessionDurationMs };
  const isMore = Object.values(more).some((value) => value !== undefined);
  return shortHash(
    JSON.stringify([user, template, persistentHome, memory, cpu, ...(isMore ? [more] : [])]),
  );
}

/** The maximum duration, idle timeout and start time of a session; operators may edit these annotations while it runs. */
function runAnnotations({ request, startedAt }: SessionSpec): Record<string, string> {
  const { maxSessionDurationMs: longestMs, idleTimeoutMs: idleMs } = request;
  return {
    [RUNNING_SINCE_ANNOTATION]: startedAt.toISOString(),
    ...(longestMs === undefined ? {} : { [MAX_DURATION_ANNOTATION]: `${longestMs / 1000}s` }),
    ...(idleMs === undefined ? {} : { [IDLE_TIMEOUT_ANNOTATION]: `${idleMs / 1000}s` }),
  };
}

/**
 * Builds a policy that allows ingress from these namespaces, and from agents that connect directly, to the ports of a session; `undefined` without
 * namespaces.
 */
export function buildPolicy(
  settings: IngressSettings,
  deployment: V1Deployment,
): V1NetworkPolicy | undefined {
  const { ingressNamespaces } = settings;
  const { metadata: { name, namespace, labels } = {}, spec } = deployment;
  if (ingressNamespaces.length === 0) return undefined;
  const ports = spec?.template.spec?.containers.flatMap(({ ports = [] }) => ports) ?? [];
  const from: V1NetworkPolicyPeer[] = [
    ...ingressNamespaces.map((name) => ({
      namespaceSelector: { matchLabels: { [NAMESPACE_NAME_LABEL]: name } },
    })),
    ...(dialMode(settings) === "direct" ? [{ podSelector: { matchLabels: AGENT_PODS } }] : []),
  ];
  // The type of client-node calls `from` `_from`.
  const rule = {
    from,
    ports: ports.map(({ containerPort: port, protocol = "TCP" }) => ({ port, protocol })),
  };
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace, labels, annotations: originalAnnotations(deployment) },
    spec: {
      podSelector: { matchLabels: spec?.selector.matchLabels ?? {} },
      policyTypes: ["Ingress"],
      ingress: [rule],
    },
  };
}
