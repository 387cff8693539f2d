import { assertEquals } from "@std/assert";
import type { V1ContainerStatus, V1Deployment, V1Pod } from "@kubernetes/client-node";
import type { SessionObjects } from "../../lib/kubernetes/session_cache.ts";
import { currentPod, isReady, judge, type Verdict } from "../../lib/sessions/readiness.ts";

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
  conditions?: Array<{ type: string; status: string; reason?: string; message?: string }>;
  containers?: V1ContainerStatus[];
  initContainers?: V1ContainerStatus[];
}

function pod(parts: PodParts = {}): V1Pod {
  const { name = "p1", created = EARLY, isDeleted = false, phase = "Pending" } = parts;
  return {
    metadata: {
      name,
      creationTimestamp: typeof created === "string" ? time(created) : created,
      ...(isDeleted ? { deletionTimestamp: time(LATE) } : {}),
    },
    status: {
      phase,
      ...(parts.conditions ? { conditions: parts.conditions } : {}),
      ...(parts.containers ? { containerStatuses: parts.containers } : {}),
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

function objects(pods: V1Pod[], deployment: V1Deployment | undefined = DEPLOYMENT): SessionObjects {
  return { deployment, service: undefined, claim: undefined, policy: undefined, pods };
}

const READY = pod({ phase: "Running", conditions: [{ type: "Ready", status: "True" }] });
const RUNNING = { running: { startedAt: time(EARLY) } };
const KILLED = { terminated: { exitCode: 137, reason: "OOMKilled" } };

const trouble = (reason: string, graceMs: number): Verdict => ({ state: "trouble", reason, graceMs });
const wait = (reason: string): Verdict => ({ state: "waiting", reason });

const REFUSED: V1Deployment = {
  ...DEPLOYMENT,
  status: {
    conditions: [
      { type: "Progressing", status: "True" },
      { type: "ReplicaFailure", status: "True", reason: "FailedCreate", message: "exceeded quota: q1" },
    ],
  },
};

const VERDICTS: Array<[name: string, objects: SessionObjects, expected: Verdict]> = [
  ["no Deployment", { ...objects([READY]), deployment: undefined }, trouble("its Deployment was deleted", 0)],
  [
    "a Deployment on its way out",
    objects([READY], { metadata: { deletionTimestamp: time(LATE) } }),
    trouble("its Deployment was deleted", 0),
  ],
  ["no pod yet", objects([]), wait("its pod to be created")],
  ["only a pod on its way out", objects([pod({ isDeleted: true })]), wait("its old pod to go")],
  ["only an evicted pod", objects([pod({ phase: "Failed" })]), wait("its old pod to go")],
  [
    "a refusal of its pod",
    objects([], REFUSED),
    trouble("the cluster refuses its pod: exceeded quota: q1", 0),
  ],
  ["a refusal that a pod has overcome", objects([READY], REFUSED), { state: "ready", pod: READY }],
  [
    "a refusal that is over",
    objects([], { ...DEPLOYMENT, status: { conditions: [{ type: "ReplicaFailure", status: "False" }] } }),
    wait("its pod to be created"),
  ],
  ["a pod without any status", objects([{ metadata: { name: "p1" } }]), wait("its node to begin")],
  ["a pod that is ready", objects([READY]), { state: "ready", pod: READY }],
  [
    "a ready pod beside an old one that goes",
    objects([pod({ name: "old", isDeleted: true, created: LATE }), READY]),
    { state: "ready", pod: READY },
  ],
  [
    "a newer pod that is not ready beside one that is",
    objects([READY, pod({ name: "new", created: LATE })]),
    wait("its node to begin"),
  ],
  [
    "a ready pod that restarted once",
    objects([{ ...READY, status: { ...READY.status, containerStatuses: [container({ restartCount: 1 })] } }]),
    {
      state: "ready",
      pod: { ...READY, status: { ...READY.status, containerStatuses: [container({ restartCount: 1 })] } },
    },
  ],
  [
    "a pod that fits no node",
    objects([
      pod({
        conditions: [{
          type: "PodScheduled",
          status: "False",
          reason: "Unschedulable",
          message: "0/3 nodes are available: 3 Insufficient memory.",
        }],
      }),
    ]),
    wait("a node: 0/3 nodes are available: 3 Insufficient memory."),
  ],
  [
    "a pod that fits no node, in one word",
    objects([pod({ conditions: [{ type: "PodScheduled", status: "False", reason: "Unschedulable" }] })]),
    wait("a node: Unschedulable"),
  ],
  [
    "a container that is being created",
    objects([pod({ containers: [waiting("ContainerCreating")] })]),
    wait("its container: ContainerCreating"),
  ],
  [
    "a container whose volume is mounted",
    objects([pod({ containers: [waiting("PodInitializing", "mounting home")] })]),
    wait("its container: PodInitializing: mounting home"),
  ],
  [
    "a container that runs and does not serve yet",
    objects([pod({
      phase: "Running",
      conditions: [{ type: "Ready", status: "False" }],
      containers: [container({ state: RUNNING })],
    })]),
    wait("its display port to answer"),
  ],
  [
    "an image name that is none",
    objects([pod({ containers: [waiting("InvalidImageName", "bad", { image: "A B" })] })]),
    trouble('image "A B" has no valid name', 0),
  ],
  [
    "an image that may not be pulled",
    objects([pod({ containers: [waiting("ErrImageNeverPull")] })]),
    trouble('image "example.com/x:1" is not on the node and may not be pulled', 0),
  ],
  [
    "an image that is not there",
    objects([pod({ containers: [waiting("ErrImagePull", "not found")] })]),
    trouble('image "example.com/x:1" cannot be pulled: not found', 30_000),
  ],
  [
    "a pull that waits before it tries again",
    objects([pod({ containers: [waiting("ImagePullBackOff")] })]),
    trouble('image "example.com/x:1" cannot be pulled: ImagePullBackOff', 30_000),
  ],
  ...["CreateContainerConfigError", "CreateContainerError", "RunContainerError"].map(
    (reason): [string, SessionObjects, Verdict] => [
      reason,
      objects([pod({ containers: [waiting(reason, "no such secret")] })]),
      trouble("its container cannot be created: no such secret", 10_000),
    ],
  ),
  [
    "a container that crashes",
    objects([
      pod({ containers: [waiting("CrashLoopBackOff", "back-off", { restartCount: 3, lastState: KILLED })] }),
    ]),
    trouble("its container crashes again and again (3 times): OOMKilled, exit code 137", 10_000),
  ],
  [
    "a container that crashes, of which nothing is known",
    objects([pod({ containers: [waiting("CrashLoopBackOff", "back-off 10s", { restartCount: 1 })] })]),
    trouble("its container crashes again and again (1 times): back-off 10s", 10_000),
  ],
  [
    "a container that runs between two crashes",
    objects([pod({ containers: [container({ state: RUNNING, restartCount: 2 })] })]),
    trouble("its container crashes again and again (2 times)", 10_000),
  ],
  [
    "an init container in trouble before the session's own, which waits",
    objects([pod({
      initContainers: [waiting("ImagePullBackOff", "denied", { image: "example.com/init:1" })],
      containers: [waiting("PodInitializing")],
    })]),
    trouble('image "example.com/init:1" cannot be pulled: denied', 30_000),
  ],
  [
    "an init container that needed two attempts and is done, and an image that is pulled",
    objects([pod({
      initContainers: [container({ ready: true, restartCount: 1, state: { terminated: { exitCode: 0 } } })],
      containers: [waiting("PodInitializing")],
    })]),
    wait("its container: PodInitializing"),
  ],
  [
    "a reason that only a prototype has",
    objects([pod({ containers: [waiting("constructor")] })]),
    wait("its container: constructor"),
  ],
];

for (const [name, of, expected] of VERDICTS) {
  Deno.test(`judge() finds a session with ${name} ${expected.state}`, () => {
    assertEquals(judge(of), expected);
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
