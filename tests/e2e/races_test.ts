import { delay } from "@std/async";
import { assert, assertEquals } from "@std/assert";
import type { V1Deployment } from "@kubernetes/client-node";
import { MEMORY } from "../support/clusters.ts";
import { AGENT_ID, onEachCluster, Stage, START } from "../support/stage.ts";

function start(sessionId: string) {
  return { action: "start_session", sessionId, payload: { ...START, sessionId } };
}

onEachCluster(
  "the same start twice at once runs once, and both commands complete",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { throughProxies: true });
    const ids = stage.controlPlane.commandFrame(AGENT_ID, [start("s1"), start("s1")]);
    const [first, second] = await Promise.all(ids.map((id) => stage.controlPlane.result(id)));
    assertEquals([first?.type, second?.type], ["complete", "complete"]);
    assertEquals(first?.payload.result, second?.payload.result);
    assertEquals(stage.requestCount("create deployments"), 1);
    assertEquals((await cluster.leftovers()).length, 3);
    assertEquals([...stage.controlPlane.problems], []);
  },
);

for (
  const [moment, fault] of [["is being created", "hang"], [
    "was created without a response",
    "holdBack",
  ]] as const
) {
  onEachCluster(`a stop that arrives when the Deployment ${moment} leaves no objects`, async (cluster) => {
    await using stage = await Stage.start(cluster, { throughProxies: true });
    const { proxies, controlPlane } = stage;
    const reached = proxies[fault]("create deployments");
    const starting = stage.send("start_session", { sessionId: "s1", ...START });
    await reached;
    const stopping = stage.send("stop_session", { sessionId: "s1" });
    await controlPlane.waitFor(({ type, payload }) => type === "ack" && payload.commandId === stopping);
    proxies.api.clearFaults();
    const [started, stopped] = await Promise.all([starting, stopping].map((id) => controlPlane.result(id)));
    assertEquals(started?.payload.error, 'Cannot start session "s1": cancelled by stop');
    assertEquals(stopped?.type, "complete");
    await stage.untilState("s1", "terminated");
    assertEquals(await cluster.leftovers(), []);
    assertEquals(stage.states("s1"), ["pending", "terminated"]);
    assertEquals([...controlPlane.problems], []);
  });
}

onEachCluster("a start directly after a stop creates new objects", async (cluster) => {
  await using stage = await Stage.start(cluster);
  const first = await stage.command("start_session", { sessionId: "s1", ...START });
  const ids = stage.controlPlane.commandFrame(AGENT_ID, [
    { action: "stop_session", sessionId: "s1" },
    { ...start("s1"), payload: { ...START, template: "kali" } },
  ]);
  const [stopped, started] = await Promise.all(ids.map((id) => stage.controlPlane.result(id)));
  assertEquals([stopped?.type, started?.type], ["complete", "complete"]);
  const podOf = (result: unknown) => (result as Record<string, unknown>).podName;
  const podName = podOf(started?.payload.result);
  assert(podName !== podOf(first.result));
  assertEquals(await cluster.leftovers(), ["Deployment/s1", `Pod/${podName}`, "Service/s1"]);
  await stage.untilState("s1", "running");
  assertEquals([...stage.controlPlane.problems], []);
});

onEachCluster(
  "commands of one session that arrive together run in order",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    const actions = ["hibernate", "hibernate", "wake", "wake", "hibernate", "stop"].map((verb) => ({
      action: `${verb}_session`,
      sessionId: "s1",
    }));
    const ids = stage.controlPlane.commandFrame(AGENT_ID, [start("s1"), ...actions.slice(0, 5)]);
    const results = await Promise.all(ids.map((id) => stage.controlPlane.result(id)));
    const state = (result: unknown) => (result as Record<string, unknown> | undefined)?.state;
    assertEquals(results.map(({ payload }) => state(payload.result)), [
      "running",
      "hibernated",
      "hibernated",
      "running",
      "running",
      "hibernated",
    ]);
    await stage.untilState("s1", "hibernated");
    const stopped = await stage.command("stop_session", { sessionId: "s1" });
    assertEquals(state(stopped.result), "terminated");
    assertEquals(await cluster.leftovers(), []);
    assertEquals([...stage.controlPlane.problems], []);
  },
);

onEachCluster(
  "30 starts at once with --max-concurrent-starts=20 create 20 Deployments at a time, and all complete",
  async (cluster) => {
    const args = ["--max-concurrent-starts=20"];
    await using stage = await Stage.start(cluster, { throughProxies: true, args });
    const { controlPlane, proxies } = stage;
    proxies.api.inject({ kind: "hang", verb: "create", resource: "deployments", times: Infinity });
    const ids = controlPlane.commandFrame(
      AGENT_ID,
      Array.from({ length: 30 }, (_, index) => start(`s${index}`)),
    );
    while (stage.requestCount("create deployments") < 20) await proxies.next("create deployments");
    // The agent responds while nothing moves in the cluster.
    for (let count = 0; count < 3; count++) await stage.roundTrip();
    assertEquals(stage.requestCount("create deployments"), 20);
    proxies.api.clearFaults();
    const results = await Promise.all(ids.map((id) => controlPlane.result(id)));
    assertEquals(results.filter(({ type }) => type === "failed"), []);
    const acks = controlPlane.messages.flatMap(({ message: { type, payload } }) =>
      type === "ack" ? [payload.commandId] : []
    );
    assertEquals(acks, ids);
    assertEquals((await cluster.list("apps/v1", "Deployment")).length, 30);
    assertEquals([...controlPlane.problems], []);
  },
  [MEMORY],
);

onEachCluster(
  "two agents with the same id in two clusters manage only their own sessions",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { throughProxies: true });
    await stage.command("start_session", { sessionId: "s1", ...START });
    await using other = await MEMORY.open();
    // The first agent does not reconnect.
    stage.proxies.controlPlaneLink.mode = { kind: "refuse" };
    const { kubeconfig, namespace } = other;
    await using second = await stage.startReplica({ throughProxies: false, kubeconfig, namespace });
    await second.line(/Starting heartbeat sender/);
    // The Control Plane disconnects the first agent for the second one.
    await stage.agent.line(/Disconnected from Control Plane/);
    const stopped = await stage.command("stop_session", { sessionId: "s1" });
    assertEquals((stopped.result as Record<string, unknown>).deleted, []);
    const started = await stage.command("start_session", { sessionId: "s2", ...START });
    assertEquals(started.error, undefined);
    const names = async (one: typeof cluster) =>
      (await one.list("apps/v1", "Deployment")).map(({ metadata }) => metadata?.name);
    assertEquals([await names(cluster), await names(other)], [["s1"], ["s2"]]);
  },
  [MEMORY],
);

onEachCluster("a rolling update of the agent does not change its 50 sessions", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: ["--leader-election", "--pod-name=old"] });
  const sessions = Array.from({ length: 50 }, (_, index) => start(`s${index}`));
  const ids = stage.controlPlane.commandFrame(AGENT_ID, sessions);
  await Promise.all(ids.map((id) => stage.controlPlane.result(id)));
  for (const { sessionId } of sessions) await stage.untilState(sessionId, "running");
  await using next = await stage.startReplica({ args: ["--leader-election", "--pod-name=new"] });
  await next.line(/Waiting for leadership: old_\w+ is the leader/);
  const view = async () => {
    const deployments = await cluster.list("apps/v1", "Deployment") as V1Deployment[];
    const generations = deployments.map(({ metadata }) => `${metadata?.uid} ${metadata?.generation}`);
    return [...generations, ...await cluster.leftovers()];
  };
  const before = await view();
  // A stopping agent repeats a fast result only if it is 200 ms old; otherwise the next process has to report the session again.
  await delay(250);
  const { length } = stage.controlPlane.messages;
  stage.agent.stop();
  await stage.agent.ended();
  await next.line(/Starting heartbeat sender/);
  await stage.roundTrip();
  assertEquals(await view(), before);
  const later = stage.controlPlane.messages.slice(length).map(({ message }) => message);
  assertEquals(later.filter(({ type }) => type === "status"), []);
  const beat = later.findLast(({ type }) => type === "heartbeat");
  assertEquals(beat?.payload.activeSessions, 50);
  assertEquals([...stage.controlPlane.problems], []);
}, [MEMORY]);
