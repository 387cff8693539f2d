/**
 * Sends the messages of several streams through one socket.
 * @module
 */
import { delay } from "@std/async";
import { setImmediate } from "node:timers";

/** Turns of the event loop without progress until a timer is used, each of which takes 0.01 ms or more. */
const TURNS = 20;
const CONGESTION_POLL_MS = 1;

/** A socket with a send buffer. */
export interface BufferedSocket {
  /** Bytes in the send buffer. */
  readonly bufferedAmount: number;
}

/** When a wait for a socket ends. */
export interface CongestionLimits {
  /** The socket is congested while so many bytes wait in it. */
  readonly congestedBytes: number;
  readonly isClosed: () => boolean;
}

/** Messages in turn: streams that wait for each message before the next take turns. Nothing is sent while the socket is congested. */
export class SendQueue {
  readonly #socket: BufferedSocket;
  readonly #limits: CongestionLimits;
  readonly #waiting: { send: () => void; done: () => void }[] = [];
  #isSending = false;
  #isClosed = false;

  /** @param congestedBytes the socket is congested while so many bytes wait in it */
  constructor(socket: BufferedSocket, congestedBytes: number) {
    this.#socket = socket;
    this.#limits = { congestedBytes, isClosed: () => this.#isClosed };
  }

  /** Sends a message in its turn; resolves when it was sent, or the queue was closed. */
  push(send: () => void): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ send, done: resolve });
    if (!this.#isSending) void this.#sendAll();
    return promise;
  }

  /** Drops all messages that wait. */
  close(): void {
    this.#isClosed = true;
    for (const { done } of this.#waiting.splice(0)) done();
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    for (let next; (next = this.#waiting.shift());) {
      await decongested(this.#socket, this.#limits);
      if (!this.#isClosed) next.send();
      next.done();
    }
    this.#isSending = false;
  }
}

/**
 * Waits until a socket is no longer congested, or was closed. Sockets have no event for this. Within a few turns of the event loop, the network
 * usually accepts more; a timer takes two milliseconds and more, but costs no CPU time while the network accepts nothing.
 */
export async function decongested(
  socket: BufferedSocket,
  { congestedBytes, isClosed }: CongestionLimits,
): Promise<void> {
  let before = Infinity;
  for (let turns = 0; !isClosed(); turns += 1) {
    const { bufferedAmount } = socket;
    if (bufferedAmount < congestedBytes) return;
    if (bufferedAmount < before) turns = 0;
    before = bufferedAmount;
    if (turns < TURNS) await new Promise<void>((resolve) => setImmediate(resolve));
    else await delay(CONGESTION_POLL_MS);
  }
}
