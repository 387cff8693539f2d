/**
 * One TCP connection through a proxy: the sockets to the client and to the target, and the data between them.
 * @module
 */
import type { Socket } from "node:net";
import type { TcpFault } from "./tcp_fault.ts";
import { TcpPipe } from "./tcp_pipe.ts";

/** How long a cut connection waits for its peers to close, in milliseconds. */
const CLOSE_TIMEOUT_MS = 1000;

/** Forwards the end or failure of each side to the other. */
export class TcpLink {
  /** Resolves when all sockets are closed. */
  readonly closed: Promise<unknown>;
  readonly #sockets: readonly Socket[];
  readonly #pipes: readonly TcpPipe[];
  #isFrozen = false;
  #isOver = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Connects a client to the target; without a target, the connection is half-open from the start. */
  constructor(options: { client: Socket; target?: Socket | undefined; mode: TcpFault }) {
    const { client, target, mode } = options;
    this.#sockets = target ? [client, target] : [client];
    this.#pipes = target
      ? [
        new TcpPipe({ from: client, to: target, mode }),
        new TcpPipe({ from: target, to: client, mode }),
      ]
      : [];
    this.#isFrozen = target === undefined;
    for (const socket of this.#sockets) socket.on("error", () => this.#broken());
    const ends = this.#sockets.map((socket) => new Promise<void>((resolve) => socket.on("close", resolve)));
    this.closed = Promise.all(ends).then(() => {
      this.#end();
      clearTimeout(this.#timer);
    });
  }

  /** Whether the connection was not ended by its peers, cut or reset. */
  get isOpen(): boolean {
    return !this.#isOver;
  }

  /** Applies a mode. */
  apply(mode: TcpFault): void {
    if (mode.kind === "half-open") this.#freeze();
    if (this.#isFrozen || this.#isOver) return;
    for (const pipe of this.#pipes) pipe.apply(mode);
  }

  /** Closes both sides with FIN. */
  cut(): void {
    this.#end();
    for (const socket of this.#sockets) {
      // Closing a socket with unread data would send RST.
      socket.removeAllListeners("data");
      socket.resume();
      socket.end();
    }
    this.#timer ??= setTimeout(() => this.destroy(), CLOSE_TIMEOUT_MS);
  }

  /** Closes both sides with RST. */
  reset(): void {
    this.#end();
    for (const socket of this.#sockets) {
      if (socket.connecting) socket.destroy();
      else if (!socket.destroyed) socket.resetAndDestroy();
    }
  }

  /** Closes the sockets immediately. */
  destroy(): void {
    this.#end();
    for (const socket of this.#sockets) socket.destroy();
  }

  #freeze(): void {
    this.#isFrozen = true;
    for (const pipe of this.#pipes) pipe.stop();
  }

  #end(): void {
    this.#isOver = true;
    for (const pipe of this.#pipes) pipe.stop();
  }

  #broken(): void {
    if (!this.#isFrozen && !this.#isOver) this.reset();
  }
}
