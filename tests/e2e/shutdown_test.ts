/**
 * The agent shuts down gracefully in the middle of commands.
 * @module
 */
import { assertEquals } from "@std/assert";
import { MEMORY } from "../support/clusters.ts";
import {
  ACTIONS,
  assertCompleted,
  beforeRequest,
  release,
  testInterruptions,
} from "../support/interruptions.ts";
import { AGENT_ID, onEachCluster, Stage, START } from "../support/stage.ts";

for (const action of ACTIONS) {
  testInterruptions(action, {
    name: `an agent that is stopped during ${action.action} completes it first`,
    kinds: [MEMORY],
    open: (cluster, options) => Stage.start(cluster, { ...options, args: ["--drain-timeout=25s"] }),
    then: async (stage, interrupted) => {
      stage.agent.stop();
      await stage.agent.line(/Stopping: no new commands/);
      release(stage);
      await stage.agent.ended();
      await assertCompleted(stage, interrupted);
      const { length } = stage.controlPlane.messages;
      await stage.startNext();
      await stage.command("hibernate_session", { sessionId: "nobody" });
      const later = stage.controlPlane.messages.slice(length).map(({ message }) => message)
        .filter(({ payload }) => payload.commandId === interrupted.commandId);
      assertEquals(later, []);
      assertEquals([...stage.controlPlane.problems], []);
    },
  });
}

onEachCluster(
  "an agent without time to drain ends while a command is being recorded",
  async (cluster) => {
    const args = ["--drain-timeout=0s", "--start-timeout=1h"];
    await using stage = await Stage.start(cluster, { throughProxies: true, args });
    const recording = beforeRequest("patch configmaps")(stage.proxies);
    const start = stage.send("start_session", { ...START, sessionId: "s1", template: "stuck" });
    await recording;
    stage.agent.stop();
    await stage.controlPlane.waitFor(({ payload }) => payload.status === "draining");
    release(stage);
    await stage.agent.ended();
    assertEquals(stage.results(start), []);
    await stage.startNext();
    await stage.command("stop_session", { sessionId: "s1" });
    assertEquals(stage.results(start), ["failed"]);
  },
);

onEachCluster(
  "a command that does not finish in time is left to the next process, which answers it",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { args: ["--drain-timeout=0s"] });
    const running = stage.send("start_session", { ...START, sessionId: "s1", template: "stuck" });
    await stage.untilState("s1", "pending");
    stage.controlPlane.send(AGENT_ID, { type: "shutdown", payload: { reason: "maintenance" } });
    await stage.agent.ended();
    await stage.startNext();
    const stopped = await stage.command("stop_session", { sessionId: "s1", deletePVC: true });
    assertEquals(stopped.error, undefined);
    const { payload } = await stage.controlPlane.result(running);
    assertEquals(payload.error, 'Cannot start session "s1": cancelled by stop');
    assertEquals(await cluster.leftovers(), []);
    assertEquals([...stage.controlPlane.problems], []);
  },
);

onEachCluster(
  "an agent that the Control Plane shuts down completes its commands first",
  async (cluster) => {
    await using stage = await Stage.start(cluster, {
      throughProxies: true,
      args: ["--drain-timeout=25s"],
    });
    const reached = stage.proxies.hang("create deployments");
    const running = stage.send("start_session", { sessionId: "s1", ...START });
    await reached;
    stage.controlPlane.send(AGENT_ID, { type: "shutdown", payload: { reason: "maintenance" } });
    await stage.agent.line(/Control Plane .*: maintenance/);
    const left = stage.send("hibernate_session", { sessionId: "s1" });
    await stage.controlPlane.waitFor(({ type, payload }) => type === "ack" && payload.commandId === left);
    stage.proxies.api.clearFaults();
    assertEquals((await stage.controlPlane.result(running)).type, "complete");
    await stage.agent.ended();
    assertEquals((await cluster.leftovers()).length, 3);
    assertEquals(stage.results(left), []);
    await stage.startNext();
    assertEquals((await stage.controlPlane.result(left)).type, "complete");
    await stage.untilState("s1", "hibernated");
  },
);
