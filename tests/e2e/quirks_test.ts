/**
 * The agent with a Control Plane that has the quirks of a real one.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { MEMORY } from "../support/clusters.ts";
import { delay } from "@std/async";
import { AGENT_ID, onEachCluster, Stage, START } from "../support/stage.ts";

/** Posts to a path of the agent in the Control Plane's API. */
async function post(stage: Stage, path: string, body: object): Promise<Record<string, unknown>> {
  const url = `${stage.controlPlane.url}/api/v1/agents/${AGENT_ID}/${path}`;
  const response = await fetch(url, { method: "POST", body: JSON.stringify(body) });
  return await response.json();
}

/** A record of the Control Plane's API. */
async function record(stage: Stage, path: string): Promise<Record<string, unknown>> {
  const response = await fetch(`${stage.controlPlane.url}/api/v1/${path}`);
  return await response.json();
}

onEachCluster("late-sent does not overwrite a result, which is sent once", async (cluster) => {
  const timings = { resultHoldMs: 200 };
  await using stage = await Stage.start(cluster, { quirks: ["late-sent"], timings });
  const ids = [
    stage.send("start_session", { ...START, sessionId: "s1" }),
    stage.send("hibernate_session", { sessionId: "s1" }),
    stage.send("wake_session", { sessionId: "nobody" }),
    stage.send("stop_session", { sessionId: "s1" }),
  ];
  for (const id of ids) await stage.controlPlane.result(id);
  await stage.roundTrip();
  for (const id of ids) {
    const { status, sentAt, completedAt } = await record(stage, `commands/${id}`);
    assert(status === "completed" || status === "failed");
    const tookMs = Date.parse(String(completedAt)) - Date.parse(String(sentAt));
    assert(tookMs >= 150 && tookMs < 2000, `The result came after ${tookMs} ms`);
    assertEquals(stage.results(id).length, 1);
  }
  assertEquals([...stage.controlPlane.problems], []);
}, [MEMORY]);

onEachCluster("online-before-link does not fail a command during a reconnect", async (cluster) => {
  const timings = { reconnectMs: 20 };
  await using stage = await Stage.start(cluster, { quirks: ["online-before-link"], timings });
  stage.controlPlane.disconnect(AGENT_ID);
  await cluster.until(async () => (await record(stage, `agents/${AGENT_ID}`)).status === "offline");
  await cluster.until(async () => (await record(stage, `agents/${AGENT_ID}`)).status === "online");
  const sent = await post(stage, "command", { action: "stop_session", sessionId: "nobody" });
  assertEquals((await stage.controlPlane.result(String(sent.commandId))).type, "complete");
  assertEquals(stage.controlPlane.registrations.length, 1);
}, [MEMORY]);

onEachCluster("early-close costs one more connection, but no back-off", async (cluster) => {
  const timings = { reconnectMs: 20, earlyCloseMs: 300 };
  await using stage = await Stage.start(cluster, { quirks: ["early-close"], timings });
  await delay(timings.earlyCloseMs + 10);
  stage.controlPlane.disconnect(AGENT_ID);
  await stage.controlPlane.waitForConnection(AGENT_ID, { after: 2 });
  assertEquals((await stage.command("stop_session", { sessionId: "nobody" })).error, undefined);
  const waits = stage.agent.output.flatMap((line) => /Reconnecting (in|at once)/.exec(line)?.[1] ?? []);
  assertEquals(waits, ["in", "at once"]);
}, [MEMORY]);

onEachCluster("approval is noticed within seconds", async (cluster) => {
  const timings = { firstApprovalMs: 20, approvalMs: 3_600_000 };
  await using stage = await Stage.launch(cluster, { quirks: ["approval"], timings });
  await stage.agent.line(/Waiting for an administrator .* to approve this agent/);
  await post(stage, "approve", {});
  await stage.untilConnected();
  assertEquals((await stage.command("stop_session", { sessionId: "nobody" })).error, undefined);
}, [MEMORY]);

onEachCluster("ignore-failed-starts leaves no session pending", async (cluster) => {
  await using stage = await Stage.start(cluster, { quirks: ["ignore-failed-starts"] });
  const start = { ...START, sessionId: "s1" };
  const payloads = {
    s1: { ...start, idleTimeout: "banana", env: 5 },
    s2: { ...start, memory: "banana" },
    s3: { ...start, user: undefined },
    s4: { ...start, template: "nope" },
    s5: { ...start, templateManifest: { spec: { baseImage: 7 } } },
  };
  for (const [sessionId, payload] of Object.entries(payloads)) {
    await stage.command("start_session", { ...payload, sessionId });
  }
  // A start that is rejected does not change the session that runs.
  await stage.command("start_session", { ...start, cpu: "banana" });
  await stage.command("start_session", { ...start, template: "kali" });
  await stage.roundTrip();
  const states = await Promise.all(
    Object.keys(payloads).map(async (id) => (await record(stage, `sessions/${id}`)).state),
  );
  assertEquals(states, ["running", "failed", "failed", "failed", "failed"]);
  assert(!stage.states("s1").includes("failed"));
  assertEquals(stage.messages("s2").at(-1)?.startsWith('"memory" must be'), true);
  await stage.agent.line(
    /WARN: Command \S+: ignored a field of the payload: "idleTimeout" must be a duration/,
  );
}, [MEMORY]);

onEachCluster("ignore-draining loses no command", async (cluster) => {
  const args = ["--drain-timeout=25s"];
  await using stage = await Stage.start(cluster, { quirks: ["ignore-draining"], throughProxies: true, args });
  const { controlPlane } = stage;
  const reached = stage.proxies.hang("create deployments");
  const running = stage.send("start_session", { ...START, sessionId: "s1" });
  await reached;
  stage.agent.stop();
  await controlPlane.waitFor(({ payload }) => payload.status === "draining");
  const sent = [
    { action: "start_session", sessionId: "s2", payload: START },
    { action: "stop_session", sessionId: "s1" },
    { action: "hibernate_session", sessionId: "s2" },
    { action: "start_session", sessionId: "s3", payload: { ...START, user: 7 } },
  ];
  const ids: string[] = [];
  for (const command of sent) ids.push(String((await post(stage, "command", command)).commandId));
  const acked = (id: string) =>
    controlPlane.waitFor(({ type, payload }) => type === "ack" && payload.commandId === id);
  await Promise.all(ids.map(acked));
  stage.proxies.api.clearFaults();
  assertEquals(
    (await controlPlane.result(running)).payload.error,
    'Cannot start session "s1": cancelled by stop',
  );
  await stage.agent.ended();
  assertEquals(ids.map((id) => stage.results(id).length), [0, 0, 0, 1]);
  await stage.startNext();
  const results = await Promise.all(ids.map((id) => controlPlane.result(id)));
  assertEquals(results.map(({ type }) => type), ["complete", "complete", "complete", "failed"]);
  await stage.untilState("s2", "hibernated");
  await stage.roundTrip();
  assertEquals([stage.states("s1").at(-1), stage.states("s3")], ["terminated", ["failed"]]);
  assertEquals([...controlPlane.problems], []);
}, [MEMORY]);
