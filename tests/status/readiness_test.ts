import { assertEquals } from "@std/assert";
import type {
  V1ContainerStatus,
  V1Deployment,
  V1PersistentVolumeClaim,
  V1Pod,
} from "@kubernetes/client-node";
import type { EventReason, SessionEvent } from "../../lib/kubernetes/event_log.ts";
import type { SessionObjects } from "../../lib/kubernetes/session_cache.ts";
import { CAUSES, type FailureReason } from "../../lib/status/causes.ts";
import { checkReadiness, currentPod, isReady } from "../../lib/status/readiness.ts";

const DEPLOYMENT: V1Deployment = { metadata: { name: "s1" } };
const EARLY = "2026-01-01T00:00:00Z";
const LATE = "2026-01-01T00:01:00Z";

/** Objects of a watch carry times as text. */
function time(text: string): Date {
  return text as unknown as Date;
}

interface PodParts {
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
  status?: V1Pod["status"];
  /** Whether its spec has a home. */
  hasHome?: boolean;
}

function pod(parts: PodParts = {}): V1Pod {
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

function container(parts: Partial<V1ContainerStatus>): V1ContainerStatus {
  return { name: "session", image: "example.com/x:1", imageID: "", ready: false, restartCount: 0, ...parts };
}

function waiting(
  reason?: string,
  message?: string,
  rest: Partial<V1ContainerStatus> = {},
): V1ContainerStatus {
  const state = { waiting: { ...(reason ? { reason } : {}), ...(message ? { message } : {}) } };
  return container({ state, ...rest });
}

/** What the cluster tells about pod p1, or the claim, oldest first. */
function told(...events: Array<[reason: EventReason, message: string, about?: string]>): SessionEvent[] {
  return events.map(([reason, message, about = "uid-p1"], nth) => ({
    objectUid: about,
    reason,
    message,
    version: nth,
  }));
}

function objects(pods: V1Pod[], others: Partial<SessionObjects> = {}): SessionObjects {
  const none = { service: undefined, claim: undefined, policy: undefined, events: [] };
  return { deployment: DEPLOYMENT, ...none, pods, ...others };
}

function claim(phase: string, parts: { isDeleted?: boolean } = {}): V1PersistentVolumeClaim {
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

const READY = pod({ phase: "Running", conditions: [{ type: "Ready", status: "True" }] });
const RUNNING = { running: { startedAt: time(EARLY) } };

function ended(reason: string, parts: { exitCode: number; message?: string }): V1ContainerStatus["state"] {
  return { terminated: { reason, ...parts } };
}

function conditions(type: string, status: string, reason: string, message?: string): V1Deployment {
  const condition = { type, status, reason, ...(message ? { message } : {}) };
  return { ...DEPLOYMENT, status: { conditions: [{ type: "Available", status: "False" }, condition] } };
}

function unschedulable(message: string): PodParts {
  return { conditions: [{ type: "PodScheduled", status: "False", reason: "Unschedulable", message }] };
}

const NO_NODE = "0/3 nodes are available: 3 Insufficient memory.";
const NO_VOLUME = "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
const CREATING = { nodeName: "n1", hasHome: true, containers: [waiting("ContainerCreating")] };
const SERVING = pod({ nodeName: "n1", containers: [container({ state: RUNNING })] });
const BOUND = claim("Bound");
/** A container that the cluster puts into each pod, and that crashed once. */
const PROXY = container({
  name: "istio-proxy",
  state: RUNNING,
  ready: true,
  restartCount: 1,
  lastState: ended("Error", { exitCode: 255 }),
});
/** A container that crashed often before it served at last. */
const HARDENED = container({
  state: RUNNING,
  restartCount: 3,
  lastState: ended("OOMKilled", { exitCode: 137 }),
});

/** Pods that nodes rejected, one second after the other. */
function rejected(count: number): V1Pod[] {
  return Array.from({ length: count }, (_, nth) =>
    pod({
      name: `r${nth}`,
      created: `2026-01-01T00:00:0${nth}Z`,
      phase: "Failed",
      nodeName: "n1",
      status: { reason: "OutOfcpu", message: "Pod was rejected: Node didn't have enough resource: cpu" },
    }));
}

const SUCCESSOR = pod({ name: "next", created: "2026-01-01T00:00:09Z" });

/** At least one row for each cause of the table. */
const TROUBLES: ReadonlyArray<[name: string, objects: SessionObjects, reason: FailureReason, words: string]> =
  [
    [
      "no Deployment",
      objects([READY], { deployment: undefined }),
      "DeploymentDeleted",
      "its Deployment was deleted",
    ],
    [
      "a Deployment on its way out",
      objects([READY], { deployment: { metadata: { deletionTimestamp: time(LATE) } } }),
      "DeploymentDeleted",
      "its Deployment was deleted",
    ],
    [
      "a quota that is used up",
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
      "amounts that a LimitRange does not allow",
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
      "a pod that is not secure enough",
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
      "a refusal in one word",
      objects([], { deployment: conditions("ReplicaFailure", "True", "FailedCreate") }),
      "Refused",
      "Kubernetes rejects its pod: FailedCreate",
    ],
    [
      "a webhook that does not answer",
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
    [
      "a Deployment that gave up",
      objects([], {
        deployment: conditions(
          "Progressing",
          "False",
          "ProgressDeadlineExceeded",
          'ReplicaSet "s1-1" has timed out progressing.',
        ),
      }),
      "NoProgress",
      'its Deployment makes no progress: ReplicaSet "s1-1" has timed out progressing.',
    ],
    [
      "an image name that is none",
      objects([pod({ containers: [waiting("InvalidImageName", "bad", { name: "other", image: "A B" })] })]),
      "InvalidImage",
      'image name "A B" is invalid',
    ],
    [
      "an image that may not be pulled",
      objects([pod({ containers: [waiting("ErrImageNeverPull")] })]),
      "ImageNeverPulled",
      'image "x/y:1" is not on the node, and its pull policy is Never',
    ],
    [
      "an image that is not there, named as it was asked for",
      objects([
        pod({
          containers: [
            waiting("ErrImagePull", "rpc error: code = NotFound desc = docker.io/x/y:1: not found", {
              image: "docker.io/x/y:1",
            }),
          ],
        }),
      ]),
      "ImagePull",
      'image "x/y:1" cannot be pulled: not found',
    ],
    [
      "a pull that waits before it tries again, with the registry's words from the event",
      objects([pod({ containers: [waiting("ImagePullBackOff", 'Back-off pulling image "x/y:1"')] })], {
        events: told([
          "Failed",
          'Failed to pull image "x/y:1": rpc error: code = Unknown desc = pull access denied',
        ]),
      }),
      "ImagePull",
      'image "x/y:1" cannot be pulled: pull access denied',
    ],
    [
      "a pull that waits, and an event of another pod",
      objects([pod({ containers: [waiting("ImagePullBackOff", 'Back-off pulling image "x/y:1"')] })], {
        events: told(["Failed", 'Failed to pull image "x/y:1": denied', "uid-other"]),
      }),
      "ImagePull",
      'image "x/y:1" cannot be pulled: ImagePullBackOff',
    ],
    [
      "an init container in trouble before the session's own, which waits",
      objects([pod({
        initContainers: [
          waiting("ImagePullBackOff", "denied", { name: "init", image: "example.com/init:1" }),
        ],
        containers: [waiting("PodInitializing")],
      })]),
      "ImagePull",
      'image "example.com/init:1" cannot be pulled: denied',
    ],
    [
      "a Secret that is missing",
      objects([pod({ containers: [waiting("CreateContainerConfigError", 'secret "x" not found')] })]),
      "ContainerConfig",
      'its container cannot be created: secret "x" not found',
    ],
    ...["CreateContainerError", "RunContainerError", "PostStartHookError"].map(
      (reason): [string, SessionObjects, FailureReason, string] => [
        reason,
        objects([pod({ containers: [waiting(reason, "no such file")] })]),
        "CannotRun",
        "its container cannot be started: no such file",
      ],
    ),
    [
      "a command that does not exist, while it waits for another attempt",
      objects([pod({
        containers: [waiting("CrashLoopBackOff", "back-off", {
          restartCount: 2,
          lastState: ended("StartError", {
            exitCode: 128,
            message: 'exec: "nope": executable file not found',
          }),
        })],
      })]),
      "CannotRun",
      'its container cannot be started: exit code 128: exec: "nope": executable file not found',
    ],
    [
      "a container that crashes with last words",
      objects([pod({
        containers: [waiting("CrashLoopBackOff", "back-off", {
          restartCount: 3,
          lastState: ended("Error", { exitCode: 1, message: "cannot open display\n" }),
        })],
      })]),
      "CrashLoop",
      "its container crashed: exit code 1: cannot open display",
    ],
    [
      "a container that ended before it served",
      objects([pod({ containers: [container({ state: ended("Completed", { exitCode: 0 }) })] })]),
      "CrashLoop",
      "its container crashed: exit code 0",
    ],
    [
      "a container that crashes, of which nothing else is known",
      objects([pod({ containers: [waiting("CrashLoopBackOff", "back-off 10s", { restartCount: 1 })] })]),
      "CrashLoop",
      "its container crashed: back-off 10s",
    ],
    [
      "a container that runs between two crashes",
      objects([pod({ containers: [container({ state: RUNNING, restartCount: 2 })] })]),
      "CrashLoop",
      "its container crashed",
    ],
    [
      "a container that needs too much memory",
      objects([pod({
        containers: [
          container({ state: RUNNING, restartCount: 2, lastState: ended("OOMKilled", { exitCode: 137 }) }),
        ],
      })]),
      "OOMKilled",
      "its container ran out of memory (OOMKilled): its limit is 512Mi",
    ],
    [
      "a container that was killed by its probe",
      objects([
        pod({
          containers: [
            waiting("CrashLoopBackOff", "back-off", {
              restartCount: 2,
              lastState: ended("Error", { exitCode: 137 }),
            }),
          ],
        }),
      ], { events: told(["Unhealthy", "Startup probe failed: dial tcp 10.0.0.1:3000: connection refused"]) }),
      "CrashLoop",
      "its container crashed: exit code 137: Startup probe failed: dial tcp 10.0.0.1:3000: connection refused",
    ],
    [
      "a container that was killed, and a probe that kills nothing",
      objects([
        pod({
          containers: [
            waiting("CrashLoopBackOff", "back-off", {
              restartCount: 2,
              lastState: ended("Error", { exitCode: 143 }),
            }),
          ],
        }),
      ], { events: told(["Unhealthy", "Readiness probe failed: connection refused"]) }),
      "CrashLoop",
      "its container crashed: exit code 143",
    ],
    [
      "a container without a limit that needs too much memory",
      objects([
        pod({ containers: [container({ name: "other", state: ended("OOMKilled", { exitCode: 137 }) })] }),
      ]),
      "OOMKilled",
      'its container "other" ran out of memory (OOMKilled): its node has no memory left',
    ],
    [
      "a container of the cluster's that crashes again and again",
      objects([pod({
        initContainers: [PROXY],
        containers: [
          waiting("CrashLoopBackOff", "back-off", {
            name: "log-shipper",
            restartCount: 2,
            lastState: ended("Error", { exitCode: 1 }),
          }),
          container({ state: RUNNING }),
        ],
      })]),
      "CrashLoop",
      'its container "log-shipper" crashed: exit code 1',
    ],
    [
      "a container of the cluster's that lacks a Secret",
      objects([pod({
        initContainers: [
          waiting("CreateContainerConfigError", 'secret "x" not found', { name: "init" }),
        ],
        containers: [waiting("PodInitializing")],
      })]),
      "ContainerConfig",
      'its container "init" cannot be created: secret "x" not found',
    ],
    [
      "a network that is not there",
      objects([pod(CREATING)], {
        events: told([
          "FailedCreatePodSandBox",
          "Failed to create pod sandbox: rpc error: code = Unknown desc = no CNI",
        ]),
      }),
      "Sandbox",
      "its pod sandbox cannot be created: no CNI",
    ],
    [
      "a home that is attached elsewhere",
      objects([pod(CREATING)], {
        claim: BOUND,
        events: told(
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
      "a home that is attached now and cannot be mounted",
      objects([pod(CREATING)], {
        claim: BOUND,
        events: told(
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
        events: told(["FailedMount", 'MountVolume.SetUp failed for volume "keys" : secret "keys" not found']),
      }),
      "VolumeStuck",
      'volume "keys" cannot be mounted: secret "keys" not found',
    ],
    [
      "no storage class of that name",
      objects([pod(unschedulable(NO_VOLUME))], {
        claim: claim("Pending"),
        events: told(["ProvisioningFailed", 'storageclass.storage.k8s.io "x" not found', "uid-claim"]),
      }),
      "NoStorageClass",
      'volume "s1-home" cannot be provisioned: storageclass.storage.k8s.io "x" not found',
    ],
    [
      "no storage class at all",
      objects([pod(unschedulable(NO_VOLUME))], {
        claim: claim("Pending"),
        events: told([
          "FailedBinding",
          "no persistent volumes available for this claim and no storage class is set",
          "uid-claim",
        ]),
      }),
      "NoStorageClass",
      'volume "s1-home" cannot be provisioned: no persistent volumes available for this claim and no storage class is set',
    ],
    [
      "a provisioner that fails",
      objects([pod(unschedulable(NO_VOLUME))], {
        claim: claim("Pending"),
        events: told([
          "ProvisioningFailed",
          "rpc error: code = ResourceExhausted desc = disk quota exceeded",
          "uid-claim",
        ]),
      }),
      "VolumeNotBound",
      'volume "s1-home" cannot be provisioned: disk quota exceeded',
    ],
    [
      "a provisioner that fails for the node that was found",
      objects([pod({ hasHome: true })], {
        claim: claim("Pending"),
        events: told(
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
      "a volume that is lost",
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
      "no node that can take it",
      objects([pod(unschedulable(NO_NODE))]),
      "Unschedulable",
      `its pod cannot be scheduled: ${NO_NODE}`,
    ],
    [
      "no node that can take it, and a volume that waits for one",
      objects([pod(unschedulable(NO_NODE))], { claim: claim("Pending") }),
      "Unschedulable",
      `its pod cannot be scheduled: ${NO_NODE}`,
    ],
    [
      "an autoscaler that cannot help",
      objects([pod(unschedulable(NO_NODE))], {
        events: told(
          ["TriggeredScaleUp", "pod triggered scale-up: [{pool 1->2 (max: 2)}]"],
          ["NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached"],
        ),
      }),
      "NoScaleUp",
      "its pod cannot be scheduled, and the cluster does not scale up: 1 max node group size reached",
    ],
    [
      "a cluster that fails to grow",
      objects([pod(unschedulable(NO_NODE))], {
        events: told(
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
      "a node that fell silent before it began",
      objects([pod(CREATING)], { events: told(["NodeNotReady", "Node is not ready"]) }),
      "NodeLost",
      'node "n1" is unreachable',
    ],
    [
      "a node that fell silent under running containers",
      objects([pod({
        nodeName: "n1",
        conditions: [{ type: "ContainersReady", status: "True" }, { type: "Ready", status: "False" }],
        containers: [container({ state: RUNNING, ready: true })],
      })]),
      "NodeLost",
      'node "n1" is unreachable',
    ],
    [
      "a node that fell silent under a container that was killed long ago",
      objects([pod({
        nodeName: "n1",
        conditions: [{ type: "ContainersReady", status: "True" }, { type: "Ready", status: "False" }],
        containers: [{ ...HARDENED, ready: true }],
      })]),
      "NodeLost",
      'node "n1" is unreachable',
    ],
    [
      "a pod whose node is gone",
      objects([pod({
        nodeName: "n1",
        conditions: [{ type: "DisruptionTarget", status: "True", reason: "DeletionByPodGC" }],
      })]),
      "NodeLost",
      'node "n1" is unreachable',
    ],
    [
      "three pods that nodes rejected within a minute",
      objects([...rejected(3), SUCCESSOR]),
      "PodRejected",
      'node "n1" rejects its pod: Node didn\'t have enough resource: cpu',
    ],
    [
      "a pod that its node rejected, and no other",
      objects(rejected(1)),
      "PodRejected",
      'node "n1" rejects its pod: Node didn\'t have enough resource: cpu',
    ],
    [
      "a pod that was evicted, and no other",
      objects([pod({
        phase: "Failed",
        containers: [container({ state: ended("Error", { exitCode: 137 }) })],
        status: { reason: "Evicted", message: "The node was low on resource: memory. " },
      })]),
      "Evicted",
      "its pod was evicted: The node was low on resource: memory.",
    ],
    [
      "a ReplicaSet that is refused",
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

for (const [name, of, reason, words] of TROUBLES) {
  Deno.test(`checkReadiness() finds a session with ${name} in trouble: ${reason}`, () => {
    const { graceMs } = CAUSES[reason];
    const problem = { reason, message: words };
    assertEquals(checkReadiness(of), { state: "failing", problem, progress: words, graceMs });
  });
}

const REFUSED = told(["Unhealthy", "Readiness probe failed: dial tcp: connection refused"]);

/** What may pass as long as the start may last. */
const PASSING: ReadonlyArray<
  [name: string, objects: SessionObjects, reason: FailureReason, words: string, progress: string]
> = [
  [
    "a display port that does not answer",
    objects([SERVING], { events: REFUSED }),
    "NotAnswering",
    "its display port does not answer: dial tcp: connection refused",
    "waiting for its display port to answer",
  ],
  [
    "a display port that does not answer any more, long after the last crash",
    objects([
      pod({
        nodeName: "n1",
        conditions: [{ type: "Ready", status: "False", lastTransitionTime: time(LATE) }],
        containers: [HARDENED],
      }),
    ], { events: REFUSED }),
    "NotAnswering",
    "its display port does not answer: dial tcp: connection refused",
    "waiting for its display port to answer",
  ],
  [
    "a container that crashed once and runs again",
    objects([
      pod({
        nodeName: "n1",
        conditions: [{ type: "Ready", status: "False", lastTransitionTime: time(EARLY) }],
        containers: [
          container({ state: RUNNING, restartCount: 1, lastState: ended("Error", { exitCode: 1 }) }),
        ],
      }),
    ], { events: REFUSED }),
    "CrashLoop",
    "its container crashed: exit code 1",
    "waiting for its display port to answer",
  ],
  [
    "an image that is pulled again after a registry's hiccup",
    objects([pod({ nodeName: "n1", containers: [waiting("ImagePullBackOff", "Back-off pulling image")] })], {
      events: told(
        ["Failed", 'Failed to pull image "x/y:1": net/http: TLS handshake timeout'],
        ["Pulling", 'Pulling image "x/y:1"'],
      ),
    }),
    "ImagePull",
    'image "x/y:1" cannot be pulled: Back-off pulling image',
    'pulling image "x/y:1"',
  ],
  [
    "an init container in its second attempt",
    objects([pod({
      nodeName: "n1",
      initContainers: [{ ...PROXY, name: "init", ready: false }],
      containers: [waiting("PodInitializing")],
    })]),
    "CrashLoop",
    'its container "init" crashed: exit code 255',
    "creating its container",
  ],
];

for (const [name, of, reason, words, progress] of PASSING) {
  Deno.test(`checkReadiness() finds a session with ${name} in trouble that may pass: ${reason}`, () => {
    const problem = { reason, message: words };
    assertEquals(checkReadiness(of), { state: "failing", problem, progress, graceMs: Infinity });
  });
}

Deno.test("every cause of the table is found by a test, but the deadline's own", () => {
  const found = new Set<string>([...TROUBLES, ...PASSING].map(([, , reason]) => reason));
  assertEquals(Object.keys(CAUSES).filter((reason) => !found.has(reason)), ["Timeout"]);
});

const WAITS: ReadonlyArray<[name: string, objects: SessionObjects, progress: string]> = [
  ["no pod yet", objects([]), "waiting for its pod to be created"],
  [
    "only a pod on its way out",
    objects([pod({ isDeleted: true })]),
    "waiting for its previous pod to terminate",
  ],
  ["two pods that nodes rejected", objects([...rejected(2), SUCCESSOR]), "waiting for a node"],
  [
    "pods that were rejected long ago",
    objects([...rejected(3), pod({ created: "2026-01-01T00:01:03Z" })]),
    "waiting for a node",
  ],
  [
    "a pod that somebody deleted, and that its node calls failed before it goes",
    objects([pod({
      isDeleted: true,
      phase: "Failed",
      containers: [container({ state: ended("Error", { exitCode: 143 }) })],
    })]),
    "waiting for its previous pod to terminate",
  ],
  [
    "a refusal that is over",
    objects([], { deployment: conditions("ReplicaFailure", "False", "FailedCreate") }),
    "waiting for its pod to be created",
  ],
  ["a pod without any status", objects([{ metadata: { name: "p1" } }]), "waiting for a node"],
  ["a pod that a node has", objects([pod({ nodeName: "n1" })]), "waiting for its node to start the pod"],
  [
    "a newer pod that is not ready beside one that is",
    objects([READY, pod({ name: "new", created: LATE })]),
    "waiting for a node",
  ],
  [
    "a home that is being created",
    objects([pod({ hasHome: true, ...unschedulable(NO_VOLUME) })], { claim: claim("Pending") }),
    'waiting for volume "s1-home" to be provisioned',
  ],
  [
    "a home that is created for the node that was found",
    objects([pod({ hasHome: true })], { claim: claim("Pending") }),
    'waiting for volume "s1-home" to be provisioned',
  ],
  [
    "a home that is attached",
    objects([pod(CREATING)], { claim: BOUND, events: told(["TriggeredScaleUp", "pod triggered scale-up"]) }),
    'attaching volume "s1-home"',
  ],
  [
    "a home that is mounted",
    objects([pod(CREATING)], { claim: BOUND, events: told(["SuccessfulAttachVolume", "ok"]) }),
    'mounting volume "s1-home"',
  ],
  [
    "an image that is pulled, after a mount that failed at first",
    objects([pod(CREATING)], {
      claim: BOUND,
      events: told(["FailedMount", "no"], ["Pulling", 'Pulling image "x/y:1"']),
    }),
    'pulling image "x/y:1"',
  ],
  [
    "an image that is pulled for longer than its Deployment expects",
    objects([pod(CREATING)], {
      deployment: conditions("Progressing", "False", "ProgressDeadlineExceeded"),
      events: told(["Pulling", 'Pulling image "x/y:1"']),
    }),
    'pulling image "x/y:1"',
  ],
  [
    "a container that is being created",
    objects([pod({ nodeName: "n1", containers: [waiting("ContainerCreating")] })]),
    "creating its container",
  ],
  [
    "a container that runs and does not serve yet",
    objects([SERVING]),
    "waiting for its display port to answer",
  ],
  [
    "another container's image that is pulled",
    objects([pod(CREATING)], { events: told(["Pulling", 'Pulling image "istio/proxyv2:1.24"']) }),
    'pulling image "istio/proxyv2:1.24"',
  ],
  [
    "a container of the cluster's that runs before the session's own, and a probe that fails",
    objects([pod({
      nodeName: "n1",
      containers: [container({ ...PROXY, restartCount: 0, ready: false }), waiting("ContainerCreating")],
    })], { events: told(["Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"]) }),
    "creating its container",
  ],
  [
    "an init container that runs for long, after a mount that failed at first",
    objects([pod({
      ...CREATING,
      initContainers: [container({ name: "init", state: RUNNING })],
      containers: [waiting("PodInitializing")],
    })], {
      claim: BOUND,
      events: told([
        "FailedMount",
        'MountVolume.SetUp failed for volume "x" : failed to sync configmap cache',
      ]),
    }),
    "creating its container",
  ],
  [
    "a readiness gate that is not open yet, though a probe failed before",
    objects([pod({
      nodeName: "n1",
      conditions: [{ type: "ContainersReady", status: "True" }, {
        type: "Ready",
        status: "False",
        reason: "ReadinessGatesNotReady",
        message: 'corresponding condition of pod readiness gate "example.com/lb" does not exist.',
      }],
      containers: [container({ state: RUNNING, ready: true })],
    })], { events: REFUSED }),
    'waiting for a readiness gate: corresponding condition of pod readiness gate "example.com/lb" does not exist.',
  ],
  [
    "a container of the cluster's that crashed once and is ready, and an image that is pulled",
    objects([pod({ nodeName: "n1", initContainers: [PROXY], containers: [waiting("PodInitializing")] })], {
      events: told(["Pulling", 'Pulling image "x/y:1"']),
    }),
    'pulling image "x/y:1"',
  ],
  [
    "an init container that needed two attempts and is done, and an image that is pulled",
    objects([pod({
      nodeName: "n1",
      initContainers: [container({ ready: true, restartCount: 1, state: { terminated: { exitCode: 0 } } })],
      containers: [waiting("PodInitializing")],
    })]),
    "creating its container",
  ],
  [
    "a reason that only a prototype has",
    objects([pod({ nodeName: "n1", containers: [waiting("constructor")] })]),
    "creating its container",
  ],
];

for (const [name, of, progress] of WAITS) {
  Deno.test(`checkReadiness() finds a session with ${name} ${progress}`, () => {
    assertEquals(checkReadiness(of), { state: "starting", progress });
  });
}

for (
  const [reason, message, earlier] of [
    ["TriggeredScaleUp", "pod triggered scale-up", "NotTriggerScaleUp"],
    ["TriggeredScaleUp", "pod triggered scale-up", "FailedScaleUp"],
    ["Nominated", "nodeclaim/x", "NotTriggerScaleUp"],
  ] as const
) {
  Deno.test(`K6 checkReadiness() gives a session more time for ${reason} after ${earlier}`, () => {
    const of = objects([pod(unschedulable(NO_NODE))], {
      events: told([earlier, "pod didn't trigger scale-up"], [reason, message]),
    });
    const progress = "waiting for a node: the cluster is scaling up";
    assertEquals(checkReadiness(of), { state: "starting", progress, extensionMs: 300_000 });
  });
}

const SERVES: ReadonlyArray<[name: string, objects: SessionObjects]> = [
  ["a pod that is ready", objects([READY])],
  [
    "a refusal that a pod has overcome",
    objects([READY], { deployment: conditions("ReplicaFailure", "True", "x") }),
  ],
  [
    "a ready pod beside an old one that goes",
    objects([pod({ name: "old", isDeleted: true, created: LATE }), READY]),
  ],
  [
    "a ready pod after three that were rejected",
    objects([...rejected(3), { ...READY, metadata: SUCCESSOR.metadata ?? {} }]),
  ],
];

for (const [name, of] of SERVES) {
  Deno.test(`checkReadiness() finds a session with ${name} ready`, () => {
    assertEquals(checkReadiness(of).state, "ready");
  });
}

Deno.test("currentPod() is the newest that is not on its way out, whatever carries its time", () => {
  const pods = [
    pod({ name: "old", created: EARLY }),
    pod({ name: "new", created: new Date(LATE) }),
    pod({ name: "newest but going", created: "2026-01-01T00:02:00Z", isDeleted: true }),
    pod({ name: "newest but done", created: "2026-01-01T00:03:00Z", phase: "Succeeded" }),
  ];
  assertEquals(currentPod(pods)?.metadata?.name, "new");
  assertEquals(currentPod(pods.toReversed())?.metadata?.name, "new");
  assertEquals(currentPod([]), undefined);
});

Deno.test("isReady() believes the pod's own condition and nothing else", () => {
  assertEquals(isReady(READY), true);
  const others = [
    pod(),
    pod({ phase: "Running", conditions: [] }),
    pod({ conditions: [{ type: "Ready", status: "Unknown" }] }),
    pod({ conditions: [{ type: "ContainersReady", status: "True" }] }),
  ];
  assertEquals(others.map(isReady), [false, false, false, false]);
});
