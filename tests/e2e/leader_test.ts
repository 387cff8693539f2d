import { assertEquals } from "@std/assert";
import type { V1Lease } from "@kubernetes/client-node";
import { AgentProcess } from "../../dev/agent_process.ts";
import type { TestCluster } from "../support/clusters.ts";
import { AGENT_ID, onEachCluster, Stage } from "../support/stage.ts";

const START = { sessionId: "s1", user: "alice", template: "firefox", persistentHome: true };

/** One more replica of the stage's agent. */
function replica(stage: Stage, cluster: TestCluster): AgentProcess {
  return AgentProcess.start({
    args: [
      `--agent-id=${AGENT_ID}`,
      `--control-plane-url=${stage.controlPlane.url}`,
      `--kubeconfig=${cluster.kubeconfig}`,
      `--namespace=${cluster.namespace}`,
      "--leader-election",
      "--pod-name=replica-b",
    ],
  });
}

async function leader(cluster: TestCluster): Promise<string | undefined> {
  const [lease] = await cluster.list("coordination.k8s.io/v1", "Lease") as V1Lease[];
  return lease?.spec?.holderIdentity;
}

onEachCluster("one replica works, and when it ends the other takes over its sessions", async (cluster) => {
  await using stage = await Stage.set(cluster, { args: ["--leader-election", "--pod-name=replica-a"] });
  await using second = replica(stage, cluster);
  await second.line(/Waiting to lead: replica-a is the leader/);
  await stage.command("start_session", START);
  assertEquals([stage.controlPlane.connections.length, await leader(cluster)], [1, "replica-a"]);

  stage.agent.kill("SIGTERM");
  assertEquals(await stage.agent.exit(), 0);
  await second.line(/Starting heartbeat sender/);
  assertEquals(await leader(cluster), "replica-b");
  const asleep = await stage.command("hibernate_session", { sessionId: "s1" });
  assertEquals((asleep.result as Record<string, unknown>).state, "hibernated");
  assertEquals([...stage.controlPlane.problems], []);
});

onEachCluster(
  "a replica that is no longer the leader ends with 3 and leaves its sessions alone",
  async (cluster) => {
    await using stage = await Stage.set(cluster, { args: ["--leader-election", "--pod-name=replica-a"] });
    await stage.command("start_session", START);
    const before = await cluster.leftovers();
    const [lease] = await cluster.list("coordination.k8s.io/v1", "Lease") as [V1Lease];
    await cluster.objects.patch({
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name: lease.metadata?.name ?? "", namespace: cluster.namespace },
      spec: { holderIdentity: "somebody-else" },
    } as V1Lease);
    assertEquals(await stage.agent.exit(), 3);
    assertEquals(await cluster.leftovers(), before);
  },
);

onEachCluster("a replica that stands by ends with 0 when it is told to", async (cluster) => {
  await using stage = await Stage.set(cluster, { args: ["--leader-election", "--pod-name=replica-a"] });
  await using second = replica(stage, cluster);
  await second.line(/Waiting to lead/);
  second.kill("SIGTERM");
  assertEquals(await second.exit(), 0);
  assertEquals(await leader(cluster), "replica-a");
});
