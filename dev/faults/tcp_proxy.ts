/**
 * A TCP proxy that simulates network faults.
 * @module
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import type { TcpFault } from "./tcp_fault.ts";
import { TcpLink } from "./tcp_link.ts";

export type { TcpFault };

/** The target of the connections, such as a `URL` with a port. */
export interface TcpTarget {
  readonly hostname: string;
  readonly port: number | string;
}

/** Listens on the loopback interface until it is disposed. */
export class TcpProxy implements AsyncDisposable {
  readonly #target: TcpTarget;
  readonly #server: Server;
  readonly #links = new Set<TcpLink>();
  #mode: TcpFault = { kind: "pass" };
  #port = 0;
  #isDisposed = false;

  private constructor(target: TcpTarget) {
    this.#target = target;
    // One side may end while the other still sends.
    const options = { allowHalfOpen: true, noDelay: true };
    this.#server = createServer(options, (client) => this.#accept(client));
  }

  /** Starts the proxy on a free port. */
  static async start(target: TcpTarget): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    proxy.#server.once("error", reject);
    proxy.#server.listen(0, "127.0.0.1", resolve);
    await promise;
    proxy.#port = (proxy.#server.address() as AddressInfo).port;
    return proxy;
  }

  /** Port on 127.0.0.1. */
  get port(): number {
    return this.#port;
  }

  /** Number of open connections. */
  get connections(): number {
    return [...this.#links].filter((link) => link.isOpen).length;
  }

  /** The current fault. */
  get mode(): TcpFault {
    return this.#mode;
  }

  /** Applies a fault immediately to open and new connections. */
  set mode(mode: TcpFault) {
    this.#mode = mode;
    for (const link of this.#links) link.apply(mode);
  }

  /** Closes all open connections, including half-open ones, with FIN. */
  cut(): void {
    for (const link of this.#links) link.cut();
  }

  /** Resets all open connections, including half-open ones, with RST: both peers get ECONNRESET. */
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
