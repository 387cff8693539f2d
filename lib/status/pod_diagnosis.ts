/**
 * What is wrong with a pod beside its containers: no node, no volume, or a node that gave it up; and what it does while nothing is. Pure.
 * @module
 */
import type { V1PersistentVolumeClaim, V1Pod } from "@kubernetes/client-node";
import { conditionOf, nameOf } from "../kubernetes/objects.ts";
import type { SessionObjects } from "../kubernetes/session_cache.ts";
import type { EventReason, SessionEvent } from "../kubernetes/event_log.ts";
import type { Trouble } from "./causes.ts";
import { sessionContainer, unfinished } from "./container_diagnosis.ts";
import { oneLine, unwrap } from "./words.ts";

/** A pod that is not ready, and what the cluster tells about it, oldest first. */
export interface PodView {
  readonly pod: V1Pod;
  readonly events: readonly SessionEvent[];
  readonly claim: V1PersistentVolumeClaim | undefined;
  /** What the cluster tells about the claim, oldest first. */
  readonly claimEvents: readonly SessionEvent[];
}

/** Autoscalers' words for a node that is on its way, and for one that is not: cluster-autoscaler, GKE and Karpenter. */
const SCALING_UP: readonly EventReason[] = ["TriggeredScaleUp", "Nominated"];
const SCALING: readonly EventReason[] = [...SCALING_UP, "NotTriggerScaleUp", "FailedScaleUp"];
/** What is told before a node has the pod. */
const SCHEDULING: readonly (EventReason | undefined)[] = [undefined, ...SCALING];
const MOUNTING: readonly EventReason[] = ["FailedAttachVolume", "FailedMount", "FailedMapVolume"];
const SETTING_UP: readonly EventReason[] = ["FailedCreatePodSandBox", "NetworkNotReady"];

/** One pod of a session, with what belongs to it. */
export function viewOf(pod: V1Pod, { claim, events }: SessionObjects): PodView {
  const about = (uid: string | undefined) => events.filter((event) => event.about === uid);
  return { pod, claim, events: about(pod.metadata?.uid), claimEvents: about(claim?.metadata?.uid) };
}

/** Whether an autoscaler brings a node for the pod. */
export function isScalingUp({ pod, events }: PodView): boolean {
  const last = events.findLast((event) => SCALING.includes(event.reason));
  return last !== undefined && SCALING_UP.includes(last.reason) && unscheduled(pod) !== undefined;
}

/** The image that a node pulls for the pod, if it does; that takes as long as it takes. */
export function pulledImage({ events }: PodView): string | undefined {
  const last = events.at(-1);
  return last?.reason === "Pulling" ? oneLine(/"([^"]*)"/.exec(last.message)?.[1] ?? "") : undefined;
}

/** Why no node runs the pod. */
export function schedulingTrouble(view: PodView): Trouble | undefined {
  if (view.pod.spec?.nodeName) return undefined;
  const condition = unscheduled(view.pod);
  const words = unwrap(condition?.message ?? condition?.reason ?? "");
  // A scheduler that has found a node says nothing while it waits for the volume.
  const volume = volumeTrouble(view, words);
  if (volume || !condition) return volume;
  if (isScalingUp(view) || isProvisioning(view)) return undefined;
  const told = (reason: EventReason) => view.events.findLast((event) => event.reason === reason);
  // After a failure, the autoscaler only tells that it waits before it tries again.
  const scaling = told("FailedScaleUp") ?? told("NotTriggerScaleUp");
  if (!scaling) return { reason: "Unschedulable", words: `no node can take its pod: ${words}` };
  const refusal = "no node can take its pod, and the cluster does not grow for it";
  return { reason: "NoScaleUp", words: `${refusal}: ${unwrap(scaling.message)}` };
}

/** What keeps a node from running the pod that was given to it. */
export function nodeTrouble({ pod, events, claim }: PodView): Trouble | undefined {
  const last = events.at(-1);
  if (isNodeLost(pod) || last?.reason === "NodeNotReady") return nodeLost(pod);
  // What runs has its network and its volumes.
  if (!last || unfinished(pod).some((one) => one.state?.running)) return undefined;
  if (SETTING_UP.includes(last.reason)) {
    return { reason: "Sandbox", words: `its pod cannot be set up: ${unwrap(last.message)}` };
  }
  if (!MOUNTING.includes(last.reason)) return undefined;
  // A node only says that it waits for the volume; why it is not attached was told before.
  const attach = events.findLast((one) => one.reason.endsWith("AttachVolume"));
  const cause = attach?.reason === "FailedAttachVolume" ? attach : last;
  const verb = cause.reason === "FailedAttachVolume" ? "attached" : "mounted";
  return {
    reason: "VolumeStuck",
    words: `volume ${volumeName(cause.message, { pod, claim })} cannot be ${verb}: ${unwrap(cause.message)}`,
  };
}

/** Why a pod is on its way out, or has ended, without anybody having asked for it. */
export function disruption(pod: V1Pod): Trouble | undefined {
  const { phase, reason, message, containerStatuses = [] } = pod.status ?? {};
  if (isNodeLost(pod)) return nodeLost(pod);
  const target = disruptionTarget(pod);
  if (target) {
    const words = unwrap(target.message ?? target.reason ?? "");
    return { reason: "Evicted", words: `its pod was evicted: ${words}` };
  }
  // A pod that somebody deletes may fail, too, and then without a reason.
  if (phase !== "Failed" || !reason) return undefined;
  const words = unwrap(message ?? reason);
  return containerStatuses.length === 0
    ? { reason: "PodRejected", words: `node ${nodeOf(pod)} rejects its pod: ${words}` }
    : { reason: "Evicted", words: `its pod was evicted: ${words}` };
}

/** What a pod that nothing is known to be wrong with does, as people read it. */
export function progressOf(view: PodView): string {
  const { pod, events, claim } = view;
  if (isScalingUp(view)) return "waiting for a node: the cluster is scaling up";
  const home = claim && pod.spec?.volumes?.some((volume) => volume.persistentVolumeClaim) && quoted(claim);
  if (home && isProvisioning(view)) return `waiting for volume ${home} to be created`;
  if (unscheduled(pod) || !pod.spec?.nodeName) return "waiting for a node";
  const gate = closedGate(pod);
  if (gate) return `waiting for a readiness gate: ${unwrap(gate.message ?? "")}`;
  if (sessionContainer(pod)?.state?.running) return "waiting for its display port to answer";
  const image = pulledImage(view);
  if (image !== undefined) return `pulling image ${JSON.stringify(image)}`;
  if (!pod.status?.containerStatuses?.length) return "waiting for its node to begin";
  const last = events.at(-1)?.reason;
  if (home && last === "SuccessfulAttachVolume") return `mounting volume ${home}`;
  return home && SCHEDULING.includes(last) ? `attaching volume ${home}` : "creating its container";
}

function volumeTrouble({ claim, claimEvents }: PodView, words: string): Trouble | undefined {
  const gone = /persistentvolumeclaim "([^"]*)" (?:is being deleted|not found)/.exec(words);
  if (gone) return { reason: "VolumeGone", words: `volume ${JSON.stringify(gone[1])} is gone: ${gone[0]}` };
  if (!claim) return undefined;
  if (claim.status?.phase === "Lost") {
    return { reason: "VolumeGone", words: `volume ${quoted(claim)} is lost` };
  }
  if (claim.status?.phase === "Bound") return undefined;
  // A provisioner that tries again tells so in between, which does not make the failure undone.
  const failure = claimEvents.findLast(({ reason }) =>
    ["ProvisioningFailed", "FailedBinding", "ProvisioningSucceeded"].includes(reason)
  );
  if (!failure || failure.reason === "ProvisioningSucceeded") return undefined;
  const isClassMissing = failure.reason === "FailedBinding" ||
    /storageclass\S* "[^"]*" not found/.test(failure.message);
  return {
    reason: isClassMissing ? "NoStorageClass" : "VolumeNotBound",
    words: `volume ${quoted(claim)} cannot be created: ${unwrap(failure.message)}`,
  };
}

/** Whether the pod waits for its volume; one that waits for its first consumer is created once a node is found. */
function isProvisioning({ pod, claim }: PodView): boolean {
  if (claim?.status?.phase !== "Pending" || pod.spec?.nodeName) return false;
  const condition = unscheduled(pod);
  return !condition || /unbound immediate PersistentVolumeClaim/.test(condition.message ?? "");
}

/**
 * A node that fell silent is seen in its pods: the cluster says in their place that they are not ready, though their containers were.
 * Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/util/node/controller_utils.go
 */
function isNodeLost(pod: V1Pod): boolean {
  if (pod.status?.reason === "NodeLost" || disruptionTarget(pod)?.reason === "DeletionByPodGC") return true;
  return conditionOf(pod, "ContainersReady")?.status === "True" &&
    conditionOf(pod, "Ready")?.status === "False" && !closedGate(pod);
}

function disruptionTarget(pod: V1Pod) {
  const condition = conditionOf(pod, "DisruptionTarget");
  return condition?.status === "True" ? condition : undefined;
}

/** What somebody other than its node, such as a load balancer's controller, has yet to say of a pod whose containers are ready. */
function closedGate(pod: V1Pod) {
  const ready = conditionOf(pod, "Ready");
  return ready?.reason === "ReadinessGatesNotReady" ? ready : undefined;
}

function nodeLost(pod: V1Pod): Trouble {
  return { reason: "NodeLost", words: `node ${nodeOf(pod)} does not answer` };
}

function nodeOf(pod: V1Pod): string {
  return JSON.stringify(pod.spec?.nodeName ?? "");
}

function unscheduled(pod: V1Pod) {
  const condition = conditionOf(pod, "PodScheduled");
  return condition?.status === "False" ? condition : undefined;
}

function quoted(claim: V1PersistentVolumeClaim): string {
  return JSON.stringify(nameOf(claim));
}

/** People know their home by its claim; the cluster speaks of the volume behind it, or of its name in the pod. */
function volumeName(message: string, { pod, claim }: Pick<PodView, "pod" | "claim">): string {
  const name = /volume "([^"]*)"/.exec(message)?.[1] ?? /unmounted volumes=\[([^\]\s]*)/.exec(message)?.[1] ??
    "";
  const own = pod.spec?.volumes?.find((volume) => volume.persistentVolumeClaim);
  const isHome = claim && (name === "" || name === claim.spec?.volumeName || name === own?.name);
  return isHome ? quoted(claim) : JSON.stringify(name);
}
