/**
 * The objects of a session: plain values go in, Kubernetes manifests come out. Pure; nothing of a payload reaches a manifest
 * except through the typed fields of {@linkcode SessionSpec}.
 * @module
 */
import type {
  V1Container,
  V1Deployment,
  V1EnvVar,
  V1PersistentVolumeClaim,
  V1PodSpec,
  V1Service,
  V1Toleration,
} from "@kubernetes/client-node";
import {
  AGENT_LABEL,
  APP,
  APP_LABEL,
  COMMAND_ANNOTATION,
  homeClaimName,
  labelValue,
  MANAGED_BY,
  MANAGED_BY_LABEL,
  SESSION_LABEL,
  shortHash,
  SPEC_HASH_ANNOTATION,
  TEMPLATE_LABEL,
  USER_ANNOTATION,
  USER_LABEL,
} from "./names.ts";
import type { StartRequest } from "./requests.ts";
import type { Template } from "./template.ts";

/** What the operator decides about all sessions. */
export interface SessionSettings {
  readonly agentId: string;
  readonly namespace: string;
  /** Empty: the cluster's default class. */
  readonly storageClass: string;
  /** Size of a new home volume, a Kubernetes quantity. */
  readonly storageSize: string;
  readonly imagePullPolicy: "Always" | "IfNotPresent" | "Never";
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly tolerations: readonly V1Toleration[];
}

/** All that a session's objects are made from. */
export interface SessionSpec {
  readonly request: StartRequest;
  readonly template: Template;
  readonly settings: SessionSettings;
  /** Id of the command that starts the session. */
  readonly commandId: string;
}

/** The objects of one session. */
export interface SessionManifests {
  readonly deployment: V1Deployment;
  readonly service: V1Service;
  /** The home volume, where the session has one. */
  readonly claim: V1PersistentVolumeClaim | undefined;
}

const CONTAINER = "session";
/** Name of the port on which the desktop is served. */
export const DISPLAY_PORT = "vnc";
const HOME_VOLUME = "home";
const HOME_PATH = "/config";

/** Builds all objects of a session. */
export async function buildManifests(spec: SessionSpec): Promise<SessionManifests> {
  const { request, settings } = spec;
  const labels = await sessionLabels(spec);
  const selector = { [APP_LABEL]: APP, [SESSION_LABEL]: request.sessionId };
  const annotations = { [USER_ANNOTATION]: request.user };
  const metadata = { name: request.sessionId, namespace: settings.namespace, labels, annotations };
  const podSpec = buildPodSpec(spec);
  return {
    claim: request.persistentHome
      ? buildClaim(settings, { ...metadata, name: homeClaimName(request.sessionId) })
      : undefined,
    deployment: {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: {
        ...metadata,
        annotations: {
          ...annotations,
          [SPEC_HASH_ANNOTATION]: await specHash(request),
          [COMMAND_ANNOTATION]: spec.commandId,
        },
      },
      spec: {
        replicas: 1,
        selector: { matchLabels: selector },
        // A home volume can be mounted by one pod at a time: the old one goes before the new one comes.
        strategy: { type: "Recreate" },
        template: { metadata: { labels, annotations }, spec: podSpec },
      },
    },
    service: {
      apiVersion: "v1",
      kind: "Service",
      metadata: { ...metadata, annotations: { ...annotations, [COMMAND_ANNOTATION]: spec.commandId } },
      spec: {
        selector,
        ports: [{ name: DISPLAY_PORT, port: spec.template.port, targetPort: DISPLAY_PORT, protocol: "TCP" }],
      },
    },
  };
}

/** A hash of what was asked for: two starts of one session with the same hash are the same start. */
export function specHash(request: StartRequest): Promise<string> {
  const { user, template, persistentHome, memory, cpu } = request;
  return shortHash(JSON.stringify([user, template, persistentHome, memory, cpu]));
}

async function sessionLabels(spec: SessionSpec): Promise<Record<string, string>> {
  const { request, settings } = spec;
  return {
    [APP_LABEL]: APP,
    [SESSION_LABEL]: request.sessionId,
    [USER_LABEL]: await labelValue(request.user),
    [TEMPLATE_LABEL]: await labelValue(request.template),
    [AGENT_LABEL]: await labelValue(settings.agentId),
    [MANAGED_BY_LABEL]: MANAGED_BY,
  };
}

function buildClaim(
  settings: SessionSettings,
  metadata: NonNullable<V1PersistentVolumeClaim["metadata"]>,
): V1PersistentVolumeClaim {
  return {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata,
    spec: {
      accessModes: ["ReadWriteOnce"],
      ...(settings.storageClass === "" ? {} : { storageClassName: settings.storageClass }),
      resources: { requests: { storage: settings.storageSize } },
    },
  };
}

function buildPodSpec({ request, template, settings }: Omit<SessionSpec, "commandId">): V1PodSpec {
  const claimName = homeClaimName(request.sessionId);
  return {
    // A session runs a user's programs: it gets neither a key to the API nor the addresses of its neighbours.
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    containers: [buildContainer({ request, template, settings })],
    nodeSelector: { ...settings.nodeSelector },
    tolerations: [...settings.tolerations],
    ...(request.persistentHome
      ? { volumes: [{ name: HOME_VOLUME, persistentVolumeClaim: { claimName } }] }
      : {}),
  };
}

function buildContainer({ request, template, settings }: Omit<SessionSpec, "commandId">): V1Container {
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
    ...(request.persistentHome ? { volumeMounts: [{ name: HOME_VOLUME, mountPath: HOME_PATH }] } : {}),
  };
}

function environment(request: StartRequest): V1EnvVar[] {
  return [
    { name: "PUID", value: "1000" },
    { name: "PGID", value: "1000" },
    { name: "TZ", value: "UTC" },
    // Kubernetes would replace "$(NAME)" in a value, and reads "$$" as "$": the user's name is text.
    { name: "USER", value: request.user.replaceAll("$", "$$$$") },
    { name: "SESSION_ID", value: request.sessionId },
  ];
}
