/**
 * What is wrong with a pod's containers, from their status. Pure.
 * @module
 */
import type { V1ContainerStateTerminated, V1ContainerStatus, V1Pod } from "@kubernetes/client-node";
import type { SessionEvent } from "../kubernetes/event_log.ts";
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

/** The first trouble of a pod's containers, if there is any. */
export function containerTrouble(pod: V1Pod, events: readonly SessionEvent[]): Trouble | undefined {
  for (const container of unfinished(pod)) {
    const reason = WAITING.get(container.state?.waiting?.reason);
    if (reason) return { reason, words: waitingWords(reason, { pod, container, events }) };
    const end = container.state?.terminated ?? container.lastState?.terminated;
    // Between two crashes the container runs for a moment, which does not make it healthy.
    if (end || container.restartCount > 0) return crash(pod, container);
  }
}

/** Why a container of a pod that serves was started again, if one was. */
export function restartTrouble(pod: V1Pod): Trouble | undefined {
  const restarted = pod.status?.containerStatuses?.find((one) =>
    one.restartCount > 0 && one.lastState?.terminated
  );
  return restarted && crash(pod, restarted);
}

/** Containers in the order they start; an init container that is done has nothing more to say, however many attempts it took. */
function unfinished(pod: V1Pod): V1ContainerStatus[] {
  const initial = pod.status?.initContainerStatuses?.filter((one) => one.state?.terminated?.exitCode !== 0);
  return [...initial ?? [], ...pod.status?.containerStatuses ?? []];
}

function waitingWords(
  reason: Reason,
  { pod, container, events }: { pod: V1Pod; container: V1ContainerStatus; events: readonly SessionEvent[] },
): string {
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
      return `its container cannot be created: ${unwrap(message) || word}`;
    default:
      return `its container cannot be started: ${unwrap(message) || word}`;
  }
}

function crash(pod: V1Pod, container: V1ContainerStatus): Trouble {
  const end = container.state?.terminated ?? container.lastState?.terminated;
  if (end?.reason === "OOMKilled") {
    const limit = specOf(pod, container)?.resources?.limits?.memory;
    const words = limit ? `more memory than its limit of ${limit}` : "more memory than its node has";
    return { reason: "OOMKilled", words: `its container needs ${words}` };
  }
  if (NEVER_RAN.includes(end?.reason)) {
    return { reason: "CannotRun", words: `its container cannot be started: ${endWords(end)}` };
  }
  const words = end ? endWords(end) : unwrap(container.state?.waiting?.message ?? "");
  return { reason: "CrashLoop", words: `its container crashes${words ? `: ${words}` : ""}` };
}

/** The exit code, and what the container left as its last words. */
function endWords(end: V1ContainerStateTerminated | undefined): string {
  const message = unwrap(end?.message ?? "");
  return `exit code ${end?.exitCode}${message ? `: ${message}` : ""}`;
}

/** As it was asked for; nodes write names in their own way. */
function imageOf(pod: V1Pod, container: V1ContainerStatus): string {
  return specOf(pod, container)?.image ?? container.image;
}

function specOf(pod: V1Pod, { name }: V1ContainerStatus) {
  return [...pod.spec?.containers ?? [], ...pod.spec?.initContainers ?? []].find((one) => one.name === name);
}
