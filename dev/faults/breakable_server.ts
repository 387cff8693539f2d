/**
 * An HTTP server that can break a connection instead of answering. `Deno.serve` cannot do that, so this server forwards the
 * connections of its own sockets to it.
 * @module
 */

/** The connection of a request. */
export interface BreakableConnection {
  /** Aborted when the connection is closed by either side. */
  readonly closed: AbortSignal;
  /** Closes the connection now, or after the first part of the response. */
  breakOff(when: "now" | "begun"): void;
}

/** Answers a request. */
export type BreakableHandler = (request: Request, connection: BreakableConnection) => Promise<Response>;

/** Serves on the loopback interface until it is disposed. */
export class BreakableServer implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #closing = new AbortController();
  /** By the local port of the connection to the inner server. */
  readonly #connections = new Map<number, Connection>();
  readonly #running = new Set<Promise<void>>();
  readonly #accepting: Promise<void>;

  constructor(handler: BreakableHandler) {
    const options = { hostname: "127.0.0.1", port: 0, onListen: () => {}, signal: this.#closing.signal };
    this.#server = Deno.serve(options, async (request, { remoteAddr }) => {
      const connection = this.#connections.get(remoteAddr.port);
      return connection ? await handler(request, connection) : new Response(null, { status: 503 });
    });
    this.#accepting = this.#accept();
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#accepting;
    this.#closing.abort();
    for (const connection of this.#connections.values()) connection.breakOff("now");
    await Promise.all(this.#running);
    await this.#server.finished;
  }

  async #accept(): Promise<void> {
    for await (const client of this.#listener) {
      const running = this.#join(client).catch(() => client.close());
      this.#running.add(running);
      running.then(() => this.#running.delete(running));
    }
  }

  async #join(client: Deno.TcpConn): Promise<void> {
    const { hostname, port } = this.#server.addr;
    const server = await Deno.connect({ hostname, port });
    const key = server.localAddr.port;
    const connection = new Connection(client, server);
    this.#connections.set(key, connection);
    if (this.#closing.signal.aborted) connection.breakOff("now");
    await connection.over;
    this.#connections.delete(key);
  }
}

/** The sockets to the client and to the inner server; both are closed together. */
class Connection implements BreakableConnection {
  readonly over: Promise<unknown>;
  readonly #sockets: readonly Deno.TcpConn[];
  readonly #closed = new AbortController();
  #breaksWhenBegun = false;

  constructor(client: Deno.TcpConn, server: Deno.TcpConn) {
    this.#sockets = [client, server];
    const answering = this.#copy(server, client, () => this.#breaksWhenBegun);
    this.over = Promise.all([this.#copy(client, server, () => false), answering]);
  }

  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  breakOff(when: "now" | "begun"): void {
    if (when === "now") this.#close();
    else this.#breaksWhenBegun = true;
  }

  async #copy(from: Deno.TcpConn, to: Deno.TcpConn, isEnough: () => boolean): Promise<void> {
    const buffer = new Uint8Array(64 * 1024);
    try {
      let length = await from.read(buffer);
      while (length !== null) {
        let rest = buffer.subarray(0, length);
        while (rest.length > 0) rest = rest.subarray(await to.write(rest));
        if (isEnough()) break;
        length = await from.read(buffer);
      }
    } catch {
      // One of the sockets is closed.
    }
    this.#close();
  }

  #close(): void {
    if (this.#closed.signal.aborted) return;
    for (const socket of this.#sockets) socket.close();
    this.#closed.abort();
  }
}
