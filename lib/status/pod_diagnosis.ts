/**
 * Detects what is wrong with a pod apart from its containers (scheduling, volumes, its node), and describes the progress of a healthy one.
 * Pure.
 * @module
 */
import type { V1PersistentVolumeClaim, V1Pod } from "@kubernetes/client-node";
import { conditionOf, nameOf } from "../kubernetes/objects.ts";
import type { SessionObjects } from "../kubernetes/session_cache.ts";
import { type EventReason, isMountSummary, type SessionEvent } from "../kubernetes/event_log.ts";
import { type Problem, problem } from "./causes.ts";
import { cleanMessage, oneLine } from "./cluster_messages.ts";
import { containerProgress, pendingContainers, sessionContainer } from "./container_diagnosis.ts";

/** A pod with its events and its volume. Events are oldest first. */
export interface PodView {
  readonly pod: V1Pod;
  readonly events: readonly SessionEvent[];
  readonly claim: V1PersistentVolumeClaim | undefined;
  readonly claimEvents: readonly SessionEvent[];
}

/** Event reasons of cluster-autoscaler, GKE and Karpenter. */
const SCALING_UP: readonly EventReason[] = ["TriggeredScaleUp", "Nominated"];
const AUTOSCALING: readonly EventReason[] = [...SCALING_UP, "NotTriggerScaleUp", "FailedScaleUp"];
/** The last event of a pod that was only scheduled so far. */
const BEFORE_ATTACH: readonly (EventReason | undefined)[] = [undefined, ...AUTOSCALING];
const MOUNT_FAILURES: readonly EventReason[] = ["FailedAttachVolume", "FailedMount", "FailedMapVolume"];
const SANDBOX_FAILURES: readonly EventReason[] = ["FailedCreatePodSandBox", "NetworkNotReady"];
const PROVISIONING: readonly EventReason[] = ["ProvisioningFailed", "FailedBinding", "ProvisioningSucceeded"];

/** One pod of a session, with what belongs to it. */
export function podView(pod: V1Pod, { claim, events }: SessionObjects): PodView {
  const eventsOf = (uid: string | undefined) => events.filter((event) => event.objectUid === uid);
  return { pod, claim, events: eventsOf(pod.metadata?.uid), claimEvents: eventsOf(claim?.metadata?.uid) };
}

/** Why the pod has no node. */
export function schedulingProblem(view: PodView): Problem | undefined {
  if (view.pod.spec?.nodeName) return undefined;
  const condition = unscheduled(view.pod);
  const details = cleanMessage(condition?.message ?? condition?.reason ?? "");
  // While a scheduler that chose a node waits for the volume, the pod has no condition.
  const volume = volumeProblem(view, details);
  if (volume) return volume;
  const gates = view.pod.spec?.schedulingGates ?? [];
  if (gates.length > 0) return problem("SchedulingGated", { gates: gateNames(gates) });
  // The condition follows the removal of the last gate.
  if (!condition || condition.reason === "SchedulingGated") return undefined;
  if (isScalingUp(view) || isProvisioning(view)) return undefined;
  const lastEvent = (reason: EventReason) => view.events.findLast((event) => event.reason === reason);
  // After a failed scale-up, NotTriggerScaleUp only says that the autoscaler backs off.
  const scaleUp = lastEvent("FailedScaleUp") ?? lastEvent("NotTriggerScaleUp");
  return scaleUp
    ? problem("NoScaleUp", { details: cleanMessage(scaleUp.message) })
    : problem("Unschedulable", { details });
}

/** Why the pod's node does not run it. */
export function nodeProblem({ pod, events, claim }: PodView): Problem | undefined {
  const last = events.at(-1);
  if (isNodeLost(pod) || last?.reason === "NodeNotReady") return nodeLost(pod);
  // A pod with a running container has its network and its volumes.
  if (!last || pendingContainers(pod).some(({ state }) => state?.running)) return undefined;
  if (SANDBOX_FAILURES.includes(last.reason)) {
    return problem("Sandbox", { details: cleanMessage(last.message) });
  }
  if (!MOUNT_FAILURES.includes(last.reason)) return undefined;
  const failure = volumeFailure(events) ?? last;
  return problem("VolumeStuck", {
    volume: volumeName(failure.message, { pod, claim }),
    attached: failure.reason === "FailedAttachVolume" ? "attached" : "mounted",
    details: cleanMessage(failure.message),
  });
}

/** FailedMount may only say that the kubelet waits for the volume; an earlier FailedAttachVolume or FailedMount says why. */
function volumeFailure(events: readonly SessionEvent[]): SessionEvent | undefined {
  const attach = events.findLast(({ reason }) => reason.endsWith("AttachVolume"));
  if (attach?.reason === "FailedAttachVolume") return attach;
  return events.findLast((event) => MOUNT_FAILURES.includes(event.reason) && !isMountSummary(event));
}

/** A volume that its external provisioner has not provisioned yet. It may be slow, so that this becomes a failure only at the timeout. */
export function slowProvisioning(view: PodView): Problem | undefined {
  const { claim } = view;
  const provisioner = claim && isProvisioning(view) && externalProvisioner(view);
  return provisioner ? problem("NotProvisioned", { volume: quotedName(claim), provisioner }) : undefined;
}

/** Why the cluster terminates the pod, or terminated it, without a request of the agent or a user. */
export function podDisruption(pod: V1Pod): Problem | undefined {
  const { phase, reason, message, containerStatuses = [] } = pod.status ?? {};
  if (isNodeLost(pod)) return nodeLost(pod);
  const target = disruptionTarget(pod);
  if (target) return problem("Evicted", { details: cleanMessage(target.message ?? target.reason ?? "") });
  // A pod that a user deletes may fail as well, but without a reason.
  if (phase !== "Failed" || !reason) return undefined;
  const details = cleanMessage(message ?? reason);
  return containerStatuses.length === 0
    ? problem("PodRejected", { node: nodeName(pod), details })
    : problem("Evicted", { details });
}

/** The step that a healthy pod is at, such as `pulling image "x:1"`. */
export function podProgress(view: PodView): string {
  const { pod, events, claim } = view;
  if (isScalingUp(view)) return "waiting for a node: the cluster is scaling up";
  const volume = claim && pod.spec?.volumes?.some((volume) => volume.persistentVolumeClaim) &&
    quotedName(claim);
  if (volume && isProvisioning(view)) {
    const provisioner = externalProvisioner(view);
    return `waiting for volume ${volume} to be provisioned${provisioner ? ` by ${provisioner}` : ""}`;
  }
  if (unscheduled(pod) || !pod.spec?.nodeName) return "waiting for a node";
  const gate = closedReadinessGate(pod);
  if (gate) return `waiting for a readiness gate: ${cleanMessage(gate.message ?? "")}`;
  const session = sessionContainer(pod);
  const image = imageBeingPulled(view);
  const isSessionStarting = session?.state?.running && !session.ready;
  if (image !== undefined && !isSessionStarting) return `pulling image ${JSON.stringify(image)}`;
  if (!pod.status?.containerStatuses?.length) return "waiting for its node to start the pod";
  const last = events.at(-1)?.reason;
  // Volumes are mounted before the first container is created.
  if (volume && pendingContainers(pod).every(({ state }) => !state?.running)) {
    if (last === "SuccessfulAttachVolume") return `mounting volume ${volume}`;
    if (BEFORE_ATTACH.includes(last)) return `attaching volume ${volume}`;
  }
  return containerProgress(pod);
}

/** Whether an autoscaler adds a node for the pod. */
export function isScalingUp({ pod, events }: PodView): boolean {
  const last = events.findLast((event) => AUTOSCALING.includes(event.reason));
  return last !== undefined && SCALING_UP.includes(last.reason) && unscheduled(pod) !== undefined;
}

/** The image that the pod's node is pulling. The end of a pull shows only in the container's status. */
export function imageBeingPulled({ pod, events }: PodView): string | undefined {
  const last = events.at(-1);
  if (last?.reason !== "Pulling") return undefined;
  const image = oneLine(/"([^"]*)"/.exec(last.message)?.[1] ?? "");
  const { spec, status } = pod;
  const names = [...spec?.initContainers ?? [], ...spec?.containers ?? []]
    .filter((container) => container.image === image).map(({ name }) => name);
  const statuses = [...status?.initContainerStatuses ?? [], ...status?.containerStatuses ?? []]
    .filter(({ name }) => names.includes(name));
  const isPulled = statuses.length > 0 &&
    statuses.every(({ state }) => state?.running || state?.terminated);
  return isPulled ? undefined : image;
}

/** @param schedulingMessage why the pod is not scheduled */
function volumeProblem({ claim, claimEvents }: PodView, schedulingMessage: string): Problem | undefined {
  const gone = /persistentvolumeclaim "([^"]*)" (?:is being deleted|not found)/.exec(schedulingMessage);
  if (gone) return problem("VolumeGone", { volume: JSON.stringify(gone[1]), details: gone[0] });
  if (!claim) return undefined;
  const volume = quotedName(claim);
  if (claim.status?.phase === "Lost") {
    return problem("VolumeGone", { volume, details: "its PersistentVolume is lost" });
  }
  if (claim.status?.phase === "Bound") return undefined;
  // Other events of a retrying provisioner, such as Provisioning, do not end the failure.
  const last = claimEvents.findLast(({ reason }) => PROVISIONING.includes(reason));
  if (!last || last.reason === "ProvisioningSucceeded") return undefined;
  const isClassMissing = last.reason === "FailedBinding" ||
    /storageclass\S* "[^"]*" not found/.test(last.message);
  const details = cleanMessage(last.message);
  return problem(isClassMissing ? "NoStorageClass" : "VolumeNotBound", { volume, details });
}

/** Whether the pod waits for its volume. A volume with binding mode WaitForFirstConsumer is provisioned after a node is chosen. */
function isProvisioning({ pod, claim }: PodView): boolean {
  if (claim?.status?.phase !== "Pending" || pod.spec?.nodeName) return false;
  const condition = unscheduled(pod);
  // The scheduler chose a node and then waited in vain for the volume: "binding volumes: context deadline exceeded".
  return !condition ||
    /unbound immediate PersistentVolumeClaim|binding volumes: /.test(condition.message ?? "");
}

/** The provisioner that the volume controller waits for, in quotation marks. */
function externalProvisioner({ claimEvents }: PodView): string | undefined {
  const event = claimEvents.findLast(({ reason }) => reason === "ExternalProvisioning");
  const name = /external provisioner ['"]([^'"]+)['"]/.exec(event?.message ?? "")?.[1];
  return name === undefined ? undefined : JSON.stringify(oneLine(name));
}

function gateNames(gates: readonly { readonly name: string }[]): string {
  const names = gates.map(({ name }) => JSON.stringify(name)).join(", ");
  return gates.length === 1 ? `gate ${names}` : `gates ${names}`;
}

/**
 * Whether the pod's node is unreachable or deleted. For a node without heartbeats, the node controller marks pods with ready containers as not
 * ready.
 * Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/util/node/controller_utils.go
 */
function isNodeLost(pod: V1Pod): boolean {
  if (pod.status?.reason === "NodeLost" || disruptionTarget(pod)?.reason === "DeletionByPodGC") return true;
  return conditionOf(pod, "ContainersReady")?.status === "True" &&
    conditionOf(pod, "Ready")?.status === "False" && !closedReadinessGate(pod);
}

function disruptionTarget(pod: V1Pod) {
  const condition = conditionOf(pod, "DisruptionTarget");
  return condition?.status === "True" ? condition : undefined;
}

/** The condition of a pod with ready containers and a readiness gate that is closed, for example by a load balancer's controller. */
function closedReadinessGate(pod: V1Pod) {
  const ready = conditionOf(pod, "Ready");
  return ready?.reason === "ReadinessGatesNotReady" ? ready : undefined;
}

function unscheduled(pod: V1Pod) {
  const condition = conditionOf(pod, "PodScheduled");
  return condition?.status === "False" ? condition : undefined;
}

function nodeLost(pod: V1Pod): Problem {
  return problem("NodeLost", { node: nodeName(pod) });
}

function nodeName(pod: V1Pod): string {
  return JSON.stringify(pod.spec?.nodeName ?? "");
}

function quotedName(claim: V1PersistentVolumeClaim): string {
  return JSON.stringify(nameOf(claim));
}

/** Users know their home volume by its claim; the cluster names the PersistentVolume, or the volume in the pod. */
function volumeName(message: string, { pod, claim }: Pick<PodView, "pod" | "claim">): string {
  const name = /volume "([^"]*)"/.exec(message)?.[1] ?? /unmounted volumes=\[([^\]\s]*)/.exec(message)?.[1] ??
    "";
  const claimVolume = pod.spec?.volumes?.find((volume) => volume.persistentVolumeClaim);
  const isHome = claim && (name === "" || name === claim.spec?.volumeName || name === claimVolume?.name);
  return isHome ? quotedName(claim) : JSON.stringify(name);
}
