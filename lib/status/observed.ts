/**
 * The status of a session as its Kubernetes objects show it, and whether it differs from the last reported one. Pure.
 * @module
 */
import type { V1Pod } from "@kubernetes/client-node";
import type { SessionStatus } from "../control_plane/protocol.ts";
import { isAlive, mountedClaim } from "../kubernetes/objects.ts";
import type { SessionObjects } from "../kubernetes/session_cache.ts";
import { type Problem, problem } from "./causes.ts";
import { restartProblem } from "./container_diagnosis.ts";
import { causeOfHibernation, endDetail } from "./end_of_run.ts";
import { podDisruption, podView } from "./pod_diagnosis.ts";
import { checkReadiness, currentPod, isHibernated, isReady } from "./readiness.ts";
import { statusOf } from "./status.ts";

/** What a user can do after the loss of a home volume. */
export const NEW_HOME_ADVICE = "stop the session and start it again, which creates an empty home volume";
export const LOST_HOME_ADVICE = "restore the PersistentVolumeClaim with this name, or " + NEW_HOME_ADVICE;

/** A session's objects and what is known from before. */
export interface Observation {
  readonly objects: SessionObjects;
  readonly lastReported: SessionStatus | undefined;
  /** Why the last reported pod is gone or being removed. */
  readonly disruption: Problem | undefined;
}

/**
 * The status of a session; `undefined` while its objects are being deleted or scaled to zero. The Control Plane takes "terminated" as final and
 * "hibernated" as a volume that can be attached elsewhere, so neither is reported early.
 */
export function observedStatus(
  sessionId: string,
  { objects, lastReported, disruption }: Observation,
): SessionStatus | undefined {
  const { deployment, service, pods } = objects;
  if (deployment?.metadata?.deletionTimestamp) return undefined;
  // A pod that is not being deleted was left by a deletion without dependents.
  if (!deployment && pods.length > 0 && currentPod(pods) === undefined) return undefined;
  if (!deployment && !service && pods.length === 0) return statusOf(sessionId, "terminated");
  if (deployment?.spec?.replicas === 0) {
    if (!isHibernated(objects)) return undefined;
    const cause = causeOfHibernation(deployment);
    const detail = homeProblem(objects) ?? (cause && endDetail(deployment, cause));
    return statusOf(sessionId, "hibernated", { deployment, detail });
  }
  const readiness = checkReadiness(objects);
  const lastPod = lastReported?.platformMetadata.podName;
  const lastReadyPod = pods.find((pod) => pod.metadata?.name === lastPod && isAlive(pod) && isReady(pod));
  if (readiness.state === "ready") {
    // Of two replicas, the first one stays the reported one when the number is corrected.
    const pod = lastReadyPod ?? readiness.pod;
    const isSamePod = lastPod === pod.metadata?.name;
    if (!isServed(objects, pod)) {
      return statusOf(sessionId, "pending", { deployment, detail: problem("ServiceMissing", {}) });
    }
    const restart = isSamePod ? restartProblem(pod, podView(pod, objects).events) : disruption;
    return statusOf(sessionId, "running", { pod, detail: restart ?? homeProblem(objects) });
  }
  // A second replica is a problem, but the session runs: the first pod still serves it.
  if (lastReadyPod && readiness.state === "failing" && readiness.problem.reason === "ReplicasChanged") {
    return statusOf(sessionId, "running", { pod: lastReadyPod, detail: readiness.problem });
  }
  // A current problem is more useful than the disruption that led to it.
  const detail = readiness.state === "failing" ? readiness.problem : disruption;
  return statusOf(sessionId, deployment ? "pending" : "failed", { deployment, detail });
}

/** Whether the Service of a session leads to its pod. */
function isServed({ service }: SessionObjects, { metadata }: V1Pod): boolean {
  if (!isAlive(service)) return false;
  const selector = Object.entries(service.spec?.selector ?? {});
  return selector.length > 0 && selector.every(([key, value]) => metadata?.labels?.[key] === value);
}

/** A session whose home volume was deleted cannot wake; until its pod ends, Kubernetes keeps the volume. */
function homeProblem({ deployment, claim }: SessionObjects): Problem | undefined {
  const name = mountedClaim(deployment);
  if (name === undefined || isAlive(claim)) return undefined;
  const isRunning = deployment?.spec?.replicas !== 0;
  const details = claim && isRunning
    ? "it is being deleted, and its files are lost when the session's pod ends"
    : `it was deleted; ${LOST_HOME_ADVICE}`;
  return problem("VolumeGone", { volume: JSON.stringify(name), details });
}

/** Why the pod that was last reported as running is gone or being removed: it explains the replacement pod, or that there is none. */
export function disruptionOf(
  { pods }: SessionObjects,
  lastReported: SessionStatus | undefined,
): Problem | undefined {
  if (lastReported?.state !== "running") return undefined;
  const pod = pods.find(({ metadata }) => metadata?.name === lastReported.platformMetadata.podName);
  return pod && podDisruption(pod);
}

/** Whether a status adds nothing to the last reported one. A status without a reason does not replace one with a reason. */
export function isSameStatus(status: SessionStatus, lastReported: SessionStatus): boolean {
  const { podName, reason = lastReported.platformMetadata.reason } = status.platformMetadata;
  return status.state === lastReported.state && podName === lastReported.platformMetadata.podName &&
    reason === lastReported.platformMetadata.reason;
}
