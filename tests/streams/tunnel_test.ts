/**
 * Streams through the whole agent: Control Plane, tunnel, agent, pod.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { GREETING } from "../../dev/desktop/echo_pod.ts";
import { AGENT_ID, onEachCluster, Stage, START } from "../support/stage.ts";
import { codeOf, greeting, MIB, open, pattern, read } from "../support/streams.ts";

for (const mode of ["direct", "port-forward"]) {
  const args = [`--stream-dial=${mode}`];

  onEachCluster(`a stream carries bytes both ways by ${mode}`, async (cluster) => {
    await using stage = await Stage.start(cluster, { args });
    const { result } = await stage.command("start_session", { ...START, sessionId: "s1" });
    const opened = await open(stage, "s1");
    const { podName } = result as { podName: string };
    assertEquals([opened.port, opened.podName], [3000, podName]);
    assertEquals(await greeting(opened), GREETING);
    // The pod echoes.
    const sent = pattern(7, 20 * MIB);
    const [received] = await Promise.all([read(opened, sent.length), opened.stream.write(sent)]);
    assertEquals(received, sent);
    opened.stream.finish();
    if (mode === "direct") {
      // The pod's half ends after it has echoed everything.
      assertEquals(await opened.stream.read(), undefined);
      assertEquals((await opened.stream.closed).code, "finished");
    }
    assertEquals([...stage.controlPlane.problems], []);
  });

  onEachCluster(
    `100 streams at once by ${mode} do not mix, and a viewer that stops reading delays no other`,
    async (cluster) => {
      await using stage = await Stage.start(cluster, { args: [...args, "--max-session-streams=200"] });
      await stage.command("start_session", { ...START, sessionId: "s1" });
      const stalled = await open(stage, "s1");
      void stalled.stream.write(pattern(1, 8 * MIB)).catch(() => {});
      await Promise.all(Array.from({ length: 100 }, async (_, index) => {
        const opened = await open(stage, "s1");
        assertEquals(await greeting(opened), GREETING);
        const sent = pattern(index + 2, 200_000);
        const [received] = await Promise.all([read(opened, sent.length), opened.stream.write(sent)]);
        assertEquals(received, sent);
        opened.stream.reset("cancelled", "done");
      }));
      assert(stalled.stream.end === undefined);
    },
  );

  onEachCluster(`streams by ${mode} to other sessions, ports and agents are rejected`, async (cluster) => {
    await using stage = await Stage.start(cluster, { args: [...args, "--max-session-streams=2"] });
    await stage.command("start_session", { ...START, sessionId: "s1" });
    await stage.command("start_session", { ...START, sessionId: "s2" });
    await stage.command("hibernate_session", { sessionId: "s2" });
    assertEquals(await codeOf(open(stage, "nobody")), "unknown-session");
    assertEquals(await codeOf(open(stage, "s2")), "not-running");
    assertEquals(await codeOf(open(stage, "s1", 22)), "port-not-declared");
    await open(stage, "s1");
    await open(stage, "s1");
    assertEquals(await codeOf(open(stage, "s1")), "too-many-streams");
  });

  onEachCluster(
    `a stream by ${mode} ends when its session is hibernated, stopped, or its pod is deleted`,
    async (cluster) => {
      await using stage = await Stage.start(cluster, { args });
      for (
        const [sessionId, end, reason] of [
          ["s1", () => stage.command("hibernate_session", { sessionId: "s1" }), "the session was hibernated"],
          ["s2", () => stage.command("stop_session", { sessionId: "s2" }), undefined],
          ["s3", async () => await cluster.delete("v1", "Pod", (await open(stage, "s3")).podName), undefined],
        ] as const
      ) {
        await stage.command("start_session", { ...START, sessionId });
        const opened = await open(stage, sessionId);
        await greeting(opened);
        await end();
        const { code, message } = await opened.stream.closed;
        assertEquals([code, reason ?? message], ["pod-gone", message]);
      }
    },
  );
}

onEachCluster("the tunnel is opened again after it breaks, and its streams end", async (cluster) => {
  await using stage = await Stage.start(cluster, {
    args: ["--stream-dial=direct"],
    timings: { reconnectMs: 20 },
  });
  await stage.command("start_session", { ...START, sessionId: "s1" });
  const first = await open(stage, "s1");
  stage.controlPlane.tunnels.disconnect(AGENT_ID);
  assertEquals((await first.stream.closed).code, "cancelled");
  await stage.agent.line(/The tunnel for streams was closed/);
  assertEquals(await greeting(await open(stage, "s1")), GREETING);
  // The link is not affected.
  assertEquals(stage.controlPlane.connections.length, 1);
});

onEachCluster("an agent that stops ends its streams", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: ["--stream-dial=direct"] });
  await stage.command("start_session", { ...START, sessionId: "s1" });
  const opened = await open(stage, "s1");
  stage.agent.stop();
  assertEquals((await opened.stream.closed).code, "stopping");
  await stage.agent.ended();
});

onEachCluster(
  "an agent that drains accepts no new streams, and open ones go on until it ends",
  async (cluster) => {
    const args = ["--stream-dial=direct", "--drain-timeout=25s"];
    await using stage = await Stage.start(cluster, { throughProxies: true, args });
    await stage.command("start_session", { ...START, sessionId: "s1" });
    const opened = await open(stage, "s1");
    await greeting(opened);
    const held = stage.proxies.holdBack("create deployments");
    const commandId = stage.send("start_session", { ...START, sessionId: "s2" });
    await held;
    stage.agent.stop();
    await stage.agent.line(/Stopping: no new commands/);
    assertEquals(await codeOf(open(stage, "s1")), "stopping");
    const sent = pattern(4, MIB);
    const [received] = await Promise.all([read(opened, sent.length), opened.stream.write(sent)]);
    assertEquals(received, sent);
    stage.proxies.clearFaults();
    assertEquals((await opened.stream.closed).code, "stopping");
    await stage.controlPlane.result(commandId);
    await stage.agent.ended();
  },
);

onEachCluster("a Control Plane without tunnels gets none", async (cluster) => {
  await using stage = await Stage.start(cluster, { quirks: ["no-tunnel"] });
  await stage.roundTrip();
  assertEquals(stage.controlPlane.tunnels.has(AGENT_ID), false);
  assertEquals(stage.agent.output.filter((line) => line.includes("tunnel")), []);
});
