/**
 * A session's state as the Control Plane is told it. Pure.
 * @module
 */
import type { V1Pod } from "@kubernetes/client-node";
import type { SessionState, SessionStatus } from "../control_plane/protocol.ts";
import { DISPLAY_PORT } from "./manifests.ts";
import { DEFAULT_PORT } from "./template.ts";

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

/** The port on which a pod serves its desktop. */
export function displayPort(pod: V1Pod): number {
  const ports = pod.spec?.containers.flatMap((container) => container.ports ?? []) ?? [];
  return ports.find((port) => port.name === DISPLAY_PORT)?.containerPort ?? DEFAULT_PORT;
}
