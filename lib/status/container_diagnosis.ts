/**
 * What is wrong with a pod's containers, from their status. Pure.
 * @module
 */
import type { V1ContainerStateTerminated, V1ContainerStatus, V1Pod } from "@kubernetes/client-node";
import type { SessionEvent } from "../kubernetes/event_log.ts";
import { conditionOf, timeOf } from "../kubernetes/objects.ts";
import { SESSION_CONTAINER } from "../model/names.ts";
import type { Reason, Trouble } from "./causes.ts";
import { oneLine, unwrap } from "./words.ts";

/** Reasons for which a node keeps a container waiting; others, such as ContainerCreating, are progress. */
const WAITING: ReadonlyMap<string | undefined, Reason> = new Map<string, Reason>([
  ["InvalidImageName", "InvalidImage"],
  ["ErrImageNeverPull", "ImageNeverPulled"],
  ["ErrImagePull", "ImagePull"],
  ["ImagePullBackOff", "ImagePull"],
  ["ImageInspectError", "ImagePull"],
  ["RegistryUnavailable", "ImagePull"],
  ["SignatureValidationFailed", "ImagePull"],
  ["CreateContainerConfigError", "ContainerConfig"],
  ["CreateContainerError", "CannotRun"],
  ["PreCreateHookError", "CannotRun"],
  ["PreStartHookError", "CannotRun"],
  ["PostStartHookError", "CannotRun"],
  ["RunContainerError", "CannotRun"],
]);

/** Reasons for which a container ended before its command ran. */
const NEVER_RAN: readonly (string | undefined)[] = ["StartError", "ContainerCannotRun"];

/** So many crashes are no mishap: a start gives up on the container. */
const LOOP = 2;
/** Exit codes of what was killed from outside, such as for its probe. */
const KILLED: readonly (number | undefined)[] = [137, 143];

/** A container, and where it is. */
interface Place {
  readonly pod: V1Pod;
  readonly container: V1ContainerStatus;
  /** What the cluster tells about the pod, oldest first. */
  readonly events: readonly SessionEvent[];
}

/** The first trouble of a pod's containers, if there is any. */
export function containerTrouble(pod: V1Pod, events: readonly SessionEvent[]): Trouble | undefined {
  for (const container of unfinished(pod)) {
    const reason = WAITING.get(container.state?.waiting?.reason);
    if (reason) return { reason, words: waitingWords(reason, { pod, container, events }) };
    const isUpAgain = container.state?.running && container.restartCount < LOOP;
    if (hasCrashed(pod, container) && !isUpAgain) return crash({ pod, container, events });
  }
}

/** The crash of a container that runs again, where no container has a trouble that is known to last. */
export function mishap(pod: V1Pod, events: readonly SessionEvent[]): Trouble | undefined {
  const container = unfinished(pod).find((one) => hasCrashed(pod, one));
  return container && crash({ pod, container, events });
}

/** Why a container of a pod that serves was started again, if one was. */
export function restartTrouble(pod: V1Pod, events: readonly SessionEvent[]): Trouble | undefined {
  const container = pod.status?.containerStatuses?.find((one) =>
    one.restartCount > 0 && one.lastState?.terminated
  );
  return container && crash({ pod, container, events });
}

/** What is known of the session's own container, which stands beside those that a cluster puts into each pod. */
export function sessionContainer({ status }: V1Pod): V1ContainerStatus | undefined {
  return status?.containerStatuses?.find(({ name }) => name === SESSION_CONTAINER);
}

/** Containers in the order they start; an init container that is done has nothing more to say, however many attempts it took. */
export function unfinished(pod: V1Pod): V1ContainerStatus[] {
  const initial = pod.status?.initContainerStatuses?.filter((one) => one.state?.terminated?.exitCode !== 0);
  return [...initial ?? [], ...pod.status?.containerStatuses ?? []];
}

/**
 * Whether a container's last end says something of now. Between two crashes it runs for a moment, which does not make it healthy; a run that
 * is ready does, or one that was before the pod became unready.
 */
function hasCrashed(pod: V1Pod, { state, ready, restartCount }: V1ContainerStatus): boolean {
  if (!state?.running) return state?.terminated !== undefined || restartCount > 0;
  const unreadySince = timeOf(conditionOf(pod, "Ready")?.lastTransitionTime);
  return restartCount > 0 && !ready && timeOf(state.running.startedAt) >= unreadySince;
}

function waitingWords(reason: Reason, { pod, container, events }: Place): string {
  const image = `image ${JSON.stringify(oneLine(imageOf(pod, container)))}`;
  const { reason: word = "", message = "" } = container.state?.waiting ?? {};
  switch (reason) {
    case "InvalidImage":
      return `${image} has no valid name`;
    case "ImageNeverPulled":
      return `${image} is not on the node and may not be pulled`;
    case "ImagePull": {
      // The status moves on to "Back-off pulling image", which says nothing: the event keeps the registry's words.
      const event = events.findLast((one) => one.reason === "Failed" && one.message.includes("pull"));
      return `${image} cannot be pulled: ${unwrap(message) || unwrap(event?.message ?? "") || word}`;
    }
    case "ContainerConfig":
      return `${called(container)} cannot be created: ${unwrap(message) || word}`;
    default:
      return `${called(container)} cannot be started: ${unwrap(message) || word}`;
  }
}

function crash({ pod, container, events }: Place): Trouble {
  const end = container.state?.terminated ?? container.lastState?.terminated;
  const it = called(container);
  if (end?.reason === "OOMKilled") {
    const limit = specOf(pod, container)?.resources?.limits?.memory;
    const words = limit ? `more memory than its limit of ${limit}` : "more memory than its node has";
    return { reason: "OOMKilled", words: `${it} needs ${words}` };
  }
  if (NEVER_RAN.includes(end?.reason)) {
    return { reason: "CannotRun", words: `${it} cannot be started: ${endWords(end, events)}` };
  }
  const words = end ? endWords(end, events) : unwrap(container.state?.waiting?.message ?? "");
  return { reason: "CrashLoop", words: `${it} crashes${words ? `: ${words}` : ""}` };
}

/** The exit code, and what the container left as its last words, or else the probe that it was killed for. */
function endWords(end: V1ContainerStateTerminated | undefined, events: readonly SessionEvent[]): string {
  const probe = events.findLast(({ reason }) => reason === "Unhealthy")?.message ?? "";
  const isKilled = KILLED.includes(end?.exitCode) && /^(?:Startup|Liveness) probe/.test(probe);
  const message = unwrap(end?.message ?? "") || (isKilled ? oneLine(probe) : "");
  return `exit code ${end?.exitCode}${message ? `: ${message}` : ""}`;
}

/** People know one container of their session. */
function called({ name }: V1ContainerStatus): string {
  return name === SESSION_CONTAINER ? "its container" : `its container ${JSON.stringify(name)}`;
}

/** As it was asked for; nodes write names in their own way. */
function imageOf(pod: V1Pod, container: V1ContainerStatus): string {
  return specOf(pod, container)?.image ?? container.image;
}

function specOf(pod: V1Pod, { name }: V1ContainerStatus) {
  return [...pod.spec?.containers ?? [], ...pod.spec?.initContainers ?? []].find((one) => one.name === name);
}
