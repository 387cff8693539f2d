import { assertEquals, assertRejects } from "@std/assert";
import { TcpProxy } from "../../dev/faults/tcp_proxy.ts";
import { FakeTime } from "../support/fake_time.ts";

/** Both ends of a connection through a proxy. */
interface Ends {
  readonly client: Deno.TcpConn;
  readonly server: Deno.TcpConn;
}

/** A server, a proxy in front of it, and the connections between them. */
class Wire implements AsyncDisposable {
  readonly proxy: TcpProxy;
  readonly #listener: Deno.TcpListener;
  readonly #ends: Deno.TcpConn[] = [];

  private constructor(listener: Deno.TcpListener, proxy: TcpProxy) {
    this.#listener = listener;
    this.proxy = proxy;
  }

  static async open(): Promise<Wire> {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    return new Wire(listener, await TcpProxy.start(listener.addr));
  }

  async dial(): Promise<Deno.TcpConn> {
    const client = await Deno.connect({ hostname: "127.0.0.1", port: this.proxy.port });
    this.#ends.push(client);
    return client;
  }

  async accept(): Promise<Deno.TcpConn> {
    const server = await this.#listener.accept();
    this.#ends.push(server);
    return server;
  }

  async connect(): Promise<Ends> {
    const [client, server] = await Promise.all([this.dial(), this.accept()]);
    return { client, server };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.proxy[Symbol.asyncDispose]();
    for (const end of this.#ends) end.close();
    this.#listener.close();
  }
}

/** Reads this many bytes, or fewer if the connection ends. */
async function read(connection: Deno.TcpConn, length: number): Promise<string> {
  const bytes = new Uint8Array(length);
  let filled = 0;
  while (filled < length) {
    const count = await connection.read(bytes.subarray(filled));
    if (count === null) break;
    filled += count;
  }
  return new TextDecoder().decode(bytes.subarray(0, filled));
}

async function write(connection: Deno.TcpConn, text: string): Promise<void> {
  let rest = new TextEncoder().encode(text);
  while (rest.length > 0) rest = rest.subarray(await connection.write(rest));
}

/** Waits until a proxy has this number of open connections. */
async function untilOpen(proxy: TcpProxy, count: number): Promise<void> {
  while (proxy.connections !== count) await new Promise((resolve) => setTimeout(resolve, 0));
}

/** Reads the end of the connection. */
async function end(connection: Deno.TcpConn): Promise<void> {
  assertEquals(await read(connection, 1), "");
}

/** Checks that a connection works in both directions. */
async function assertPasses({ client, server }: Ends): Promise<void> {
  await write(client, "ping");
  assertEquals(await read(server, 4), "ping");
  await write(server, "pong");
  assertEquals(await read(client, 4), "pong");
}

Deno.test("TcpProxy forwards bytes in both directions, and the end of each direction", async () => {
  await using wire = await Wire.open();
  const ends = await wire.connect();
  await assertPasses(ends);
  await ends.client.closeWrite();
  await end(ends.server);
  await write(ends.server, "still here");
  assertEquals(await read(ends.client, 10), "still here");
  await ends.server.closeWrite();
  await end(ends.client);
});

Deno.test("TcpProxy delays data in both directions", async () => {
  using time = new FakeTime();
  await using wire = await Wire.open();
  const { client, server } = await wire.connect();
  wire.proxy.mode = { kind: "delay", ms: 1000 };
  for (const [from, to] of [[client, server], [server, client]] as const) {
    await write(from, "a");
    await time.timer(1000);
    time.tick(1000);
    assertEquals(await read(to, 1), "a");
  }
});

Deno.test("TcpProxy delays the end of a connection", async () => {
  using time = new FakeTime();
  await using wire = await Wire.open();
  const { client, server } = await wire.connect();
  wire.proxy.mode = { kind: "delay", ms: 1000 };
  await client.closeWrite();
  await time.timer(1000);
  time.tick(1000);
  await end(server);
});

Deno.test("TcpProxy forwards delayed data in order when the mode changes", async () => {
  using time = new FakeTime();
  await using wire = await Wire.open();
  const { client, server } = await wire.connect();
  wire.proxy.mode = { kind: "delay", ms: 1000 };
  await write(client, "a");
  await time.timer(1000);
  wire.proxy.mode = { kind: "pass" };
  await write(client, "b");
  assertEquals(await read(server, 2), "ab");
});

Deno.test("TcpProxy throttles to a number of bytes per second", async () => {
  using time = new FakeTime();
  await using wire = await Wire.open();
  const { client, server } = await wire.connect();
  wire.proxy.mode = { kind: "throttle", bytesPerSecond: 20 };
  await write(client, "abcdef");
  for (const part of ["ab", "cd", "ef"]) {
    assertEquals(await read(server, 2), part);
    if (part === "ef") break;
    await time.timer(100);
    time.tick(100);
  }
});

Deno.test("TcpProxy reads no faster than it forwards while throttling", async () => {
  using time = new FakeTime();
  await using wire = await Wire.open();
  const { client, server } = await wire.connect();
  wire.proxy.mode = { kind: "throttle", bytesPerSecond: 20 };
  // More than all buffers can hold.
  const text = "x".repeat(64 * 1024 * 1024);
  let isWritten = false;
  const writing = write(client, text).then(() => isWritten = true);
  assertEquals(await read(server, 2), "xx");
  await time.timer(100);
  time.tick(100);
  assertEquals(await read(server, 2), "xx");
  assertEquals(isWritten, false);
  wire.proxy.mode = { kind: "pass" };
  assertEquals((await read(server, text.length - 4)).length, text.length - 4);
  await writing;
});

Deno.test("TcpProxy makes open connections half-open permanently, but not new ones", async () => {
  await using wire = await Wire.open();
  const frozen = await wire.connect();
  await assertPasses(frozen);
  wire.proxy.mode = { kind: "half-open" };
  await write(frozen.client, "lost");
  await write(frozen.server, "lost");
  await assertPasses(await wire.connect());
  wire.proxy.mode = { kind: "pass" };
  await frozen.client.closeWrite();
  await assertPasses(await wire.connect());
  assertEquals(wire.proxy.connections, 3);
  // The server receives nothing: neither the data nor the end of the client.
  let isHeard = false;
  const ends = Promise.all([end(frozen.client), end(frozen.server)]).then(() => isHeard = true);
  await assertPasses(await wire.connect());
  assertEquals(isHeard, false);
  wire.proxy.cut();
  await ends;
});

Deno.test("TcpProxy makes new connections half-open on request", async () => {
  await using wire = await Wire.open();
  wire.proxy.mode = { kind: "half-open", includesNew: true };
  const frozen = await wire.dial();
  await write(frozen, "lost");
  await untilOpen(wire.proxy, 1);
  wire.proxy.mode = { kind: "pass" };
  // The next connection is the first that reaches the server.
  await assertPasses(await wire.connect());
  assertEquals(wire.proxy.connections, 2);
  wire.proxy.cut();
  await end(frozen);
});

Deno.test("TcpProxy refuses new connections while open ones continue", async () => {
  await using wire = await Wire.open();
  const open = await wire.connect();
  await assertPasses(open);
  wire.proxy.mode = { kind: "refuse" };
  await end(await wire.dial());
  await assertPasses(open);
  wire.proxy.mode = { kind: "pass" };
  await assertPasses(await wire.connect());
});

Deno.test("TcpProxy closes all open connections with FIN, and accepts new ones", async () => {
  await using wire = await Wire.open();
  const [one, two] = [await wire.connect(), await wire.connect()];
  await assertPasses(one);
  await assertPasses(two);
  assertEquals(wire.proxy.connections, 2);
  wire.proxy.cut();
  assertEquals(wire.proxy.connections, 0);
  for (const { client, server } of [one, two]) await Promise.all([end(client), end(server)]);
  await assertPasses(await wire.connect());
});

Deno.test("TcpProxy resets all open connections, including half-open ones, for both peers", async () => {
  await using wire = await Wire.open();
  const frozen = await wire.connect();
  await assertPasses(frozen);
  wire.proxy.mode = { kind: "half-open" };
  const open = await wire.connect();
  await assertPasses(open);
  wire.proxy.reset();
  assertEquals(wire.proxy.connections, 0);
  for (const connection of [frozen.client, frozen.server, open.client, open.server]) {
    await assertRejects(() => read(connection, 1), Deno.errors.ConnectionReset);
  }
});

Deno.test("TcpProxy forwards a reset", async () => {
  await using inner = await Wire.open();
  await using outer = await TcpProxy.start({ hostname: "127.0.0.1", port: inner.proxy.port });
  const connecting = Deno.connect({ hostname: "127.0.0.1", port: outer.port });
  const server = await inner.accept();
  using client = await connecting;
  await assertPasses({ client, server });
  inner.proxy.reset();
  await assertRejects(() => read(client, 1), Deno.errors.ConnectionReset);
});

Deno.test("TcpProxy resets connections to an unreachable target", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using proxy = await TcpProxy.start(listener.addr);
  listener.close();
  using client = await Deno.connect({ hostname: "127.0.0.1", port: proxy.port });
  await assertRejects(() => read(client, 1), Deno.errors.ConnectionReset);
});

Deno.test("TcpProxy counts a connection until both sides are closed", async () => {
  await using wire = await Wire.open();
  const { client, server } = await wire.connect();
  await client.closeWrite();
  await end(server);
  assertEquals(wire.proxy.connections, 1);
  await server.closeWrite();
  await end(client);
  await untilOpen(wire.proxy, 0);
});

Deno.test("TcpProxy closes all connections when it is disposed", async () => {
  using time = new FakeTime();
  await using wire = await Wire.open();
  const frozen = await wire.connect();
  await assertPasses(frozen);
  wire.proxy.mode = { kind: "half-open" };
  wire.proxy.mode = { kind: "delay", ms: 1000 };
  const delayed = await wire.connect();
  await write(delayed.client, "a");
  await time.timer(1000);
  await wire.proxy[Symbol.asyncDispose]();
  assertEquals(time.pending, []);
  assertEquals(wire.proxy.connections, 0);
  for (const connection of [frozen.client, frozen.server, delayed.client, delayed.server]) {
    await end(connection);
  }
});
