import { assertEquals } from "@std/assert";
import { PatchStrategy, type V1Pod } from "@kubernetes/client-node";
import { Actor, ended, waiting } from "../support/actor.ts";
import type { TestCluster } from "../support/clusters.ts";
import { onEachCluster, Stage, START } from "../support/stage.ts";

const UNREADY = { type: "Ready", status: "False" };

/** What befalls a session that runs. */
interface Loss {
  readonly sessionId: string;
  /** Whether what follows has to be there before a pod that is not ready is told of: then little else may happen meanwhile. */
  readonly isHasty?: true;
  readonly befall: (actor: Actor, pod: V1Pod) => Promise<void>;
  /** What is told of it then. */
  readonly state: "pending" | "running" | "failed";
  readonly reason: string;
  readonly message: string;
}

/** Takes a pod away as a part of the cluster does. */
function disrupted(cluster: TestCluster, reason: string, message: string): Loss["befall"] {
  return async (actor, pod) => {
    await actor.report(pod, { conditions: [{ type: "DisruptionTarget", status: "True", reason, message }] });
    await cluster.delete("v1", "Pod", pod.metadata?.name ?? "");
  };
}

/** Lets a session's next pods run an image that does not exist. */
async function loseImage(cluster: TestCluster, sessionId: string): Promise<void> {
  const spec = { template: { spec: { containers: [{ name: "session", image: "example.com/missing:1" }] } } };
  await cluster.change(
    { apiVersion: "apps/v1", kind: "Deployment", metadata: { name: sessionId }, spec },
    PatchStrategy.StrategicMergePatch,
  );
}

function losses(cluster: TestCluster): readonly Loss[] {
  return [
    {
      sessionId: "memory",
      befall: async (actor, pod) => {
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
      befall: async (actor, pod) => {
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
      isHasty: true,
      befall: (actor, pod) =>
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
      isHasty: true,
      befall: disrupted(cluster, "EvictionByEvictionAPI", "Eviction API: evicting"),
      state: "running",
      reason: "Evicted",
      message: "its pod was evicted: Eviction API: evicting",
    },
    {
      sessionId: "tainted",
      isHasty: true,
      befall: disrupted(cluster, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
      state: "running",
      reason: "Evicted",
      message: "its pod was evicted: Taint manager: deleting due to NoExecute taint",
    },
    {
      sessionId: "silent",
      befall: (actor, pod) =>
        actor.report(pod, { conditions: [{ type: "ContainersReady", status: "True" }, UNREADY] }),
      state: "pending",
      reason: "NodeLost",
      message: 'node "node-1" is unreachable',
    },
    {
      sessionId: "imageless",
      isHasty: true,
      befall: () => loseImage(cluster, "imageless"),
      state: "pending",
      reason: "ImagePull",
      message: 'image "example.com/missing:1" cannot be pulled: not found',
    },
    {
      sessionId: "headless",
      befall: () => cluster.delete("apps/v1", "Deployment", "headless"),
      state: "failed",
      reason: "DeploymentDeleted",
      message: "its Deployment was deleted",
    },
  ];
}

onEachCluster("K4 K20 R13 what befalls sessions that run is told with its reason, once", async (cluster) => {
  await using stage = await Stage.start(cluster);
  const actor = new Actor(cluster);
  const rows = losses(cluster);
  await Promise.all(rows.map(async ({ sessionId }) => {
    const { error } = await stage.command("start_session", { sessionId, ...START });
    assertEquals(error, undefined);
    await stage.untilState(sessionId, "running");
  }));
  const happen = async ({ sessionId, befall, state, reason, message }: Loss) => {
    await befall(actor, await actor.pod(sessionId));
    await stage.untilMessage(sessionId, message);
    const told = stage.lastStatus(sessionId);
    const metadata = told.platformMetadata as Record<string, string>;
    assertEquals([told.state, metadata.reason, metadata.message], [state, reason, message]);
  };
  const inTurn = async (hasty: readonly Loss[]) => {
    for (const row of hasty) await happen(row);
  };
  await Promise.all([
    inTurn(rows.filter(({ isHasty }) => isHasty)),
    ...rows.filter(({ isHasty }) => !isHasty).map(happen),
  ]);
  await stage.roundTrip();
  const told = rows.map(({ sessionId }) => {
    const states = stage.states(sessionId);
    // A start that takes its time tells more than once that it is pending.
    return [sessionId, states.slice(states.indexOf("running"))];
  });
  assertEquals(told, rows.map(({ sessionId, state }) => [sessionId, ["running", state]]));
  assertEquals([...stage.controlPlane.problems], []);
});
