/**
 * Detects what is wrong with a pod's containers from their statuses. Pure.
 * @module
 */
import type { V1ContainerStateTerminated, V1ContainerStatus, V1Pod } from "@kubernetes/client-node";
import type { SessionEvent } from "../kubernetes/event_log.ts";
import { conditionOf, timeOf } from "../kubernetes/objects.ts";
import { SESSION_CONTAINER } from "../model/names.ts";
import { type Problem, problem, type WaitingCause, waitingCause } from "./causes.ts";
import { cleanMessage, oneLine } from "./cluster_messages.ts";

/** Reasons of a container that terminated before its command ran. */
const NEVER_RAN: readonly (string | undefined)[] = ["StartError", "ContainerCannotRun"];

/** A start fails on a container with this many restarts, even while it runs again. */
const CRASH_LOOP_RESTARTS = 2;
/** Exit codes of a container that was killed from outside (SIGKILL, SIGTERM), for example because of a failed probe. */
const KILLED: readonly (number | undefined)[] = [137, 143];

/** A container, its pod, and the events of the pod, oldest first. */
interface ContainerView {
  readonly pod: V1Pod;
  readonly container: V1ContainerStatus;
  readonly events: readonly SessionEvent[];
}

/** The first problem of a pod's containers that does not pass by itself. */
export function containerProblem(pod: V1Pod, events: readonly SessionEvent[]): Problem | undefined {
  for (const container of pendingContainers(pod)) {
    const cause = waitingCause(container.state?.waiting?.reason);
    if (cause) return waitingProblem(cause, { pod, container, events });
    const isRunningAgain = container.state?.running && container.restartCount < CRASH_LOOP_RESTARTS;
    if (hasCrashed(pod, container) && !isRunningAgain) return crashProblem({ pod, container, events });
  }
}

/** The crash of a container that runs again and may still become ready. */
export function recoveringCrash(pod: V1Pod, events: readonly SessionEvent[]): Problem | undefined {
  const container = pendingContainers(pod).find((candidate) => hasCrashed(pod, candidate));
  return container && crashProblem({ pod, container, events });
}

/** Why a container of a ready pod was restarted. */
export function restartProblem(pod: V1Pod, events: readonly SessionEvent[]): Problem | undefined {
  const container = pod.status?.containerStatuses?.find(({ restartCount, lastState }) =>
    restartCount > 0 && lastState?.terminated
  );
  return container && crashProblem({ pod, container, events });
}

/** The status of the session's own container; clusters may inject others, such as sidecars. */
export function sessionContainer({ status }: V1Pod): V1ContainerStatus | undefined {
  return status?.containerStatuses?.find(({ name }) => name === SESSION_CONTAINER);
}

/** The containers in the order they start, without the init containers that completed. */
export function pendingContainers(pod: V1Pod): V1ContainerStatus[] {
  const initContainers = pod.status?.initContainerStatuses ?? [];
  const pending = initContainers.filter(({ state }) => state?.terminated?.exitCode !== 0);
  return [...pending, ...pod.status?.containerStatuses ?? []];
}

/**
 * Whether a container's last termination still matters. A container runs for a moment between two crashes, so running alone does not make it
 * healthy. A ready container is healthy, and so was one that has been running since before the pod became unready.
 */
function hasCrashed(pod: V1Pod, { state, ready, restartCount }: V1ContainerStatus): boolean {
  if (!state?.running) return state?.terminated !== undefined || restartCount > 0;
  const unreadySince = timeOf(conditionOf(pod, "Ready")?.lastTransitionTime);
  return restartCount > 0 && !ready && timeOf(state.running.startedAt) >= unreadySince;
}

function waitingProblem(cause: WaitingCause, view: ContainerView): Problem {
  const { container, events } = view;
  const { reason = "", message = "" } = container.state?.waiting ?? {};
  let details = cleanMessage(message);
  if (details === "" && cause === "ImagePull") {
    // The status changes to "Back-off pulling image", which gives no reason: only the event still has the registry's error.
    const event = events.findLast((event) => event.reason === "Failed" && event.message.includes("pull"));
    details = cleanMessage(event?.message ?? "");
  }
  return problem(cause, {
    image: JSON.stringify(oneLine(imageOf(view))),
    container: displayName(container),
    details: details || reason,
  });
}

function crashProblem(view: ContainerView): Problem {
  const termination = view.container.state?.terminated ?? view.container.lastState?.terminated;
  const container = displayName(view.container);
  if (termination?.reason === "OOMKilled") {
    const limit = specOf(view)?.resources?.limits?.memory;
    const details = limit ? `its limit is ${limit}` : "its node has no memory left";
    return problem("OOMKilled", { container, details });
  }
  const cause = NEVER_RAN.includes(termination?.reason) ? "CannotRun" : "CrashLoop";
  const details = termination
    ? terminationDetails(termination, view.events)
    : cleanMessage(view.container.state?.waiting?.message ?? "");
  return problem(cause, { container, details });
}

/** The exit code, followed by the termination message or the failed probe for which the container was killed. */
function terminationDetails(
  { exitCode, message }: V1ContainerStateTerminated,
  events: readonly SessionEvent[],
): string {
  const probe = events.findLast(({ reason }) => reason === "Unhealthy")?.message ?? "";
  const isKilledByProbe = KILLED.includes(exitCode) && /^(?:Startup|Liveness) probe/.test(probe);
  const cause = cleanMessage(message ?? "") || (isKilledByProbe ? oneLine(probe) : "");
  return `exit code ${exitCode}${cause ? `: ${cause}` : ""}`;
}

/** Users know only one container of their session; injected ones are named. */
function displayName({ name }: V1ContainerStatus): string {
  return name === SESSION_CONTAINER ? "its container" : `its container ${JSON.stringify(name)}`;
}

/** The image as the spec names it; nodes report it in their own notation. */
function imageOf(view: ContainerView): string {
  return specOf(view)?.image ?? view.container.image;
}

function specOf({ pod, container }: ContainerView) {
  return [...pod.spec?.containers ?? [], ...pod.spec?.initContainers ?? []]
    .find(({ name }) => name === container.name);
}
