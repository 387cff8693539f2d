/**
 * Sessions with a problem of the pod, its volume, its node or its Deployment.
 * @module
 */
import {
  BOUND,
  claim,
  conditions,
  container,
  CREATING,
  ended,
  events,
  LATE,
  NO_NODE,
  NO_VOLUME,
  objects,
  pod,
  type ProblemCase,
  READY,
  RECOVERED,
  rejected,
  REPLACEMENT,
  replicas,
  RUNNING,
  time,
  unschedulable,
} from "./session_fixtures.ts";

export const POD_PROBLEMS: readonly ProblemCase[] = [
  [
    "no Deployment",
    objects([READY], { deployment: undefined }),
    "DeploymentDeleted",
    "its Deployment was deleted",
  ],
  [
    "a Deployment that is being deleted",
    objects([READY], { deployment: { metadata: { deletionTimestamp: time(LATE) } } }),
    "DeploymentDeleted",
    "its Deployment was deleted",
  ],
  [
    "an exceeded quota",
    objects([], {
      deployment: conditions(
        "ReplicaFailure",
        "True",
        "FailedCreate",
        'pods "s1-5c9d-x7k2p" is forbidden: exceeded quota: q1, requested: pods=1, used: pods=0, limited: pods=0',
      ),
    }),
    "Quota",
    "Kubernetes rejects its pod: exceeded quota: q1, requested: pods=1, used: pods=0, limited: pods=0",
  ],
  [
    "resources beyond a LimitRange",
    objects([], {
      deployment: conditions(
        "ReplicaFailure",
        "True",
        "FailedCreate",
        'pods "s1-5c9d-x7k2p" is forbidden: maximum memory usage per Container is 1Mi, but limit is 512Mi',
      ),
    }),
    "LimitRange",
    "Kubernetes rejects its pod: maximum memory usage per Container is 1Mi, but limit is 512Mi",
  ],
  [
    "a violation of the Pod Security level",
    objects([], {
      deployment: conditions(
        "ReplicaFailure",
        "True",
        "FailedCreate",
        'pods "p" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
      ),
    }),
    "PodSecurity",
    'Kubernetes rejects its pod: violates PodSecurity "restricted:latest": runAsNonRoot != true',
  ],
  [
    "a rejection without a message",
    objects([], { deployment: conditions("ReplicaFailure", "True", "FailedCreate") }),
    "Refused",
    "Kubernetes rejects its pod: FailedCreate",
  ],
  [
    "an admission webhook that does not answer",
    objects([], {
      deployment: conditions(
        "ReplicaFailure",
        "True",
        "FailedCreate",
        'Internal error occurred: failed calling webhook "w": EOF',
      ),
    }),
    "AdmissionDown",
    'its pod cannot be created: Internal error occurred: failed calling webhook "w": EOF',
  ],
  ...[
    'error looking up service account ns/default: serviceaccount "default" not found',
    "service account ns/default was not found, retry after the service account is created",
    "no API token found for service account ns/default, retry after the token is automatically created",
  ].map((details): ProblemCase => [
    `a new namespace without its ServiceAccount: ${details}`,
    objects([], {
      deployment: conditions(
        "ReplicaFailure",
        "True",
        "FailedCreate",
        `pods "s1-5c9d-x7k2p" is forbidden: ${details}`,
      ),
    }),
    "AdmissionDown",
    `its pod cannot be created: ${details}`,
  ]),
  [
    "a Deployment with two replicas, one of which is ready",
    objects([READY, pod({ name: "p2", created: LATE })], { deployment: replicas(2) }),
    "ReplicasChanged",
    "its Deployment has 2 replicas instead of 1: a policy, a webhook, an autoscaler or a user changed it",
  ],
  [
    "a Deployment that was scaled to zero during the start",
    objects([], { deployment: replicas(0) }),
    "ReplicasChanged",
    "its Deployment has no replicas instead of 1: a policy, a webhook, an autoscaler or a user changed it",
  ],
  [
    "a scheduling gate",
    objects([pod({
      gates: ["kueue.x-k8s.io/admission"],
      conditions: [{
        type: "PodScheduled",
        status: "False",
        reason: "SchedulingGated",
        message: "Scheduling is blocked due to non-empty scheduling gates",
      }],
    })]),
    "SchedulingGated",
    'its pod is not scheduled while it has the scheduling gate "kueue.x-k8s.io/admission"',
  ],
  [
    "two scheduling gates, and no condition yet",
    objects([pod({ gates: ["example.com/a", "example.com/b"], hasHome: true })], {
      claim: claim("Pending"),
    }),
    "SchedulingGated",
    'its pod is not scheduled while it has the scheduling gates "example.com/a", "example.com/b"',
  ],
  [
    "a CSI driver that its node does not have, followed by the kubelet's summary",
    objects([pod(CREATING)], {
      claim: BOUND,
      events: events(
        [
          "FailedMount",
          'MountVolume.MountDevice failed for volume "pvc-1" : kubernetes.io/csi: attacher.MountDevice failed to ' +
          "create newCsiDriverClient: driver name ebs.csi.aws.com not found in the list of registered CSI drivers",
        ],
        [
          "FailedMount",
          "Unable to attach or mount volumes: unmounted volumes=[home], unattached volumes=[], failed to process " +
          "volumes=[]: context deadline exceeded",
        ],
      ),
    }),
    "VolumeStuck",
    'volume "s1-home" cannot be mounted: driver name ebs.csi.aws.com not found in the list of registered CSI drivers',
  ],
  [
    "a CSI driver without an attacher on its node",
    objects([pod(CREATING)], {
      claim: BOUND,
      events: events([
        "FailedAttachVolume",
        'AttachVolume.Attach failed for volume "pvc-1" : CSINode n1 does not contain driver ebs.csi.aws.com',
      ]),
    }),
    "VolumeStuck",
    'volume "s1-home" cannot be attached: CSINode n1 does not contain driver ebs.csi.aws.com',
  ],
  [
    "only the kubelet's summary",
    objects([pod(CREATING)], {
      claim: BOUND,
      events: events([
        "FailedMount",
        "Unable to attach or mount volumes: unmounted volumes=[home]: timed out waiting for the condition",
      ]),
    }),
    "VolumeStuck",
    'volume "s1-home" cannot be mounted: Unable to attach or mount volumes: unmounted volumes=[home]: timed out ' +
    "waiting for the condition",
  ],
  [
    "a missing pod network",
    objects([pod(CREATING)], {
      events: events([
        "FailedCreatePodSandBox",
        "Failed to create pod sandbox: rpc error: code = Unknown desc = no CNI",
      ]),
    }),
    "Sandbox",
    "its pod sandbox cannot be created: no CNI",
  ],
  [
    "a volume that is attached elsewhere",
    objects([pod(CREATING)], {
      claim: BOUND,
      events: events(
        [
          "FailedAttachVolume",
          'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) s1-old',
        ],
        ["FailedMount", "Unable to attach or mount volumes: unmounted volumes=[home]: timed out"],
      ),
    }),
    "VolumeStuck",
    'volume "s1-home" cannot be attached: Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) s1-old',
  ],
  [
    "an attached volume that cannot be mounted",
    objects([pod(CREATING)], {
      claim: BOUND,
      events: events(
        ["FailedAttachVolume", 'Multi-Attach error for volume "pvc-1"'],
        ["SuccessfulAttachVolume", 'AttachVolume.Attach succeeded for volume "pvc-1"'],
        ["FailedMount", 'MountVolume.SetUp failed for volume "pvc-1" : exit status 32'],
      ),
    }),
    "VolumeStuck",
    'volume "s1-home" cannot be mounted: exit status 32',
  ],
  [
    "another volume that cannot be mounted",
    objects([pod(CREATING)], {
      claim: BOUND,
      events: events(["FailedMount", 'MountVolume.SetUp failed for volume "keys" : secret "keys" not found']),
    }),
    "VolumeStuck",
    'volume "keys" cannot be mounted: secret "keys" not found',
  ],
  [
    "a missing storage class",
    objects([pod(unschedulable(NO_VOLUME))], {
      claim: claim("Pending"),
      events: events(["ProvisioningFailed", 'storageclass.storage.k8s.io "x" not found', "uid-claim"]),
    }),
    "NoStorageClass",
    'volume "s1-home" cannot be provisioned: storageclass.storage.k8s.io "x" not found',
  ],
  [
    "no storage class",
    objects([pod(unschedulable(NO_VOLUME))], {
      claim: claim("Pending"),
      events: events([
        "FailedBinding",
        "no persistent volumes available for this claim and no storage class is set",
        "uid-claim",
      ]),
    }),
    "NoStorageClass",
    'volume "s1-home" cannot be provisioned: no persistent volumes available for this claim and no storage class is set',
  ],
  [
    "a failing provisioner",
    objects([pod(unschedulable(NO_VOLUME))], {
      claim: claim("Pending"),
      events: events([
        "ProvisioningFailed",
        "rpc error: code = ResourceExhausted desc = disk quota exceeded",
        "uid-claim",
      ]),
    }),
    "VolumeNotBound",
    'volume "s1-home" cannot be provisioned: disk quota exceeded',
  ],
  [
    "a failing provisioner after a node was chosen",
    objects([pod({ hasHome: true })], {
      claim: claim("Pending"),
      events: events(
        [
          "ProvisioningFailed",
          'failed to provision volume with StorageClass "gp3": rpc error: code = Internal desc = Could not create ' +
          'volume "pvc-1": UnauthorizedOperation: You are not authorized',
          "uid-claim",
        ],
      ),
    }),
    "VolumeNotBound",
    'volume "s1-home" cannot be provisioned: Could not create volume "pvc-1": UnauthorizedOperation: You are not authorized',
  ],
  [
    "a lost volume",
    objects([pod(unschedulable(NO_NODE))], { claim: claim("Lost") }),
    "VolumeGone",
    'volume "s1-home" is not available: its PersistentVolume is lost',
  ],
  [
    "a claim that is being deleted",
    objects([
      pod(unschedulable('0/3 nodes are available: persistentvolumeclaim "s1-home" is being deleted.')),
    ]),
    "VolumeGone",
    'volume "s1-home" is not available: persistentvolumeclaim "s1-home" is being deleted',
  ],
  [
    "no node that can run it",
    objects([pod(unschedulable(NO_NODE))]),
    "Unschedulable",
    `its pod cannot be scheduled: ${NO_NODE}`,
  ],
  [
    "no node that can run it, and a volume that waits for its first consumer",
    objects([pod(unschedulable(NO_NODE))], { claim: claim("Pending") }),
    "Unschedulable",
    `its pod cannot be scheduled: ${NO_NODE}`,
  ],
  [
    "an autoscaler that cannot add a node",
    objects([pod(unschedulable(NO_NODE))], {
      events: events(
        ["TriggeredScaleUp", "pod triggered scale-up: [{pool 1->2 (max: 2)}]"],
        ["NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached"],
      ),
    }),
    "NoScaleUp",
    "its pod cannot be scheduled, and the cluster does not scale up: 1 max node group size reached",
  ],
  [
    "a failed scale-up",
    objects([pod(unschedulable(NO_NODE))], {
      events: events(
        ["TriggeredScaleUp", "pod triggered scale-up: [{pool 1->2 (max: 2)}]"],
        [
          "FailedScaleUp",
          "Node scale up in zones us-east4-a associated with this pod failed: GCE out of resources. " +
          "Pod is at risk of not being scheduled.",
        ],
        ["NotTriggerScaleUp", "pod didn't trigger scale-up: 1 in backoff after failed scale-up"],
      ),
    }),
    "NoScaleUp",
    "its pod cannot be scheduled, and the cluster does not scale up: Node scale up in zones us-east4-a " +
    "associated with this pod failed: GCE out of resources. Pod is at risk of not being scheduled.",
  ],
  [
    "a node that became unreachable before it started the pod",
    objects([pod(CREATING)], { events: events(["NodeNotReady", "Node is not ready"]) }),
    "NodeLost",
    'node "n1" is unreachable',
  ],
  [
    "a node that became unreachable while containers run",
    objects([pod({
      nodeName: "n1",
      conditions: [{ type: "ContainersReady", status: "True" }, { type: "Ready", status: "False" }],
      containers: [container({ state: RUNNING, ready: true })],
    })]),
    "NodeLost",
    'node "n1" is unreachable',
  ],
  [
    "a node that became unreachable, and a container that was killed before",
    objects([pod({
      nodeName: "n1",
      conditions: [{ type: "ContainersReady", status: "True" }, { type: "Ready", status: "False" }],
      containers: [{ ...RECOVERED, ready: true }],
    })]),
    "NodeLost",
    'node "n1" is unreachable',
  ],
  [
    "a pod whose node was deleted",
    objects([pod({
      nodeName: "n1",
      conditions: [{ type: "DisruptionTarget", status: "True", reason: "DeletionByPodGC" }],
    })]),
    "NodeLost",
    'node "n1" is unreachable',
  ],
  [
    "three rejected pods within a minute",
    objects([...rejected(3), REPLACEMENT]),
    "PodRejected",
    'node "n1" rejects its pod: Node didn\'t have enough resource: cpu',
  ],
  [
    "a rejected pod without a replacement",
    objects(rejected(1)),
    "PodRejected",
    'node "n1" rejects its pod: Node didn\'t have enough resource: cpu',
  ],
  [
    "an evicted pod without a replacement",
    objects([pod({
      phase: "Failed",
      containers: [container({ state: ended("Error", { exitCode: 137 }) })],
      status: { reason: "Evicted", message: "The node was low on resource: memory. " },
    })]),
    "Evicted",
    "its pod was evicted: The node was low on resource: memory.",
  ],
  [
    "a rejected ReplicaSet",
    objects([], {
      deployment: conditions(
        "Progressing",
        "False",
        "ReplicaSetCreateError",
        'Failed to create new replica set "s1-5c9d": replicasets.apps "s1-5c9d" is forbidden: exceeded quota: q1',
      ),
    }),
    "Quota",
    "Kubernetes rejects its pod: exceeded quota: q1",
  ],
];
