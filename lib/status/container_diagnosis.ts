/**
 * Detects what is wrong with a pod's containers from their statuses. Pure.
 * @module
 */
import type { V1ContainerStateTerminated, V1ContainerStatus, V1Pod } from "@kubernetes/client-node";
import type { SessionEvent } from "../kubernetes/event_log.ts";
import { conditionOf, timeOf } from "../kubernetes/objects.ts";
import { SESSION_CONTAINER } from "../model/names.ts";
import { type Problem, problem, type WaitingCause, waitingCause } from "./causes.ts";
import { cleanMessage, lastWords, oneLine } from "./cluster_messages.ts";

/** Reasons of a container that terminated before its command ran. */
const NEVER_RAN: readonly (string | undefined)[] = ["StartError", "ContainerCannotRun"];

/** A start fails on a container with this many restarts, even while it runs again. */
const CRASH_LOOP_RESTARTS = 2;
/** Exit codes of a container that was killed from outside (SIGKILL, SIGTERM), for example because of a failed probe. */
const KILLED: readonly (number | undefined)[] = [137, 143];

/** A container that ends by itself so soon after its start, in milliseconds, did not serve a desktop. */
const SHORT_RUN_MS = 60_000;

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

/**
 * The containers that a pod waits for: the init container or sidecar container that holds back the others, or else all containers that are not
 * ready, the session's own first.
 * Source: https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
 */
function awaitedContainers(pod: V1Pod): V1ContainerStatus[] {
  const { initContainerStatuses = [], containerStatuses = [] } = pod.status ?? {};
  const blocking = initContainerStatuses.find((container) =>
    isSidecar(pod, container) ? !container.started : container.state?.terminated?.exitCode !== 0
  );
  if (blocking) return [blocking];
  const sidecars = initContainerStatuses.filter((container) => isSidecar(pod, container));
  const unready = [...containerStatuses, ...sidecars].filter(({ ready }) => !ready);
  return unready.toSorted((one, other) => Number(isSession(other)) - Number(isSession(one)));
}

/** The failing startup or readiness probe of a container that the pod waits for. */
export function probeProblem(pod: V1Pod, events: readonly SessionEvent[]): Problem | undefined {
  for (const container of awaitedContainers(pod)) {
    const unhealthy = lastUnhealthy(container, events);
    if (!container.state?.running || !unhealthy) continue;
    const details = cleanMessage(unhealthy.message);
    return isSession(container)
      ? problem("NotAnswering", { details })
      : problem("ContainerNotReady", { container: displayName(pod, container), details });
  }
}

/** What the pod waits for, apart from its node, volumes and images. */
export function containerProgress(pod: V1Pod): string {
  const [first, ...others] = awaitedContainers(pod);
  if (!first) return "creating its container";
  const isFirstWaiting = !first.state?.running && isSession(first);
  // While the session's own container is created, others that are created, too, need not be named.
  const named = others.filter(({ state }) => state?.running || !isFirstWaiting);
  return [first, ...named].map((container) => stepOf(pod, container)).join(" and ");
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
    container: displayName(view.pod, container),
    details: details || reason,
  });
}

function crashProblem(view: ContainerView): Problem {
  const termination = view.container.state?.terminated ?? view.container.lastState?.terminated;
  const container = displayName(view.pod, view.container);
  if (termination?.reason === "OOMKilled") {
    const limit = specOf(view)?.resources?.limits?.memory;
    const details = limit ? `its limit is ${limit}` : "its node has no memory left";
    return problem("OOMKilled", { container, details });
  }
  const cause = NEVER_RAN.includes(termination?.reason) ? "CannotRun" : "CrashLoop";
  const details = termination
    ? terminationDetails(termination, view)
    : cleanMessage(view.container.state?.waiting?.message ?? "");
  const crashed = termination?.exitCode === 0 ? "ended by itself" : "crashed";
  return problem(cause, { container, crashed, details });
}

/** The exit code, followed by the failed probe for which it was killed, the termination message (or the end of the log), and a hint. */
function terminationDetails(
  termination: V1ContainerStateTerminated,
  { container, events }: ContainerView,
): string {
  const { exitCode, message = "" } = termination;
  const probe = lastUnhealthy(container, events)?.message ?? "";
  const isKilledByProbe = KILLED.includes(exitCode) && /^(?:Startup|Liveness) probe/.test(probe);
  const cause = [isKilledByProbe ? oneLine(probe) : "", lastWords(message)].filter(Boolean).join("; ");
  const hint = exitCode === 0 && isSession(container) && isShortRun(termination)
    ? "; its image may not serve a desktop"
    : "";
  return `exit code ${exitCode}${cause ? `: ${cause}` : ""}${hint}`;
}

/** A container that ran for longer has served its user, who may have logged out. */
function isShortRun({ startedAt, finishedAt }: V1ContainerStateTerminated): boolean {
  return timeOf(finishedAt) - timeOf(startedAt) < SHORT_RUN_MS;
}

function lastUnhealthy(
  container: V1ContainerStatus,
  events: readonly SessionEvent[],
): SessionEvent | undefined {
  return events.findLast((event) =>
    event.reason === "Unhealthy" &&
    (event.container === undefined ? isSession(container) : event.container === container.name)
  );
}

function stepOf(pod: V1Pod, container: V1ContainerStatus): string {
  const name = displayName(pod, container);
  if (!container.state?.running) return `creating ${name}`;
  if (isSession(container)) return "waiting for its display port to answer";
  if (!isInit(pod, container)) return `waiting for ${name} to be ready`;
  if (!isSidecar(pod, container)) return `waiting for ${name} to complete`;
  return `waiting for ${name} to ${container.started ? "be ready" : "start"}`;
}

/** Users know only one container of their session; injected ones are named. */
function displayName(pod: V1Pod, container: V1ContainerStatus): string {
  if (isSession(container)) return "its container";
  const kind = isSidecar(pod, container) ? "sidecar container" : "init container";
  return `its ${isInit(pod, container) ? kind : "container"} ${JSON.stringify(container.name)}`;
}

function isSession({ name }: V1ContainerStatus): boolean {
  return name === SESSION_CONTAINER;
}

function isInit({ status }: V1Pod, { name }: V1ContainerStatus): boolean {
  return status?.initContainerStatuses?.some((init) => init.name === name) ?? false;
}

/** Whether an init container keeps running beside the pod's containers. */
function isSidecar({ spec }: V1Pod, { name }: V1ContainerStatus): boolean {
  return spec?.initContainers?.find((init) => init.name === name)?.restartPolicy === "Always";
}

/** The image as the spec names it; nodes report it in their own notation. */
function imageOf(view: ContainerView): string {
  return specOf(view)?.image ?? view.container.image;
}

function specOf({ pod, container }: ContainerView) {
  return [...pod.spec?.containers ?? [], ...pod.spec?.initContainers ?? []]
    .find(({ name }) => name === container.name);
}
