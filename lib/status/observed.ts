/**
 * What a session's objects amount to, beside what was told of it last. Pure.
 * @module
 */
import type { SessionStatus } from "../control_plane/protocol.ts";
import type { SessionObjects } from "../kubernetes/session_cache.ts";
import type { Trouble } from "./causes.ts";
import { restartTrouble } from "./container_diagnosis.ts";
import { isAsleepByMaxDuration, maxDurationNote } from "./max_duration.ts";
import { disruption, viewOf } from "./pod_diagnosis.ts";
import { isAsleep, judge } from "./readiness.ts";
import { type Note, statusOf } from "./status.ts";

/** What is seen, and what was before. */
export interface Observation {
  readonly objects: SessionObjects;
  /** What was told last. */
  readonly told: SessionStatus | undefined;
  /** Why the pod that was told last is gone, or goes. */
  readonly loss: Trouble | undefined;
}

/**
 * A session's state, or nothing while its objects are on their way out: "terminated" ends a session for the Control Plane, so it is true only
 * when nothing is left that a stop would have to remove, and "hibernated" when its volume is free to move.
 */
export function observedStatus(sessionId: string, observation: Observation): SessionStatus | undefined {
  const { objects, told, loss } = observation;
  const { deployment, service, pods } = objects;
  if (deployment?.metadata?.deletionTimestamp || (!deployment && pods.length > 0)) return undefined;
  if (!deployment && !service) return statusOf(sessionId, "terminated");
  if (deployment?.spec?.replicas === 0) {
    if (!isAsleep(objects)) return undefined;
    const note = isAsleepByMaxDuration(deployment) ? maxDurationNote(deployment) : undefined;
    return statusOf(sessionId, "hibernated", { deployment, note });
  }
  const verdict = judge(objects);
  if (verdict.state === "ready") {
    const { pod } = verdict;
    const isTheSame = told?.platformMetadata.podName === pod.metadata?.name;
    const trouble = isTheSame ? restartTrouble(pod, viewOf(pod, objects).events) : loss;
    return statusOf(sessionId, "running", { pod, note: noteOf(trouble) });
  }
  // A trouble of its own comes before the one that led to it.
  const note = noteOf(verdict.state === "trouble" ? verdict : loss);
  return statusOf(sessionId, deployment ? "pending" : "failed", { deployment, note });
}

/** What became of the pod that was told as running, which explains why there is another, or none. */
export function lossOf({ pods }: SessionObjects, told: SessionStatus | undefined): Trouble | undefined {
  if (told?.state !== "running") return undefined;
  const former = pods.find((pod) => pod.metadata?.name === told.platformMetadata.podName);
  return former && disruption(former);
}

/** Whether there is nothing new to tell; a state without a reason says nothing new about one that was told with its reason. */
export function isSame(seen: SessionStatus, told: SessionStatus): boolean {
  const { podName, reason = told.platformMetadata.reason } = seen.platformMetadata;
  return seen.state === told.state && podName === told.platformMetadata.podName &&
    reason === told.platformMetadata.reason;
}

function noteOf(trouble: Trouble | undefined): Note | undefined {
  return trouble && { reason: trouble.reason, message: trouble.words };
}
