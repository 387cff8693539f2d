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
  /** What is done to the session while it starts. */
  readonly act?: (actor: Actor, sessionId: string) => Promise<void>;
  readonly reason: string;
  /** What is told after `Cannot start session "…": `. */
  readonly words: string;
}

/** Lets the starts of all rows fail side by side, and checks what is told of each and that nothing is left but homes. */
async function fail(
  cluster: TestCluster,
  { stage, rows, homes = [] }: { stage: Stage; rows: readonly Row[]; homes?: string[] },
): Promise<void> {
  const actor = new Actor(cluster);
  await Promise.all(rows.map(async (row) => {
    const { sessionId, template = "stuck", persistentHome = false, act, reason, words } = row;
    const command = stage.command("start_session", { sessionId, ...START, template, persistentHome });
    await act?.(actor, sessionId);
    const { error } = await command;
    const message = `Cannot start session "${sessionId}": ${words}`;
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

/** A node keeps the container of the session waiting. */
function keptWaiting(...state: Parameters<typeof waiting>): NonNullable<Row["act"]> {
  return async (actor, sessionId) => actor.container(await actor.begun(sessionId), waiting(...state));
}

/** The container of the session crashes again and again. */
function crashing(...end: Parameters<typeof ended>): NonNullable<Row["act"]> {
  return async (actor, sessionId) => {
    const rest = { restartCount: 2, lastState: ended(...end) };
    await actor.container(await actor.begun(sessionId), waiting("CrashLoopBackOff", "back-off 20s"), rest);
  };
}

/** Something is told about the session's pod. */
function told(reason: string, message: string): NonNullable<Row["act"]> {
  return async (actor, sessionId) => actor.tell(await actor.begun(sessionId), reason, message);
}

/** Nodes end three pods of the session. */
function endedPods(status: Partial<V1PodStatus>): NonNullable<Row["act"]> {
  return async (actor, sessionId) => {
    const pods: V1Pod[] = [];
    for (let nth = 0; nth < 3; nth++) {
      const pod = await actor.begun(sessionId, pods);
      pods.push(pod);
      await actor.report(pod, { phase: "Failed", ...status });
    }
  };
}

onEachCluster("failures are told at once, or after ten seconds, and leave nothing", async (cluster) => {
  await using stage = await Stage.start(cluster, { timings: { graceFactor: 0.1 } });
  await fail(cluster, {
    stage,
    homes: ["deleted-home"],
    rows: [
      {
        sessionId: "invalid",
        act: keptWaiting("InvalidImageName"),
        reason: "InvalidImage",
        words: 'image name "example.com/stuck:1" is invalid',
      },
      {
        sessionId: "never",
        act: keptWaiting("ErrImageNeverPull"),
        reason: "ImageNeverPulled",
        words: 'image "example.com/stuck:1" is not on the node, and its pull policy is Never',
      },
      {
        sessionId: "deleted",
        persistentHome: true,
        act: async (actor, sessionId) => {
          await actor.begun(sessionId);
          await cluster.delete("apps/v1", "Deployment", "deleted");
        },
        reason: "DeploymentDeleted",
        words: "its Deployment was deleted",
      },
      {
        sessionId: "config",
        act: keptWaiting("CreateContainerConfigError", 'secret "keys" not found'),
        reason: "ContainerConfig",
        words: 'its container cannot be created: secret "keys" not found',
      },
      {
        sessionId: "run",
        act: keptWaiting("RunContainerError", 'exec: "nope": executable file not found in $PATH'),
        reason: "CannotRun",
        words: 'its container cannot be started: exec: "nope": executable file not found in $PATH',
      },
      {
        sessionId: "crash",
        template: "crashing",
        reason: "CrashLoop",
        words: "its container crashed: back-off restarting failed container (exit code 1)",
      },
      {
        sessionId: "words",
        act: crashing("Error", { exitCode: 2, message: "cannot open display :1\n" }),
        reason: "CrashLoop",
        words: "its container crashed: exit code 2: cannot open display :1",
      },
      {
        sessionId: "memory",
        act: crashing("OOMKilled", { exitCode: 137 }),
        reason: "OOMKilled",
        words: "its container ran out of memory (OOMKilled): its limit is 512Mi",
      },
      {
        sessionId: "rejected",
        act: endedPods({
          reason: "OutOfcpu",
          message: "Pod was rejected: Node didn't have enough resource: cpu",
          containerStatuses: [],
        }),
        reason: "PodRejected",
        words: 'node "node-1" rejects its pod: Node didn\'t have enough resource: cpu',
      },
      {
        sessionId: "evicted",
        act: endedPods({ reason: "Evicted", message: "The node was low on resource: memory. " }),
        reason: "Evicted",
        words: "its pod was evicted: The node was low on resource: memory.",
      },
    ],
  });
});

onEachCluster(
  "K1 K6 failures that may pass are told after half a minute, and leave nothing",
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
            words: 'image "example.com/missing:1" cannot be pulled: not found',
          },
          {
            sessionId: "silent",
            act: async (actor, sessionId) => {
              const pod = await actor.begun(sessionId);
              await actor.report(pod, { conditions: [] });
              await actor.tell(pod, "NodeNotReady", "Node is not ready");
            },
            reason: "NodeLost",
            words: 'node "node-1" is unreachable',
          },
        ],
      }),
      fail(cluster, {
        stage: unfit,
        rows: [{
          sessionId: "growth",
          act: async (actor, sessionId) => {
            const pod = await actor.pod(sessionId);
            await actor.tell(
              pod,
              "NotTriggerScaleUp",
              "pod didn't trigger scale-up: 1 max node group size reached",
            );
          },
          reason: "NoScaleUp",
          words:
            "its pod cannot be scheduled, and the cluster does not scale up: 1 max node group size reached",
        }],
      }),
    ]);
  },
  [REAL],
);

/** A home that somebody made beforehand. */
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

onEachCluster("K7 K9 homes that cannot come to be fail a start, and go with it", async (cluster) => {
  await using stage = await Stage.start(cluster, { timings: { graceFactor: 0.1 } });
  await cluster.create(home("classless", "no-such-class"));
  // Were it gone, the scheduler would sooner or later find other words.
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
        words: 'volume "classless-home" cannot be provisioned: ' +
          'storageclass.storage.k8s.io "no-such-class" not found',
      },
      {
        sessionId: "leaving",
        persistentHome: true,
        act: async (actor, sessionId) => {
          await actor.pod(sessionId);
          await cluster.delete("v1", "PersistentVolumeClaim", "leaving-home");
        },
        reason: "VolumeGone",
        words:
          'volume "leaving-home" is not available: persistentvolumeclaim "leaving-home" is being deleted',
      },
    ],
  });
  await cluster.setFinalizers({ apiVersion, kind, metadata }, []);
  await cluster.untilEmpty();
});

/** Makes a storage class of the test's own, by the name of its namespace. */
async function storageClass(
  cluster: TestCluster,
  fields: { provisioner: string; volumeBindingMode?: string },
): Promise<AsyncDisposable> {
  const metadata = { name: cluster.namespace };
  const object = { apiVersion: "storage.k8s.io/v1", kind: "StorageClass", metadata };
  await cluster.objects.create({ ...object, ...fields } as KubernetesObject);
  return { [Symbol.asyncDispose]: async () => void await cluster.objects.delete(object) };
}

onEachCluster("K7 homes that nobody makes fail a start, and go with it", async (cluster) => {
  // It leaves its volumes to somebody whom this cluster does not have.
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
        words: 'volume "classless-home" cannot be provisioned: ' +
          "no persistent volumes available for this claim and no storage class is set",
      },
      {
        sessionId: "homeless",
        persistentHome: true,
        act: (actor) =>
          actor.tell(claim, "ProvisioningFailed", "rpc error: code = Internal desc = out of disks"),
        reason: "VolumeNotBound",
        words: 'it was not ready within 5s: volume "homeless-home" cannot be provisioned: out of disks',
      },
    ],
  });
}, [REAL]);

onEachCluster("K7 a home that nobody makes for the node that was found fails a start", async (cluster) => {
  await using _class = await storageClass(cluster, {
    provisioner: "example.com/none",
    volumeBindingMode: "WaitForFirstConsumer",
  });
  await using stage = await Stage.start(cluster, { args: ["--start-timeout=4s"] });
  const claim = await cluster.create(home("s1", cluster.namespace));
  const words = "rpc error: code = Internal desc = UnauthorizedOperation";
  await fail(cluster, {
    stage,
    rows: [{
      sessionId: "s1",
      persistentHome: true,
      act: (actor) => actor.tell(claim, "ProvisioningFailed", words),
      reason: "VolumeNotBound",
      words: 'it was not ready within 4s: volume "s1-home" cannot be provisioned: UnauthorizedOperation',
    }],
  });
}, [REAL]);

onEachCluster("K7 a home that waits for its first consumer is no failure", async (cluster) => {
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

const LATE = "it was not ready within 4s";

onEachCluster(
  "what may pass is told at the deadline with its reason, and leaves nothing",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { args: ["--start-timeout=4s"] });
    await fail(cluster, {
      stage,
      homes: ["attached-home", "mounted-home"],
      rows: [
        { sessionId: "stuck", reason: "Timeout", words: `${LATE}, still creating its container` },
        {
          sessionId: "sandbox",
          act: async (actor, sessionId) => {
            const pod = await actor.begun(sessionId);
            const words = 'Failed to create pod sandbox: plugin type="x" failed';
            await actor.tell(pod, "FailedCreatePodSandBox", words);
            await actor.tell(pod, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
          },
          reason: "Sandbox",
          words: `${LATE}: its pod sandbox cannot be created: plugin type="x" failed`,
        },
        {
          sessionId: "attached",
          persistentHome: true,
          act: async (actor, sessionId) => {
            const pod = await actor.begun(sessionId);
            await actor.tell(pod, "FailedAttachVolume", "Multi-Attach error: Volume is used by pod(s) other");
            await actor.tell(
              pod,
              "FailedMount",
              "Unable to attach or mount volumes: unmounted volumes=[home]",
            );
          },
          reason: "VolumeStuck",
          words: `${LATE}: volume "attached-home" cannot be attached: ` +
            "Multi-Attach error: Volume is used by pod(s) other",
        },
        {
          sessionId: "mounted",
          persistentHome: true,
          act: told("FailedMount", 'MountVolume.SetUp failed for volume "home" : exit status 32'),
          reason: "VolumeStuck",
          words: `${LATE}: volume "mounted-home" cannot be mounted: exit status 32`,
        },
        {
          sessionId: "deaf",
          act: async (actor, sessionId) => {
            const pod = await actor.begun(sessionId);
            await actor.container(pod, { running: {} });
            await actor.tell(
              pod,
              "Unhealthy",
              "Readiness probe failed: dial tcp: connect: connection refused",
            );
          },
          reason: "NotAnswering",
          words: `${LATE}: its display port does not answer: dial tcp: connect: connection refused`,
        },
        {
          sessionId: "pulled",
          act: told("Pulling", 'Pulling image "example.com/stuck:1"'),
          reason: "Timeout",
          words: `${LATE}, still pulling image "example.com/stuck:1"`,
        },
      ],
    });
  },
);

onEachCluster(
  "K6 a pod that fits no node fails the start at the deadline, unless the cluster grows",
  async (cluster) => {
    await using stage = await Stage.start(cluster, {
      args: ["--node-selector={no: node}", "--start-timeout=3s"],
    });
    const actor = new Actor(cluster);
    const growing = stage.command("start_session", { sessionId: "growing", ...START });
    const pod = await actor.pod("growing");
    await actor.tell(pod, "TriggeredScaleUp", "pod triggered scale-up: [{desktops 1->2 (max: 3)}]");
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
    // The other one was begun before, and is waited for longer: until there is a node.
    await actor.bind(pod, "node-1");
    assertEquals((await growing).error, undefined);
    await stage.untilMessage("growing", "waiting for a node: the cluster is scaling up");
  },
  [REAL],
);

onEachCluster("progress of a start that takes its time is told while it waits", async (cluster) => {
  await using stage = await Stage.start(cluster, { timings: { progressIntervalMs: 100 } });
  const actor = new Actor(cluster);
  const sessionId = "s1";
  const options = { sessionId, ...START, template: "stuck", persistentHome: true };
  const command = stage.command("start_session", options);
  await stage.untilMessage(sessionId, 'attaching volume "s1-home"');
  const pod = await actor.begun(sessionId);
  await actor.tell(pod, "SuccessfulAttachVolume", 'AttachVolume.Attach succeeded for volume "pvc-1"');
  await stage.untilMessage(sessionId, 'mounting volume "s1-home"');
  await actor.tell(pod, "Pulling", 'Pulling image "example.com/stuck:1"');
  await stage.untilMessage(sessionId, 'pulling image "example.com/stuck:1"');
  await actor.container(pod, { running: {} });
  await stage.untilMessage(sessionId, "waiting for its display port to answer");
  await actor.report(pod, { conditions: [{ type: "Ready", status: "True" }] });
  assertEquals((await command).error, undefined);
  await stage.untilState(sessionId, "running");
  assertEquals(stage.messages(sessionId), [
    'attaching volume "s1-home"',
    'mounting volume "s1-home"',
    'pulling image "example.com/stuck:1"',
    "waiting for its display port to answer",
  ]);
  assertEquals([...stage.controlPlane.problems], []);
});

onEachCluster("a wake that fails puts the session to sleep again, and says why", async (cluster) => {
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
  await actor.pod(sessionId, { isSo: ({ metadata }) => metadata?.deletionTimestamp !== undefined });
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
  "a session starts, and fails with a reason, where events may not be watched",
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
