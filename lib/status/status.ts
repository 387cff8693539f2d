/**
 * Builds the status messages of sessions. Pure.
 * @module
 */
import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import type { SessionState, SessionStatus } from "../control_plane/protocol.ts";
import { DISPLAY_PORT_ANNOTATION } from "../model/names.ts";
import { DEFAULT_PORT, DISPLAY_PORT } from "../model/template.ts";

/** Why a session has its state, as in a Kubernetes condition. */
export interface StatusDetail {
  /** A reason of the table of causes, `MaxDuration` or `IdleTimeout`; empty if only progress is reported. */
  readonly reason: string;
  /** One line for people. */
  readonly message: string;
}

/** What a status is built from, as far as it exists. */
export interface StatusSource {
  /** The ready pod. */
  readonly pod?: V1Pod | undefined;
  /** Source of the display port if there is no pod. */
  readonly deployment?: V1Deployment | undefined;
  readonly detail?: StatusDetail | undefined;
}

/** The complete status of a session: the Control Plane clears every field that a status leaves out. */
export function statusOf(sessionId: string, state: SessionState, source: StatusSource = {}): SessionStatus {
  const { pod, deployment, detail } = source;
  const podOrTemplate = pod ?? deployment?.spec?.template;
  return {
    sessionId,
    state,
    vncReady: state === "running",
    vncPort: podOrTemplate ? displayPort(podOrTemplate) : DEFAULT_PORT,
    platformMetadata: {
      ...(pod ? podFields(pod) : { podName: "", podIP: "", nodeName: "" }),
      ...(detail?.reason ? { reason: detail.reason } : {}),
      ...(detail ? { message: detail.message } : {}),
    },
  };
}

/** The name, address and node of a pod; empty where they are not known yet. */
export function podFields(pod: V1Pod): { podName: string; podIP: string; nodeName: string } {
  return {
    podName: pod.metadata?.name ?? "",
    podIP: pod.status?.podIP ?? "",
    nodeName: pod.spec?.nodeName ?? "",
  };
}

/** The port of a pod's desktop. Pods of the Go agent and of earlier versions have no annotation, but name the port. */
export function displayPort(pod: Pick<V1Pod, "metadata" | "spec">): number {
  const annotated = Number(pod.metadata?.annotations?.[DISPLAY_PORT_ANNOTATION]);
  if (Number.isInteger(annotated) && annotated > 0) return annotated;
  const ports = pod.spec?.containers.flatMap((container) => container.ports ?? []) ?? [];
  return ports.find((port) => port.name === DISPLAY_PORT)?.containerPort ?? DEFAULT_PORT;
}
