/**
 * A session's state as the Control Plane is told it. Pure.
 * @module
 */
import type { V1Pod } from "@kubernetes/client-node";
import type { SessionState, SessionStatus } from "../control_plane/protocol.ts";
import { DISPLAY_PORT_ANNOTATION } from "./names.ts";
import { DEFAULT_PORT, DISPLAY_PORT } from "./template.ts";

/** The whole record of a session: what a status leaves out, the Control Plane forgets. */
export function statusOf(sessionId: string, state: SessionState, pod?: V1Pod): SessionStatus {
  return {
    sessionId,
    state,
    vncReady: state === "running",
    vncPort: pod ? displayPort(pod) : DEFAULT_PORT,
    platformMetadata: pod ? podFields(pod) : { podName: "", podIP: "", nodeName: "" },
  };
}

/** Where a pod is. */
export function podFields(pod: V1Pod): { podName: string; podIP: string; nodeName: string } {
  return {
    podName: pod.metadata?.name ?? "",
    podIP: pod.status?.podIP ?? "",
    nodeName: pod.spec?.nodeName ?? "",
  };
}

/** The port on which a pod serves its desktop; one that does not say so is of an earlier agent, or of the Go agent. */
export function displayPort(pod: V1Pod): number {
  const annotated = Number(pod.metadata?.annotations?.[DISPLAY_PORT_ANNOTATION]);
  if (Number.isInteger(annotated) && annotated > 0) return annotated;
  const ports = pod.spec?.containers.flatMap((container) => container.ports ?? []) ?? [];
  return ports.find((port) => port.name === DISPLAY_PORT)?.containerPort ?? DEFAULT_PORT;
}
