/**
 * The table of failure causes: why sessions do not start or do not serve. Each row has a stable reason for programs, a message for people, how
 * long the cause may last before a start fails, and how the cluster's own reason or message maps to it where that is all it takes.
 * `docs/failures.md` shows this table, and a test compares the two. The links lead to the sources of the cluster's reasons.
 * @module
 */

/** One row of the table. */
export interface FailureCause {
  /** What is wrong, as the documentation says it. */
  readonly description: string;
  /** The reported message; values replace the placeholders in braces. */
  readonly message: string;
  /** How long the cause may last before a start fails, in milliseconds; 0: fail immediately, Infinity: fail at the start timeout. */
  readonly graceMs: number;
  /** Reasons of a waiting container that have this cause. */
  readonly waitingReasons?: readonly string[];
  /** Messages of a rejected API request that have this cause. */
  readonly rejections?: readonly RegExp[];
}

const IMMEDIATELY = 0;
const START_TIMEOUT = Infinity;
/** The kubelet pulls three times within it: a temporary registry failure is over by then, a wrong name is not. */
const PULL_MS = 30_000;
/** Somebody may be creating the missing object, or a cache of the cluster may lag behind. */
const SHORT_MS = 10_000;
/** Kubelet and provisioners retry about six times within it; the network of a new node needs half of it. */
const RETRIES_MS = 60_000;
/** A node counts as unreachable after 40 seconds without a heartbeat; it rarely comes back. */
const NODE_MS = 30_000;
/** Autoscalers check every 10 seconds, and a back-off may just be ending. */
const SCALE_UP_MS = 30_000;

/** The table. Rejections are matched in this order. */
export const CAUSES = {
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/images/types.go
  InvalidImage: {
    description: "The image name is invalid (`InvalidImageName`)",
    message: "image name {image} is invalid",
    graceMs: IMMEDIATELY,
    waitingReasons: ["InvalidImageName"],
  },
  ImageNeverPulled: {
    description: "`--image-pull-policy=Never`, and the node does not have the image (`ErrImageNeverPull`)",
    message: "image {image} is not on the node, and its pull policy is Never",
    graceMs: IMMEDIATELY,
    waitingReasons: ["ErrImageNeverPull"],
  },
  ImagePull: {
    description: "The image cannot be pulled (`ErrImagePull`, `ImagePullBackOff` and similar)",
    message: "image {image} cannot be pulled: {details}",
    graceMs: PULL_MS,
    waitingReasons: [
      "ErrImagePull",
      "ImagePullBackOff",
      "ImageInspectError",
      "RegistryUnavailable",
      "SignatureValidationFailed",
    ],
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kuberuntime/kuberuntime_container.go
  ContainerConfig: {
    description:
      "A Secret or ConfigMap is missing, or the image's user is not allowed (`CreateContainerConfigError`)",
    message: "{container} cannot be created: {details}",
    graceMs: SHORT_MS,
    waitingReasons: ["CreateContainerConfigError"],
  },
  CannotRun: {
    description:
      "The container cannot be created or started, for example because of a wrong command (`CreateContainerError`, " +
      "`RunContainerError`, `StartError`)",
    message: "{container} cannot be started: {details}",
    graceMs: SHORT_MS,
    waitingReasons: [
      "CreateContainerError",
      "PreCreateHookError",
      "PreStartHookError",
      "PostStartHookError",
      "RunContainerError",
    ],
  },
  CrashLoop: {
    description:
      "The container exits by itself (`CrashLoopBackOff`); with exit code 0, its image may not serve a desktop",
    message: "{container} {crashed}: {details}",
    graceMs: SHORT_MS,
  },
  OOMKilled: {
    description: "The container ran out of memory (`OOMKilled`)",
    message: "{container} ran out of memory (OOMKilled): {details}",
    graceMs: SHORT_MS,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/events/event.go
  Sandbox: {
    description:
      "The pod's network or sandbox cannot be set up (`FailedCreatePodSandBox`, `NetworkNotReady`)",
    message: "its pod sandbox cannot be created: {details}",
    graceMs: RETRIES_MS,
  },
  VolumeStuck: {
    description:
      "A volume is still attached elsewhere or cannot be mounted (`FailedAttachVolume`, `FailedMount`)",
    message: "volume {volume} cannot be {attached}: {details}",
    graceMs: RETRIES_MS,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/volume/events/event.go
  VolumeNotBound: {
    description:
      "The volume cannot be provisioned (`ProvisioningFailed`); waiting for the first consumer is not a failure",
    message: "volume {volume} cannot be provisioned: {details}",
    graceMs: RETRIES_MS,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/volume/persistentvolume/pv_controller.go
  NotProvisioned: {
    description:
      "The volume's external provisioner, such as a CSI driver, has not provisioned it yet (`ExternalProvisioning`): " +
      "it is slow, not installed or not running",
    message:
      "volume {volume} is not provisioned: check that provisioner {provisioner} is installed and running",
    graceMs: START_TIMEOUT,
  },
  NoStorageClass: {
    description: "The storage class does not exist, or none is set and there is no default (`FailedBinding`)",
    message: "volume {volume} cannot be provisioned: {details}",
    graceMs: SHORT_MS,
  },
  VolumeGone: {
    description:
      "The PersistentVolumeClaim does not exist or is being deleted, or its volume is lost (`Lost`)",
    message: "volume {volume} is not available: {details}",
    graceMs: SHORT_MS,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/scheduler/schedule_one.go
  Unschedulable: {
    description:
      "No node can run the pod, and no autoscaler reports anything; after `TriggeredScaleUp` or Karpenter's " +
      "`Nominated` the start has five more minutes",
    message: "its pod cannot be scheduled: {details}",
    graceMs: START_TIMEOUT,
  },
  // https://kubernetes.io/docs/concepts/scheduling-eviction/pod-scheduling-readiness/
  SchedulingGated: {
    description:
      "A scheduling gate holds the pod back (`SchedulingGated`), for example the gate of a queue such as Kueue",
    message: "its pod is not scheduled while it has the scheduling {gates}",
    graceMs: START_TIMEOUT,
  },
  // https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md
  NoScaleUp: {
    description:
      "No node can run the pod, and the autoscaler cannot add one (`NotTriggerScaleUp`, `FailedScaleUp`)",
    message: "its pod cannot be scheduled, and the cluster does not scale up: {details}",
    graceMs: SCALE_UP_MS,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/controller_utils.go
  Quota: {
    description: "A ResourceQuota is exceeded",
    message: "Kubernetes rejects its pod: {details}",
    graceMs: IMMEDIATELY,
    rejections: [/(?:exceeded|failed) quota/],
  },
  PodSecurity: {
    description: "The Pod Security level of the namespace does not allow the pod",
    message: "Kubernetes rejects its pod: {details}",
    graceMs: IMMEDIATELY,
    rejections: [/violates PodSecurity/],
  },
  LimitRange: {
    description: "A LimitRange does not allow the requested resources",
    message: "Kubernetes rejects its pod: {details}",
    graceMs: IMMEDIATELY,
    rejections: [/(?:maximum|minimum) \S+ usage per|limit to request ratio/],
  },
  AdmissionDown: {
    description:
      "The pod cannot be created because of a temporary failure of the cluster, such as an admission webhook that " +
      "does not answer, a quota that is being updated, or a new namespace without its default ServiceAccount",
    message: "its pod cannot be created: {details}",
    graceMs: SHORT_MS,
    rejections: [
      /Internal error occurred|timed? ?out|too many requests|connection refused|etcdserver/i,
      // https://github.com/kubernetes/kubernetes/issues/67761
      /Operation cannot be fulfilled on resourcequotas|status unknown for quota|not yet ready to handle request/,
      // https://github.com/kubernetes/kubernetes/issues/66689
      /error looking up service account|service account \S+ was not found|no API token found for service account/,
    ],
  },
  // https://kubernetes.io/docs/reference/access-authn-authz/rbac/
  Forbidden: {
    description:
      "The agent's Role does not allow a request; the message names the verb and the resource, and the doctor lists " +
      "all missing rights. A watch that is forbidden fails a command after 10s",
    message: "Kubernetes rejects its pod: {details}",
    graceMs: IMMEDIATELY,
    rejections: [/ cannot \w+ resource "/],
  },
  Refused: {
    description:
      "An admission policy or webhook rejects the pod or another object, or a class does not exist",
    message: "Kubernetes rejects its pod: {details}",
    graceMs: IMMEDIATELY,
    rejections: [/^/],
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/lifecycle/predicate.go
  PodRejected: {
    description:
      "Nodes reject the pods (`OutOfcpu`, `UnexpectedAdmissionError`, `NodeAffinity`): three within a minute",
    message: "node {node} rejects its pod: {details}",
    graceMs: SHORT_MS,
  },
  // https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
  Evicted: {
    description:
      "The pod was evicted, preempted, drained or removed by a taint (`DisruptionTarget`), and has no replacement",
    message: "its pod was evicted: {details}",
    graceMs: SHORT_MS,
  },
  NodeLost: {
    description: "The pod's node is unreachable (`NodeNotReady`) or no longer exists (`DeletionByPodGC`)",
    message: "node {node} is unreachable",
    graceMs: NODE_MS,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/events/event.go
  NotAnswering: {
    description: "The container runs, and its readiness probe fails (`Unhealthy`)",
    message: "its display port does not answer: {details}",
    graceMs: START_TIMEOUT,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/prober/prober.go
  ContainerNotReady: {
    description:
      "Another container of the pod, such as an injected sidecar, runs, and its startup or readiness probe fails " +
      "(`Unhealthy`)",
    message: "{container} is not ready: {details}",
    graceMs: START_TIMEOUT,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/deployment/progress.go
  NoProgress: {
    description:
      "The Deployment exceeded its progress deadline (`ProgressDeadlineExceeded`), which the agent sets above the " +
      "start timeout, and no other cause is known",
    message: "its Deployment makes no progress: {details}",
    graceMs: START_TIMEOUT,
  },
  // https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
  ReplicasChanged: {
    description:
      "The Deployment does not have exactly one replica, because an admission webhook or policy, an autoscaler or a " +
      "user changed it",
    message:
      "its Deployment has {replicas} instead of 1: a policy, a webhook, an autoscaler or a user changed it",
    graceMs: IMMEDIATELY,
  },
  // https://kubernetes.io/docs/concepts/architecture/garbage-collection/
  DeploymentDeleted: {
    description: "The Deployment was deleted",
    message: "its Deployment was deleted",
    graceMs: IMMEDIATELY,
  },
  // https://kubernetes.io/docs/concepts/services-networking/service/
  ServiceMissing: {
    description:
      "The pod runs, but the Service does not lead to it and cannot be restored; see the agent's log",
    message: "its Service is missing or does not lead to its pod",
    graceMs: IMMEDIATELY,
  },
  // https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
  Timeout: {
    description: "The session is not ready in time, and no other cause is known",
    message: "it was not ready within {timeout}, still {progress}",
    graceMs: START_TIMEOUT,
  },
} as const satisfies Readonly<Record<string, FailureCause>>;

/** The stable name of a cause. */
export type FailureReason = keyof typeof CAUSES;

/** A cause that was detected: its reason, and its message with all values filled in. */
export interface Problem {
  readonly reason: FailureReason;
  readonly message: string;
}

type CausesWith<Key extends keyof FailureCause> = {
  [Reason in FailureReason]: (typeof CAUSES)[Reason] extends Required<Pick<FailureCause, Key>> ? Reason
    : never;
}[FailureReason];

/** Causes that the reason of a waiting container implies. */
export type WaitingCause = CausesWith<"waitingReasons">;

/** Causes that the message of a rejected request implies. */
export type RejectionCause = CausesWith<"rejections">;

type Placeholders<Message extends string> = Message extends `${string}{${infer Name}}${infer Rest}`
  ? Name | Placeholders<Rest>
  : never;

/** The values that the messages of some causes need. */
export type MessageValues<Reason extends FailureReason> = Readonly<
  Record<Placeholders<(typeof CAUSES)[Reason]["message"]>, string>
>;

const WAITING_CAUSES: ReadonlyMap<string, WaitingCause> = new Map(
  Object.entries(CAUSES).flatMap(([cause, row]) =>
    "waitingReasons" in row
      ? row.waitingReasons.map((reason) => [reason, cause as WaitingCause] as const)
      : []
  ),
);

/** A detected cause with its message. Details that are empty are left out. */
export function problem<Reason extends FailureReason>(
  reason: Reason,
  values: MessageValues<Reason>,
): Problem {
  const message = CAUSES[reason].message
    .replace(/\{(\w+)\}/g, (_, name: string) => (values as Readonly<Record<string, string>>)[name] ?? "")
    .replace(/: $/, "");
  return { reason, message };
}

/** The cause of a container's waiting reason; none for ContainerCreating and other normal steps. */
export function waitingCause(waitingReason: string | undefined): WaitingCause | undefined {
  return waitingReason === undefined ? undefined : WAITING_CAUSES.get(waitingReason);
}

/** The cause of a message with which the API server rejected a request. */
export function rejectionCause(message: string): RejectionCause {
  for (const [cause, row] of Object.entries(CAUSES)) {
    if ("rejections" in row && row.rejections.some((pattern) => pattern.test(message))) {
      return cause as RejectionCause;
    }
  }
  return "Refused";
}
