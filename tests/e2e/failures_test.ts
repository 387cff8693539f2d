import { assertEquals } from "@std/assert";
import {
  type KubernetesObject,
  PatchStrategy,
  type V1PersistentVolumeClaim,
  type V1Pod,
  type V1PodStatus,
} from "@kubernetes/client-node";
import { Actor, ended, waiting } from "../support/actor.ts";
import { REAL, type TestCluster } from "../support/clusters.ts";
import { onEachCluster, SHORT_GRACE, Stage, START } from "../support/stage.ts";

/** A start that fails. */
interface Row {
  readonly sessionId: string;
  /** @default {"stuck"} */
  readonly template?: string;
  readonly persistentHome?: boolean;
  /** Changes the session while it starts. */
  readonly change?: (actor: Actor, sessionId: string) => Promise<void>;
  readonly reason: string;
  /** The error after `Cannot start session "…": `. */
  readonly problem: string;
}

/** Lets the starts of all rows fail concurrently; asserts the report of each, and that only the home volumes `homes` are left. */
async function fail(
  cluster: TestCluster,
  { stage, rows, homes = [] }: { stage: Stage; rows: readonly Row[]; homes?: string[] },
): Promise<void> {
  const actor = new Actor(cluster);
  await Promise.all(rows.map(async (row) => {
    const { sessionId, template = "stuck", persistentHome = false, change, reason, problem } = row;
    const command = stage.command("start_session", { sessionId, ...START, template, persistentHome });
    await change?.(actor, sessionId);
    const { error } = await command;
    const message = `Cannot start session "${sessionId}": ${problem}`;
    assertEquals(error, message);
    await stage.untilState(sessionId, "failed");
    assertEquals(stage.lastStatus(sessionId).platformMetadata, {
      podName: "",
      podIP: "",
      nodeName: "",
      reason,
      message,
    });
  }));
  await cluster.untilLeft(homes.map((name) => `PersistentVolumeClaim/${name}`));
  assertEquals([...stage.controlPlane.problems], []);
}

/** The container of the session waits with this reason. */
function keptWaiting(...state: Parameters<typeof waiting>): NonNullable<Row["change"]> {
  return async (actor, sessionId) => actor.container(await actor.begun(sessionId), waiting(...state));
}

/** The container of the session crashes repeatedly. */
function crashing(...end: Parameters<typeof ended>): NonNullable<Row["change"]> {
  return async (actor, sessionId) => {
    const rest = { restartCount: 2, lastState: ended(...end) };
    await actor.container(await actor.begun(sessionId), waiting("CrashLoopBackOff", "back-off 20s"), rest);
  };
}

/** An event is recorded for the session's pod. */
function recorded(reason: string, message: string): NonNullable<Row["change"]> {
  return async (actor, sessionId) => actor.recordEvent(await actor.begun(sessionId), reason, message);
}

/** Three pods of the session fail, one after the other. */
function endedPods(status: Partial<V1PodStatus>): NonNullable<Row["change"]> {
  return async (actor, sessionId) => {
    const pods: V1Pod[] = [];
    for (let nth = 0; nth < 3; nth++) {
      const pod = await actor.begun(sessionId, pods);
      pods.push(pod);
      await actor.report(pod, { phase: "Failed", ...status });
    }
  };
}

onEachCluster(
  "starts fail immediately or after a short grace period, and leave no objects",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { timings: { graceFactor: 0.1 } });
    await fail(cluster, {
      stage,
      homes: ["deleted-home"],
      rows: [
        {
          sessionId: "invalid",
          change: keptWaiting("InvalidImageName"),
          reason: "InvalidImage",
          problem: 'image name "example.com/stuck:1" is invalid',
        },
        {
          sessionId: "never",
          change: keptWaiting("ErrImageNeverPull"),
          reason: "ImageNeverPulled",
          problem: 'image "example.com/stuck:1" is not on the node, and its pull policy is Never',
        },
        {
          sessionId: "deleted",
          persistentHome: true,
          change: async (actor, sessionId) => {
            await actor.begun(sessionId);
            await cluster.delete("apps/v1", "Deployment", "deleted");
          },
          reason: "DeploymentDeleted",
          problem: "its Deployment was deleted",
        },
        {
          sessionId: "config",
          change: keptWaiting("CreateContainerConfigError", 'secret "keys" not found'),
          reason: "ContainerConfig",
          problem: 'its container cannot be created: secret "keys" not found',
        },
        {
          sessionId: "run",
          change: keptWaiting("RunContainerError", 'exec: "nope": executable file not found in $PATH'),
          reason: "CannotRun",
          problem: 'its container cannot be started: exec: "nope": executable file not found in $PATH',
        },
        {
          sessionId: "crash",
          template: "crashing",
          reason: "CrashLoop",
          problem: "its container crashed: back-off restarting failed container (exit code 1)",
        },
        {
          sessionId: "message",
          change: crashing("Error", { exitCode: 2, message: "cannot open display :1\n" }),
          reason: "CrashLoop",
          problem: "its container crashed: exit code 2: cannot open display :1",
        },
        {
          sessionId: "memory",
          change: crashing("OOMKilled", { exitCode: 137 }),
          reason: "OOMKilled",
          problem: "its container ran out of memory (OOMKilled): its limit is 512Mi",
        },
        {
          sessionId: "rejected",
          change: endedPods({
            reason: "OutOfcpu",
            message: "Pod was rejected: Node didn't have enough resource: cpu",
            containerStatuses: [],
          }),
          reason: "PodRejected",
          problem: 'node "node-1" rejects its pod: Node didn\'t have enough resource: cpu',
        },
        {
          sessionId: "evicted",
          change: endedPods({ reason: "Evicted", message: "The node was low on resource: memory. " }),
          reason: "Evicted",
          problem: "its pod was evicted: The node was low on resource: memory.",
        },
      ],
    });
  },
);

onEachCluster(
  "starts fail after a long grace period with causes that may be temporary, and leave no objects",
  async (cluster) => {
    const timings = { graceFactor: 0.1 };
    await using stage = await Stage.start(cluster, { timings });
    await using unfit = await Stage.start(cluster, { args: ["--node-selector={no: node}"], timings });
    await Promise.all([
      fail(cluster, {
        stage,
        rows: [
          {
            sessionId: "missing",
            template: "missing",
            reason: "ImagePull",
            problem: 'image "example.com/missing:1" cannot be pulled: not found',
          },
          {
            sessionId: "silent",
            change: async (actor, sessionId) => {
              const pod = await actor.begun(sessionId);
              await actor.report(pod, { conditions: [] });
              await actor.recordEvent(pod, "NodeNotReady", "Node is not ready");
            },
            reason: "NodeLost",
            problem: 'node "node-1" is unreachable',
          },
        ],
      }),
      fail(cluster, {
        stage: unfit,
        rows: [{
          sessionId: "growth",
          change: async (actor, sessionId) => {
            const pod = await actor.pod(sessionId);
            await actor.recordEvent(
              pod,
              "NotTriggerScaleUp",
              "pod didn't trigger scale-up: 1 max node group size reached",
            );
          },
          reason: "NoScaleUp",
          problem:
            "its pod cannot be scheduled, and the cluster does not scale up: 1 max node group size reached",
        }],
      }),
    ]);
  },
  [REAL],
);

/** A home volume that exists before the start. */
function home(sessionId: string, storageClassName: string): V1PersistentVolumeClaim {
  return {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name: `${sessionId}-home`, labels: { app: "streamspace-session", session: sessionId } },
    spec: {
      storageClassName,
      accessModes: ["ReadWriteOnce"],
      resources: { requests: { storage: "1Gi" } },
    },
  };
}

onEachCluster("home volumes that cannot be provisioned fail the start, and are deleted", async (cluster) => {
  await using stage = await Stage.start(cluster, { timings: { graceFactor: 0.1 } });
  await cluster.create(home("classless", "no-such-class"));
  // Once it is deleted, the scheduler reports another message.
  const leaving = home("leaving", "no-such-class");
  const { apiVersion, kind, metadata } = leaving;
  await cluster.create({ ...leaving, metadata: { ...metadata, finalizers: ["example.com/held"] } });
  await fail(cluster, {
    stage,
    homes: ["leaving-home"],
    rows: [
      {
        sessionId: "classless",
        persistentHome: true,
        reason: "NoStorageClass",
        problem: 'volume "classless-home" cannot be provisioned: ' +
          'storageclass.storage.k8s.io "no-such-class" not found',
      },
      {
        sessionId: "leaving",
        persistentHome: true,
        change: async (actor, sessionId) => {
          await actor.pod(sessionId);
          await cluster.delete("v1", "PersistentVolumeClaim", "leaving-home");
        },
        reason: "VolumeGone",
        problem:
          'volume "leaving-home" is not available: persistentvolumeclaim "leaving-home" is being deleted',
      },
    ],
  });
  await cluster.setFinalizers({ apiVersion, kind, metadata }, []);
  await cluster.untilEmpty();
});

/** Creates a storage class for this test, with the name of its namespace. */
async function storageClass(
  cluster: TestCluster,
  fields: { provisioner: string; volumeBindingMode?: string },
): Promise<AsyncDisposable> {
  const metadata = { name: cluster.namespace };
  const object = { apiVersion: "storage.k8s.io/v1", kind: "StorageClass", metadata };
  await cluster.objects.create({ ...object, ...fields } as KubernetesObject);
  return { [Symbol.asyncDispose]: async () => void await cluster.objects.delete(object) };
}

onEachCluster("home volumes without a provisioner fail the start, and are deleted", async (cluster) => {
  // The cluster does not have this provisioner.
  await using _class = await storageClass(cluster, { provisioner: "example.com/none" });
  await using stage = await Stage.start(cluster, {
    args: ["--start-timeout=5s"],
    timings: { graceFactor: 0.1 },
  });
  await cluster.create(home("classless", ""));
  const claim = await cluster.create(home("homeless", cluster.namespace));
  await fail(cluster, {
    stage,
    rows: [
      {
        sessionId: "classless",
        persistentHome: true,
        reason: "NoStorageClass",
        problem: 'volume "classless-home" cannot be provisioned: ' +
          "no persistent volumes available for this claim and no storage class is set",
      },
      {
        sessionId: "homeless",
        persistentHome: true,
        change: (actor) =>
          actor.recordEvent(claim, "ProvisioningFailed", "rpc error: code = Internal desc = out of disks"),
        reason: "VolumeNotBound",
        problem: 'it was not ready within 5s: volume "homeless-home" cannot be provisioned: out of disks',
      },
    ],
  });
}, [REAL]);

onEachCluster(
  "a home volume that is not provisioned for the selected node fails the start",
  async (cluster) => {
    await using _class = await storageClass(cluster, {
      provisioner: "example.com/none",
      volumeBindingMode: "WaitForFirstConsumer",
    });
    await using stage = await Stage.start(cluster, { args: ["--start-timeout=4s"] });
    const claim = await cluster.create(home("s1", cluster.namespace));
    const problem = "rpc error: code = Internal desc = UnauthorizedOperation";
    await fail(cluster, {
      stage,
      rows: [{
        sessionId: "s1",
        persistentHome: true,
        change: (actor) => actor.recordEvent(claim, "ProvisioningFailed", problem),
        reason: "VolumeNotBound",
        problem: 'it was not ready within 4s: volume "s1-home" cannot be provisioned: UnauthorizedOperation',
      }],
    });
  },
  [REAL],
);

onEachCluster("a home volume that waits for its first consumer does not fail the start", async (cluster) => {
  await using _class = await storageClass(cluster, {
    provisioner: "kubernetes.io/host-path",
    volumeBindingMode: "WaitForFirstConsumer",
  });
  await cluster.create(home("s1", cluster.namespace));
  await using stage = await Stage.start(cluster);
  const options = { ...START, persistentHome: true };
  const { error } = await stage.command("start_session", { sessionId: "s1", ...options });
  assertEquals(error, undefined);
}, [REAL]);

const TIMED_OUT = "it was not ready within 4s";

onEachCluster(
  "a start fails at its timeout with the last known cause, and leaves no objects",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { args: ["--start-timeout=4s"] });
    await fail(cluster, {
      stage,
      homes: ["attached-home", "mounted-home"],
      rows: [
        { sessionId: "stuck", reason: "Timeout", problem: `${TIMED_OUT}, still creating its container` },
        {
          sessionId: "sandbox",
          change: async (actor, sessionId) => {
            const pod = await actor.begun(sessionId);
            const problem = 'Failed to create pod sandbox: plugin type="x" failed';
            await actor.recordEvent(pod, "FailedCreatePodSandBox", problem);
            await actor.recordEvent(
              pod,
              "SandboxChanged",
              "Pod sandbox changed, it will be killed and re-created.",
            );
          },
          reason: "Sandbox",
          problem: `${TIMED_OUT}: its pod sandbox cannot be created: plugin type="x" failed`,
        },
        {
          sessionId: "attached",
          persistentHome: true,
          change: async (actor, sessionId) => {
            const pod = await actor.begun(sessionId);
            await actor.recordEvent(
              pod,
              "FailedAttachVolume",
              "Multi-Attach error: Volume is used by pod(s) other",
            );
            await actor.recordEvent(
              pod,
              "FailedMount",
              "Unable to attach or mount volumes: unmounted volumes=[home]",
            );
          },
          reason: "VolumeStuck",
          problem: `${TIMED_OUT}: volume "attached-home" cannot be attached: ` +
            "Multi-Attach error: Volume is used by pod(s) other",
        },
        {
          sessionId: "mounted",
          persistentHome: true,
          change: recorded("FailedMount", 'MountVolume.SetUp failed for volume "home" : exit status 32'),
          reason: "VolumeStuck",
          problem: `${TIMED_OUT}: volume "mounted-home" cannot be mounted: exit status 32`,
        },
        {
          sessionId: "deaf",
          change: async (actor, sessionId) => {
            const pod = await actor.begun(sessionId);
            await actor.container(pod, { running: {} });
            await actor.recordEvent(
              pod,
              "Unhealthy",
              "Readiness probe failed: dial tcp: connect: connection refused",
            );
          },
          reason: "NotAnswering",
          problem: `${TIMED_OUT}: its display port does not answer: dial tcp: connect: connection refused`,
        },
        {
          sessionId: "pulled",
          change: recorded("Pulling", 'Pulling image "example.com/stuck:1"'),
          reason: "Timeout",
          problem: `${TIMED_OUT}, still pulling image "example.com/stuck:1"`,
        },
      ],
    });
  },
);

onEachCluster(
  "a pod that fits no node fails the start at its timeout, unless the cluster scales up",
  async (cluster) => {
    await using stage = await Stage.start(cluster, {
      args: ["--node-selector={no: node}", "--start-timeout=3s"],
    });
    const actor = new Actor(cluster);
    const growing = stage.command("start_session", { sessionId: "growing", ...START });
    const pod = await actor.pod("growing");
    await actor.recordEvent(pod, "TriggeredScaleUp", "pod triggered scale-up: [{desktops 1->2 (max: 3)}]");
    const { error } = await stage.command("start_session", {
      sessionId: "small",
      ...START,
    });
    assertEquals(
      error,
      'Cannot start session "small": it was not ready within 3s: its pod cannot be scheduled: 0/1 nodes are ' +
        "available: 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/1 nodes are available: " +
        "1 Preemption is not helpful for scheduling.",
    );
    // The other start is older, but waits longer: until there is a node.
    await actor.bind(pod, "node-1");
    assertEquals((await growing).error, undefined);
    await stage.untilMessage("growing", "waiting for a node: the cluster is scaling up");
  },
  [REAL],
);

onEachCluster("the progress of a slow start is reported", async (cluster) => {
  await using stage = await Stage.start(cluster, { timings: { progressIntervalMs: 100 } });
  const actor = new Actor(cluster);
  const sessionId = "s1";
  const options = { sessionId, ...START, template: "stuck", persistentHome: true };
  const command = stage.command("start_session", options);
  await stage.untilMessage(sessionId, 'attaching volume "s1-home"');
  const pod = await actor.begun(sessionId);
  await actor.recordEvent(pod, "SuccessfulAttachVolume", 'AttachVolume.Attach succeeded for volume "pvc-1"');
  await stage.untilMessage(sessionId, 'mounting volume "s1-home"');
  await actor.recordEvent(pod, "Pulling", 'Pulling image "example.com/stuck:1"');
  await stage.untilMessage(sessionId, 'pulling image "example.com/stuck:1"');
  await actor.container(pod, { running: {} });
  await stage.untilMessage(sessionId, "waiting for its display port to answer");
  await actor.report(pod, { conditions: [{ type: "Ready", status: "True" }] });
  assertEquals((await command).error, undefined);
  await stage.untilState(sessionId, "running");
  const messages = stage.messages(sessionId);
  // A slow cluster leaves time to report that the pod does not exist yet.
  assertEquals(messages.slice(messages.indexOf('attaching volume "s1-home"')), [
    'attaching volume "s1-home"',
    'mounting volume "s1-home"',
    'pulling image "example.com/stuck:1"',
    "waiting for its display port to answer",
  ]);
  assertEquals([...stage.controlPlane.problems], []);
});

onEachCluster("a failed wake hibernates the session again, and reports the cause", async (cluster) => {
  await using stage = await Stage.start(cluster);
  const sessionId = "s1";
  await stage.command("start_session", { sessionId, ...START });
  await stage.command("hibernate_session", { sessionId });
  const spec = { template: { spec: { containers: [{ name: "session", image: "example.com/stuck:1" }] } } };
  await cluster.change(
    { apiVersion: "apps/v1", kind: "Deployment", metadata: { name: sessionId }, spec },
    PatchStrategy.StrategicMergePatch,
  );
  const waking = stage.command("wake_session", { sessionId });
  const actor = new Actor(cluster);
  const pod = await actor.begun(sessionId);
  const held = { apiVersion: "v1", kind: "Pod", metadata: { name: pod.metadata?.name ?? "" } };
  await cluster.setFinalizers(held, ["example.com/hold"]);
  await actor.container(pod, waiting("InvalidImageName"));
  await actor.pod(sessionId, { isTrue: ({ metadata }) => metadata?.deletionTimestamp !== undefined });
  await stage.command("start_session", { ...START, sessionId: "s2", template: "firefox" });
  assertEquals(stage.lastStatus(sessionId).state, "pending");
  await cluster.setFinalizers(held, []);
  const { error } = await waking;
  const message = 'Cannot wake session "s1": image name "example.com/stuck:1" is invalid';
  assertEquals(error, message);
  await stage.untilMessage(sessionId, message);
  const { state, platformMetadata } = stage.lastStatus(sessionId);
  const nowhere = { podName: "", podIP: "", nodeName: "" };
  assertEquals([state, platformMetadata], ["hibernated", { ...nowhere, reason: "InvalidImage", message }]);
});

onEachCluster(
  "sessions start, and fail with a cause, when watching events is forbidden",
  async (cluster) => {
    await using stage = await Stage.launch(cluster, { throughProxies: true, timings: SHORT_GRACE });
    for (const verb of ["list", "watch"]) {
      stage.proxies.api.inject({ kind: "status", code: 403, verb, resource: "events", times: Infinity });
    }
    await stage.untilConnected();
    await stage.agent.line(/Cannot watch events, retrying: /);
    const { error } = await stage.command("start_session", {
      sessionId: "s1",
      ...START,
    });
    assertEquals(error, undefined);
    const refused = await stage.command("start_session", { sessionId: "s2", ...START, template: "crashing" });
    assertEquals(
      refused.error,
      'Cannot start session "s2": its container crashed: back-off restarting failed container (exit code 1)',
    );
  },
);
