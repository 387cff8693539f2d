import { assertEquals } from "@std/assert";
import type { SessionObjects } from "../../lib/kubernetes/session_cache.ts";
import { CAUSES, type FailureReason } from "../../lib/status/causes.ts";
import { checkReadiness, currentPod, isReady } from "../../lib/status/readiness.ts";
import { CONTAINER_PROBLEMS } from "./container_problems.ts";
import { POD_PROBLEMS } from "./pod_problems.ts";
import {
  BOUND,
  claim,
  conditions,
  container,
  CREATING,
  EARLY,
  ended,
  events,
  LATE,
  NO_NODE,
  NO_VOLUME,
  objects,
  pod,
  READY,
  RECOVERED,
  rejected,
  REPLACEMENT,
  RUNNING,
  RUNNING_POD,
  SIDECAR,
  time,
  unschedulable,
  waiting,
} from "./session_fixtures.ts";

for (const [name, session, reason, message] of [...CONTAINER_PROBLEMS, ...POD_PROBLEMS]) {
  Deno.test(`checkReadiness() detects ${reason}: ${name}`, () => {
    const { graceMs } = CAUSES[reason];
    const problem = { reason, message };
    assertEquals(checkReadiness(session), { state: "failing", problem, progress: message, graceMs });
  });
}

const PROBE_FAILED = events(["Unhealthy", "Readiness probe failed: dial tcp: connection refused"]);

/** Problems that fail a start only at its timeout. */
const PASSING: ReadonlyArray<
  [name: string, objects: SessionObjects, reason: FailureReason, message: string, progress: string]
> = [
  [
    "a display port that does not answer",
    objects([RUNNING_POD], { events: PROBE_FAILED }),
    "NotAnswering",
    "its display port does not answer: dial tcp: connection refused",
    "waiting for its display port to answer",
  ],
  [
    "a display port that stopped answering long after the last crash",
    objects([
      pod({
        nodeName: "n1",
        conditions: [{ type: "Ready", status: "False", lastTransitionTime: time(LATE) }],
        containers: [RECOVERED],
      }),
    ], { events: PROBE_FAILED }),
    "NotAnswering",
    "its display port does not answer: dial tcp: connection refused",
    "waiting for its display port to answer",
  ],
  [
    "a container that runs again after a crash",
    objects([
      pod({
        nodeName: "n1",
        conditions: [{ type: "Ready", status: "False", lastTransitionTime: time(EARLY) }],
        containers: [
          container({ state: RUNNING, restartCount: 1, lastState: ended("Error", { exitCode: 1 }) }),
        ],
      }),
    ], { events: PROBE_FAILED }),
    "CrashLoop",
    "its container crashed: exit code 1",
    "waiting for its display port to answer",
  ],
  [
    "an injected container whose probe fails, not the session's",
    objects([
      pod({
        nodeName: "n1",
        containers: [
          container({ state: RUNNING, ready: true }),
          container({ name: "istio-proxy", state: RUNNING }),
        ],
      }),
    ], {
      events: events(
        [
          "Unhealthy",
          "Readiness probe failed: HTTP probe failed with statuscode: 503",
          "uid-p1",
          "istio-proxy",
        ],
        ["Unhealthy", "Readiness probe failed: dial tcp: connection refused", "uid-p1", "session"],
      ),
    }),
    "ContainerNotReady",
    'its container "istio-proxy" is not ready: HTTP probe failed with statuscode: 503',
    'waiting for its container "istio-proxy" to be ready',
  ],
  [
    "a Deployment beyond its progress deadline",
    objects([], { deployment: conditions("Progressing", "False", "ProgressDeadlineExceeded") }),
    "NoProgress",
    "its Deployment makes no progress: still waiting for its pod to be created",
    "waiting for its pod to be created",
  ],
  ...[
    ["'csi.example.com'", unschedulable(NO_VOLUME)] as const,
    // Before Kubernetes 1.28.
    ['"csi.example.com"', {}] as const,
    [
      "'csi.example.com'",
      unschedulable("running PreBind plugin: binding volumes: context deadline exceeded"),
    ] as const,
  ].map(([name, parts]) =>
    [
      `a CSI driver that does not provision the volume of a pod with ${
        JSON.stringify(parts).length
      } bytes of conditions`,
      objects([pod({ hasHome: true, ...parts })], {
        claim: claim("Pending"),
        events: events([
          "ExternalProvisioning",
          `Waiting for a volume to be created either by the external provisioner ${name} or manually by the system ` +
          "administrator. If volume creation is delayed, please verify that the provisioner is running.",
          "uid-claim",
        ]),
      }),
      "NotProvisioned",
      'volume "s1-home" is not provisioned: check that provisioner "csi.example.com" is installed and running',
      'waiting for volume "s1-home" to be provisioned by "csi.example.com"',
    ] satisfies typeof PASSING[number]
  ),
  [
    "an image that is pulled again",
    objects([pod({ nodeName: "n1", containers: [waiting("ImagePullBackOff", "Back-off pulling image")] })], {
      events: events(
        ["Failed", 'Failed to pull image "x/y:1": net/http: TLS handshake timeout'],
        ["Pulling", 'Pulling image "x/y:1"'],
      ),
    }),
    "ImagePull",
    'image "x/y:1" cannot be pulled: Back-off pulling image',
    'pulling image "x/y:1"',
  ],
  [
    "an init container that runs again after a crash",
    objects([pod({
      nodeName: "n1",
      initContainers: [{ ...SIDECAR, name: "init", ready: false }],
      containers: [waiting("PodInitializing")],
    })]),
    "CrashLoop",
    'its init container "init" crashed: exit code 255',
    'waiting for its init container "init" to complete',
  ],
];

for (const [name, session, reason, message, progress] of PASSING) {
  Deno.test(`checkReadiness() detects ${reason} until the start timeout: ${name}`, () => {
    const problem = { reason, message };
    assertEquals(checkReadiness(session), { state: "failing", problem, progress, graceMs: Infinity });
  });
}

Deno.test("every cause of the table has a test, except those that waits and the monitor detect", () => {
  const found = new Set<string>(
    [...CONTAINER_PROBLEMS, ...POD_PROBLEMS, ...PASSING].map(([, , reason]) => reason),
  );
  assertEquals(Object.keys(CAUSES).filter((reason) => !found.has(reason)), [
    "Forbidden",
    "ServiceMissing",
    "Timeout",
  ]);
});

const STARTING: ReadonlyArray<[name: string, objects: SessionObjects, progress: string]> = [
  ["no pod", objects([]), "waiting for its pod to be created"],
  [
    "a paused Deployment",
    objects([], { deployment: { spec: { replicas: 1, paused: true, selector: {}, template: {} } } }),
    "waiting for its Deployment to be resumed, which somebody paused",
  ],
  [
    "only a pod that is being deleted",
    objects([pod({ isDeleted: true })]),
    "waiting for its previous pod to terminate",
  ],
  ["two rejected pods", objects([...rejected(2), REPLACEMENT]), "waiting for a node"],
  [
    "pods that were rejected long ago",
    objects([...rejected(3), pod({ created: "2026-01-01T00:01:03Z" })]),
    "waiting for a node",
  ],
  [
    "a deleted pod that failed",
    objects([pod({
      isDeleted: true,
      phase: "Failed",
      containers: [container({ state: ended("Error", { exitCode: 143 }) })],
    })]),
    "waiting for its previous pod to terminate",
  ],
  [
    "a rejection that is over",
    objects([], { deployment: conditions("ReplicaFailure", "False", "FailedCreate") }),
    "waiting for its pod to be created",
  ],
  ["a pod without a status", objects([{ metadata: { name: "p1" } }]), "waiting for a node"],
  [
    "a pod whose last scheduling gate was just removed",
    objects([pod({
      conditions: [{
        type: "PodScheduled",
        status: "False",
        reason: "SchedulingGated",
        message: "Scheduling is blocked due to non-empty scheduling gates",
      }],
    })]),
    "waiting for a node",
  ],
  ["a scheduled pod", objects([pod({ nodeName: "n1" })]), "waiting for its node to start the pod"],
  [
    "a newer pod that is not ready, and an older one that is",
    objects([READY, pod({ name: "new", created: LATE })]),
    "waiting for a node",
  ],
  [
    "a volume that is being provisioned",
    objects([pod({ hasHome: true, ...unschedulable(NO_VOLUME) })], { claim: claim("Pending") }),
    'waiting for volume "s1-home" to be provisioned',
  ],
  [
    "a volume that is provisioned after a node was chosen",
    objects([pod({ hasHome: true })], { claim: claim("Pending") }),
    'waiting for volume "s1-home" to be provisioned',
  ],
  [
    "a volume that is being attached",
    objects([pod(CREATING)], {
      claim: BOUND,
      events: events(["TriggeredScaleUp", "pod triggered scale-up"]),
    }),
    'attaching volume "s1-home"',
  ],
  [
    "a volume that is being mounted",
    objects([pod(CREATING)], { claim: BOUND, events: events(["SuccessfulAttachVolume", "ok"]) }),
    'mounting volume "s1-home"',
  ],
  [
    "an image that is being pulled, after a failed mount",
    objects([pod(CREATING)], {
      claim: BOUND,
      events: events(["FailedMount", "no"], ["Pulling", 'Pulling image "x/y:1"']),
    }),
    'pulling image "x/y:1"',
  ],
  [
    "an image that is being pulled beyond the progress deadline",
    objects([pod(CREATING)], {
      deployment: conditions("Progressing", "False", "ProgressDeadlineExceeded"),
      events: events(["Pulling", 'Pulling image "x/y:1"']),
    }),
    'pulling image "x/y:1"',
  ],
  [
    "a container that is being created",
    objects([pod({ nodeName: "n1", containers: [waiting("ContainerCreating")] })]),
    "creating its container",
  ],
  [
    "a running container that is not ready",
    objects([RUNNING_POD]),
    "waiting for its display port to answer",
  ],
  [
    "an image of an injected container that is being pulled",
    objects([pod(CREATING)], { events: events(["Pulling", 'Pulling image "istio/proxyv2:1.24"']) }),
    'pulling image "istio/proxyv2:1.24"',
  ],
  [
    "an injected container with a failing probe, before the session's own container",
    objects([pod({
      nodeName: "n1",
      containers: [container({ ...SIDECAR, restartCount: 0, ready: false }), waiting("ContainerCreating")],
    })], { events: events(["Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"]) }),
    'creating its container and waiting for its container "istio-proxy" to be ready',
  ],
  [
    "a running init container, after a failed mount",
    objects([pod({
      ...CREATING,
      initContainers: [container({ name: "init", state: RUNNING })],
      containers: [waiting("PodInitializing")],
    })], {
      claim: BOUND,
      events: events([
        "FailedMount",
        'MountVolume.SetUp failed for volume "x" : failed to sync configmap cache',
      ]),
    }),
    'waiting for its init container "init" to complete',
  ],
  [
    "a closed readiness gate, after a failed probe",
    objects([pod({
      nodeName: "n1",
      conditions: [{ type: "ContainersReady", status: "True" }, {
        type: "Ready",
        status: "False",
        reason: "ReadinessGatesNotReady",
        message: 'corresponding condition of pod readiness gate "example.com/lb" does not exist.',
      }],
      containers: [container({ state: RUNNING, ready: true })],
    })], { events: PROBE_FAILED }),
    'waiting for a readiness gate: corresponding condition of pod readiness gate "example.com/lb" does not exist.',
  ],
  [
    "an injected container that is ready after a crash, and an image that is being pulled",
    objects([pod({ nodeName: "n1", initContainers: [SIDECAR], containers: [waiting("PodInitializing")] })], {
      events: events(["Pulling", 'Pulling image "x/y:1"']),
    }),
    'pulling image "x/y:1"',
  ],
  [
    "an init container that completed after a crash",
    objects([pod({
      nodeName: "n1",
      initContainers: [container({ ready: true, restartCount: 1, state: { terminated: { exitCode: 0 } } })],
      containers: [waiting("PodInitializing")],
    })]),
    "creating its container",
  ],
  [
    "a waiting reason that is a name of the object prototype",
    objects([pod({ nodeName: "n1", containers: [waiting("constructor")] })]),
    "creating its container",
  ],
];

for (const [name, session, progress] of STARTING) {
  Deno.test(`checkReadiness() reports "${progress}": ${name}`, () => {
    assertEquals(checkReadiness(session), { state: "starting", progress });
  });
}

for (
  const [reason, message, earlier] of [
    ["TriggeredScaleUp", "pod triggered scale-up", "NotTriggerScaleUp"],
    ["TriggeredScaleUp", "pod triggered scale-up", "FailedScaleUp"],
    ["Nominated", "nodeclaim/x", "NotTriggerScaleUp"],
  ] as const
) {
  Deno.test(`K6 checkReadiness() extends the start for ${reason} after ${earlier}`, () => {
    const session = objects([pod(unschedulable(NO_NODE))], {
      events: events([earlier, "pod didn't trigger scale-up"], [reason, message]),
    });
    const progress = "waiting for a node: the cluster is scaling up";
    assertEquals(checkReadiness(session), { state: "starting", progress, extensionMs: 300_000 });
  });
}

const READY_SESSIONS: ReadonlyArray<[name: string, objects: SessionObjects]> = [
  ["a pod that is ready", objects([READY])],
  [
    "a rejection before a ready pod",
    objects([READY], { deployment: conditions("ReplicaFailure", "True", "x") }),
  ],
  [
    "a ready pod, and an old one that is being deleted",
    objects([pod({ name: "old", isDeleted: true, created: LATE }), READY]),
  ],
  [
    "a ready pod after three rejected ones",
    objects([...rejected(3), { ...READY, metadata: REPLACEMENT.metadata ?? {} }]),
  ],
];

for (const [name, session] of READY_SESSIONS) {
  Deno.test(`checkReadiness() is ready: ${name}`, () => {
    assertEquals(checkReadiness(session).state, "ready");
  });
}

Deno.test("currentPod() is the newest pod that is not being deleted", () => {
  const pods = [
    pod({ name: "old", created: EARLY }),
    pod({ name: "new", created: new Date(LATE) }),
    pod({ name: "newest but deleted", created: "2026-01-01T00:02:00Z", isDeleted: true }),
    pod({ name: "newest but completed", created: "2026-01-01T00:03:00Z", phase: "Succeeded" }),
  ];
  assertEquals(currentPod(pods)?.metadata?.name, "new");
  assertEquals(currentPod(pods.toReversed())?.metadata?.name, "new");
  assertEquals(currentPod([]), undefined);
});

Deno.test("isReady() reads the condition Ready only", () => {
  assertEquals(isReady(READY), true);
  const others = [
    pod(),
    pod({ phase: "Running", conditions: [] }),
    pod({ conditions: [{ type: "Ready", status: "Unknown" }] }),
    pod({ conditions: [{ type: "ContainersReady", status: "True" }] }),
  ];
  assertEquals(others.map(isReady), [false, false, false, false]);
});
