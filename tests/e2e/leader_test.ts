import { assert, assertEquals } from "@std/assert";
import type { V1Lease } from "@kubernetes/client-node";
import { replicaName } from "../../lib/kubernetes/leader_election.ts";
import type { LocalAgent } from "../support/local_agent.ts";
import { MEMORY, type TestCluster } from "../support/clusters.ts";
import { onEachCluster, Stage } from "../support/stage.ts";

const START = { sessionId: "s1", user: "alice", template: "firefox", persistentHome: true };
/** Another replica leads after three seconds. */
const SHORT_LEASE = { leaseMs: 3000, renewDeadlineMs: 2000, retryPeriodMs: 400 };
const FIRST = { args: ["--leader-election", "--pod-name=replica-a"] };

/** Starts a standby replica, without proxies. */
async function standby(stage: Stage): Promise<LocalAgent> {
  const second = await stage.startReplica({
    throughProxies: false,
    args: ["--leader-election", "--pod-name=replica-b"],
  });
  await second.line(/Waiting for leadership: replica-a_\w+ is the leader/);
  return second;
}

/** The specification of the lease. */
async function leaseOf(cluster: TestCluster): Promise<NonNullable<V1Lease["spec"]>> {
  const [lease] = await cluster.list("coordination.k8s.io/v1", "Lease") as V1Lease[];
  return lease?.spec ?? {};
}

/** Listed objects have times as strings, unlike their type. */
function timeOf(value: unknown): number {
  return new Date(String(value)).getTime();
}

async function leader(cluster: TestCluster): Promise<string> {
  return replicaName((await leaseOf(cluster)).holderIdentity ?? "");
}

onEachCluster(
  "one replica leads, and when it ends the other one takes over its sessions",
  async (cluster) => {
    await using stage = await Stage.start(cluster, FIRST);
    await using second = await standby(stage);
    await stage.command("start_session", START);
    assertEquals([stage.controlPlane.connections.length, await leader(cluster)], [1, "replica-a"]);

    stage.agent.stop();
    await stage.agent.ended();
    await second.line(/Starting heartbeat sender/);
    assertEquals(await leader(cluster), "replica-b");
    const hibernated = await stage.command("hibernate_session", { sessionId: "s1" });
    assertEquals((hibernated.result as Record<string, unknown>).state, "hibernated");
    assertEquals([...stage.controlPlane.problems], []);
  },
);

onEachCluster("of two processes with the same name, one leads", async (cluster) => {
  await using stage = await Stage.start(cluster, FIRST);
  await using twin = await stage.startReplica({ throughProxies: false, ...FIRST });
  await twin.line(/Waiting for leadership: replica-a_\w+ is the leader/);
  assertEquals(stage.controlPlane.connections.length, 1);
}, [MEMORY]);

onEachCluster("a standby replica can be stopped", async (cluster) => {
  await using stage = await Stage.start(cluster, FIRST);
  await using second = await standby(stage);
  second.stop();
  await second.ended();
  assertEquals(await leader(cluster), "replica-a");
});

onEachCluster(
  "a leader that cannot reach the API server ends before the next one leads, which completes its start",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { throughProxies: true, ...FIRST, timings: SHORT_LEASE });
    await using second = await standby(stage);
    const { proxies, controlPlane } = stage;
    const reached = proxies.hang("create deployments");
    const commandId = stage.send("start_session", START);
    await reached;

    const order: string[] = [];
    const ended = stage.agent.ended().catch(({ name }) => order.push(`a ended with ${name}`));
    const leading = second.line(/Leading as replica-b/).then(() => order.push("b leads"));
    proxies.apiLink.mode = { kind: "half-open", includesNew: true };
    await stage.agent.line(/Lost leadership: the lease could not be renewed within 2s/);
    const { holderIdentity = "", renewTime } = await leaseOf(cluster);
    await Promise.all([ended, leading]);
    const { acquireTime, leaseTransitions } = await leaseOf(cluster);
    assertEquals(order, ["a ended with LeadershipError", "b leads"]);
    assertEquals([replicaName(holderIdentity), await leader(cluster), leaseTransitions], [
      "replica-a",
      "replica-b",
      1,
    ]);
    const gapMs = timeOf(acquireTime) - timeOf(renewTime);
    assert(gapMs >= SHORT_LEASE.leaseMs, `${gapMs} ms from the last renewal to the next leader`);

    // The new leader completes the start of the old one, and nothing is reported twice.
    assertEquals((await controlPlane.result(commandId)).type, "complete");
    await stage.untilState("s1", "running");
    assertEquals([stage.results(commandId).length, (await cluster.leftovers()).length], [1, 4]);
    assertEquals([...controlPlane.problems], []);
  },
  [MEMORY],
);
