/**
 * Why sessions do not start or serve: one table of causes, each with its stable word for programs, what people are told, and how long it may
 * last before a start fails by it. `docs/failures.md` is this table for people. The links lead to where the cluster's words for it come from.
 * @module
 */

/** One row of the table. */
export interface Cause {
  /** What is the case. */
  readonly cause: string;
  /** What is told; `…` stands for the cluster's own words. */
  readonly told: string;
  /** How long it may last before a start fails by it, in milliseconds; 0: not at all, Infinity: until the start's deadline. */
  readonly graceMs: number;
}

const AT_ONCE = 0;
const DEADLINE = Infinity;
/** The kubelet tries three times within it: a registry's hiccup is over by then, a wrong name is not. */
const PULL_MS = 30_000;
/** Somebody may be about to create what is missing, or a cache of the cluster lag behind. */
const SHORT_MS = 10_000;
/** What is tried about six times within it, with the growing pauses of kubelet and provisioners; networks of new nodes need half of it. */
const RETRIES_MS = 60_000;
/** A node is called lost after 40 seconds of silence; that it comes back is the exception. */
const NODE_MS = 30_000;
/** Autoscalers look every 10 seconds, and what holds them back may just be over. */
const SCALE_UP_MS = 30_000;

/** The table. */
export const CAUSES = {
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/images/types.go
  InvalidImage: {
    cause: "The image's name is none (`InvalidImageName`)",
    told: 'image "NAME" has no valid name',
    graceMs: AT_ONCE,
  },
  ImageNeverPulled: {
    cause: "`--image-pull-policy=Never`, and the node does not have the image (`ErrImageNeverPull`)",
    told: 'image "NAME" is not on the node and may not be pulled',
    graceMs: AT_ONCE,
  },
  ImagePull: {
    cause: "The image cannot be pulled (`ErrImagePull`, `ImagePullBackOff` and their like)",
    told: 'image "NAME" cannot be pulled: …',
    graceMs: PULL_MS,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kuberuntime/kuberuntime_container.go
  ContainerConfig: {
    cause:
      "A Secret or ConfigMap is missing, or the image's user is not allowed (`CreateContainerConfigError`)",
    told: "its container cannot be created: …",
    graceMs: SHORT_MS,
  },
  CannotRun: {
    cause:
      "The container cannot be created or started, such as by a wrong command (`CreateContainerError`, " +
      "`RunContainerError`, `StartError`)",
    told: "its container cannot be started: …",
    graceMs: SHORT_MS,
  },
  CrashLoop: {
    cause: "The container ends by itself (`CrashLoopBackOff`)",
    told: "its container crashes: exit code N: …",
    graceMs: SHORT_MS,
  },
  OOMKilled: {
    cause: "The container was killed for want of memory",
    told: "its container needs more memory than its limit of AMOUNT",
    graceMs: SHORT_MS,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/events/event.go
  Sandbox: {
    cause: "The pod's network or sandbox cannot be set up (`FailedCreatePodSandBox`, `NetworkNotReady`)",
    told: "its pod cannot be set up: …",
    graceMs: RETRIES_MS,
  },
  VolumeStuck: {
    cause: "A volume is still attached elsewhere or cannot be mounted (`FailedAttachVolume`, `FailedMount`)",
    told: 'volume "NAME" cannot be attached: …, or mounted',
    graceMs: RETRIES_MS,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/volume/events/event.go
  VolumeNotBound: {
    cause:
      "The volume cannot be provisioned (`ProvisioningFailed`); waiting for the first consumer is no failure",
    told: 'volume "NAME" cannot be created: …',
    graceMs: RETRIES_MS,
  },
  NoStorageClass: {
    cause: "The storage class does not exist, or none is named and there is no default (`FailedBinding`)",
    told: 'volume "NAME" cannot be created: …',
    graceMs: SHORT_MS,
  },
  VolumeGone: {
    cause: "The claim is gone or being deleted, or its volume is lost",
    told: 'volume "NAME" is lost, or is gone: …',
    graceMs: SHORT_MS,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/scheduler/schedule_one.go
  Unschedulable: {
    cause:
      "No node can take the pod, and no autoscaler says a word; with `TriggeredScaleUp` or Karpenter's " +
      "`Nominated` the deadline moves to five minutes from then",
    told: "no node can take its pod: …",
    graceMs: DEADLINE,
  },
  // https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md
  NoScaleUp: {
    cause: "No node can take the pod, and the autoscaler cannot help (`NotTriggerScaleUp`, `FailedScaleUp`)",
    told: "no node can take its pod, and the cluster does not grow for it: …",
    graceMs: SCALE_UP_MS,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/controller_utils.go
  Quota: {
    cause: "A ResourceQuota is used up",
    told: "the cluster refuses its pod: exceeded quota: …",
    graceMs: AT_ONCE,
  },
  LimitRange: {
    cause: "A LimitRange does not allow the amounts",
    told: "the cluster refuses its pod: …",
    graceMs: AT_ONCE,
  },
  PodSecurity: {
    cause: "The namespace's Pod Security level does not allow the pod",
    told: "the cluster refuses its pod: violates PodSecurity …",
    graceMs: AT_ONCE,
  },
  Refused: {
    cause: "A policy or webhook, or a class that does not exist, does not allow the pod or another object",
    told: "the cluster refuses its pod: …",
    graceMs: AT_ONCE,
  },
  AdmissionDown: {
    cause:
      "The pod cannot be created as the cluster has trouble of its own, such as a webhook that does not answer " +
      "or a quota that many use at once",
    told: "its pod cannot be created: …",
    graceMs: SHORT_MS,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/lifecycle/predicate.go
  PodRejected: {
    cause:
      "Nodes reject the pods (`OutOfcpu`, `UnexpectedAdmissionError`, `NodeAffinity`): three within a minute",
    told: 'node "NAME" rejects its pod: …',
    graceMs: SHORT_MS,
  },
  // https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
  Evicted: {
    cause:
      "The pod was evicted, preempted, drained or tainted away (`DisruptionTarget`), and no other takes its place",
    told: "its pod was evicted: …",
    graceMs: SHORT_MS,
  },
  NodeLost: {
    cause: "The pod's node does not answer any more (`NodeNotReady`), or is gone (`DeletionByPodGC`)",
    told: 'node "NAME" does not answer',
    graceMs: NODE_MS,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/events/event.go
  NotAnswering: {
    cause: "The container runs, and its readiness probe fails (`Unhealthy`)",
    told: "its display port does not answer: …",
    graceMs: DEADLINE,
  },
  // https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/deployment/progress.go
  NoProgress: {
    cause:
      "The Deployment gave up after ten minutes (`ProgressDeadlineExceeded`), and no image is being pulled",
    told: "its Deployment makes no progress: …",
    graceMs: AT_ONCE,
  },
  // https://kubernetes.io/docs/concepts/architecture/garbage-collection/
  DeploymentDeleted: {
    cause: "Somebody deleted the Deployment",
    told: "its Deployment was deleted",
    graceMs: AT_ONCE,
  },
  // https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
  Timeout: {
    cause: "Nothing is known to be wrong, and the session is not ready",
    told: "it was not ready within 2m, still …",
    graceMs: DEADLINE,
  },
} as const satisfies Readonly<Record<string, Cause>>;

/** The stable word for a cause. */
export type Reason = keyof typeof CAUSES;

/** What is known to be wrong: a word for programs and a clause for people, which ends a sentence such as `Cannot start session "s1": …`. */
export interface Trouble {
  readonly reason: Reason;
  readonly words: string;
}
