import { assertEquals } from "@std/assert";
import { PatchStrategy, type V1Pod } from "@kubernetes/client-node";
import { Actor, ended, waiting } from "../support/actor.ts";
import type { TestCluster } from "../support/clusters.ts";
import { onEachCluster, Stage, START } from "../support/stage.ts";

const UNREADY = { type: "Ready", status: "False" };

/** A disruption of a running session. */
interface Disruption {
  readonly sessionId: string;
  /** Whether the cause must be known before the grace period of an unready pod ends. */
  readonly isUrgent?: true;
  readonly disrupt: (actor: Actor, pod: V1Pod) => Promise<void>;
  /** The state that is reported afterwards. */
  readonly state: "pending" | "running" | "failed";
  readonly reason: string;
  readonly message: string;
}

/** Deletes a pod as a component of the cluster does. */
function disrupted(cluster: TestCluster, reason: string, message: string): Disruption["disrupt"] {
  return async (actor, pod) => {
    await actor.report(pod, { conditions: [{ type: "DisruptionTarget", status: "True", reason, message }] });
    await cluster.delete("v1", "Pod", pod.metadata?.name ?? "");
  };
}

/** Changes the image of a session's next pods to one that does not exist. */
async function breakImage(cluster: TestCluster, sessionId: string): Promise<void> {
  const spec = { template: { spec: { containers: [{ name: "session", image: "example.com/missing:1" }] } } };
  await cluster.change(
    { apiVersion: "apps/v1", kind: "Deployment", metadata: { name: sessionId }, spec },
    PatchStrategy.StrategicMergePatch,
  );
}

function disruptions(cluster: TestCluster): readonly Disruption[] {
  return [
    {
      sessionId: "memory",
      disrupt: async (actor, pod) => {
        await actor.container(pod, { running: {} }, {
          restartCount: 1,
          lastState: ended("OOMKilled", { exitCode: 137 }),
        });
      },
      state: "running",
      reason: "OOMKilled",
      message: "its container ran out of memory (OOMKilled): its limit is 512Mi",
    },
    {
      sessionId: "crashing",
      disrupt: async (actor, pod) => {
        await actor.report(pod, { conditions: [UNREADY] });
        await actor.container(pod, waiting("CrashLoopBackOff", "back-off"), {
          restartCount: 4,
          lastState: ended("Error", { exitCode: 3 }),
        });
      },
      state: "pending",
      reason: "CrashLoop",
      message: "its container crashed: exit code 3",
    },
    {
      sessionId: "evicted",
      isUrgent: true,
      disrupt: (actor, pod) =>
        actor.report(pod, {
          phase: "Failed",
          reason: "Evicted",
          message: "The node was low on resource: memory. ",
          conditions: [UNREADY],
        }),
      state: "running",
      reason: "Evicted",
      message: "its pod was evicted: The node was low on resource: memory.",
    },
    {
      sessionId: "drained",
      isUrgent: true,
      disrupt: disrupted(cluster, "EvictionByEvictionAPI", "Eviction API: evicting"),
      state: "running",
      reason: "Evicted",
      message: "its pod was evicted: Eviction API: evicting",
    },
    {
      sessionId: "tainted",
      isUrgent: true,
      disrupt: disrupted(cluster, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
      state: "running",
      reason: "Evicted",
      message: "its pod was evicted: Taint manager: deleting due to NoExecute taint",
    },
    {
      sessionId: "silent",
      disrupt: (actor, pod) =>
        actor.report(pod, { conditions: [{ type: "ContainersReady", status: "True" }, UNREADY] }),
      state: "pending",
      reason: "NodeLost",
      message: 'node "node-1" is unreachable',
    },
    {
      sessionId: "imageless",
      disrupt: () => breakImage(cluster, "imageless"),
      state: "pending",
      reason: "ImagePull",
      message: 'image "example.com/missing:1" cannot be pulled: not found',
    },
    {
      sessionId: "headless",
      disrupt: () => cluster.delete("apps/v1", "Deployment", "headless"),
      state: "failed",
      reason: "DeploymentDeleted",
      message: "its Deployment was deleted",
    },
  ];
}

for (
  const [name, isUrgent, unreadyGraceMs] of [
    ["of running sessions", true, 60_000],
    ["that leave pods unready for a while", undefined, 1000],
  ] as const
) {
  onEachCluster(`disruptions ${name} are reported once, with the cause`, async (cluster) => {
    await using stage = await Stage.start(cluster, { timings: { unreadyGraceMs } });
    const actor = new Actor(cluster);
    const rows = disruptions(cluster).filter((row) => row.isUrgent === isUrgent);
    await Promise.all(rows.map(async ({ sessionId, disrupt, state, reason, message }) => {
      const { error } = await stage.command("start_session", { sessionId, ...START });
      assertEquals(error, undefined);
      await stage.untilState(sessionId, "running");
      await disrupt(actor, await actor.pod(sessionId));
      await stage.untilMessage(sessionId, message);
      const reported = stage.lastStatus(sessionId);
      const metadata = reported.platformMetadata as Record<string, string>;
      assertEquals([reported.state, metadata.reason, metadata.message], [state, reason, message]);
    }));
    await stage.roundTrip();
    const reported = rows.map(({ sessionId }) => {
      const states = stage.states(sessionId);
      // A slow start reports the state pending more than once.
      return [sessionId, states.slice(states.indexOf("running"))];
    });
    assertEquals(reported, rows.map(({ sessionId, state }) => [sessionId, ["running", state]]));
    assertEquals([...stage.controlPlane.problems], []);
  });
}
