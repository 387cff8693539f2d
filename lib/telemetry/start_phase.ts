/**
 * How far a session that starts or wakes has come, by what the cluster tells of it. Pure.
 * @module
 */
import type { V1Pod } from "@kubernetes/client-node";
import { conditionOf, wantsPod } from "../kubernetes/objects.ts";
import type { SessionObjects } from "../kubernetes/session_cache.ts";
import { currentPod, isReady } from "../status/readiness.ts";

/**
 * What a start spends its time in, in this order: the commands before it; creating objects, or asking for a pod; waiting for a node; for images,
 * volumes and containers; for a container that runs to serve.
 */
export const START_PHASES = ["queue", "objects", "scheduling", "pulling", "ready"] as const;

/** One of them. */
export type StartPhase = (typeof START_PHASES)[number];

/** The phase that a session whose start has begun is in; `served` after the last. */
export function phaseOf({ deployment, pods }: SessionObjects): StartPhase | "served" {
  if (!wantsPod(deployment)) return "objects";
  const pod = currentPod(pods);
  if (!pod || !isScheduled(pod)) return "scheduling";
  if (isReady(pod)) return "served";
  return runs(pod) ? "ready" : "pulling";
}

function isScheduled(pod: V1Pod): boolean {
  const condition = conditionOf(pod, "PodScheduled");
  return condition ? condition.status === "True" : Boolean(pod.spec?.nodeName);
}

function runs({ status }: V1Pod): boolean {
  const containers = status?.containerStatuses ?? [];
  return containers.length > 0 && containers.every(({ state }) => state?.running);
}
