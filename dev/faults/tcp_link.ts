/**
 * One TCP connection through a proxy: the client's socket and the one to the target, and what passes between them.
 * @module
 */
import type { Socket } from "node:net";
import type { TcpFault } from "./tcp_fault.ts";
import { TcpPipe } from "./tcp_pipe.ts";

/** How long a connection that was cut waits for its peers to close too, in milliseconds. */
const CLOSE_TIMEOUT_MS = 1000;

/** Passes each side's end and breakdown on to the other. */
export class TcpLink {
  /** Resolves when no socket is left. */
  readonly closed: Promise<unknown>;
  readonly #sockets: readonly Socket[];
  readonly #pipes: readonly TcpPipe[];
  #isFrozen = false;
  #isOver = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Joins a client to the target; a client without one is frozen from the start. */
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

  /** Whether it was neither ended by its peers nor cut or reset here. */
  get isOpen(): boolean {
    return !this.#isOver;
  }

  /** Puts a mode in force. */
  apply(mode: TcpFault): void {
    if (mode.kind === "half-open") this.#freeze();
    if (this.#isFrozen || this.#isOver) return;
    for (const pipe of this.#pipes) pipe.apply(mode);
  }

  /** Ends it towards both sides with FIN. */
  cut(): void {
    this.#end();
    for (const socket of this.#sockets) {
      // Closing a socket with data unread would send RST.
      socket.removeAllListeners("data");
      socket.resume();
      socket.end();
    }
    this.#timer ??= setTimeout(() => this.destroy(), CLOSE_TIMEOUT_MS);
  }

  /** Ends it towards both sides with RST. */
  reset(): void {
    this.#end();
    for (const socket of this.#sockets) {
      if (socket.connecting) socket.destroy();
      else if (!socket.destroyed) socket.resetAndDestroy();
    }
  }

  /** Closes the sockets now, however their peers come to see it. */
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
