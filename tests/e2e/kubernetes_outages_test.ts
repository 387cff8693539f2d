import { assertEquals, assertStringIncludes } from "@std/assert";
import type { V1Deployment } from "@kubernetes/client-node";
import { MEMORY } from "../support/clusters.ts";
import { onEachCluster, Stage, START } from "../support/stage.ts";

onEachCluster("watches that end repeatedly, or with an error, miss no change", async (cluster) => {
  await using stage = await Stage.start(cluster, { throughProxies: true });
  const { api } = stage.proxies;
  for (
    const [index, interrupt] of [
      () => api.endWatches(),
      () => api.errorWatches(410),
      () => api.errorWatches(500),
      () => stage.proxies.apiLink.reset(),
    ].entries()
  ) {
    const sessionId = `s${index}`;
    const reached = stage.proxies.next("create deployments");
    const commandId = stage.send("start_session", { sessionId, ...START });
    await reached;
    interrupt();
    assertEquals((await stage.controlPlane.result(commandId)).type, "complete");
    await stage.untilState(sessionId, "running");
    interrupt();
    const { error } = await stage.command("stop_session", { sessionId });
    assertEquals(error, undefined);
  }
  assertEquals(await cluster.leftovers(), []);
  assertEquals([...stage.controlPlane.problems], []);
});

onEachCluster(
  "during an outage of the API server the agent stays connected, and works again afterwards",
  async (cluster) => {
    await using stage = await Stage.start(cluster, {
      throughProxies: true,
      timings: { journalWriteMs: 200 },
    });
    await stage.command("start_session", { sessionId: "s1", ...START });
    const { apiLink } = stage.proxies;
    apiLink.mode = { kind: "refuse" };
    apiLink.cut();
    const { error } = await stage.command("hibernate_session", { sessionId: "s1" });
    assertStringIncludes(
      String(error),
      'Cannot hibernate session "s1": Kubernetes did not answer a request to change ',
    );
    await stage.agent.line(/Cannot watch pods, retrying/);
    assertEquals([stage.controlPlane.connections.length, stage.states("s1")], [1, ["pending", "running"]]);
    apiLink.mode = { kind: "pass" };
    await stage.agent.line(/Watching pods again/);
    const hibernated = await stage.command("hibernate_session", { sessionId: "s1" });
    assertEquals(hibernated.error, undefined);
    await stage.untilState("s1", "hibernated");
    assertEquals([...stage.controlPlane.problems], []);
  },
  [MEMORY],
);

onEachCluster(
  "an agent that starts before the API server connects, and its commands wait",
  async (cluster) => {
    await using stage = await Stage.launch(cluster, { throughProxies: true, timings: { recoveryMs: 200 } });
    const { apiLink } = stage.proxies;
    apiLink.mode = { kind: "refuse" };
    apiLink.cut();
    await stage.agent.line(/The sessions in the cluster are not known yet: commands wait until they are/);
    await stage.untilConnected();
    const commandId = stage.send("start_session", { sessionId: "s1", ...START });
    await stage.roundTrip();
    assertEquals(stage.results(commandId), []);
    apiLink.mode = { kind: "pass" };
    assertEquals((await stage.controlPlane.result(commandId)).type, "complete");
    assertEquals([...stage.controlPlane.problems], []);
  },
  [MEMORY],
);

onEachCluster(
  "a stop waits for a pod that is held by a finalizer",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    await stage.command("start_session", { sessionId: "s1", ...START });
    const [pod] = await cluster.list("v1", "Pod");
    const { namespace } = cluster;
    const stuck = { apiVersion: "v1", kind: "Pod", metadata: { name: pod?.metadata?.name ?? "", namespace } };
    const hold = (finalizers: string[]) =>
      cluster.objects.patch(
        { ...stuck, metadata: { ...stuck.metadata, finalizers } },
        undefined,
        undefined,
        undefined,
        undefined,
        "application/merge-patch+json",
      );
    await hold(["example.com/hold"]);
    const stopping = stage.send("stop_session", { sessionId: "s1" });
    const deletion = async () => {
      const list = await cluster.list("apps/v1", "Deployment") as V1Deployment[];
      return list[0]?.metadata?.deletionTimestamp;
    };
    await stage.controlPlane.waitFor(({ type, payload }) => type === "ack" && payload.commandId === stopping);
    while (!await deletion()) await stage.roundTrip();
    assertEquals([stage.results(stopping), stage.states("s1")], [[], ["pending", "running"]]);
    await hold([]);
    assertEquals((await stage.controlPlane.result(stopping)).type, "complete");
    await stage.untilState("s1", "terminated");
    assertEquals(await cluster.leftovers(), []);
  },
);

onEachCluster("a missing namespace fails the start, and the error says so", async (cluster) => {
  await using stage = await Stage.start(cluster, { namespace: "no-such-namespace" });
  const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
  assertStringIncludes(String(error), 'namespaces "no-such-namespace" not found');
});

onEachCluster("a terminating namespace fails the start, and the error says so", async (cluster) => {
  const namespace = `${cluster.namespace}-doomed`;
  const home = { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } };
  await cluster.create(home);
  const held = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "held", namespace } };
  await cluster.create({ ...held, metadata: { ...held.metadata, finalizers: ["example.com/hold"] } });
  await using stage = await Stage.start(cluster, { namespace });
  await cluster.objects.delete(home);
  const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
  await cluster.setFinalizers(held, []);
  assertStringIncludes(String(error), "because it is being terminated");
});
