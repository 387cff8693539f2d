import { assertEquals, assertMatch } from "@std/assert";
import { AGENT_ID, onEachCluster, Stage, START } from "../support/stage.ts";

onEachCluster("the status of a session and its Service show its use", async (cluster) => {
  await using stage = await Stage.start(cluster, { timings: { activityMs: 50 } });
  const signal = AbortSignal.timeout(60_000);
  await stage.command("start_session", { sessionId: "s1", ...START });
  await stage.controlPlane.tunnels.waitFor(AGENT_ID, signal);
  const { stream } = await stage.controlPlane.tunnels.open(AGENT_ID, { sessionId: "s1" }, signal);
  const status = async (viewers: number) => {
    const { payload } = await stage.controlPlane.waitFor(({ type, payload }) =>
      type === "status" && payload.viewers === viewers
    );
    return [payload.state, typeof payload.lastActivity];
  };
  assertEquals(await status(1), ["running", "string"]);
  await stage.restart();
  assertEquals((await stream.closed).code, "stopping");
  // The streams of the previous process ended with it.
  assertEquals(await status(0), ["running", "string"]);
  const [service] = await cluster.list("v1", "Service");
  assertMatch(service?.metadata?.annotations?.["stream.space/activity"] ?? "", /"lastActivity":"2/);
  assertEquals([...stage.controlPlane.problems], []);
});

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
    assertEquals(new Set(stage.states("s1")), new Set(["pending", "running"]), `${Date.now() - openedAt} ms`);
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
