import { assertEquals, assertStringIncludes } from "@std/assert";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { MAX_FRAME_BYTES } from "../../dev/control_plane/messages.ts";
import { HandAgent } from "./hand_agent.ts";

const NOW = "2026-01-02T03:04:05.678Z";
const RUNNING = {
  sessionId: "s1",
  state: "running",
  vncReady: true,
  vncPort: 3000,
  platformMetadata: { podName: "p", podIP: "10.0.0.1", nodeName: "n" },
};

/** The problems that the Control Plane reports when an agent sends these frames. */
async function problemsOf(frames: readonly (string | Uint8Array<ArrayBuffer>)[]): Promise<readonly string[]> {
  await using controlPlane = ControlPlane.start();
  await using agent = await HandAgent.join(controlPlane.url);
  for (const frame of frames) agent.sendFrame(frame);
  agent.send("pong", { last: true });
  await controlPlane.waitFor(({ payload }) => payload.last === true);
  return controlPlane.problems;
}

function message(type: string, payload?: unknown, timestamp: unknown = NOW): string {
  return JSON.stringify({ type, timestamp, payload });
}

Deno.test("ControlPlane accepts all messages of the protocol", async () => {
  const problems = await problemsOf([
    message("heartbeat", {
      status: "online",
      activeSessions: 0,
      capacity: { maxSessions: 1, cpu: "1 core", usedSessions: 1, usedCpu: 0.5, usedMemory: 0.25 },
    }),
    message("heartbeat", { status: "draining", activeSessions: 1, capacity: {} }, "2026-01-02T03:04:05Z"),
    message("status", RUNNING),
    message("status", { sessionId: "s1", state: "terminated", vncReady: false }),
    message("pong"),
    message("pong", {}),
    message("vnc_ready", { sessionId: "s1", vncPort: 5900, podName: "p" }),
    message("vnc_data", { sessionId: "s1", data: "UkZCIDAwMy4wMDgK" }),
    message("vnc_error", { sessionId: "s1", error: "No such session" }),
  ]);
  assertEquals(problems, []);
});

const WRONG_FRAMES: { name: string; frame: string | Uint8Array<ArrayBuffer>; problem: string }[] = [
  { name: "a binary frame", frame: new Uint8Array([123]), problem: "The frame is binary" },
  { name: "broken JSON", frame: "{", problem: "The frame is not one JSON value" },
  {
    name: "two messages in one frame",
    frame: `${message("pong")}\n${message("pong")}`,
    problem: "not one JSON value",
  },
  { name: "a message without a type", frame: "{}", problem: "not a message with a type" },
  {
    name: "an unknown type",
    frame: message("hello", {}),
    problem: `Message "hello": type must be one of heartbeat`,
  },
  {
    name: "no timestamp",
    frame: message("pong", {}, null),
    problem: "timestamp must be RFC 3339 in UTC, but is null",
  },
  {
    name: "a local time",
    frame: message("pong", {}, "2026-01-02T03:04:05+02:00"),
    problem: "timestamp must be",
  },
  {
    name: "an invalid date",
    frame: message("pong", {}, "2026-13-02T03:04:05Z"),
    problem: "timestamp must be",
  },
  { name: "no payload", frame: message("ack"), problem: "payload must be an object, but is missing" },
  {
    name: "an unknown status",
    frame: message("heartbeat", { status: "up", activeSessions: 0, capacity: {} }),
    problem: `payload.status must be one of online, draining, but is "up"`,
  },
  {
    name: "a negative count",
    frame: message("heartbeat", { status: "online", activeSessions: -1, capacity: {} }),
    problem: "payload.activeSessions must be an integer from 0",
  },
  {
    name: "a capacity as text",
    frame: message("heartbeat", { status: "online", activeSessions: 0, capacity: { maxCpu: "100" } }),
    problem: `payload.capacity.maxCpu must be a number from 0, but is "100"`,
  },
  {
    name: "half a session in use",
    frame: message("heartbeat", { status: "online", activeSessions: 0, capacity: { usedSessions: 0.5 } }),
    problem: "payload.capacity.usedSessions must be an integer from 0",
  },
  {
    name: "an empty command id",
    frame: message("ack", { commandId: "" }),
    problem: "payload.commandId must not be empty",
  },
  {
    name: "no result",
    frame: message("complete", { commandId: "c" }),
    problem: "payload.result is required",
  },
  {
    name: "an unknown state",
    frame: message("status", { ...RUNNING, state: "up" }),
    problem: "payload.state must be one of",
  },
  {
    name: "a port out of range",
    frame: message("status", { ...RUNNING, vncPort: 65_536 }),
    problem: "payload.vncPort must be an integer from 0 to 65535, but is 65536",
  },
  {
    name: "a running session without its pod",
    frame: message("status", { ...RUNNING, platformMetadata: {} }),
    problem: "payload.platformMetadata.podName is required",
  },
  {
    name: "screen data that is not base64",
    frame: message("vnc_data", { sessionId: "s1", data: "RFB!" }),
    problem: "payload.data must be base64",
  },
];

for (const { name, frame, problem } of WRONG_FRAMES) {
  Deno.test(`ControlPlane reports ${name}`, async () => {
    const problems = await problemsOf([frame]);
    assertStringIncludes(problems[0] ?? "", problem);
  });
}

Deno.test("ControlPlane closes the connection after a frame over the size limit", async () => {
  await using controlPlane = ControlPlane.start();
  await using agent = await HandAgent.join(controlPlane.url);
  agent.sendFrame("x".repeat(MAX_FRAME_BYTES + 1));
  assertEquals(await agent.closed, 1009);
  assertEquals(controlPlane.problems, [`Agent "a1": The frame is larger than 524288 bytes`]);
});

/** The problems that the Control Plane reports when an agent answers the command `c1` like this. */
async function problemsAfter(action: string, answers: readonly [type: string, payload: unknown][]) {
  await using controlPlane = ControlPlane.start();
  await using agent = await HandAgent.join(controlPlane.url);
  controlPlane.command("a1", { action, sessionId: "s1", commandId: "c1" });
  for (const [type, payload] of answers) agent.send(type, payload);
  agent.send("pong", {});
  await controlPlane.waitFor(({ type }) => type === "pong");
  return controlPlane.problems;
}

Deno.test("ControlPlane accepts a repeated result in any order of keys", async () => {
  const problems = await problemsAfter("start_session", [
    ["ack", { commandId: "c1" }],
    ["complete", { commandId: "c1", result: { a: 1, b: { c: 2, d: 3 } } }],
    ["complete", { commandId: "c1", result: { b: { d: 3, c: 2 }, a: 1 } }],
  ]);
  assertEquals(problems, []);
});

Deno.test("ControlPlane reports a second, different result", async () => {
  const complete: [string, unknown] = ["complete", { commandId: "c1", result: { a: 1 } }];
  for (
    const second of [["complete", { commandId: "c1", result: {} }], ["failed", {
      commandId: "c1",
      error: "x",
    }]]
  ) {
    const problems = await problemsAfter("start_session", [complete, second as [string, unknown]]);
    assertEquals(problems, [`Command "c1" has a second, different result`]);
  }
});

Deno.test("ControlPlane reports an ack after the result of its command", async () => {
  const problems = await problemsAfter("start_session", [
    ["failed", { commandId: "c1", error: "x" }],
    ["ack", { commandId: "c1" }],
  ]);
  assertEquals(problems, [`Command "c1" was acknowledged after its result`]);
});

Deno.test("ControlPlane reports answers to commands that it never sent", async () => {
  const problems = await problemsAfter("start_session", [["complete", { commandId: "c2", result: {} }]]);
  assertEquals(problems, [`Command "c2" was never sent to this agent, but it sent "complete" for it`]);
});

Deno.test("ControlPlane reports answers to commands of another agent", async () => {
  await using controlPlane = ControlPlane.start();
  await using _owner = await HandAgent.join(controlPlane.url, "a1");
  await using other = await HandAgent.join(controlPlane.url, "a2");
  controlPlane.command("a1", { action: "wake_session", sessionId: "s1", commandId: "c1" });
  other.send("ack", { commandId: "c1" });
  await controlPlane.waitFor(({ type }) => type === "ack");
  assertEquals(controlPlane.problems.length, 1);
});

Deno.test("ControlPlane records the commands in raw frames", async () => {
  await using controlPlane = ControlPlane.start();
  await using agent = await HandAgent.join(controlPlane.url);
  const command = message("command", { commandId: "c1", action: "fly", payload: { sessionId: "s1" } });
  controlPlane.sendFrame(
    "a1",
    `{broken\n${command}\n${message("command", { commandId: 7 })}\n${message("ping", {})}`,
  );
  agent.send("failed", { commandId: "c1", error: "Unknown action" });
  assertEquals((await controlPlane.result("c1")).type, "failed");
  assertEquals(controlPlane.problems, []);
});

Deno.test("ControlPlane reports a running status after the session's stop was acknowledged", async () => {
  const problems = await problemsAfter("stop_session", [
    ["status", RUNNING],
    ["ack", { commandId: "c1" }],
    ["status", { ...RUNNING, sessionId: "s2" }],
    ["status", RUNNING],
  ]);
  assertEquals(problems, [`Session "s1" was reported running after its stop had been acknowledged`]);
});

Deno.test("ControlPlane accepts a running status after a failed stop and after a new start", async () => {
  const stopFailed = await problemsAfter("stop_session", [
    ["ack", { commandId: "c1" }],
    ["failed", { commandId: "c1", error: "x" }],
    ["status", RUNNING],
  ]);
  assertEquals(stopFailed, []);

  await using controlPlane = ControlPlane.start();
  await using agent = await HandAgent.join(controlPlane.url);
  const commandId = controlPlane.command("a1", { action: "stop_session", sessionId: "s1" });
  agent.send("ack", { commandId });
  await controlPlane.waitFor(({ type }) => type === "ack");
  controlPlane.command("a1", { action: "start_session", sessionId: "s1" });
  agent.send("status", RUNNING);
  await controlPlane.waitFor(({ type }) => type === "status");
  assertEquals(controlPlane.problems, []);
});

Deno.test("ControlPlane accepts a running status of a session restarted before its stop was acknowledged", async () => {
  await using controlPlane = ControlPlane.start();
  await using agent = await HandAgent.join(controlPlane.url);
  controlPlane.commandFrame("a1", [
    { action: "stop_session", sessionId: "s1", commandId: "c1" },
    { action: "start_session", sessionId: "s1", commandId: "c2" },
  ]);
  agent.send("ack", { commandId: "c1" });
  agent.send("ack", { commandId: "c2" });
  agent.send("status", RUNNING);
  await controlPlane.waitFor(({ type }) => type === "status");
  assertEquals(controlPlane.problems, []);
});
