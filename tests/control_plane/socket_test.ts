import { assertEquals } from "@std/assert";
import { TcpProxy } from "../../dev/faults/tcp_proxy.ts";
import { Socket } from "../../lib/control_plane/socket.ts";
import { FakeTime } from "../support/fake_time.ts";

const never = new AbortController().signal;
const credentials = { apiKey: undefined, client: undefined };

/** A server that sends back what it is sent, and a way to it that can be broken. */
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

  async connect(silenceSeconds: number): Promise<Socket> {
    const { port } = await this.proxy;
    return await Socket.connect(`ws://127.0.0.1:${port}`, { credentials, signal: never, silenceSeconds });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.proxy)[Symbol.asyncDispose]();
    await this.#server.shutdown();
  }
}

Deno.test("C6 socket whose peer answers no ping ends, though nobody closed it", async () => {
  await using server = new EchoServer();
  await using socket = await server.connect(1);
  (await server.proxy).mode = { kind: "half-open" };
  socket.send("into the void");
  assertEquals(await Array.fromAsync(socket.frames(never)), []);
  assertEquals(socket.end, { code: 1001, reason: "No response from ping frame." });
  assertEquals(await socket.close(), false);
});

Deno.test("C6 socket whose peer takes nothing any more ends at the next frame after the silence that is borne", async () => {
  using time = new FakeTime();
  await using server = new EchoServer();
  await using socket = await server.connect(30);
  (await server.proxy).mode = { kind: "half-open" };
  assertEquals(socket.send("x".repeat(20_000_000)), true);
  time.tick(29_999);
  assertEquals([socket.send("heartbeat"), socket.end], [true, undefined]);
  time.tick(1);
  assertEquals(socket.send("heartbeat"), false);
  assertEquals(socket.end, { code: 1006, reason: "The peer takes nothing any more." });
  assertEquals(await Array.fromAsync(socket.frames(never)), []);
  assertEquals(await socket.close(), false);
});

Deno.test("C6 socket whose peer takes what it is sent stays, however rarely something is sent", async () => {
  using time = new FakeTime();
  await using server = new EchoServer();
  await using socket = await server.connect(30);
  for (const text of ["x".repeat(2_000_000), "y"]) {
    socket.send(text);
    for await (const _frame of socket.frames(never)) break;
    time.tick(30_000);
  }
  assertEquals([socket.send("heartbeat"), socket.end], [true, undefined]);
});

Deno.test("socket whose peer answers pings stays, however silent it is", async () => {
  await using server = new EchoServer();
  await using socket = await server.connect(1);
  // Longer than the silence that is borne, of which only real time can tell.
  await new Promise((resolve) => setTimeout(resolve, 2500));
  assertEquals(socket.end, undefined);
  assertEquals(await socket.close(), true);
});

Deno.test("socket that is closed tells whether the peer agreed, and so has read everything", async () => {
  await using server = new EchoServer();
  await using socket = await server.connect(30);
  (await server.proxy).mode = { kind: "half-open" };
  assertEquals(await socket.close(), false);
});

Deno.test("socket says goodbye once, however often it is closed, and sends nothing after it", async () => {
  using time = new FakeTime();
  await using server = new EchoServer();
  await using socket = await server.connect(30);
  (await server.proxy).mode = { kind: "half-open" };
  const goodbye = socket.close();
  assertEquals(socket.send("late"), false);
  time.tick(2000);
  assertEquals(await goodbye, false);
  assertEquals(await socket.close(), false);
});
