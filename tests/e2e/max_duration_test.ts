import { assertEquals } from "@std/assert";
import type { Message } from "../../dev/control_plane/messages.ts";
import { type AnyStage, onEachCluster, Stage, START_WITH_HOME as START } from "../support/stage.ts";

const CAUSE = { reason: "MaxDuration", message: "it reached its maximum duration of 1s" };

/** Waits for the report that a session reached its maximum duration, for the first or a later time. */
async function ended(stage: AnyStage, { times = 1 } = {}): Promise<{ state: unknown; metadata: unknown }> {
  const reports: Message[] = [];
  const isEnd = ({ type, payload }: Message) =>
    type === "status" && (payload.platformMetadata as Record<string, unknown>).reason === "MaxDuration";
  const { payload } = await stage.controlPlane.waitFor(
    (message) => isEnd(message) && reports.push(message) === times,
  );
  return { state: payload.state, metadata: payload.platformMetadata };
}

const METADATA = { podName: "", podIP: "", nodeName: "", ...CAUSE };

onEachCluster("a session is hibernated at its maximum duration, and again after a wake", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await stage.command("start_session", { sessionId: "s1", ...START, maxSessionDuration: "1s" });
  assertEquals(await ended(stage), { state: "hibernated", metadata: METADATA });
  assertEquals(await cluster.leftovers(), ["Deployment/s1", "PersistentVolumeClaim/s1-home", "Service/s1"]);
  await stage.command("wake_session", { sessionId: "s1" });
  assertEquals(await ended(stage, { times: 2 }), { state: "hibernated", metadata: METADATA });
  assertEquals(stage.states("s1"), ["pending", "running", "hibernated", "pending", "running", "hibernated"]);
  assertEquals([...stage.controlPlane.problems], []);
});

onEachCluster("a session that reached its maximum duration can be scaled up manually", async (cluster) => {
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
  "a session is stopped at its maximum duration with --max-duration-action=stop, and its home volume stays",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { args: ["--max-duration-action=stop"] });
    await stage.command("start_session", { sessionId: "s1", ...START, maxSessionDuration: "1s" });
    assertEquals(await ended(stage), { state: "terminated", metadata: METADATA });
    assertEquals(await cluster.leftovers(), ["PersistentVolumeClaim/s1-home"]);
    assertEquals(stage.states("s1"), ["pending", "running", "terminated"]);
    assertEquals([...stage.controlPlane.problems], []);
  },
);

onEachCluster("the next process hibernates a session at its maximum duration", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await stage.command("start_session", { sessionId: "s1", ...START, maxSessionDuration: 1 });
  await stage.restart();
  assertEquals(await ended(stage), { state: "hibernated", metadata: METADATA });
  assertEquals([...stage.controlPlane.problems], []);
});

onEachCluster("a stop at the maximum duration takes precedence", async (cluster) => {
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
  "a hibernation at the maximum duration is done once, and completes",
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
    assertEquals(await ended(stage), { state: "hibernated", metadata: METADATA });
    assertEquals([...stage.controlPlane.problems], []);
  },
);
