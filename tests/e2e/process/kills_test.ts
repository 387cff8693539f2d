/**
 * The agent is killed in the middle of a command, and the next process completes it.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import {
  ACTIONS,
  afterRequest,
  assertCompleted,
  release,
  testInterruptions,
} from "../../support/interruptions.ts";
import { AGENT_ID, killAndRestart, onEachCluster, Stage, START } from "../../support/stage.ts";

for (const action of ACTIONS) {
  testInterruptions(action, {
    name: `an agent that is killed during ${action.action} leaves it to the next process`,
    open: Stage.startProcess,
    then: async (stage, interrupted) => {
      const { point, action, sessionId, commandId } = interrupted;
      // The held request is not released: nothing more of a killed agent reaches the server.
      await killAndRestart(stage);
      if (point.isRecorded === false) {
        const { controlPlane } = stage;
        assert(!controlPlane.messages.some(({ message }) => message.payload.commandId === commandId));
        // The Control Plane sends a command again that was never acknowledged.
        controlPlane.command(AGENT_ID, { action, sessionId, payload: START, commandId });
      }
      await assertCompleted(stage, interrupted);
    },
  });
}

onEachCluster(
  "a completed start has the same result after a kill, even if the session does not run any more",
  async (cluster) => {
    await using stage = await Stage.startProcess(cluster, { throughProxies: true });
    const commandId = stage.send("start_session", { sessionId: "s1", ...START });
    await stage.controlPlane.result(commandId);
    // The result is written to the journal in the background.
    await stage.proxies.holdBack("patch configmaps", 0);
    stage.agent.kill("SIGKILL");
    await stage.agent.exit();
    const metadata = { name: "s1" };
    await cluster.change({ apiVersion: "apps/v1", kind: "Deployment", metadata, spec: { replicas: 0 } });
    await stage.startNext();
    await stage.untilState("s1", "hibernated");
    const results = stage.controlPlane.messages.filter(({ message: { type, payload } }) =>
      type === "complete" && payload.commandId === commandId
    );
    assertEquals(results.length, 2);
    assertEquals([...stage.controlPlane.problems], []);
  },
);

onEachCluster(
  "an agent that is killed after the results of two commands of one session repeats neither",
  async (cluster) => {
    await using stage = await Stage.startProcess(cluster, { throughProxies: true });
    const sessionId = "s1";
    await stage.command("start_session", { sessionId, ...START });
    const held = afterRequest("patch deployments")(stage.proxies);
    const ids = [stage.send("hibernate_session", { sessionId })];
    await held;
    ids.push(stage.send("wake_session", { sessionId }));
    await stage.controlPlane.waitFor(({ type, payload }) => type === "ack" && payload.commandId === ids[1]);
    release(stage);
    const results = await Promise.all(ids.map((id) => stage.controlPlane.result(id)));
    assertEquals(results.map(({ type }) => type), ["complete", "complete"]);
    const scaled = stage.requestCount("patch deployments");
    await killAndRestart(stage);
    // Commands of one session run in order: this one after all that the killed agent may have left.
    await stage.command("wake_session", { sessionId });
    assertEquals(stage.requestCount("patch deployments"), scaled);
    assertEquals([...stage.controlPlane.problems], []);
  },
);
