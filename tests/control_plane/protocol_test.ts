import { assert, assertEquals } from "@std/assert";
import { encode, failed, type Inbound, type Outbound, parseFrame } from "../../lib/control_plane/protocol.ts";
import { asRecord } from "../../lib/common/json.ts";

const CAPACITY = {
  maxCpu: 100,
  maxMemory: 128,
  maxSessions: 100,
  cpu: "100 cores",
  memory: "128Gi",
  usedSessions: 3,
  usedCpu: 1.5,
  usedMemory: 6,
};

function command(commandId: unknown, rest: Record<string, unknown> = {}): string {
  return JSON.stringify({ type: "command", timestamp: "T", payload: { commandId, action: "a", ...rest } });
}

Deno.test("parseFrame() reads a command and leaves its payload as it is", () => {
  const payload = { sessionId: "s1", user: "alice", persistentHome: true };
  assertEquals(parseFrame(command("c1", { action: "start_session", payload })), [
    { type: "command", command: { commandId: "c1", action: "start_session", payload } },
  ]);
});

Deno.test("parseFrame() reads ping and shutdown with and without a payload", () => {
  const frame = [
    '{"type":"ping"}',
    '{"type":"shutdown","payload":{"reason":"maintenance"}}',
    '{"type":"shutdown"}',
  ];
  assertEquals(parseFrame(frame.join("\n")), [
    { type: "ping" },
    { type: "shutdown", reason: "maintenance" },
    { type: "shutdown", reason: "no reason given" },
  ]);
});

Deno.test("parseFrame() splits messages that are joined by line feeds", () => {
  const frame = [command("c1"), command("c2"), "", "  ", '{"type":"ping"}', ""].join("\n");
  assertEquals(parseFrame(frame).map(told), ["c1", "c2", "ping"]);
  assertEquals(parseFrame([command("c1"), command("c2")].join("\r\n")).map(told), ["c1", "c2"]);
});

Deno.test("parseFrame() keeps a line feed within a text of a message", () => {
  assertEquals(parseFrame(command("c1", { payload: { user: "a\nb" } })), [
    { type: "command", command: { commandId: "c1", action: "a", payload: { user: "a\nb" } } },
  ]);
});

Deno.test("parseFrame() finds nothing in an empty frame", () => {
  for (const frame of ["", "\n", " \n\t\r\n"]) assertEquals(parseFrame(frame), []);
});

Deno.test("parseFrame() reads five hundred commands of one frame", () => {
  const ids = Array.from({ length: 500 }, (_, index) => `c${index}`);
  assertEquals(parseFrame(ids.map((id) => command(id)).join("\n")).map(told), ids);
});

const BROKEN: Array<[name: string, text: string, problem: string]> = [
  ["half a message", '{"type":"command","payl', "it is not JSON"],
  ["HTML", "<html></html>", "it is not JSON"],
  ["a control character", "\u0000", "it is not JSON"],
  ["a list", "[]", "it is not an object"],
  ["null", "null", "it is not an object"],
  ["a number", "5", "it is not an object"],
  ["text", '"command"', "it is not an object"],
  ["no type", "{}", 'its "type" is not text'],
  ["a type of numbers", '{"type":5}', 'its "type" is not text'],
  ["a type in its prototype", '{"__proto__":{"type":"ping"}}', 'its "type" is not text'],
  ["a command without payload", '{"type":"command"}', 'its "commandId" is missing or not text'],
  ["a command with a list", '{"type":"command","payload":[]}', 'its "commandId" is missing or not text'],
  ["a command without id", command(undefined), 'its "commandId" is missing or not text'],
  ["a command with an empty id", command(""), 'its "commandId" is missing or not text'],
  ["a command with a number as id", command(7), 'its "commandId" is missing or not text'],
  [
    "an id in its prototype",
    '{"type":"command","payload":{"__proto__":{"commandId":"c"}}}',
    'its "commandId" is missing or not text',
  ],
  ["a long id", command("x".repeat(257)), 'its "commandId" is longer than 256 characters'],
  ["a mebibyte of text", "x".repeat(2 ** 20), "it is not JSON"],
  ["a mebibyte of brackets", "[".repeat(2 ** 20), "it is not JSON"],
];

for (const [name, text, problem] of BROKEN) {
  Deno.test(`parseFrame() tells what is wrong with ${name} and keeps the messages around it`, () => {
    assertEquals(parseFrame([command("c1"), text, command("c2")].join("\n")), [
      ...parseFrame(command("c1")),
      { type: "malformed", problem, excerpt: text.slice(0, 40) },
      ...parseFrame(command("c2")),
    ]);
  });
}

Deno.test("parseFrame() names a type that it does not know, in short", () => {
  const long = "x".repeat(2 ** 20);
  const frame = ["vnc_data", "__proto__", "constructor", long].map((type) => JSON.stringify({ type })).join(
    "\n",
  );
  assertEquals(parseFrame(frame), [
    { type: "unknown", name: "vnc_data" },
    { type: "unknown", name: "__proto__" },
    { type: "unknown", name: "constructor" },
    { type: "unknown", name: "x".repeat(40) },
  ]);
});

for (const action of [undefined, null, 5, {}, ["start_session"]]) {
  Deno.test(`parseFrame() still gives a command that can be answered when its action is ${action}`, () => {
    assertEquals(parseFrame(command("c1", { action })), [
      { type: "command", command: { commandId: "c1", action: "", payload: undefined } },
    ]);
  });
}

const OUTBOUND: Outbound[] = [
  { type: "heartbeat", payload: { status: "online", activeSessions: 3, capacity: CAPACITY } },
  { type: "ack", payload: { commandId: "c1" } },
  { type: "complete", payload: { commandId: "c1", result: { sessionId: "s1", state: "running" } } },
  { type: "failed", payload: { commandId: "c1", error: "line 1\nline 2 \u2028 é" } },
  {
    type: "status",
    payload: {
      sessionId: "s1",
      state: "running",
      vncReady: true,
      vncPort: 3000,
      platformMetadata: { podName: "s1-x", podIP: "10.0.0.1" },
    },
  },
  { type: "pong", payload: {} },
];

for (const message of OUTBOUND) {
  Deno.test(`encode() writes ${message.type} on one line with type, UTC time and payload`, () => {
    const text = encode(message, new Date(Date.UTC(2026, 0, 2, 3, 4, 5, 6)));
    assert(!text.includes("\n"));
    assertEquals(JSON.parse(text), {
      type: message.type,
      timestamp: "2026-01-02T03:04:05.006Z",
      payload: message.payload,
    });
  });
}

Deno.test("asRecord() gives objects and nothing else", () => {
  assertEquals(asRecord({ a: 1 }), { a: 1 });
  for (const value of [undefined, null, 0, "", "a", true, [], [{}]]) assertEquals(asRecord(value), undefined);
});

function told(message: Inbound): string {
  return message.type === "command" ? message.command.commandId : message.type;
}

Deno.test("failed() cuts a reason of a mebibyte", () => {
  const result = failed("c1", "x".repeat(2 ** 20));
  assertEquals(result.type === "failed" && result.payload.error.length, 4000);
});
