import { assert, assertEquals } from "@std/assert";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { MEMORY } from "../support/clusters.ts";
import { AGENT_ID, onEachCluster, Stage, START } from "../support/stage.ts";

/** Sends a start whose request to the cluster hangs until the faults are cleared. */
async function sendHangingStart(stage: Stage, sessionId: string): Promise<string> {
  const reached = stage.proxies.hang("create deployments");
  const commandId = stage.send("start_session", { sessionId, ...START });
  await reached;
  return commandId;
}

onEachCluster("an agent that starts before its Control Plane connects later", async (cluster) => {
  await using stage = await Stage.launch(cluster, { throughProxies: true });
  stage.proxies.controlPlaneLink.mode = { kind: "refuse" };
  stage.proxies.controlPlaneLink.cut();
  await stage.agent.line(/Reconnecting in \S+ \(attempt 1\)/);
  assertEquals(stage.controlPlane.connections.length, 0);
  stage.proxies.controlPlaneLink.mode = { kind: "pass" };
  await stage.untilConnected();
  assertEquals((await stage.command("start_session", { sessionId: "s1", ...START })).error, undefined);
}, [MEMORY]);

onEachCluster(
  "results that could not be sent before a disconnect are sent after it, in order",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { throughProxies: true });
    const { controlPlane, proxies } = stage;
    const ids: string[] = [];
    for (const sessionId of ["s1", "s2", "s3"]) ids.push(await sendHangingStart(stage, sessionId));
    proxies.controlPlaneLink.mode = { kind: "refuse" };
    proxies.controlPlaneLink.cut();
    await stage.agent.line(/Disconnected from Control Plane/);
    proxies.api.clearFaults();
    for (const id of ids) {
      await stage.agent.line(new RegExp(`Queued the result of command ${id} until the link is up`));
    }
    const waiting = stage.agent.output.flatMap((line) =>
      /result of command (\S+) until/.exec(line)?.[1] ?? []
    );
    proxies.controlPlaneLink.mode = { kind: "pass" };
    for (const id of ids) assertEquals((await controlPlane.result(id)).type, "complete");
    await stage.roundTrip();
    const came = controlPlane.messages.flatMap(({ message: { type, payload } }) =>
      type === "complete" ? [payload.commandId] : []
    );
    assertEquals(came, waiting);
    for (const sessionId of ["s1", "s2", "s3"]) await stage.untilState(sessionId, "running");
    assertEquals([...controlPlane.problems], []);
  },
);

onEachCluster(
  "a command whose connection breaks before its ack runs once and gets one result",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { throughProxies: true });
    const { controlPlane, proxies } = stage;
    const reached = proxies.hang("patch configmaps");
    const commandId = stage.send("start_session", { sessionId: "s1", ...START });
    await reached;
    proxies.controlPlaneLink.mode = { kind: "refuse" };
    proxies.controlPlaneLink.reset();
    await stage.agent.line(/Disconnected from Control Plane/);
    proxies.api.clearFaults();
    await stage.agent.line(new RegExp(`Queued the result of command ${commandId} until the link is up`));
    proxies.controlPlaneLink.mode = { kind: "pass" };
    assertEquals((await controlPlane.result(commandId)).type, "complete");
    await stage.roundTrip();
    const acks = controlPlane.messages.filter(({ message }) => message.type === "ack");
    assertEquals([acks.length, stage.results(commandId).length, stage.requestCount("create deployments")], [
      0,
      1,
      1,
    ]);
    // A reconnect needs no registration.
    assertEquals([controlPlane.registrations.length, controlPlane.connections.length], [1, 2]);
    assertEquals([...controlPlane.problems], []);
  },
);

onEachCluster(
  "a half-open connection is detected, and what was sent on it is sent again",
  async (cluster) => {
    await using stage = await Stage.start(cluster, {
      throughProxies: true,
      timings: { linkSilenceMs: 1000 },
    });
    const { controlPlane, proxies } = stage;
    const commandId = await sendHangingStart(stage, "s1");
    proxies.controlPlaneLink.mode = { kind: "half-open" };
    proxies.api.clearFaults();
    await stage.agent.line(new RegExp(`Command ${commandId}: start_session of session s1 complete`));
    await stage.agent.line(/Disconnected from Control Plane/);
    assertEquals((await controlPlane.result(commandId)).type, "complete");
    await stage.untilState("s1", "running");
    assertEquals(controlPlane.connections.length, 2);
    // The registration does not reuse an HTTP connection that is half-open, too.
    assert(!stage.agent.output.some((line) => line.includes("did not answer")));
    // Nothing else was late.
    const problems = controlPlane.problems.filter((problem) => !problem.includes("silent"));
    assertEquals([...problems], []);
  },
  [MEMORY],
);

onEachCluster(
  "a restarted Control Plane gets the results and can send commands",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { throughProxies: true });
    const commandId = await sendHangingStart(stage, "s1");
    const port = Number(new URL(stage.controlPlane.url).port);
    await stage.controlPlane[Symbol.asyncDispose]();
    await stage.agent.line(/Disconnected from Control Plane/);
    await using next = ControlPlane.start({ port });
    await next.waitForConnection(AGENT_ID);
    stage.proxies.api.clearFaults();
    assertEquals((await next.result(commandId)).type, "complete");
    const hibernated = next.command(AGENT_ID, { action: "hibernate_session", sessionId: "s1" });
    assertEquals((await next.result(hibernated)).type, "complete");
    assertEquals(next.registrations.length, 1);
  },
  [MEMORY],
);

onEachCluster("commands run once while the connection breaks repeatedly", async (cluster) => {
  await using stage = await Stage.start(cluster, { throughProxies: true });
  const { controlPlane, proxies } = stage;
  const commandId = await sendHangingStart(stage, "s1");
  for (const count of [1, 2]) {
    proxies.controlPlaneLink.reset();
    await controlPlane.waitForConnection(AGENT_ID, { after: count });
    controlPlane.command(AGENT_ID, {
      action: "start_session",
      sessionId: "s1",
      payload: { sessionId: "s1", ...START },
      commandId,
    });
    await stage.roundTrip();
  }
  proxies.api.clearFaults();
  assertEquals((await controlPlane.result(commandId)).type, "complete");
  await stage.roundTrip();
  assertEquals([stage.requestCount("create deployments"), stage.results(commandId).length], [1, 1]);
  const waits = stage.agent.output.flatMap((line) => /attempt (\d)/.exec(line)?.[1] ?? []);
  assertEquals(waits, ["1", "2"]);
  assertEquals([...controlPlane.problems], []);
}, [MEMORY]);

onEachCluster("100 commands at once after an outage all get results", async (cluster) => {
  await using stage = await Stage.start(cluster, { throughProxies: true });
  const { controlPlane, proxies } = stage;
  await stage.command("start_session", { sessionId: "s1", ...START });
  proxies.controlPlaneLink.mode = { kind: "refuse" };
  proxies.controlPlaneLink.cut();
  await stage.agent.line(/Reconnecting in \S+ \(attempt 1\)/);
  proxies.controlPlaneLink.mode = { kind: "pass" };
  await controlPlane.waitForConnection(AGENT_ID, { after: 1 });
  const ids = controlPlane.commandFrame(
    AGENT_ID,
    Array.from({ length: 100 }, (_, index) => ({
      action: index % 2 === 0 ? "start_session" : "stop_session",
      sessionId: `s${index >> 1}`,
      payload: { sessionId: `s${index >> 1}`, ...START },
    })),
  );
  const results = await Promise.all(ids.map((id) => controlPlane.result(id)));
  const stops = results.filter((_, index) => index % 2 === 1);
  assertEquals(stops.filter(({ type }) => type === "failed"), []);
  const reasons = results.filter(({ type }) => type === "failed").map(({ payload }) => String(payload.error));
  assert(reasons.every((reason) => reason.endsWith("cancelled by stop")), reasons.join("\n"));
  assertEquals(await cluster.leftovers(), []);
  assertEquals([...controlPlane.problems], []);
}, [MEMORY]);
