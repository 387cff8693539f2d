import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Desktop, SCREEN } from "../../dev/desktop/desktop.ts";
import { servePodDesktop } from "../../dev/desktop/pod_desktops.ts";
import { RFB_GREETING, serveRfb } from "../../dev/desktop/rfb_server.ts";

/** A viewer that speaks RFB as far as the test needs it. */
class Viewer implements AsyncDisposable {
  readonly #connection: Deno.TcpConn;
  readonly #served: Promise<void>;

  private constructor(connection: Deno.TcpConn, served: Promise<void>) {
    this.#connection = connection;
    this.#served = served;
  }

  static async connect(desktop: Desktop): Promise<Viewer> {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const [server, connection] = await Promise.all([
      listener.accept(),
      Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }),
    ]);
    return new Viewer(connection, serveRfb(server, desktop));
  }

  async send(...bytes: number[]): Promise<void> {
    await this.#connection.write(new Uint8Array(bytes));
  }

  async read(length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    for (let filled = 0; filled < length;) {
      const count = await this.#connection.read(bytes.subarray(filled));
      if (count === null) throw new Error("The server closed the connection");
      filled += count;
    }
    return bytes;
  }

  /** Takes the handshake up to the size of the screen. */
  async open(): Promise<DataView> {
    assertEquals(new TextDecoder().decode(await this.read(12)), RFB_GREETING);
    await this.#connection.write(new TextEncoder().encode(RFB_GREETING));
    assertEquals([...await this.read(2)], [1, 1]);
    await this.send(1);
    assertEquals([...await this.read(4)], [0, 0, 0, 0]);
    await this.send(1);
    const init = new DataView((await this.read(24)).buffer);
    await this.read(init.getUint32(20));
    return init;
  }

  /** Requests the whole screen and returns its pixels. */
  async picture(isIncremental = false): Promise<Uint32Array> {
    await this.send(3, isIncremental ? 1 : 0, 0, 0, 0, 0, 3, 32, 1, 244);
    const header = new DataView((await this.read(16)).buffer);
    assertEquals([header.getUint8(0), header.getUint16(2), header.getInt32(12)], [0, 1, 0]);
    return new Uint32Array((await this.read(header.getUint16(8) * header.getUint16(10) * 4)).buffer);
  }

  /** Presses and releases a key. */
  async type(symbol: number): Promise<void> {
    for (const isDown of [1, 0]) await this.send(4, isDown, 0, 0, 0, 0, symbol >> 8, symbol & 255);
  }

  /** Resolves when the server has ended this viewer. */
  async ended(): Promise<void> {
    await this.#served;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#connection.close();
    await this.#served;
  }
}

Deno.test("serveRfb() shows the desktop's pixels and what is typed", async () => {
  const desktop = new Desktop("pod-1");
  await using viewer = await Viewer.connect(desktop);
  const init = await viewer.open();
  assertEquals([init.getUint16(0), init.getUint16(2)], [SCREEN.width, SCREEN.height]);
  const before = await viewer.picture();
  assertEquals(before[60 * SCREEN.width + 5], 0x2b5876);
  for (const symbol of [0x48, 0x69, 0x21, 0xff08, 0xff0d]) await viewer.type(symbol);
  await viewer.picture(true);
  assertEquals(desktop.text, "Hi\n");
});

Deno.test("serveRfb() sends an incremental update only when the picture has changed", async () => {
  const desktop = new Desktop("pod-1");
  await using viewer = await Viewer.connect(desktop);
  await viewer.open();
  const before = await viewer.picture();
  const changed = viewer.picture(true);
  await viewer.send(5, 1, 0, 20, 0, 100);
  const after = await changed;
  assert(before.some((pixel, i) => pixel !== after[i]));
});

Deno.test("serveRfb() sends pixels in the format that the viewer sets", async () => {
  const desktop = new Desktop("pod-1");
  await using viewer = await Viewer.connect(desktop);
  await viewer.open();
  await viewer.send(0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 0, 8, 16, 0, 0, 0);
  const pixels = await viewer.picture();
  assertEquals(pixels[60 * SCREEN.width + 5], 0x76582b);
});

Deno.test("serveRfb() closes the connection of what is no viewer", async () => {
  await using viewer = await Viewer.connect(new Desktop("pod-1"));
  await viewer.read(12);
  await viewer.send(...new TextEncoder().encode("GET / HTTP/1"));
  await viewer.ended();
});

Deno.test("serveRfb() closes the connection after an unknown message", async () => {
  await using viewer = await Viewer.connect(new Desktop("pod-1"));
  await viewer.open();
  await viewer.send(99);
  await viewer.ended();
});

Deno.test("servePodDesktop() leaves a pod without a desktop when its port cannot be opened", () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const stopped = new AbortController();
  const warnings: string[] = [];
  const pod = { name: "pod-1", ip: "127.0.0.1", ports: [listener.addr.port] };
  servePodDesktop(pod, stopped.signal, (warning) => warnings.push(warning));
  stopped.abort();
  assertStringIncludes(
    warnings.join(),
    `Pod pod-1 has no desktop: cannot listen on 127.0.0.1:${listener.addr.port}`,
  );
});
