import { assertEquals } from "@std/assert";
import type { Message } from "../../dev/control_plane/messages.ts";
import { type AnyStage, onEachCluster, Stage, START_WITH_HOME as START } from "../support/stage.ts";

const WHY = { reason: "MaxDuration", message: "it reached its maximum duration of 1s" };

/** Waits until the end of a session's run is told, for the first or a later time, and gives what is said of it. */
async function ended(stage: AnyStage, { times = 1 } = {}): Promise<{ state: unknown; metadata: unknown }> {
  const told: Message[] = [];
  const isEnd = ({ type, payload }: Message) =>
    type === "status" && (payload.platformMetadata as Record<string, unknown>).reason === "MaxDuration";
  const { payload } = await stage.controlPlane.waitFor(
    (message) => isEnd(message) && told.push(message) === times,
  );
  return { state: payload.state, metadata: payload.platformMetadata };
}

const NOWHERE = { podName: "", podIP: "", nodeName: "", ...WHY };

onEachCluster("a session sleeps when its time is up, and a wake gives it as much again", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await stage.command("start_session", { sessionId: "s1", ...START, maxSessionDuration: "1s" });
  assertEquals(await ended(stage), { state: "hibernated", metadata: NOWHERE });
  assertEquals(await cluster.leftovers(), ["Deployment/s1", "PersistentVolumeClaim/s1-home", "Service/s1"]);
  await stage.command("wake_session", { sessionId: "s1" });
  assertEquals(await ended(stage, { times: 2 }), { state: "hibernated", metadata: NOWHERE });
  assertEquals(stage.states("s1"), ["pending", "running", "hibernated", "pending", "running", "hibernated"]);
  assertEquals([...stage.controlPlane.problems], []);
});

onEachCluster("a session whose time was up can be scaled up by hand", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await stage.command("start_session", { sessionId: "s1", ...START, maxSessionDuration: "1s" });
  await ended(stage);
  await cluster.change({
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "s1" },
    spec: { replicas: 1 },
  });
  await stage.untilState("s1", "running");
});

onEachCluster(
  "a session ends when its time is up, if the operator wants that, and its home stays",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { args: ["--max-duration-action=stop"] });
    await stage.command("start_session", { sessionId: "s1", ...START, maxSessionDuration: "1s" });
    assertEquals(await ended(stage), { state: "terminated", metadata: NOWHERE });
    assertEquals(await cluster.leftovers(), ["PersistentVolumeClaim/s1-home"]);
    assertEquals(stage.states("s1"), ["pending", "running", "terminated"]);
    assertEquals([...stage.controlPlane.problems], []);
  },
);

onEachCluster("a session is hibernated by the next process when its time is up", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await stage.command("start_session", { sessionId: "s1", ...START, maxSessionDuration: 1 });
  await stage.restart();
  assertEquals(await ended(stage), { state: "hibernated", metadata: NOWHERE });
  assertEquals([...stage.controlPlane.problems], []);
});

onEachCluster("a stop that comes as the time is up has the last word", async (cluster) => {
  await using stage = await Stage.start(cluster, { throughProxies: true });
  const reached = stage.proxies.hang("patch deployments");
  await stage.command("start_session", { sessionId: "s1", ...START, maxSessionDuration: "1s" });
  await reached;
  const stopping = stage.send("stop_session", { sessionId: "s1", deletePVC: true });
  await stage.roundTrip();
  stage.proxies.api.clearFaults();
  assertEquals((await stage.controlPlane.result(stopping)).type, "complete");
  await stage.untilState("s1", "terminated");
  assertEquals(stage.states("s1"), ["pending", "running", "terminated"]);
  assertEquals(await cluster.leftovers(), []);
  assertEquals([...stage.controlPlane.problems], []);
});

onEachCluster(
  "a hibernation that is asked for as the time is up finds it done, and is answered",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { throughProxies: true });
    const reached = stage.proxies.hang("patch deployments");
    await stage.command("start_session", { sessionId: "s1", ...START, maxSessionDuration: "1s" });
    await reached;
    const hibernating = stage.send("hibernate_session", { sessionId: "s1" });
    await stage.roundTrip();
    stage.proxies.api.clearFaults();
    assertEquals((await stage.controlPlane.result(hibernating)).type, "complete");
    assertEquals(stage.requestCount("patch deployments"), 1);
    assertEquals(await ended(stage), { state: "hibernated", metadata: NOWHERE });
    assertEquals([...stage.controlPlane.problems], []);
  },
);
