import { assertEquals } from "@std/assert";
import { AGENT_ID, onEachCluster, Stage, START } from "../support/stage.ts";

onEachCluster(
  "a session is hibernated after its idle timeout, but not while a stream is open",
  async (cluster) => {
    await using stage = await Stage.start(cluster, {
      args: ["--idle-action=hibernate", "--stream-dial=port-forward"],
    });
    const signal = AbortSignal.timeout(60_000);
    const { tunnels } = stage.controlPlane;
    await stage.command("start_session", { sessionId: "s1", ...START, idleTimeout: "2s" });
    await tunnels.waitFor(AGENT_ID, signal);
    const { stream } = await tunnels.open(AGENT_ID, { sessionId: "s1" }, signal);
    const openedAt = Date.now();
    // The session would have been hibernated before this one, which starts later and is used by nobody.
    await stage.command("start_session", { sessionId: "s2", ...START, idleTimeout: "2s" });
    await stage.untilState("s2", "hibernated");
    assertEquals(stage.states("s1"), ["pending", "running"], `${Date.now() - openedAt} ms`);
    stream.reset("cancelled", "the viewer has gone");
    await stage.untilState("s1", "hibernated");
    const { payload } = await stage.controlPlane.waitFor(({ type, payload }) =>
      type === "status" && payload.sessionId === "s1" && payload.state === "hibernated"
    );
    assertEquals(payload.platformMetadata, {
      podName: "",
      podIP: "",
      nodeName: "",
      reason: "IdleTimeout",
      message: "nobody used it for 2s",
    });
    assertEquals([...stage.controlPlane.problems], []);
  },
);
