/**
 * The agent's end of a tunnel against bytes that the test writes itself.
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import {
  type AcceptStream,
  PROTOCOL_ERROR_CODE,
  TunnelConnection,
} from "../../lib/streams/tunnel_connection.ts";
import {
  decodeMessage,
  encodeMessage,
  type OpenMessage,
  StreamResetError,
  type TunnelMessage,
} from "../../lib/streams/tunnel_messages.ts";
import type { TunnelStream } from "../../lib/streams/tunnel_stream.ts";

const HELLO: TunnelMessage = { type: "hello", maxPayload: 65_536, maxStreams: 1024 };
const TARGET = { port: 3000, podName: "p1" };
const KIB = 1024;

/** An agent's end, and the Control Plane's as messages. */
class Bench {
  readonly sent: TunnelMessage[] = [];
  readonly requests: { request: OpenMessage; accept: AcceptStream }[] = [];
  closed: number | undefined;
  readonly connection: TunnelConnection;

  constructor(
    options: { maxStreams?: number; maxBuffered?: number } = {},
    hello: TunnelMessage | null = HELLO,
  ) {
    this.connection = new TunnelConnection({
      send: (frame: Uint8Array) => this.sent.push(decodeMessage(frame.slice())),
      close: (code: number) => this.closed = code,
      bufferedAmount: 0,
    }, { ...options, onOpen: (request, accept) => this.requests.push({ request, accept }) });
    this.sent.length = 0;
    if (hello) this.receive(hello);
  }

  receive(message: TunnelMessage): void {
    this.connection.receive(encodeMessage(message));
  }

  /** Opens a stream and accepts it. */
  open(stream: number, window = 512 * KIB): TunnelStream {
    this.receive({ type: "open", stream, sessionId: "s1", window });
    const opened = this.requests.at(-1)?.accept(TARGET);
    assert(opened);
    return opened;
  }

  data(stream: number, length: number): void {
    this.receive({ type: "data", stream, bytes: new Uint8Array(length) });
  }

  /** Messages of a type that the agent sent. */
  messages<T extends TunnelMessage["type"]>(type: T): Extract<TunnelMessage, { type: T }>[] {
    return this.sent.filter((one): one is Extract<TunnelMessage, { type: T }> => one.type === type);
  }
}

/** Whether exactly all of the buffer is free; takes it. */
function isBufferFree(connection: TunnelConnection, size: number): boolean {
  return connection.buffer(size) && !connection.buffer(1);
}

/** Lets everything run that is due. */
async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

Deno.test("TunnelConnection accepts a stream with a window of its own", () => {
  const bench = new Bench();
  bench.open(7);
  assertEquals(bench.sent, [{ type: "accept", stream: 7, ...TARGET, window: 512 * KIB }]);
});

Deno.test("TunnelConnection sends no more than the credit, in messages of the agreed size", async () => {
  const bench = new Bench({}, { ...HELLO, maxPayload: 1000 });
  const stream = bench.open(1, 2500);
  const written = stream.write(new Uint8Array(4000));
  await settled();
  assertEquals(bench.messages("data").map(({ bytes }) => bytes.length), [1000, 1000, 500]);
  bench.receive({ type: "credit", stream: 1, bytes: 1500 });
  await written;
  assertEquals(bench.messages("data").map(({ bytes }) => bytes.length), [1000, 1000, 500, 1000, 500]);
  assertEquals([stream.bytesOut, stream.stalls], [4000, 1]);
});

Deno.test("TunnelConnection returns credit only for bytes that were passed on", async () => {
  const bench = new Bench();
  const stream = bench.open(1);
  for (let i = 0; i < 8; i++) bench.data(1, 64 * KIB);
  await settled();
  assertEquals(bench.messages("credit"), []);
  let passedOn = 0;
  for (let i = 0; i < 8; i++) {
    const bytes = await stream.read();
    stream.passedOn(bytes?.length ?? 0);
    passedOn += bytes?.length ?? 0;
  }
  assertEquals(passedOn, 512 * KIB);
  assertEquals(bench.messages("credit").reduce((sum, { bytes }) => sum + bytes, 0) > 256 * KIB, true);
});

Deno.test("TunnelConnection resets a stream whose data exceeds the credit, and no other", async () => {
  const bench = new Bench();
  const [flooded, other] = [bench.open(1), bench.open(2)];
  for (let i = 0; i < 9; i++) bench.data(1, 64 * KIB);
  assertEquals((await flooded.closed).code, "flow-control");
  assertEquals(bench.messages("reset").map(({ stream, code }) => [stream, code]), [[1, "flow-control"]]);
  bench.data(2, 5);
  assertEquals((await other.read())?.length, 5);
  assertEquals(bench.closed, undefined);
});

Deno.test("TunnelConnection resets a stream if the buffer of all is full", async () => {
  const bench = new Bench({ maxBuffered: 40 * KIB });
  const streams = [1, 2, 3].map((id) => bench.open(id));
  for (const id of [1, 2, 3]) bench.data(id, 14 * KIB);
  const ended = streams.flatMap(({ end }) => end?.code ?? []);
  assertEquals(ended, ["flow-control"]);
  const [first] = streams;
  first?.passedOn((await first.read())?.length ?? 0);
  bench.data(1, 1);
  assertEquals(first?.end, undefined);
});

Deno.test("TunnelConnection grants less to each stream if there are many", () => {
  const bench = new Bench({ maxBuffered: 1024 * KIB });
  for (let id = 1; id <= 200; id++) bench.open(id);
  const windows = bench.messages("accept").map(({ window }) => window);
  assertEquals([windows[0], windows[1], windows.at(-1)], [512 * KIB, 512 * KIB, 16 * KIB]);
});

Deno.test("TunnelConnection half-closes a stream in each direction", async () => {
  const bench = new Bench();
  const stream = bench.open(1);
  bench.data(1, 3);
  bench.receive({ type: "fin", stream: 1 });
  assertEquals((await stream.read())?.length, 3);
  assertEquals(await stream.read(), undefined);
  await stream.write(new Uint8Array(4));
  stream.finish();
  assertEquals((await stream.closed).code, "finished");
  assertEquals(bench.sent.slice(1).map(({ type }) => type), ["data", "fin"]);
  assertEquals(bench.connection.size, 0);
});

Deno.test("TunnelConnection ends reads and writes of a stream that is reset", async () => {
  const bench = new Bench();
  const stream = bench.open(1, 0);
  const read = assertRejects(() => stream.read(), StreamResetError, "gone away");
  const write = assertRejects(() => stream.write(new Uint8Array(1)), StreamResetError, "gone away");
  bench.receive({ type: "reset", stream: 1, code: "cancelled", message: "gone away" });
  await Promise.all([read, write]);
  assertEquals(bench.messages("reset"), []);
});

Deno.test("TunnelConnection releases bytes once if their stream is reset while the pod accepts them", async () => {
  const bench = new Bench({ maxBuffered: 64 * KIB });
  const stream = bench.open(1);
  bench.data(1, 10 * KIB);
  const bytes = await stream.read();
  stream.reset("pod-gone", "");
  stream.passedOn(bytes?.length ?? 0);
  assert(isBufferFree(bench.connection, 64 * KIB));
});

Deno.test("TunnelConnection drops what was not read of a finished stream when it is reset", () => {
  const bench = new Bench({ maxBuffered: 64 * KIB });
  const stream = bench.open(1);
  bench.data(1, 10 * KIB);
  bench.receive({ type: "fin", stream: 1 });
  stream.finish();
  stream.reset("cancelled", "");
  assertEquals(bench.messages("reset"), []);
  assert(isBufferFree(bench.connection, 64 * KIB));
});

Deno.test("TunnelConnection lets streams take turns", async () => {
  const bench = new Bench();
  const [one, other] = [bench.open(1), bench.open(2)];
  await Promise.all([one, other].map((stream) => stream.write(new Uint8Array(256 * KIB))));
  const order = bench.messages("data").map(({ stream }) => stream);
  assertEquals(order, [1, 2, 1, 2, 1, 2, 1, 2]);
});

for (
  const [name, frame] of [
    ["a text message", "hello"],
    ["an unknown type", new Uint8Array([99, 0, 0, 0, 1])],
    ["a truncated header", new Uint8Array([4, 0])],
    ["a second HELLO", encodeMessage(HELLO)],
  ] as const
) {
  Deno.test(`TunnelConnection closes the tunnel after ${name}`, async () => {
    const bench = new Bench();
    const stream = bench.open(1);
    bench.connection.receive(frame);
    assertEquals([bench.closed, (await stream.closed).code], [PROTOCOL_ERROR_CODE, "protocol"]);
  });
}

Deno.test("TunnelConnection closes the tunnel if the first message is not HELLO", () => {
  const bench = new Bench({}, { type: "open", stream: 1, sessionId: "s1", window: 1 });
  assertEquals([bench.closed, bench.requests], [PROTOCOL_ERROR_CODE, []]);
});

Deno.test("TunnelConnection closes the tunnel if an id is opened while its stream is open", () => {
  const bench = new Bench();
  bench.open(1);
  bench.receive({ type: "open", stream: 1, sessionId: "s1", window: 1 });
  assertEquals([bench.closed, bench.requests.length], [PROTOCOL_ERROR_CODE, 1]);
});

for (
  const [name, frame, code] of [
    ["a malformed CREDIT", new Uint8Array([5, 0, 0, 0, 1, 9]), "protocol"],
    ["too much credit", encodeMessage({ type: "credit", stream: 1, bytes: 2 ** 32 - 1 }), "flow-control"],
    ["a payload over the maximum", new Uint8Array([4, 0, 0, 0, 1, ...new Uint8Array(65_537)]), "protocol"],
    ["a malformed OPEN", new Uint8Array([2, 0, 0, 0, 1, 123]), "protocol"],
  ] as const
) {
  Deno.test(`TunnelConnection resets only the stream of ${name}`, async () => {
    const bench = new Bench();
    const [stream, other] = [bench.open(1, 2), bench.open(2)];
    bench.connection.receive(frame);
    assertEquals((await stream.closed).code, code);
    assertEquals(bench.messages("reset").map(({ stream, code }) => [stream, code]), [[1, code]]);
    bench.data(2, 5);
    assertEquals((await other.read())?.length, 5);
    assertEquals(bench.closed, undefined);
  });
}

Deno.test("TunnelConnection ignores messages for streams that have ended", () => {
  const bench = new Bench();
  const stream = bench.open(1);
  stream.reset("cancelled", "");
  bench.data(1, 10);
  bench.receive({ type: "credit", stream: 1, bytes: 10 });
  bench.receive({ type: "fin", stream: 1 });
  bench.receive({ type: "reset", stream: 1, code: "cancelled", message: "" });
  assertEquals([bench.sent.length, bench.closed], [2, undefined]);
});

Deno.test("TunnelConnection rejects streams beyond the limit and while it is going away", () => {
  const bench = new Bench({ maxStreams: 1 });
  bench.open(1);
  bench.receive({ type: "open", stream: 2, sessionId: "s1", window: 1 });
  bench.connection.goAway("the agent is stopping");
  bench.receive({ type: "open", stream: 3, sessionId: "s1", window: 1 });
  assertEquals(bench.messages("reset").map(({ stream, code }) => [stream, code]), [
    [2, "too-many-streams"],
    [3, "stopping"],
  ]);
  assertEquals(bench.requests.length, 1);
});

Deno.test("TunnelConnection cancels requests that are given up, and those of a tunnel that closes", () => {
  const bench = new Bench();
  for (const stream of [1, 2]) bench.receive({ type: "open", stream, sessionId: "s1", window: 1 });
  const [first, second] = bench.requests.map(({ accept }) => accept.cancelled);
  bench.receive({ type: "reset", stream: 1, code: "cancelled", message: "" });
  assertEquals([first?.aborted, second?.aborted], [true, false]);
  bench.connection.close("the tunnel was closed");
  assertEquals([second?.aborted, second?.reason.message], [true, "the tunnel was closed"]);
});

Deno.test("TunnelConnection does not mistake a request for an earlier one with the same id", () => {
  const bench = new Bench();
  bench.receive({ type: "open", stream: 1, sessionId: "s1", window: 1 });
  bench.receive({ type: "reset", stream: 1, code: "cancelled", message: "" });
  bench.receive({ type: "open", stream: 1, sessionId: "s1", window: 1 });
  const [first, second] = bench.requests.map(({ accept }) => accept);
  first?.reject("cancelled", "the viewer has gone");
  assertEquals(bench.messages("reset"), []);
  assertEquals(second?.cancelled.aborted, false);
});

Deno.test("TunnelConnection opens no stream on a closed tunnel, and does not wait for HELLO beyond the signal", async () => {
  const closed = new Bench();
  closed.connection.close("the tunnel was closed");
  const gone = new AbortController();
  const silent = new Bench({}, null);
  const waiting = silent.connection.open({ sessionId: "s1" }, gone.signal);
  gone.abort(new StreamResetError("cancelled", "the viewer has gone"));
  await assertRejects(() => waiting, StreamResetError, "the viewer has gone");
  const signal = new AbortController().signal;
  const attempt = () => closed.connection.open({ sessionId: "s1" }, signal);
  await assertRejects(attempt, StreamResetError, "the tunnel was closed");
});

Deno.test("TunnelConnection survives any messages, and keeps nothing of them", async () => {
  const stream = fc.integer({ min: 1, max: 4 });
  const count = fc.constantFrom(0, 1, 1000, 2 ** 32 - 1);
  const data = fc.integer({ min: 1, max: 20 * KIB }).map((length) => new Uint8Array(length));
  const text = fc.constantFrom("cancelled", "other");
  const messages: fc.Arbitrary<TunnelMessage> = fc.oneof(
    fc.record({ type: fc.constant("open" as const), stream, sessionId: fc.constant("s1"), window: count }),
    fc.record({ type: fc.constant("data" as const), stream, bytes: data }),
    fc.record({ type: fc.constant("credit" as const), stream, bytes: count }),
    fc.record({ type: fc.constant("fin" as const), stream }),
    fc.record({ type: fc.constant("reset" as const), stream, code: text, message: text }),
    fc.record({ type: fc.constant("goaway" as const), message: text }),
  );
  const frames = fc.oneof(
    { weight: 20, arbitrary: messages.map(encodeMessage) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 12 }) },
  );
  await fc.assert(fc.asyncProperty(fc.array(frames, { maxLength: 60 }), async (received) => {
    const maxBuffered = 64 * KIB;
    const bench = new Bench({ maxBuffered });
    const relays: Promise<void>[] = [];
    for (const frame of received) {
      bench.connection.receive(frame);
      for (const { request, accept } of bench.requests.splice(0)) {
        if (request.window === 1) accept.reject("refused", "");
        else relays.push(echo(accept(TARGET)));
      }
      await Promise.resolve();
    }
    bench.connection.close("the tunnel was closed");
    await Promise.all(relays);
    assertEquals(bench.connection.size, 0);
    assert(isBufferFree(bench.connection, maxBuffered));
  }));
});

/** Sends what a stream receives back, and finishes after it; ends when the stream has ended. */
async function echo(stream: TunnelStream): Promise<void> {
  const relay = async () => {
    for (let bytes; (bytes = await stream.read());) {
      await stream.write(bytes);
      stream.passedOn(bytes.length);
    }
    stream.finish();
  };
  await relay().catch((error) => assert(error instanceof StreamResetError));
  await stream.closed;
  stream.reset("cancelled", "");
}

Deno.test("TunnelConnection keeps nothing of 1,000 streams", async () => {
  const bench = new Bench();
  for (let id = 1; id <= 1000; id++) {
    const stream = bench.open(id);
    bench.data(id, 100 * (id % 7) + 1);
    if (id % 3 === 0) bench.receive({ type: "reset", stream: id, code: "cancelled", message: "" });
    else if (id % 3 === 1) stream.reset("pod-gone", "");
    else {
      stream.passedOn((await stream.read())?.length ?? 0);
      bench.receive({ type: "fin", stream: id });
      stream.finish();
    }
  }
  assertEquals(bench.connection.size, 0);
  assert(isBufferFree(bench.connection, 64 * KIB * KIB));
});
