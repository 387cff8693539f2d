/**
 * Whether a session can be used, and if not, why: Kubernetes objects in, a verdict out. Pure; the caller keeps the time.
 * @module
 */
import type { V1ContainerStatus, V1Pod } from "@kubernetes/client-node";
import type { SessionObjects } from "../kubernetes/session_cache.ts";

/** A judgement of a session that should be running. */
export type Verdict =
  | { readonly state: "ready"; readonly pod: V1Pod }
  /** `reason` reads as what the session waits for. */
  | { readonly state: "waiting"; readonly reason: string }
  /** A trouble that is final once it has lasted for `graceMs`. */
  | { readonly state: "trouble"; readonly reason: string; readonly graceMs: number };

const AT_ONCE = 0;
const PULL_GRACE_MS = 30_000;
const CONFIG_GRACE_MS = 10_000;
const CRASH_GRACE_MS = 10_000;

/**
 * Reasons for which a node keeps a container waiting, and how long each may last. Others, such as ContainerCreating, are progress.
 * Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/images/types.go and …/kuberuntime/kuberuntime_container.go
 */
const TROUBLES: ReadonlyMap<string, { graceMs: number; words: (container: V1ContainerStatus) => string }> =
  new Map([
    ["InvalidImageName", {
      graceMs: AT_ONCE,
      words: (c: V1ContainerStatus) => `image "${c.image}" has no valid name`,
    }],
    ["ErrImageNeverPull", {
      graceMs: AT_ONCE,
      words: (c: V1ContainerStatus) => `image "${c.image}" is not on the node and may not be pulled`,
    }],
    ["ErrImagePull", { graceMs: PULL_GRACE_MS, words: cannotBePulled }],
    ["ImagePullBackOff", { graceMs: PULL_GRACE_MS, words: cannotBePulled }],
    ["CreateContainerConfigError", { graceMs: CONFIG_GRACE_MS, words: cannotBeCreated }],
    ["CreateContainerError", { graceMs: CONFIG_GRACE_MS, words: cannotBeCreated }],
    ["RunContainerError", { graceMs: CONFIG_GRACE_MS, words: cannotBeCreated }],
    ["CrashLoopBackOff", { graceMs: CRASH_GRACE_MS, words: crashes }],
  ]);

/** Judges a session that was asked to run. */
export function judge(objects: SessionObjects): Verdict {
  const { deployment, pods } = objects;
  if (!deployment || deployment.metadata?.deletionTimestamp) {
    return { state: "trouble", reason: "its Deployment was deleted", graceMs: AT_ONCE };
  }
  const pod = currentPod(pods);
  if (pod) return judgePod(pod);
  const refusal = deployment.status?.conditions?.find((one) =>
    one.type === "ReplicaFailure" && one.status === "True"
  );
  if (refusal) {
    return {
      state: "trouble",
      reason: `the cluster refuses its pod: ${refusal.message ?? refusal.reason}`,
      graceMs: AT_ONCE,
    };
  }
  return { state: "waiting", reason: pods.length > 0 ? "its old pod to go" : "its pod to be created" };
}

/** The newest pod that is not on its way out: after a wake, the old one may still be there. */
export function currentPod(pods: readonly V1Pod[]): V1Pod | undefined {
  return pods
    .filter((pod) => !pod.metadata?.deletionTimestamp && !hasEnded(pod))
    .sort((a, b) => createdAt(b) - createdAt(a))[0];
}

/** Whether a pod has run to its end, as an evicted one has: it holds no resources and no volume any more. */
export function hasEnded(pod: V1Pod): boolean {
  return pod.status?.phase === "Failed" || pod.status?.phase === "Succeeded";
}

/** Whether a pod serves. */
export function isReady(pod: V1Pod): boolean {
  return pod.status?.conditions?.some((one) => one.type === "Ready" && one.status === "True") ?? false;
}

function judgePod(pod: V1Pod): Verdict {
  if (isReady(pod)) return { state: "ready", pod };
  // An init container that is done has nothing more to say, however many attempts it took.
  const initial = pod.status?.initContainerStatuses?.filter((one) => one.state?.terminated?.exitCode !== 0);
  const containers = [...initial ?? [], ...pod.status?.containerStatuses ?? []];
  for (const container of containers) {
    const reason = container.state?.waiting?.reason ?? "";
    const trouble = TROUBLES.get(reason);
    if (trouble) return { state: "trouble", reason: trouble.words(container), graceMs: trouble.graceMs };
    // Between two crashes the container runs for a moment, which does not make it healthy.
    if (container.restartCount > 0) {
      return { state: "trouble", reason: crashes(container), graceMs: CRASH_GRACE_MS };
    }
  }
  const unscheduled = pod.status?.conditions?.find((one) =>
    one.type === "PodScheduled" && one.status === "False"
  );
  if (unscheduled) {
    return { state: "waiting", reason: `a node: ${unscheduled.message ?? unscheduled.reason}` };
  }
  const waiting = containers.find((container) => container.state?.waiting)?.state?.waiting;
  if (waiting) {
    return {
      state: "waiting",
      reason: `its container: ${[waiting.reason, waiting.message].filter(Boolean).join(": ")}`,
    };
  }
  return {
    state: "waiting",
    reason: containers.length > 0 ? "its display port to answer" : "its node to begin",
  };
}

function cannotBePulled(container: V1ContainerStatus): string {
  const { reason, message } = container.state?.waiting ?? {};
  return `image "${container.image}" cannot be pulled: ${message || reason}`;
}

function cannotBeCreated(container: V1ContainerStatus): string {
  const { reason, message } = container.state?.waiting ?? {};
  return `its container cannot be created: ${message || reason}`;
}

function crashes(container: V1ContainerStatus): string {
  const last = container.lastState?.terminated;
  const words = last
    ? `${last.reason ?? "Error"}, exit code ${last.exitCode}`
    : container.state?.waiting?.message;
  return `its container crashes again and again (${container.restartCount} times)${
    words ? `: ${words}` : ""
  }`;
}

function createdAt(pod: V1Pod): number {
  // Objects of a watch carry the time as text, those of the typed clients as a Date.
  return new Date(pod.metadata?.creationTimestamp ?? 0).getTime();
}
