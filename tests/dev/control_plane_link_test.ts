import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { HandAgent, register } from "./hand_agent.ts";

Deno.test("commandFrame() joins commands in one frame", async () => {
  await using controlPlane = ControlPlane.start();
  await using agent = await HandAgent.join(controlPlane.url);
  const ids = controlPlane.commandFrame("a1", [
    { action: "start_session", sessionId: "s1" },
    { action: "stop_session", sessionId: "s2", payload: { deletePVC: true } },
  ]);
  const lines = (await agent.frame()).split("\n").map((line) => JSON.parse(line).payload);
  assertEquals(lines, [
    { commandId: ids[0], action: "start_session", payload: { sessionId: "s1" } },
    { commandId: ids[1], action: "stop_session", payload: { sessionId: "s2", deletePVC: true } },
  ]);
});

Deno.test("send() and sendFrame() send messages, text and binary frames", async () => {
  await using controlPlane = ControlPlane.start();
  await using agent = await HandAgent.join(controlPlane.url);
  controlPlane.send("a1", { type: "shutdown", payload: { reason: "maintenance" } });
  controlPlane.sendFrame("a1", "{broken");
  controlPlane.sendFrame("a1", new Uint8Array([1, 2]));
  controlPlane.command("a1", { action: "start_session", sessionId: "s1", payload: null, commandId: "c1" });
  const { type, payload } = JSON.parse(await agent.frame());
  assertEquals([type, payload], ["shutdown", { reason: "maintenance" }]);
  assertEquals(await agent.frame(), "{broken");
  assertEquals((await agent.frame() as unknown as Blob).size, 2);
  assertEquals(JSON.parse(await agent.frame()).payload, {
    commandId: "c1",
    action: "start_session",
    payload: null,
  });
});

Deno.test("send() and disconnect() throw when the agent is not connected", async () => {
  await using controlPlane = ControlPlane.start();
  const command = { action: "stop_session", sessionId: "s1" };
  assertThrows(() => controlPlane.command("a1", command), Error, `agent "a1": it is not connected`);
  assertThrows(() => controlPlane.disconnect("a1"), Error, `agent "a1": it is not connected`);
});

Deno.test("ControlPlane closes the previous connection of an agent that connects again", async () => {
  await using controlPlane = ControlPlane.start();
  await using first = await HandAgent.join(controlPlane.url);
  await using second = await HandAgent.join(controlPlane.url);
  assertEquals(await first.closed, 1005);
  await controlPlane.waitForConnection("a1", { after: 1 });
  const agent = await (await fetch(`${controlPlane.url}/api/v1/agents/a1`)).json();
  assertEquals([agent.status, agent.connected], ["online", true]);
  controlPlane.send("a1", { type: "ping" });
  assertEquals(JSON.parse(await second.frame()).type, "ping");
});

Deno.test("disconnect() closes the connection with the given code and records it", async () => {
  await using controlPlane = ControlPlane.start();
  const joined = controlPlane.waitForConnection("a1");
  await using agent = await HandAgent.join(controlPlane.url);
  await joined;
  controlPlane.disconnect("a1", 1012);
  assertEquals(await agent.closed, 1012);
  const again = controlPlane.waitForConnection("a1", { after: 1 });
  await using _agent = await HandAgent.join(controlPlane.url);
  await again;
  assertEquals(controlPlane.connections.length, 2);
  assertEquals(controlPlane.connections[0]?.closed?.code, 1012);
});

Deno.test("ControlPlane serves several agents separately", async () => {
  await using controlPlane = ControlPlane.start();
  await using first = await HandAgent.join(controlPlane.url, "a1");
  await using second = await HandAgent.join(controlPlane.url, "a2");
  controlPlane.command("a2", { action: "wake_session", sessionId: "s2" });
  controlPlane.command("a1", { action: "wake_session", sessionId: "s1" });
  assertEquals(JSON.parse(await first.frame()).payload.payload.sessionId, "s1");
  assertEquals(JSON.parse(await second.frame()).payload.payload.sessionId, "s2");
});

Deno.test("ControlPlane closes the connection of a silent agent", async () => {
  await using controlPlane = ControlPlane.start({ silenceLimitMs: 20 });
  await using agent = await HandAgent.join(controlPlane.url);
  assertEquals(await agent.closed, 1005);
  assertEquals(controlPlane.problems, [`Agent "a1": It sent nothing for 0.02 s`]);
});

Deno.test("ControlPlane closes its connections with code 1001 when it is disposed", async () => {
  const controlPlane = ControlPlane.start();
  await using agent = await HandAgent.join(controlPlane.url);
  await controlPlane.waitForConnection("a1");
  const waiting = assertRejects(
    () => controlPlane.waitFor(() => true),
    Error,
    "the Control Plane was closed",
  );
  await controlPlane[Symbol.asyncDispose]();
  await waiting;
  assertEquals(await agent.closed, 1001);
  await assertRejects(() => controlPlane.waitFor(() => true), Error, "the Control Plane is closed");
});

Deno.test("waitFor() lists the received messages in its timeout error", async () => {
  await using controlPlane = ControlPlane.start();
  await using agent = await HandAgent.join(controlPlane.url);
  agent.send("ack", { commandId: "c7" });
  await controlPlane.waitFor(({ type }) => type === "ack");
  const signal = AbortSignal.abort("enough");
  const error = await assertRejects(
    () => controlPlane.result("c1", { signal }),
    Error,
    `result of command "c1"`,
  );
  assertStringIncludes(error.message, `ack {"commandId":"c7"}`);
  assertEquals(error.cause, "enough");
  await assertRejects(
    () => controlPlane.waitFor(() => false, { signal }),
    Error,
    `so far: ack {"commandId":"c7"}`,
  );
  const waits = new AbortController();
  const open = controlPlane.waitForConnection("a2", { signal: waits.signal });
  waits.abort();
  await assertRejects(() => open, Error, `connection of agent "a2"; received so far: 0 of its connections`);
});

Deno.test("waitFor() rejects with the error of its predicate", async () => {
  await using controlPlane = ControlPlane.start();
  await using agent = await HandAgent.join(controlPlane.url);
  const waiting = assertRejects(() => controlPlane.waitFor(throwWrong), RangeError, "Wrong message");
  agent.send("pong", {});
  await waiting;
  await assertRejects(() => controlPlane.waitFor(throwWrong), RangeError, "Wrong message");
});

function throwWrong(): boolean {
  throw new RangeError("Wrong message");
}

Deno.test("ControlPlane reports each event in one line", async () => {
  const lines: string[] = [];
  await using controlPlane = ControlPlane.start({ onEvent: (line) => lines.push(line) });
  const agent = await HandAgent.join(controlPlane.url);
  agent.send("hello", {});
  await controlPlane.waitFor(({ type }) => type === "hello");
  controlPlane.send("a1", { type: "ping" });
  await agent[Symbol.asyncDispose]();
  const starts = [
    "registered a1",
    "connected a1",
    `PROBLEM Agent "a1"`,
    "from a1: hello",
    "to a1: {",
    "disconnected a1",
  ];
  assertEquals(lines.length, starts.length);
  for (const [index, start] of starts.entries()) assertStringIncludes(lines[index] ?? "", start);
});

Deno.test("ControlPlane stops waiting for a peer that does not answer the close frame", async () => {
  const controlPlane = ControlPlane.start();
  await (await register(controlPlane.url, { agentId: "a1", platform: "kubernetes" })).body?.cancel();
  using peer = await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(controlPlane.url).port) });
  const handshake = [
    "GET /api/v1/agents/connect?agent_id=a1 HTTP/1.1",
    "Host: localhost",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${btoa("0123456789abcdef")}`,
  ];
  await peer.write(new TextEncoder().encode(`${handshake.join("\r\n")}\r\n\r\n`));
  await controlPlane.waitForConnection("a1");
  await controlPlane[Symbol.asyncDispose]();
  assert(controlPlane.connections[0]?.closed !== undefined);
});
