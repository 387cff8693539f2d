/**
 * A proxy before anything that speaks TCP, blind to what is said, which does to connections what networks do.
 * @module
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { TcpFault } from "./tcp_fault.ts";
import { TcpLink } from "./tcp_link.ts";

export type { TcpFault };

/** Where connections lead; a `URL` with a port will do. */
export interface TcpTarget {
  readonly hostname: string;
  readonly port: number | string;
}

/** Listens on loopback until it is disposed. */
export class TcpProxy implements AsyncDisposable {
  readonly #target: TcpTarget;
  readonly #server: Server;
  readonly #links = new Set<TcpLink>();
  #mode: TcpFault = { kind: "pass" };
  #port = 0;
  #isDisposed = false;

  private constructor(target: TcpTarget) {
    this.#target = target;
    // One side may end while the other still speaks.
    const options = { allowHalfOpen: true, noDelay: true };
    this.#server = createServer(options, (client) => this.#accept(client));
  }

  /** Starts to listen on any free port. */
  static async start(target: TcpTarget): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    proxy.#server.once("error", reject);
    proxy.#server.listen(0, "127.0.0.1", resolve);
    await promise;
    proxy.#port = (proxy.#server.address() as AddressInfo).port;
    return proxy;
  }

  /** Where it listens on 127.0.0.1. */
  get port(): number {
    return this.#port;
  }

  /** How many connections are open. */
  get connections(): number {
    return [...this.#links].filter((link) => link.isOpen).length;
  }

  /** What is wrong now. */
  get mode(): TcpFault {
    return this.#mode;
  }

  /** In force at once, for open and new connections. */
  set mode(mode: TcpFault) {
    this.#mode = mode;
    for (const link of this.#links) link.apply(mode);
  }

  /** Closes all open connections, frozen ones too, as peers do that go away in peace (FIN). */
  cut(): void {
    for (const link of this.#links) link.cut();
  }

  /** Breaks all open connections, frozen ones too: both peers get ECONNRESET (RST). */
  reset(): void {
    for (const link of this.#links) link.reset();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const link of this.#links) link.destroy();
    await Promise.all([closed, ...[...this.#links].map((link) => link.closed)]);
  }

  #accept(client: Socket): void {
    if (this.#mode.kind === "refuse" || this.#isDisposed) {
      client.destroy();
      return;
    }
    const isFrozen = this.#mode.kind === "half-open" && this.#mode.includesNew === true;
    const target = isFrozen ? undefined : this.#connect();
    const link = new TcpLink({ client, target, mode: this.#mode });
    this.#links.add(link);
    link.closed.then(() => this.#links.delete(link));
  }

  #connect(): Socket {
    const { hostname, port } = this.#target;
    return connect({ host: hostname, port: Number(port), allowHalfOpen: true, noDelay: true });
  }
}
