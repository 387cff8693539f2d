/**
 * The status of a Deployment: its ReplicaSets in, counts and conditions out.
 * @module
 */
import { type Deployment, type ReplicaSet, timestamp } from "./api_objects.ts";

type Conditions = NonNullable<Deployment["status"]["conditions"]>;
type Condition = Conditions[number];

/** Sums up the ReplicaSets of a Deployment; counts of 0 are omitted, as in the API. */
export function deploymentStatus(
  deployment: Deployment,
  { sets, current }: { sets: readonly ReplicaSet[]; current?: ReplicaSet },
): Deployment["status"] {
  const replicas = sum(sets, (set) => set.status.replicas);
  const available = sum(sets, (set) => set.status.availableReplicas);
  const updated = current?.status.replicas ?? 0;
  const unavailable = Math.max(0, sum(sets, (set) => set.spec.replicas) - available);
  const counts = {
    replicas,
    updatedReplicas: updated,
    readyReplicas: sum(sets, (set) => set.status.readyReplicas),
    availableReplicas: available,
    unavailableReplicas: unavailable,
  };
  return {
    observedGeneration: deployment.metadata.generation,
    ...Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0)),
    conditions: conditions(deployment, { current, available, isComplete: isComplete(deployment, counts) }),
  };
}

function isComplete(
  { spec }: Deployment,
  counts: { replicas: number; updatedReplicas: number; availableReplicas: number },
) {
  const desired = spec.replicas ?? 1;
  return counts.updatedReplicas === desired && counts.replicas === desired &&
    counts.availableReplicas === desired;
}

function conditions(
  { spec, status }: Deployment,
  state: { current?: ReplicaSet; available: number; isComplete: boolean },
): Conditions {
  const desired = spec.replicas ?? 1;
  const share = String(spec.strategy?.rollingUpdate?.maxUnavailable ?? 0);
  const slack = share.endsWith("%") ? Math.floor(desired * Number.parseInt(share) / 100) : Number(share);
  const isAvailable = state.available >= desired - slack;
  return [
    isAvailable
      ? condition("Available", "True", ["MinimumReplicasAvailable", "Deployment has minimum availability."])
      : condition("Available", "False", [
        "MinimumReplicasUnavailable",
        "Deployment does not have minimum availability.",
      ]),
    progress(spec.paused === true, { ...state, wasComplete: isRolledOut(status) }),
  ].map((next) => keepTimes(next, status.conditions));
}

/**
 * Whether the current rollout is complete: later the condition stays, even if pods are not available any more.
 * Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/deployment/progress.go, syncRolloutStatus
 */
function isRolledOut({ conditions, replicas = 0, updatedReplicas = 0 }: Deployment["status"]): boolean {
  const progressing = conditions?.find(({ type }) => type === "Progressing");
  return progressing?.reason === "NewReplicaSetAvailable" && replicas === updatedReplicas;
}

function progress(
  isPaused: boolean,
  state: { current?: ReplicaSet; isComplete: boolean; wasComplete: boolean },
): Condition {
  if (isPaused) return condition("Progressing", "Unknown", ["DeploymentPaused", "Deployment is paused"]);
  const set = `ReplicaSet "${state.current?.metadata.name ?? ""}"`;
  return state.isComplete || state.wasComplete
    ? condition("Progressing", "True", ["NewReplicaSetAvailable", `${set} has successfully progressed.`])
    : condition("Progressing", "True", ["ReplicaSetUpdated", `${set} is progressing.`]);
}

function condition(type: string, status: string, [reason, message]: readonly [string, string]): Condition {
  const now = timestamp();
  return { type, status, reason, message, lastUpdateTime: now, lastTransitionTime: now };
}

/** A condition that does not change keeps its timestamps. */
function keepTimes(next: Condition, previous: Conditions | undefined): Condition {
  const before = previous?.find(({ type }) => type === next.type);
  if (before?.status !== next.status) return next;
  const isSame = before.reason === next.reason && before.message === next.message;
  const { lastTransitionTime } = before;
  return {
    ...next,
    lastTransitionTime,
    lastUpdateTime: isSame ? before.lastUpdateTime : next.lastUpdateTime,
  };
}

function sum(sets: readonly ReplicaSet[], count: (set: ReplicaSet) => number | undefined): number {
  return sets.reduce((result, set) => result + (count(set) ?? 0), 0);
}
