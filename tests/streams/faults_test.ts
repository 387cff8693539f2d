/**
 * Streams through the whole agent when something fails, and what they leave behind.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { GREETING } from "../../dev/desktop/echo_pod.ts";
import { MEMORY } from "../support/clusters.ts";
import { AGENT_ID, killAndRestart, onEachCluster, Stage, START } from "../support/stage.ts";
import { codeOf, greeting, MIB, open, pattern, read } from "../support/streams.ts";

for (const mode of ["direct", "port-forward"]) {
  const args = [`--stream-dial=${mode}`];

  onEachCluster(`200 MiB arrive unchanged both ways by ${mode}`, async (cluster) => {
    await using stage = await Stage.start(cluster, { args });
    await stage.command("start_session", { ...START, sessionId: "s1" });
    const opened = await open(stage, "s1");
    await greeting(opened);
    const block = pattern(3, 4 * MIB);
    const write = async () => {
      for (let i = 0; i < 50; i++) await opened.stream.write(block);
    };
    const compare = async () => {
      for (let count = 0; count < 50 * block.length;) {
        const bytes = await opened.stream.read();
        assert(bytes);
        const isSame = bytes.every((byte, index) => byte === block[(count + index) % block.length]);
        assert(isSame, `a byte from ${count} on is wrong`);
        count += bytes.length;
        opened.stream.passedOn(bytes.length);
      }
    };
    await Promise.all([write(), compare()]);
    opened.stream.reset("cancelled", "done");
    assertEquals([...stage.controlPlane.problems], []);
  }, [MEMORY]);

  onEachCluster(`a pod that stops reading stops its viewer by ${mode}, and no other`, async (cluster) => {
    await using stage = await Stage.start(cluster, { args });
    await stage.command("start_session", { ...START, sessionId: "s1" });
    // The pod echoes, and reads no more while nobody reads its echo.
    const stalled = await open(stage, "s1");
    const written = stalled.stream.write(pattern(1, 64 * MIB)).catch(() => {});
    const other = await open(stage, "s1");
    await greeting(other);
    const sent = pattern(2, 8 * MIB);
    const [received] = await Promise.all([read(other, sent.length), other.stream.write(sent)]);
    assertEquals(received, sent);
    assert(stalled.stream.bytesOut < 32 * MIB, `${stalled.stream.bytesOut} bytes were accepted`);
    assertEquals(stalled.stream.end, undefined);
    stalled.stream.reset("cancelled", "done");
    await written;
  });
}

onEachCluster(
  "a stream survives a slow connection, and ends with one that is cut or silent",
  async (cluster) => {
    await using stage = await Stage.start(cluster, {
      throughProxies: true,
      args: ["--stream-dial=direct"],
      timings: { reconnectMs: 20, linkSilenceMs: 500 },
    });
    const { controlPlaneLink } = stage.proxies;
    await stage.command("start_session", { ...START, sessionId: "s1" });
    const slow = await open(stage, "s1");
    await greeting(slow);
    controlPlaneLink.mode = { kind: "throttle", bytesPerSecond: 2 * MIB };
    const sent = pattern(5, MIB);
    const [received] = await Promise.all([read(slow, sent.length), slow.stream.write(sent)]);
    assertEquals(received, sent);
    controlPlaneLink.mode = { kind: "pass" };
    controlPlaneLink.cut();
    assertEquals((await slow.stream.closed).code, "cancelled");
    const silent = await open(stage, "s1");
    await greeting(silent);
    controlPlaneLink.mode = { kind: "half-open" };
    await stage.agent.line(/The tunnel for streams was closed \(code 1006\)/);
    stage.proxies.clearFaults();
    assertEquals((await silent.stream.closed).code, "cancelled");
    assertEquals(await greeting(await open(stage, "s1")), GREETING);
  },
);

onEachCluster(
  "the streams of an agent that is killed end, and the next process serves new ones",
  async (cluster) => {
    await using stage = await Stage.startProcess(cluster, { args: ["--stream-dial=direct"] });
    await stage.command("start_session", { ...START, sessionId: "s1" });
    const opened = await open(stage, "s1");
    await greeting(opened);
    await killAndRestart(stage);
    assertEquals((await opened.stream.closed).code, "cancelled");
    assertEquals(await greeting(await open(stage, "s1")), GREETING);
  },
);

onEachCluster("the sessions of another agent cannot be reached", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await using other = await Stage.start(cluster, { agentId: "other" });
  const payload = { ...START, sessionId: "s1" };
  const commandId = other.controlPlane.command("other", {
    action: "start_session",
    sessionId: "s1",
    payload,
  });
  await other.controlPlane.result(commandId);
  await stage.controlPlane.tunnels.waitFor(AGENT_ID, AbortSignal.timeout(30_000));
  assertEquals(await codeOf(open(stage, "s1")), "unknown-session");
});

onEachCluster("1,000 streams leave no connection behind", async (cluster) => {
  await using stage = await Stage.startProcess(cluster, {
    args: ["--stream-dial=direct", "--max-session-streams=100"],
  });
  await stage.command("start_session", { ...START, sessionId: "s1" });
  const use = async () => {
    const opened = await open(stage, "s1");
    await greeting(opened);
    opened.stream.reset("cancelled", "done");
  };
  const count = () => [...Deno.readDirSync(`/proc/${stage.agent.pid}/fd`)].length;
  await use();
  const before = count();
  for (let i = 0; i < 20; i++) await Promise.all(Array.from({ length: 50 }, use));
  // The agent handles the messages of the tunnel in order: those of the other streams before this one's.
  await use();
  // The checks at startup open connections to the API server at the same time, but far fewer than the streams were.
  assert(count() < before + 100, `${before} open files before, ${count()} after`);
  // All that the session may have are free again.
  const streams = await Promise.all(Array.from({ length: 100 }, () => open(stage, "s1")));
  assertEquals(streams.length, 100);
}, [MEMORY]);
