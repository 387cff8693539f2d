/**
 * Decides whether a session is ready, still starting or failing, from its Kubernetes objects. Pure; the caller measures how long a problem
 * lasts.
 * @module
 */
import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import { conditionOf, isAlive, timeOf } from "../kubernetes/objects.ts";
import { SCALE_UP_EXTENSION_MS } from "../model/timings.ts";
import type { SessionObjects } from "../kubernetes/session_cache.ts";
import { CAUSES, type Problem, problem, rejectionCause } from "./causes.ts";
import { cleanMessage } from "./cluster_messages.ts";
import { containerProblem, probeProblem, recoveringCrash } from "./container_diagnosis.ts";
import {
  imageBeingPulled,
  isScalingUp,
  nodeProblem,
  podDisruption,
  podProgress,
  type PodView,
  podView,
  schedulingProblem,
  slowProvisioning,
} from "./pod_diagnosis.ts";

/** The readiness of a session that should run. */
export type SessionReadiness =
  | { readonly state: "ready"; readonly pod: V1Pod }
  /** `progress` is the current step, such as `pulling image "x:1"`; `extensionMs` is the time that a start gets from now on, if more is left. */
  | { readonly state: "starting"; readonly progress: string; readonly extensionMs?: number }
  /** A start fails once the problem has lasted for `graceMs`, or at its deadline if that is Infinity. `progress` is what to report until then. */
  | {
    readonly state: "failing";
    readonly problem: Problem;
    readonly graceMs: number;
    readonly progress: string;
  };

/** So many failed pods within this time, in milliseconds, are not a temporary failure. */
const REJECTED_PODS = 3;
const REJECTED_WITHIN_MS = 60_000;

/** The readiness of a session that is not ready. */
export type Unready = Exclude<SessionReadiness, { state: "ready" }>;

/** Checks a session that should run. */
export function checkReadiness(objects: SessionObjects): SessionReadiness {
  const { deployment, pods } = objects;
  if (!isAlive(deployment)) return failing(problem("DeploymentDeleted", {}));
  const replicas = deployment.spec?.replicas ?? 1;
  if (replicas !== 1) return failing(problem("ReplicasChanged", { replicas: replicaCount(replicas) }));
  const pod = currentPod(pods);
  if (pod && isReady(pod)) return { state: "ready", pod };
  const view = pod && podView(pod, objects);
  const readiness = view ? checkPod(view) : checkMissingPod(deployment, pods);
  if (readiness.state === "failing" || (view && imageBeingPulled(view) !== undefined)) return readiness;
  const rejected = rejectedPods(pods, pod);
  if (rejected) return failing(rejected);
  const { progress, extensionMs } = readiness;
  if (extensionMs !== undefined || !isStalled(deployment)) return readiness;
  return { ...failing(problem("NoProgress", { details: `still ${progress}` })), progress };
}

/** Whether a pod is ready. */
export function isReady(pod: V1Pod): boolean {
  return conditionOf(pod, "Ready")?.status === "True";
}

/** The newest pod that is not being deleted; after a wake, the previous pod may still terminate. */
export function currentPod(pods: readonly V1Pod[]): V1Pod | undefined {
  return newestFirst(pods.filter((pod) => isAlive(pod) && !hasEnded(pod)))[0];
}

/** Whether all containers of a pod have terminated, as those of an evicted pod: it holds no resources. */
export function hasEnded(pod: V1Pod): boolean {
  return pod.status?.phase === "Failed" || pod.status?.phase === "Succeeded";
}

/**
 * The pods that may hold a volume. A pod that is being deleted reports its end before the kubelet unmounts its volumes.
 * Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kubelet.go, SyncTerminatingPod and SyncTerminatedPod
 */
export function podsHoldingVolumes(pods: readonly V1Pod[]): V1Pod[] {
  return pods.filter((pod) => !hasEnded(pod) || !isAlive(pod));
}

/** Whether a session is scaled to zero and its volume is released: the Deployment's controller has seen the change, and no pod is left. */
export function isHibernated({ deployment, pods }: SessionObjects): boolean {
  const { generation = 0 } = deployment?.metadata ?? {};
  const { observedGeneration = 0, replicas = 0 } = deployment?.status ?? {};
  const isObserved = deployment?.spec?.replicas === 0 && observedGeneration >= generation;
  return isObserved && replicas === 0 && podsHoldingVolumes(pods).length === 0;
}

function checkPod(view: PodView): Unready {
  const { pod, events } = view;
  const lasting = schedulingProblem(view) ?? containerProblem(pod, events) ?? nodeProblem(view);
  // While a node pulls again, the pod's status still has the previous failure.
  const isPullRetried = lasting?.reason === "ImagePull" && imageBeingPulled(view) !== undefined;
  if (lasting && !isPullRetried) return failing(lasting);
  const progress = podProgress(view);
  if (isScalingUp(view)) return { state: "starting", progress, extensionMs: SCALE_UP_EXTENSION_MS };
  const passing = lasting ?? slowProvisioning(view) ?? recoveringCrash(pod, events) ??
    probeProblem(pod, events);
  return passing ? { ...failing(passing), graceMs: Infinity, progress } : { state: "starting", progress };
}

/** Why there is no pod that could become ready. */
function checkMissingPod(deployment: V1Deployment, pods: readonly V1Pod[]): Unready {
  const condition = creationFailure(deployment);
  if (condition) {
    const details = cleanMessage(condition.message ?? condition.reason ?? "");
    return failing(problem(rejectionCause(details), { details }));
  }
  return { state: "starting", progress: missingPodProgress(deployment, pods) };
}

function missingPodProgress(deployment: V1Deployment, pods: readonly V1Pod[]): string {
  if (pods.length > 0) return "waiting for its previous pod to terminate";
  return deployment.spec?.paused
    ? "waiting for its Deployment to be resumed, which somebody paused"
    : "waiting for its pod to be created";
}

/** The condition that says why the pod, or its ReplicaSet, cannot be created. */
function creationFailure(deployment: V1Deployment) {
  const progressing = conditionOf(deployment, "Progressing");
  if (progressing?.reason === "ReplicaSetCreateError") return progressing;
  const failure = conditionOf(deployment, "ReplicaFailure");
  return failure?.status === "True" ? failure : undefined;
}

/** Why pods fail instead of becoming ready: the last one has no replacement, or several failed within a short time. */
function rejectedPods(pods: readonly V1Pod[], current: V1Pod | undefined): Problem | undefined {
  const newest = Math.max(0, ...pods.map(createdAt));
  const failed = newestFirst(pods.filter(({ status }) => status?.phase === "Failed" && status.reason));
  const recent = failed.filter((pod) => createdAt(pod) >= newest - REJECTED_WITHIN_MS);
  const [last] = failed;
  return last && (!current || recent.length >= REJECTED_PODS) ? podDisruption(last) : undefined;
}

/** Whether the Deployment exceeded its progress deadline. Its own message names only its ReplicaSet. */
function isStalled(deployment: V1Deployment): boolean {
  return conditionOf(deployment, "Progressing")?.reason === "ProgressDeadlineExceeded";
}

function failing(problem: Problem): Extract<SessionReadiness, { state: "failing" }> {
  return { state: "failing", problem, graceMs: CAUSES[problem.reason].graceMs, progress: problem.message };
}

function replicaCount(replicas: number): string {
  return replicas === 0 ? "no replicas" : `${replicas} replicas`;
}

function newestFirst(pods: readonly V1Pod[]): V1Pod[] {
  return pods.toSorted((a, b) => createdAt(b) - createdAt(a));
}

function createdAt(pod: V1Pod): number {
  return timeOf(pod.metadata?.creationTimestamp);
}
