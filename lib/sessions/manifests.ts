/**
 * The objects of a session: plain values go in, Kubernetes manifests come out. Pure; nothing of a payload reaches a manifest
 * except through the typed fields of {@linkcode SessionSpec}.
 * @module
 */
import type {
  V1Container,
  V1Deployment,
  V1EnvVar,
  V1NetworkPolicy,
  V1NodeAffinity,
  V1PersistentVolumeClaim,
  V1PodSpec,
  V1Service,
  V1Toleration,
} from "@kubernetes/client-node";
import { buildClaim, type Home, type HomeSettings } from "./home.ts";
import {
  AGENT_LABEL,
  APP,
  APP_LABEL,
  COMMAND_ANNOTATION,
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
} from "./names.ts";
import { buildPolicy, type IngressSettings } from "./network_policy.ts";
import type { StartRequest } from "./requests.ts";
import type { Template } from "./template.ts";

/** What the operator decides about all sessions. */
export interface SessionSettings extends HomeSettings, IngressSettings {
  readonly agentId: string;
  readonly namespace: string;
  readonly imagePullPolicy: "Always" | "IfNotPresent" | "Never";
  readonly imagePullSecrets: readonly string[];
  readonly sessionSecurity: "baseline" | "restricted";
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly nodeAffinity: V1NodeAffinity;
  readonly tolerations: readonly V1Toleration[];
  /** Empty: the cluster's default. */
  readonly runtimeClass: string;
  /** Empty: the cluster's default. */
  readonly priorityClass: string;
  /** Kubernetes quantities by resource; both request and limit. */
  readonly extendedResources: Readonly<Record<string, string>>;
}

/** All that a session's objects are made from. */
export interface SessionSpec {
  readonly request: StartRequest;
  readonly template: Template;
  readonly settings: SessionSettings;
  /** Id of the command that starts the session. */
  readonly commandId: string;
  readonly startedAt: Date;
  /** The home volume, where the session has one. */
  readonly home: Home | undefined;
}

/** The objects of one session. */
export interface SessionManifests {
  readonly deployment: V1Deployment;
  readonly service: V1Service;
  /** The home volume, where the session has one. */
  readonly claim: V1PersistentVolumeClaim | undefined;
  /** Who may reach the session, where that is bounded. */
  readonly policy: V1NetworkPolicy | undefined;
}

const CONTAINER = "session";
/** Name of the port on which the desktop is served. */
export const DISPLAY_PORT = "vnc";
const HOME_VOLUME = "home";
const HOME_PATH = "/config";

/** Builds all objects of a session. */
export function buildManifests(spec: SessionSpec): SessionManifests {
  const { request, settings, template, home } = spec;
  const name = sessionName(request.sessionId);
  const selector = { [APP_LABEL]: APP, [SESSION_LABEL]: name };
  const labels = { ...commonLabels(spec), ...selector, [TEMPLATE_LABEL]: labelValue(request.template) };
  const annotations = {
    [SESSION_ANNOTATION]: request.sessionId,
    [USER_ANNOTATION]: request.user,
    [TEMPLATE_ANNOTATION]: request.template,
  };
  const metadata = { name, namespace: settings.namespace, labels, annotations };
  return {
    claim: home && buildClaim(home, metadata),
    policy: buildPolicy(settings, { metadata, selector, ports: [{ port: template.port, protocol: "TCP" }] }),
    deployment: {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: {
        ...metadata,
        annotations: {
          ...annotations,
          [SPEC_HASH_ANNOTATION]: specHash(request),
          [COMMAND_ANNOTATION]: spec.commandId,
          ...runAnnotations(spec),
        },
      },
      spec: {
        replicas: 1,
        selector: { matchLabels: selector },
        // A home volume can be mounted by one pod at a time: the old one goes before the new one comes.
        strategy: { type: "Recreate" },
        template: { metadata: { labels, annotations }, spec: buildPodSpec(spec) },
      },
    },
    service: {
      apiVersion: "v1",
      kind: "Service",
      metadata: { ...metadata, annotations: { ...annotations, [COMMAND_ANNOTATION]: spec.commandId } },
      spec: {
        selector,
        ports: [{ name: DISPLAY_PORT, port: template.port, targetPort: DISPLAY_PORT, protocol: "TCP" }],
      },
    },
  };
}

/** A hash of what was asked for: two starts of one session with the same hash are the same start. */
export function specHash(request: StartRequest): string {
  const { user, template, persistentHome, memory, cpu } = request;
  return shortHash(JSON.stringify([user, template, persistentHome, memory, cpu]));
}

/** How long the session may run and be idle, and since when it runs; an operator can change them while it does. */
function runAnnotations({ request, startedAt }: SessionSpec): Record<string, string> {
  const { maxSessionDurationMs: longestMs, idleTimeoutMs: idleMs } = request;
  return {
    [RUNNING_SINCE_ANNOTATION]: startedAt.toISOString(),
    ...(longestMs === undefined ? {} : { [MAX_DURATION_ANNOTATION]: `${longestMs / 1000}s` }),
    ...(idleMs === undefined ? {} : { [IDLE_TIMEOUT_ANNOTATION]: `${idleMs / 1000}s` }),
  };
}

function commonLabels(
  { request, settings }: Pick<SessionSpec, "request" | "settings">,
): Record<string, string> {
  return {
    [APP_LABEL]: APP,
    [USER_LABEL]: labelValue(request.user),
    [AGENT_LABEL]: labelValue(settings.agentId),
    [MANAGED_BY_LABEL]: MANAGED_BY,
  };
}

function buildPodSpec({ request, template, settings, home }: SessionSpec): V1PodSpec {
  return {
    // A session runs a user's programs: it gets neither a key to the API nor the addresses of its neighbours.
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    containers: [buildContainer({ request, template, settings, home })],
    nodeSelector: { ...settings.nodeSelector },
    tolerations: [...settings.tolerations],
    ...(home
      ? { volumes: [{ name: HOME_VOLUME, persistentVolumeClaim: { claimName: home.claimName } }] }
      : {}),
  };
}

function buildContainer(
  { request, template, settings, home }: Omit<SessionSpec, "commandId" | "startedAt">,
): V1Container {
  const amounts = { cpu: request.cpu, memory: request.memory };
  return {
    name: CONTAINER,
    image: template.image,
    imagePullPolicy: settings.imagePullPolicy,
    env: environment(request),
    ports: [{ name: DISPLAY_PORT, containerPort: template.port, protocol: "TCP" }],
    // Ready means that the desktop answers, not that the container runs.
    readinessProbe: { tcpSocket: { port: DISPLAY_PORT }, periodSeconds: 1, failureThreshold: 3 },
    resources: { requests: amounts, limits: amounts },
    ...(home ? { volumeMounts: [{ name: HOME_VOLUME, mountPath: HOME_PATH }] } : {}),
  };
}

function environment(request: StartRequest): V1EnvVar[] {
  return [
    { name: "PUID", value: "1000" },
    { name: "PGID", value: "1000" },
    { name: "TZ", value: "UTC" },
    { name: "USER", value: verbatim(request.user) },
    { name: "SESSION_ID", value: verbatim(request.sessionId) },
  ];
}

/** Kubernetes would replace "$(NAME)" in a value, and reads "$$" as "$". */
function verbatim(text: string): string {
  return text.replaceAll("$", "$$$$");
}
