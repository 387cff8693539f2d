import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { HandAgent, register } from "./hand_agent.ts";

const BODY = {
  agentId: "a1",
  platform: "kubernetes",
  region: "eu",
  capacity: { maxCpu: 100, maxMemory: 128, maxSessions: 100, cpu: "100 cores", memory: "128Gi" },
  metadata: { namespace: "streamspace", kubernetes: true },
};

async function get(url: string, headers: Record<string, string> = {}) {
  const response = await fetch(url, { headers });
  return { status: response.status, body: await response.json() as Record<string, unknown> };
}

async function postCommand(url: string, agentId: string, body: unknown) {
  const response = await fetch(`${url}/api/v1/agents/${agentId}/command`, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() as Record<string, unknown> };
}

/** The status of the response to a rejected connection. */
async function connectStatus(controlPlane: ControlPlane, agentId: string, headers?: Record<string, string>) {
  const { status } = await get(`${controlPlane.url}/api/v1/agents/connect?agent_id=${agentId}`, headers);
  return status;
}

Deno.test("ControlPlane answers a registration with the agent and records the request", async () => {
  await using controlPlane = ControlPlane.start();
  const response = await register(controlPlane.url, BODY, { "X-Agent-API-Key": "k" });
  assertEquals(response.status, 200);
  const agent = await response.json();
  assertEquals([agent.agentId, agent.platform, agent.status], ["a1", "kubernetes", "online"]);
  assertEquals(controlPlane.registrations[0]?.body, BODY);
  assertEquals(controlPlane.registrations[0]?.headers.get("x-agent-api-key"), "k");
  assertEquals((await (await register(controlPlane.url, BODY)).json()).id, agent.id);
  assertEquals(controlPlane.problems, []);
});

Deno.test("ControlPlane rejects an invalid registration and names the field", async () => {
  await using controlPlane = ControlPlane.start();
  const wrong = { ...BODY, platform: 7, capacity: { maxSessions: "100" } };
  const response = await register(controlPlane.url, wrong);
  assertEquals(response.status, 400);
  const { error, details } = await response.json();
  assertEquals(error, "Invalid request body");
  assertStringIncludes(details, "platform must be");
  assertStringIncludes(details, "capacity.maxSessions must be an integer from 0");
  assertEquals(controlPlane.problems.length, 2);
  const text = await register(controlPlane.url, "not JSON");
  assertStringIncludes((await text.json()).details, "must be a JSON object");
  assertEquals(controlPlane.registrations[1]?.body, "not JSON");
});

Deno.test("ControlPlane with a key rejects agents with a wrong key or none", async () => {
  await using controlPlane = ControlPlane.start({ apiKey: "right" });
  for (const headers of [{}, { "X-Agent-API-Key": "wrong" }] as Record<string, string>[]) {
    const response = await register(controlPlane.url, BODY, headers);
    assertEquals(response.status, 401);
    assertEquals((await response.json()).error, "Invalid API key");
    assertEquals(await connectStatus(controlPlane, "a1", headers), 401);
  }
  await using _agent = await HandAgent.join(controlPlane.url, "a1", { "X-Agent-API-Key": "right" });
  assertEquals(controlPlane.connections[0]?.headers.get("x-agent-api-key"), "right");
});

Deno.test("ControlPlane accepts a key that a scripted registration issued", async () => {
  await using controlPlane = ControlPlane.start({ apiKey: "bootstrap" });
  const answer = { agent: { agentId: "a1" }, approvalStatus: "approved", apiKey: "issued" };
  controlPlane.answerRegistration({ status: 201, body: answer });
  const response = await register(controlPlane.url, BODY, { "X-Agent-API-Key": "bootstrap" });
  assertEquals([response.status, await response.json()], [201, answer]);
  await using _agent = await HandAgent.join(controlPlane.url, "a1", { "X-Agent-API-Key": "issued" });
});

Deno.test("ControlPlane returns scripted answers in order before the normal one", async () => {
  await using controlPlane = ControlPlane.start();
  controlPlane.answerRegistration({
    status: 429,
    body: "slow down",
    headers: { "Retry-After": "7" },
    times: 2,
  });
  controlPlane.answerRegistration({ status: 202, body: { approvalStatus: "pending" } });
  for (let i = 0; i < 2; i++) {
    const response = await register(controlPlane.url, BODY);
    assertEquals([response.status, response.headers.get("retry-after")], [429, "7"]);
    assertEquals(await response.text(), "slow down");
  }
  assertEquals((await (await register(controlPlane.url, BODY)).json()).approvalStatus, "pending");
  assertEquals(await connectStatus(controlPlane, "a1"), 404);
  assertEquals((await (await register(controlPlane.url, BODY)).json()).status, "online");
  assertEquals(controlPlane.registrations.length, 4);
});

Deno.test("ControlPlane rejects connections without an agent id, of unknown agents, and as scripted", async () => {
  await using controlPlane = ControlPlane.start();
  assertEquals(await connectStatus(controlPlane, ""), 400);
  assertEquals(await connectStatus(controlPlane, "a1"), 404);
  await (await register(controlPlane.url, BODY)).body?.cancel();
  assertEquals(await connectStatus(controlPlane, "a1"), 426);
  controlPlane.answerConnect({ status: 502, body: { error: "Bad gateway" } });
  assertEquals(await connectStatus(controlPlane, "a1"), 502);
  controlPlane.answerConnect({ status: 429 });
  await using refused = new HandAgent(controlPlane.url, "a1");
  assertEquals(await refused.closed, 0);
  assertEquals(controlPlane.connections, []);
  await using _agent = await HandAgent.join(controlPlane.url);
});

Deno.test("hangConnect() leaves a request to connect unanswered until the Control Plane closes", async () => {
  const controlPlane = ControlPlane.start();
  controlPlane.hangConnect();
  // One of the two gets no response; the response to the other one shows that both have arrived.
  const connections = [connectStatus(controlPlane, "a1"), connectStatus(controlPlane, "a1")];
  assertEquals(await Promise.race(connections), 404);
  await controlPlane[Symbol.asyncDispose]();
  assertEquals((await Promise.all(connections)).sort(), [404, 503]);
});

Deno.test("ControlPlane sends a command received by HTTP and shows its progress", async () => {
  await using controlPlane = ControlPlane.start();
  await using agent = await HandAgent.join(controlPlane.url);
  const { status, body } = await postCommand(controlPlane.url, "a1", {
    action: "start_session",
    sessionId: "s1",
    payload: { user: "alice" },
  });
  assertEquals([status, body.status], [202, "sent"]);
  const message = JSON.parse(await agent.frame());
  assertEquals(message.type, "command");
  assertMatch(message.timestamp, /^\d{4}-.*Z$/);
  const { commandId } = body;
  assertEquals(message.payload, {
    commandId,
    action: "start_session",
    payload: { sessionId: "s1", user: "alice" },
  });

  const url = `${controlPlane.url}/api/v1/commands/${commandId}`;
  agent.send("ack", { commandId });
  await controlPlane.waitFor(({ type }) => type === "ack");
  assertEquals((await get(url)).body.status, "acked");
  agent.send("complete", { commandId, result: { podName: "p" } });
  const result = await controlPlane.result(String(commandId));
  assertEquals(result, { type: "complete", payload: { commandId, result: { podName: "p" } } });
  const { body: record } = await get(url);
  assertEquals([record.status, record.result], ["completed", { podName: "p" }]);
  for (const time of ["createdAt", "sentAt", "ackedAt", "completedAt"]) {
    assertMatch(String(record[time]), /Z$/);
  }
  assertEquals(controlPlane.problems, []);
});

Deno.test("ControlPlane shows the error of a failed command", async () => {
  await using controlPlane = ControlPlane.start();
  await using agent = await HandAgent.join(controlPlane.url);
  const commandId = controlPlane.command("a1", { action: "wake_session", sessionId: "s1", commandId: "c1" });
  agent.send("failed", { commandId, error: "No such session" });
  assertEquals((await controlPlane.result(commandId)).type, "failed");
  const { body } = await get(`${controlPlane.url}/api/v1/commands/c1`);
  assertEquals([body.status, body.error, body.sessionId], ["failed", "No such session", "s1"]);
});

Deno.test("ControlPlane rejects an invalid command received by HTTP", async () => {
  await using controlPlane = ControlPlane.start();
  const command = { action: "stop_session", sessionId: "s1" };
  const unknown = await postCommand(controlPlane.url, "a1", command);
  assertEquals([unknown.status, unknown.body.error], [404, "Agent not found"]);
  await (await register(controlPlane.url, BODY)).body?.cancel();
  const offline = await postCommand(controlPlane.url, "a1", command);
  assertEquals([offline.status, offline.body.error], [503, "Agent not connected"]);
  for (
    const body of ["{", [], { ...command, action: "fly" }, { action: "stop_session" }, {
      ...command,
      payload: 1,
    }]
  ) {
    const { status, body: answer } = await postCommand(controlPlane.url, "a1", body);
    assertEquals([status, answer.error], [400, "Invalid request body"]);
  }
});

Deno.test("ControlPlane lists agents with their last heartbeat, and as offline after a disconnect", async () => {
  await using controlPlane = ControlPlane.start();
  const agent = await HandAgent.join(controlPlane.url, "a b");
  agent.send("heartbeat", { status: "draining", activeSessions: 3, capacity: { maxSessions: 5 } });
  await controlPlane.waitFor(({ type }) => type === "heartbeat");
  const url = `${controlPlane.url}/api/v1/agents`;
  const { body } = await get(`${url}/a%20b`);
  assertEquals([body.status, body.activeSessions, body.connected], ["draining", 3, true]);
  assertEquals(body.capacity, { maxSessions: 5 });
  assertMatch(String(body.lastHeartbeat), /Z$/);
  await agent[Symbol.asyncDispose]();
  const { body: list } = await get(url);
  const [listed] = list.agents as Record<string, unknown>[];
  assertEquals([list.total, listed?.agentId, listed?.status, listed?.connected], [
    1,
    "a b",
    "offline",
    false,
  ]);
  assertEquals((await get(`${url}/nobody`)).status, 404);
});

Deno.test("ControlPlane shows the last status of a session", async () => {
  await using controlPlane = ControlPlane.start();
  await using agent = await HandAgent.join(controlPlane.url);
  agent.send("status", { sessionId: "s1", state: "pending", vncReady: false });
  agent.send("status", { sessionId: "s1", state: "failed", vncReady: false });
  await controlPlane.waitFor(({ payload }) => payload.state === "failed");
  const { body } = await get(`${controlPlane.url}/api/v1/sessions/s1`);
  assertEquals([body.agentId, body.state], ["a1", "failed"]);
  assertEquals((await get(`${controlPlane.url}/api/v1/sessions/s2`)).status, 404);
  assertEquals((await get(`${controlPlane.url}/api/v1/commands/c9`)).status, 404);
});

Deno.test("ControlPlane serves its routes only below the prefix", async () => {
  await using controlPlane = ControlPlane.start({ prefix: "/streamspace" });
  assert(controlPlane.url.endsWith("/streamspace"));
  await using _agent = await HandAgent.join(controlPlane.url);
  assertEquals((await get(`${controlPlane.url}/api/v1/agents`)).body.total, 1);
  const outside = await get(new URL("/api/v1/agents", controlPlane.url).href);
  assertEquals(outside.status, 404);
  assertStringIncludes(String(outside.body.details), "GET /streamspace/api/v1/agents");
  assertEquals((await get(`${controlPlane.url}/api/v1/agents/%ff`)).status, 404);
  const wrongMethod = await fetch(`${controlPlane.url}/api/v1/agents`, { method: "DELETE" });
  await wrongMethod.body?.cancel();
  assertEquals([wrongMethod.status, wrongMethod.headers.get("allow")], [405, "GET"]);
});
