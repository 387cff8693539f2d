/**
 * Decides which session and which agent an object belongs to. Labels decide normally. An object whose labels were edited is recognized by what
 * nobody edits by accident: the selector of a Deployment, which is immutable, and the annotation with the session's ID. Pure.
 * @module
 */
import type { KubernetesObject, V1PodSpec } from "@kubernetes/client-node";
import {
  AGENT_LABEL,
  APP,
  APP_LABEL,
  SESSION_ANNOTATION,
  SESSION_LABEL,
  sessionName,
} from "../model/names.ts";
import { nameOf } from "./objects.ts";

/** The fields of Deployments, pods, Services and NetworkPolicies that are read here. */
interface Workload extends KubernetesObject {
  readonly spec?: V1PodSpec & {
    readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> };
    readonly podSelector?: { readonly matchLabels?: Readonly<Record<string, string>> };
    readonly template?: {
      readonly metadata?: { readonly labels?: Readonly<Record<string, string>> };
      readonly spec?: V1PodSpec;
    };
  };
}

/** Whether an object has the label of all objects of sessions. */
export function isSessionObject({ metadata }: KubernetesObject): boolean {
  return metadata?.labels?.[APP_LABEL] === APP;
}

/** Label value of the agent that created an object; `undefined` for an object of the Go agent. */
export function agentOf(object: KubernetesObject): string | undefined {
  const { template } = (object as Workload).spec ?? {};
  return object.metadata?.labels?.[AGENT_LABEL] ?? template?.metadata?.labels?.[AGENT_LABEL];
}

/**
 * Session id of an object in the spelling of the Control Plane; `undefined` if its labels name no session, or a session to which it does not
 * belong: somebody changed them, and another session must not get its objects.
 */
export function sessionIdOf(object: KubernetesObject): string | undefined {
  const { labels, annotations, name } = object.metadata ?? {};
  const label = labels?.[SESSION_LABEL];
  const selected = (object as Workload).spec?.selector?.matchLabels?.[SESSION_LABEL];
  if (selected !== undefined && selected !== label) return undefined;
  const id = annotations?.[SESSION_ANNOTATION];
  if (id === undefined) return label;
  if (sessionName(id) === label) return id;
  // The annotation of an object with the session's name was changed, not its label.
  return name === label || selected === label ? label : undefined;
}

/** Whether an object belongs to a session even if its labels do not say so. */
export function isPartOf(object: KubernetesObject, sessionId: string): boolean {
  const { selector, podSelector } = (object as Workload).spec ?? {};
  const selects = (labels: Readonly<Record<string, unknown>> = {}) =>
    labels[APP_LABEL] === APP && labels[SESSION_LABEL] === sessionName(sessionId);
  if (selector?.matchLabels) return selects(selector.matchLabels);
  if (object.metadata?.annotations?.[SESSION_ANNOTATION] === sessionId) return true;
  // A Service or NetworkPolicy that lost its annotations, too.
  return nameOf(object) === sessionName(sessionId) &&
    (selects(selector) || selects(podSelector?.matchLabels));
}

/** Names of the PersistentVolumeClaims that a Deployment's pods, or a pod, mount. */
export function mountedClaims(object: KubernetesObject): string[] {
  const { spec } = object as Workload;
  const { volumes = [] } = spec?.template?.spec ?? spec ?? {};
  return volumes.flatMap(({ persistentVolumeClaim: claim }) => claim ? [claim.claimName] : []);
}

/** Kind, name and, if it is not this one, the agent of an object, such as `Deployment "s2" of agent "k8s-b"`. */
export function describe(kind: string, object: KubernetesObject): string {
  const agent = agentOf(object);
  return `${kind} "${nameOf(object)}"${agent === undefined ? "" : ` of agent "${agent}"`}`;
}
