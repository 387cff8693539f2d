import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  decodeMessage,
  encodeMessage,
  MalformedStreamError,
  type TunnelMessage,
  TunnelProtocolError,
} from "../../lib/streams/tunnel_messages.ts";

const stream = fc.integer({ min: 1, max: 2 ** 32 - 1 });
const count = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const port = fc.integer({ min: 1, max: 65_535 });
const text = fc.string({ unit: "grapheme", maxLength: 200 });
const messages: fc.Arbitrary<TunnelMessage> = fc.oneof(
  fc.record({
    type: fc.constant("hello" as const),
    maxPayload: fc.nat().map((n) => n + 1),
    maxStreams: port,
  }),
  fc.record({
    type: fc.constant("open" as const),
    stream,
    sessionId: text.filter((one) => one !== ""),
    port,
    window: count,
  }),
  fc.record({ type: fc.constant("accept" as const), stream, port, podName: text, window: count }),
  fc.record({ type: fc.constant("data" as const), stream, bytes: fc.uint8Array({ minLength: 1 }) }),
  fc.record({ type: fc.constant("credit" as const), stream, bytes: count }),
  fc.record({ type: fc.constant("fin" as const), stream }),
  fc.record({ type: fc.constant("reset" as const), stream, code: text, message: text }),
  fc.record({ type: fc.constant("goaway" as const), message: text }),
);

/** A frame with a JSON payload. */
function frame(type: number, stream: number, payload: unknown = ""): Uint8Array {
  const body = new TextEncoder().encode(typeof payload === "string" ? payload : JSON.stringify(payload));
  const bytes = new Uint8Array(5 + body.length);
  bytes[0] = type;
  new DataView(bytes.buffer).setUint32(1, stream);
  bytes.set(body, 5);
  return bytes;
}

Deno.test("encodeMessage() writes to a buffer, unless the message is larger", () => {
  const buffer = new Uint8Array(20).fill(9);
  fc.assert(fc.property(messages, (message) => {
    const expected = encodeMessage(message);
    const encoded = encodeMessage(message, buffer);
    assertEquals([...encoded], [...expected]);
    assertEquals(encoded.buffer === buffer.buffer, expected.length <= buffer.length);
  }));
});

Deno.test("decodeMessage() reverses encodeMessage()", () => {
  fc.assert(fc.property(messages, (message) => {
    assertEquals(decodeMessage(encodeMessage(message)), message);
  }));
});

Deno.test("decodeMessage() reads the documented bytes", () => {
  const hello = { version: 1, maxPayload: 65_536, maxStreams: 1024 };
  assertEquals(decodeMessage(frame(1, 0, hello)), { type: "hello", maxPayload: 65_536, maxStreams: 1024 });
  assertEquals(decodeMessage(new Uint8Array([5, 0, 0, 1, 2, 0, 1, 0, 0])), {
    type: "credit",
    stream: 258,
    bytes: 65_536,
  });
  assertEquals(decodeMessage(new Uint8Array([4, 0, 0, 0, 9, 104, 105])), {
    type: "data",
    stream: 9,
    bytes: new Uint8Array([104, 105]),
  });
  assertEquals(decodeMessage(frame(2, 3, { sessionId: "s1", window: 10 })), {
    type: "open",
    stream: 3,
    sessionId: "s1",
    window: 10,
  });
});

Deno.test("decodeMessage() rejects what ends the tunnel", () => {
  const hello = { version: 1, maxPayload: 65_536, maxStreams: 1024 };
  const frames = [
    new Uint8Array(0),
    new Uint8Array(4),
    frame(0, 1),
    frame(9, 1),
    frame(1, 1, hello),
    frame(1, 0, { ...hello, version: 2 }),
    frame(1, 0, { ...hello, maxPayload: 0 }),
    frame(1, 0, "{"),
    frame(4, 0, "data"),
    frame(8, 5, { message: "" }),
    frame(8, 0, "null"),
  ];
  for (const bytes of frames) assertThrows(() => decodeMessage(bytes), TunnelProtocolError);
});

Deno.test("decodeMessage() rejects what ends one stream", () => {
  const frames = [
    frame(2, 1, { window: 1 }),
    frame(2, 1, { sessionId: "s1", window: -1 }),
    frame(2, 1, { sessionId: "s1", window: 1, port: 70_000 }),
    frame(2, 1, { sessionId: "", window: 1 }),
    frame(2, 1, "[]"),
    frame(4, 1),
    frame(5, 1, "abc"),
    frame(6, 1, "x"),
    frame(7, 1, { code: 5 }),
    new Uint8Array([7, 0, 0, 0, 1, 0xff, 0xfe]),
  ];
  for (const bytes of frames) {
    assertEquals(assertThrows(() => decodeMessage(bytes), MalformedStreamError).stream, 1);
  }
});

Deno.test("decodeMessage() throws nothing else", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
    try {
      decodeMessage(bytes);
    } catch (error) {
      if (!(error instanceof TunnelProtocolError || error instanceof MalformedStreamError)) throw error;
    }
  }));
});
