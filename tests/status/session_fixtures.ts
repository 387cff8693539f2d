/**
 * Pods, containers, volumes and events of session "s1", as tests of its diagnosis need them.
 * @module
 */
import type {
  V1ContainerStatus,
  V1Deployment,
  V1PersistentVolumeClaim,
  V1Pod,
} from "@kubernetes/client-node";
import type { EventReason, SessionEvent } from "../../lib/kubernetes/event_log.ts";
import type { SessionObjects } from "../../lib/kubernetes/session_cache.ts";
import type { FailureReason } from "../../lib/status/causes.ts";

/** A session with a problem, and what has to be detected. */
export type ProblemCase = readonly [
  name: string,
  objects: SessionObjects,
  reason: FailureReason,
  message: string,
];

export const DEPLOYMENT: V1Deployment = { metadata: { name: "s1" } };
export const EARLY = "2026-01-01T00:00:00Z";
export const LATE = "2026-01-01T00:01:00Z";

/** A watch delivers times as text. */
export function time(text: string): Date {
  return text as unknown as Date;
}

export interface PodParts {
  name?: string;
  created?: string | Date;
  isDeleted?: boolean;
  phase?: string;
  conditions?: Array<
    { type: string; status: string; reason?: string; message?: string; lastTransitionTime?: Date }
  >;
  containers?: V1ContainerStatus[];
  initContainers?: V1ContainerStatus[];
  nodeName?: string;
  /** Names of init containers that keep running as sidecars. */
  sidecars?: string[];
  /** Names of scheduling gates. */
  gates?: string[];
  status?: V1Pod["status"];
  /** Whether it mounts the home volume. */
  hasHome?: boolean;
}

export function pod(parts: PodParts = {}): V1Pod {
  const { name = "p1", created = EARLY, isDeleted = false, phase = "Pending" } = parts;
  return {
    metadata: {
      name,
      uid: `uid-${name}`,
      creationTimestamp: typeof created === "string" ? time(created) : created,
      ...(isDeleted ? { deletionTimestamp: time(LATE) } : {}),
    },
    spec: {
      ...(parts.nodeName ? { nodeName: parts.nodeName } : {}),
      containers: [{ name: "session", image: "x/y:1", resources: { limits: { memory: "512Mi" } } }],
      ...(parts.sidecars
        ? { initContainers: parts.sidecars.map((name) => ({ name, restartPolicy: "Always" })) }
        : {}),
      ...(parts.gates ? { schedulingGates: parts.gates.map((name) => ({ name })) } : {}),
      ...(parts.hasHome
        ? { volumes: [{ name: "home", persistentVolumeClaim: { claimName: "s1-home" } }] }
        : {}),
    },
    status: {
      phase,
      ...(parts.conditions ? { conditions: parts.conditions } : {}),
      ...(parts.containers ? { containerStatuses: parts.containers } : {}),
      ...parts.status,
      ...(parts.initContainers ? { initContainerStatuses: parts.initContainers } : {}),
    },
  };
}

export function container(parts: Partial<V1ContainerStatus>): V1ContainerStatus {
  return { name: "session", image: "example.com/x:1", imageID: "", ready: false, restartCount: 0, ...parts };
}

export function waiting(
  reason?: string,
  message?: string,
  rest: Partial<V1ContainerStatus> = {},
): V1ContainerStatus {
  const state = { waiting: { ...(reason ? { reason } : {}), ...(message ? { message } : {}) } };
  return container({ state, ...rest });
}

/** Events about pod p1 or another object, and about a container, oldest first. */
export function events(
  ...rows: Array<[reason: EventReason, message: string, objectUid?: string, container?: string]>
): SessionEvent[] {
  return rows.map(([reason, message, objectUid = "uid-p1", container], nth) => ({
    objectUid,
    reason,
    message,
    version: nth,
    ...(container === undefined ? {} : { container }),
  }));
}

export function objects(pods: V1Pod[], others: Partial<SessionObjects> = {}): SessionObjects {
  const none = { service: undefined, claim: undefined, policy: undefined, events: [] };
  return { deployment: DEPLOYMENT, ...none, pods, ...others };
}

export function claim(phase: string, parts: { isDeleted?: boolean } = {}): V1PersistentVolumeClaim {
  return {
    metadata: {
      name: "s1-home",
      uid: "uid-claim",
      ...(parts.isDeleted ? { deletionTimestamp: time(LATE) } : {}),
    },
    spec: { volumeName: "pvc-1" },
    status: { phase },
  };
}

export const READY = pod({ phase: "Running", conditions: [{ type: "Ready", status: "True" }] });
export const RUNNING = { running: { startedAt: time(EARLY) } };

export function ended(
  reason: string,
  parts: { exitCode: number; message?: string },
): V1ContainerStatus["state"] {
  return { terminated: { reason, ...parts } };
}

export function conditions(type: string, status: string, reason: string, message?: string): V1Deployment {
  const condition = { type, status, reason, ...(message ? { message } : {}) };
  return { ...DEPLOYMENT, status: { conditions: [{ type: "Available", status: "False" }, condition] } };
}

export function replicas(count: number): V1Deployment {
  return { ...DEPLOYMENT, spec: { replicas: count, selector: {}, template: {} } };
}

export function unschedulable(message: string): PodParts {
  return { conditions: [{ type: "PodScheduled", status: "False", reason: "Unschedulable", message }] };
}

export const NO_NODE = "0/3 nodes are available: 3 Insufficient memory.";
export const NO_VOLUME = "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
export const CREATING = { nodeName: "n1", hasHome: true, containers: [waiting("ContainerCreating")] };
export const RUNNING_POD = pod({ nodeName: "n1", containers: [container({ state: RUNNING })] });
export const BOUND = claim("Bound");
/** An injected container that crashed once. */
export const SIDECAR = container({
  name: "istio-proxy",
  state: RUNNING,
  ready: true,
  restartCount: 1,
  lastState: ended("Error", { exitCode: 255 }),
});
/** A container that crashed several times before it became ready. */
export const RECOVERED = container({
  state: RUNNING,
  restartCount: 3,
  lastState: ended("OOMKilled", { exitCode: 137 }),
});

/** Pods that a node rejected, one per second. */
export function rejected(count: number): V1Pod[] {
  return Array.from({ length: count }, (_, nth) =>
    pod({
      name: `r${nth}`,
      created: `2026-01-01T00:00:0${nth}Z`,
      phase: "Failed",
      nodeName: "n1",
      status: { reason: "OutOfcpu", message: "Pod was rejected: Node didn't have enough resource: cpu" },
    }));
}

export const REPLACEMENT = pod({ name: "next", created: "2026-01-01T00:00:09Z" });
