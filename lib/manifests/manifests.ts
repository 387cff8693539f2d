/**
 * The objects of a session: plain values go in, Kubernetes manifests come out. Pure; nothing of a payload reaches a manifest
 * except through the typed fields of {@linkcode SessionSpec}.
 * @module
 */
import type {
  V1Deployment,
  V1NetworkPolicy,
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
import { buildPolicy, type IngressSettings } from "./network_policy.ts";
import { buildPodSpec, type PodPlan, type PodSettings } from "./pod.ts";
import type { StartRequest } from "../model/requests.ts";
import type { Settings } from "../model/settings.ts";

/** The settings of all session objects. */
export type SessionSettings =
  & HomeSettings
  & IngressSettings
  & PodSettings
  & Pick<Settings, "agentId" | "namespace">;

/** All that a session's objects are made from. */
export interface SessionSpec extends PodPlan {
  readonly settings: SessionSettings;
  /** Id of the command that starts the session. */
  readonly commandId: string;
  readonly startedAt: Date;
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
  const ports = template.ports.map(({ name, containerPort: port, protocol }) => ({ name, port, protocol }));
  const deployment = buildDeployment(spec, { metadata, selector });
  return {
    claim: home && buildClaim(home, metadata),
    policy: buildPolicy(settings, deployment),
    deployment,
    service: {
      apiVersion: "v1",
      kind: "Service",
      metadata: { ...metadata, annotations: { ...annotations, [COMMAND_ANNOTATION]: spec.commandId } },
      spec: { selector, ports: ports.map((port) => ({ ...port, targetPort: port.name })) },
    },
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
      selector: { matchLabels: selector },
      // A home volume can be mounted by one pod at a time: the old one goes before the new one comes.
      strategy: { type: "Recreate" },
      template: {
        metadata: { labels, annotations: { ...annotations, [DISPLAY_PORT_ANNOTATION]: displayPort } },
        spec: buildPodSpec(spec),
      },
    },
  };
}

/**
 * A hash of what was asked for: two starts of one session with the same hash are the same start. A start without more than the first agents
 * knew has the hash that they gave it.
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
