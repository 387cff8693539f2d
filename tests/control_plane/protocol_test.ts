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

Deno.test("parseFrame() parses a command without changing its payload", () => {
  const payload = { sessionId: "s1", user: "alice", persistentHome: true };
  assertEquals(parseFrame(command("c1", { action: "start_session", payload })), [
    { type: "command", command: { commandId: "c1", action: "start_session", payload } },
  ]);
});

Deno.test("parseFrame() parses ping and shutdown with and without a payload", () => {
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

Deno.test("parseFrame() splits messages at line feeds", () => {
  const frame = [command("c1"), command("c2"), "", "  ", '{"type":"ping"}', ""].join("\n");
  assertEquals(parseFrame(frame).map(label), ["c1", "c2", "ping"]);
  assertEquals(parseFrame([command("c1"), command("c2")].join("\r\n")).map(label), ["c1", "c2"]);
});

Deno.test("parseFrame() keeps an escaped line feed in a message", () => {
  assertEquals(parseFrame(command("c1", { payload: { user: "a\nb" } })), [
    { type: "command", command: { commandId: "c1", action: "a", payload: { user: "a\nb" } } },
  ]);
});

Deno.test("parseFrame() returns no messages for an empty frame", () => {
  for (const frame of ["", "\n", " \n\t\r\n"]) assertEquals(parseFrame(frame), []);
});

Deno.test("parseFrame() parses 500 commands in one frame", () => {
  const ids = Array.from({ length: 500 }, (_, index) => `c${index}`);
  assertEquals(parseFrame(ids.map((id) => command(id)).join("\n")).map(label), ids);
});

const MALFORMED: Array<[name: string, text: string, problem: string]> = [
  ["half a message", '{"type":"command","payl', "not JSON"],
  ["HTML", "<html></html>", "not JSON"],
  ["a control character", "\u0000", "not JSON"],
  ["a list", "[]", "not an object"],
  ["null", "null", "not an object"],
  ["a number", "5", "not an object"],
  ["text", '"command"', "not an object"],
  ["no type", "{}", '"type" is not a string'],
  ["a numeric type", '{"type":5}', '"type" is not a string'],
  ["a type in its prototype", '{"__proto__":{"type":"ping"}}', '"type" is not a string'],
  ["a command without payload", '{"type":"command"}', '"commandId" is missing or not a string'],
  ["a command with a list", '{"type":"command","payload":[]}', '"commandId" is missing or not a string'],
  ["a command without id", command(undefined), '"commandId" is missing or not a string'],
  ["a command with an empty id", command(""), '"commandId" is missing or not a string'],
  ["a command with a number as id", command(7), '"commandId" is missing or not a string'],
  [
    "an id in its prototype",
    '{"type":"command","payload":{"__proto__":{"commandId":"c"}}}',
    '"commandId" is missing or not a string',
  ],
  ["a long id", command("x".repeat(257)), '"commandId" is longer than 256 characters'],
  ["a mebibyte of text", "x".repeat(2 ** 20), "not JSON"],
  ["a mebibyte of brackets", "[".repeat(2 ** 20), "not JSON"],
];

for (const [name, text, problem] of MALFORMED) {
  Deno.test(`parseFrame() reports ${name} as malformed and parses the messages around it`, () => {
    assertEquals(parseFrame([command("c1"), text, command("c2")].join("\n")), [
      ...parseFrame(command("c1")),
      { type: "malformed", problem, excerpt: text.slice(0, 40) },
      ...parseFrame(command("c2")),
    ]);
  });
}

Deno.test("parseFrame() reports an unknown type with its truncated name", () => {
  const long = "x".repeat(2 ** 20);
  const frame = ["vnc_error", "__proto__", "constructor", long].map((type) => JSON.stringify({ type })).join(
    "\n",
  );
  assertEquals(parseFrame(frame), [
    { type: "unknown", name: "vnc_error" },
    { type: "unknown", name: "__proto__" },
    { type: "unknown", name: "constructor" },
    { type: "unknown", name: "x".repeat(40) },
  ]);
});

Deno.test("parseFrame() decodes the messages of displays", () => {
  const frame = [
    { type: "vnc_data", payload: { sessionId: "s1", data: "UkZC" } },
    { type: "vnc_close", payload: { sessionId: "s1", reason: "the viewer left" } },
    { type: "vnc_data", payload: { sessionId: "s1", data: "?" } },
    { type: "vnc_data", payload: { data: "UkZC" } },
  ].map((message) => JSON.stringify(message));
  assertEquals(parseFrame(frame.join("\n")), [
    { type: "vnc_data", sessionId: "s1", bytes: new TextEncoder().encode("RFB") },
    { type: "vnc_close", sessionId: "s1" },
    { type: "malformed", problem: '"data" is not base64', excerpt: frame[2]?.slice(0, 40) ?? "" },
    {
      type: "malformed",
      problem: '"sessionId" is missing or not a string',
      excerpt: frame[3]?.slice(0, 40) ?? "",
    },
  ]);
});

for (const action of [undefined, null, 5, {}, ["start_session"]]) {
  Deno.test(`parseFrame() parses a command whose action is ${action}, as it can be answered`, () => {
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
  Deno.test(`encode() encodes ${message.type} as one line with type, UTC timestamp and payload`, () => {
    const text = encode(message, new Date(Date.UTC(2026, 0, 2, 3, 4, 5, 6)));
    assert(!text.includes("\n"));
    assertEquals(JSON.parse(text), {
      type: message.type,
      timestamp: "2026-01-02T03:04:05.006Z",
      payload: message.payload,
    });
  });
}

Deno.test("asRecord() returns objects only", () => {
  assertEquals(asRecord({ a: 1 }), { a: 1 });
  for (const value of [undefined, null, 0, "", "a", true, [], [{}]]) assertEquals(asRecord(value), undefined);
});

function label(message: Inbound): string {
  return message.type === "command" ? message.command.commandId : message.type;
}

Deno.test("failed() truncates a long reason", () => {
  const result = failed("c1", "x".repeat(2 ** 20));
  assertEquals(result.type === "failed" && result.payload.error.length, 4000);
});
