/**
 * Whether a session can be used, and if not, why: Kubernetes objects in, a verdict out. Pure; the caller keeps the time.
 * @module
 */
import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import { conditionOf, isAlive, timeOf } from "../kubernetes/objects.ts";
import type { SessionObjects } from "../kubernetes/session_cache.ts";
import { CAUSES, type Trouble } from "./causes.ts";
import { containerTrouble, mishap, sessionContainer } from "./container_diagnosis.ts";
import {
  disruption,
  isScalingUp,
  nodeTrouble,
  type PodView,
  progressOf,
  pulledImage,
  schedulingTrouble,
  viewOf,
} from "./pod_diagnosis.ts";
import { refusalReason, unwrap } from "./words.ts";

/** A judgement of a session that should be running. */
export type Verdict =
  | { readonly state: "ready"; readonly pod: V1Pod }
  /** `progress` says what it does, such as `pulling image "x:1"`. */
  | { readonly state: "waiting"; readonly progress: string; readonly extensionMs?: number }
  /** A trouble that is final once it has lasted for `graceMs`; Infinity: at the deadline. Until then, `progress` is worth telling. */
  | Trouble & { readonly state: "trouble"; readonly graceMs: number; readonly progress: string };

/**
 * How long a start may take from the moment that an autoscaler brings a node for it: cloud nodes are there within one to three minutes, and
 * the image comes after that.
 */
const SCALE_UP_MS = 300_000;
/** So many pods that ended so shortly one after the other are not a mishap, in milliseconds. */
const REJECTED_PODS = 3;
const REJECTED_WITHIN_MS = 60_000;

/** Judges a session that was asked to run. */
export function judge(objects: SessionObjects): Verdict {
  const { deployment, pods } = objects;
  if (!isAlive(deployment)) {
    return verdict({ reason: "DeploymentDeleted", words: "its Deployment was deleted" });
  }
  const pod = currentPod(pods);
  if (pod && isReady(pod)) return { state: "ready", pod };
  const view = pod && viewOf(pod, objects);
  const found = view ? judgePod(view) : judgeAbsence(deployment, pods);
  if (found.state !== "waiting" || (view && pulledImage(view) !== undefined)) return found;
  const trouble = rejection(pods, pod) ?? stagnation(deployment);
  return trouble ? verdict(trouble) : found;
}

/** The newest pod that is not on its way out: after a wake, the old one may still be there. */
export function currentPod(pods: readonly V1Pod[]): V1Pod | undefined {
  return pods
    .filter((pod) => isAlive(pod) && !hasEnded(pod))
    .sort((a, b) => createdAt(b) - createdAt(a))[0];
}

/** Whether a pod has run to its end, as an evicted one has: it holds no resources any more. */
export function hasEnded(pod: V1Pod): boolean {
  return pod.status?.phase === "Failed" || pod.status?.phase === "Succeeded";
}

/**
 * The pods that may hold a volume: also those that are being deleted and have ended, as a node says that first and unmounts then.
 * Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kubelet.go, SyncTerminatingPod and SyncTerminatedPod
 */
export function holders(pods: readonly V1Pod[]): V1Pod[] {
  return pods.filter((pod) => !hasEnded(pod) || !isAlive(pod));
}

/** Whether the Deployment's controller has seen that no pod is wanted, and none is left, so that a volume is free to move. */
export function isAsleep({ deployment, pods }: SessionObjects): boolean {
  const { generation = 0 } = deployment?.metadata ?? {};
  const { observedGeneration = 0, replicas = 0 } = deployment?.status ?? {};
  const isSeen = deployment?.spec?.replicas === 0 && observedGeneration >= generation;
  return isSeen && replicas === 0 && holders(pods).length === 0;
}

/** Whether a pod serves. */
export function isReady(pod: V1Pod): boolean {
  return conditionOf(pod, "Ready")?.status === "True";
}

function judgePod(view: PodView): Verdict {
  const { pod, events } = view;
  const found = schedulingTrouble(view) ?? containerTrouble(pod, events) ?? nodeTrouble(view);
  // A node that pulls again leaves the earlier failure in the pod's status until it knows more.
  const isTriedAgain = found?.reason === "ImagePull" && pulledImage(view) !== undefined;
  if (found && !isTriedAgain) return verdict(found);
  const progress = progressOf(view);
  if (isScalingUp(view)) return { state: "waiting", progress, extensionMs: SCALE_UP_MS };
  const passing = found ?? mishap(pod, events) ?? silence(view);
  return passing ? { ...verdict(passing), graceMs: Infinity, progress } : { state: "waiting", progress };
}

/** That nothing answers yet is how every start begins. */
function silence({ pod, events }: PodView): Trouble | undefined {
  const own = sessionContainer(pod);
  const unhealthy = events.findLast((event) => event.reason === "Unhealthy");
  if (!own?.state?.running || own.ready || !unhealthy) return undefined;
  return { reason: "NotAnswering", words: `its display port does not answer: ${unwrap(unhealthy.message)}` };
}

/** Why there is no pod that could become ready. */
function judgeAbsence(deployment: V1Deployment, pods: readonly V1Pod[]): Verdict {
  const refusal = refusalOf(deployment);
  if (!refusal) {
    const progress = pods.length > 0 ? "waiting for its old pod to go" : "waiting for its pod to be created";
    return { state: "waiting", progress };
  }
  const words = unwrap(refusal.message ?? refusal.reason ?? "");
  const reason = refusalReason(words);
  const what = reason === "AdmissionDown" ? "its pod cannot be created" : "the cluster refuses its pod";
  return verdict({ reason, words: `${what}: ${words}` });
}

/** What the cluster says where it refuses the pod, or the ReplicaSet that would make it. */
function refusalOf(deployment: V1Deployment) {
  const progressing = conditionOf(deployment, "Progressing");
  if (progressing?.reason === "ReplicaSetCreateError") return progressing;
  const failure = conditionOf(deployment, "ReplicaFailure");
  return failure?.status === "True" ? failure : undefined;
}

/** Why pods end instead of serving: the last has no successor, or several followed one another. */
function rejection(pods: readonly V1Pod[], current: V1Pod | undefined): Trouble | undefined {
  const newest = Math.max(0, ...pods.map(createdAt));
  const ended = pods.filter(({ status }) => status?.phase === "Failed" && status.reason)
    .sort((a, b) => createdAt(b) - createdAt(a));
  const lately = ended.filter((pod) => createdAt(pod) >= newest - REJECTED_WITHIN_MS);
  const [last] = ended;
  return last && (!current || lately.length >= REJECTED_PODS) ? disruption(last) : undefined;
}

/** Why the Deployment gave up, where nothing else is known to be wrong. */
function stagnation(deployment: V1Deployment): Trouble | undefined {
  const condition = conditionOf(deployment, "Progressing");
  if (condition?.reason !== "ProgressDeadlineExceeded") return undefined;
  const words = unwrap(condition.message ?? condition.reason);
  return { reason: "NoProgress", words: `its Deployment makes no progress: ${words}` };
}

function verdict(found: Trouble): Extract<Verdict, { state: "trouble" }> {
  return { state: "trouble", ...found, graceMs: CAUSES[found.reason].graceMs, progress: found.words };
}

function createdAt(pod: V1Pod): number {
  return timeOf(pod.metadata?.creationTimestamp);
}
