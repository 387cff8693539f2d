import { createHash } from "node:crypto";
import { assertEquals, assertRejects } from "@std/assert";
import { delay } from "@std/async";
import { TcpProxy } from "../../dev/faults/tcp_proxy.ts";
import { LinkError } from "../../lib/common/errors.ts";
import { Socket, type SocketOptions } from "../../lib/control_plane/socket.ts";
import { FakeTime } from "../support/fake_time.ts";

const never = new AbortController().signal;
const credentials = { apiKey: undefined, client: undefined };

/** A server that echoes messages, behind a proxy that can break the connection. */
class EchoServer implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly proxy: Promise<TcpProxy>;

  constructor() {
    const options = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
    this.#server = Deno.serve(options, (request) => {
      const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout: 0 });
      socket.onmessage = ({ data }) => socket.send(data);
      return response;
    });
    this.proxy = TcpProxy.start({ hostname: "127.0.0.1", port: this.#server.addr.port });
  }

  async connect(options: Pick<SocketOptions, "silenceMs"> = {}): Promise<Socket> {
    const { port } = await this.proxy;
    return await Socket.connect(`ws://127.0.0.1:${port}`, { credentials, signal: never, ...options });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.proxy)[Symbol.asyncDispose]();
    await this.#server.shutdown();
  }
}

Deno.test("Socket.connect() names the reason when nothing listens", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const url = `ws://127.0.0.1:${port}/connect`;
  const error = await assertRejects(
    () => Socket.connect(`${url}?agent_id=a`, { credentials, signal: never }),
    LinkError,
  );
  assertEquals(
    error.message,
    `Cannot open the WebSocket at ${url}: tcp connect error: Connection refused (os error 111)`,
  );
});

Deno.test("C6 Socket ends when its peer does not answer pings", async () => {
  await using server = new EchoServer();
  await using socket = await server.connect({ silenceMs: 200 });
  (await server.proxy).mode = { kind: "half-open" };
  socket.send("lost");
  assertEquals(await Array.fromAsync(socket.frames(never)), []);
  assertEquals(socket.end, { code: 1001, reason: "No response from ping frame." });
  assertEquals(await socket.close(), false);
});

Deno.test("C6 Socket ends at the next frame when its peer has not read for 30 seconds", async () => {
  using time = new FakeTime();
  await using server = new EchoServer();
  await using socket = await server.connect();
  (await server.proxy).mode = { kind: "half-open" };
  assertEquals(socket.send("x".repeat(20_000_000)), true);
  time.tick(29_999);
  assertEquals([socket.send("heartbeat"), socket.end], [true, undefined]);
  time.tick(1);
  assertEquals(socket.send("heartbeat"), false);
  assertEquals(socket.end, { code: 1006, reason: "The peer no longer reads" });
  assertEquals(await Array.fromAsync(socket.frames(never)), []);
  assertEquals(await socket.close(), false);
});

Deno.test("C6 Socket stays open when its peer reads, however rarely a frame is sent", async () => {
  using time = new FakeTime();
  await using server = new EchoServer();
  await using socket = await server.connect();
  for (const text of ["x".repeat(2_000_000), "y"]) {
    socket.send(text);
    for await (const _frame of socket.frames(never)) break;
    time.tick(30_000);
  }
  assertEquals([socket.send("heartbeat"), socket.end], [true, undefined]);
});

Deno.test("Socket stays open when its peer answers pings but sends no frames", async () => {
  await using server = new EchoServer();
  await using socket = await server.connect({ silenceMs: 200 });
  // More than two periods; the pings are the runtime's and do not follow a fake clock.
  await delay(500);
  assertEquals(socket.end, undefined);
  assertEquals(await socket.close(), true);
});

Deno.test("Socket.close() closes once, and returns false when the peer does not complete the handshake within 2 seconds", async () => {
  using time = new FakeTime();
  await using server = new EchoServer();
  await using socket = await server.connect();
  (await server.proxy).mode = { kind: "half-open" };
  const closed = socket.close();
  assertEquals(socket.send("late"), false);
  time.tick(2000);
  assertEquals(await closed, false);
  assertEquals(await socket.close(), false);
  // Whoever reads frames must not wait for such a peer either.
  assertEquals(await Array.fromAsync(socket.frames(never)), []);
  assertEquals(socket.end?.code, 1006);
});

/** Accepts one WebSocket, sends raw bytes, and reads until the other side closes. */
async function sendRaw(listener: Deno.Listener, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  using connection = await listener.accept();
  const buffer = new Uint8Array(4096);
  const length = await connection.read(buffer) ?? 0;
  const key = /^sec-websocket-key: (.*)$/im.exec(new TextDecoder().decode(buffer.subarray(0, length)))?.[1];
  // Source: RFC 6455, section 1.3.
  const accept = createHash("sha1").update(`${key?.trim()}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest(
    "base64",
  );
  const head = [
    "HTTP/1.1 101",
    "Connection: Upgrade",
    "Upgrade: websocket",
    `Sec-WebSocket-Accept: ${accept}`,
  ];
  await new Blob([`${head.join("\r\n")}\r\n\r\n`, bytes]).stream().pipeTo(connection.writable, {
    preventClose: true,
  });
  while (await connection.read(buffer) !== null);
}

Deno.test("Socket ends at a frame with invalid UTF-8, after yielding the frames before it", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const text = (...bytes: number[]) => [0x81, bytes.length, ...bytes];
  const peer = sendRaw(listener, new Uint8Array([...text(0x68, 0x69), ...text(0xff, 0xfe), ...text(0x68)]));
  const { port } = listener.addr as Deno.NetAddr;
  await using socket = await Socket.connect(`ws://127.0.0.1:${port}`, { credentials, signal: never });
  assertEquals(await Array.fromAsync(socket.frames(never)), ["hi"]);
  assertEquals(socket.end?.code, 1006);
  await peer;
});
