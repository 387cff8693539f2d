/**
 * A session's state as the Control Plane is told it. Pure.
 * @module
 */
import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import type { SessionState, SessionStatus } from "../control_plane/protocol.ts";
import { DISPLAY_PORT_ANNOTATION } from "../model/names.ts";
import { DEFAULT_PORT, DISPLAY_PORT } from "../model/template.ts";

/** What there is to say of a session beside its state. */
export interface Note {
  /** A stable word of the table of causes; empty for mere progress. */
  readonly reason: string;
  /** One line for people. */
  readonly message: string;
}

/** What a status is made from, as far as it is there. */
export interface StatusSource {
  /** The pod that serves. */
  readonly pod?: V1Pod | undefined;
  /** Tells the display port of a session without a pod. */
  readonly deployment?: V1Deployment | undefined;
  readonly note?: Note | undefined;
}

/** The whole record of a session: what a status leaves out, the Control Plane forgets. */
export function statusOf(sessionId: string, state: SessionState, source: StatusSource = {}): SessionStatus {
  const { pod, deployment, note } = source;
  const model = pod ?? deployment?.spec?.template;
  return {
    sessionId,
    state,
    vncReady: state === "running",
    vncPort: model ? displayPort(model) : DEFAULT_PORT,
    platformMetadata: {
      ...(pod ? podFields(pod) : { podName: "", podIP: "", nodeName: "" }),
      ...(note?.reason ? { reason: note.reason } : {}),
      ...(note ? { message: note.message } : {}),
    },
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
export function displayPort(pod: Pick<V1Pod, "metadata" | "spec">): number {
  const annotated = Number(pod.metadata?.annotations?.[DISPLAY_PORT_ANNOTATION]);
  if (Number.isInteger(annotated) && annotated > 0) return annotated;
  const ports = pod.spec?.containers.flatMap((container) => container.ports ?? []) ?? [];
  return ports.find((port) => port.name === DISPLAY_PORT)?.containerPort ?? DEFAULT_PORT;
}
