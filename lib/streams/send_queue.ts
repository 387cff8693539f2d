/**
 * Sends the messages of several streams through one socket.
 * @module
 */
import { delay } from "@std/async";

const CONGESTION_POLL_MS = 1;

/** Messages in turn: streams that wait for each message before the next take turns. Nothing is sent while the socket is congested. */
export class SendQueue {
  readonly #socket: { readonly bufferedAmount: number };
  readonly #congestedBytes: number;
  readonly #waiting: { send: () => void; done: () => void }[] = [];
  #isSending = false;
  #isClosed = false;

  /** @param congestedBytes the socket is congested while so many bytes wait in it */
  constructor(socket: { readonly bufferedAmount: number }, congestedBytes: number) {
    this.#socket = socket;
    this.#congestedBytes = congestedBytes;
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
      while (this.#socket.bufferedAmount >= this.#congestedBytes && !this.#isClosed) {
        await delay(CONGESTION_POLL_MS);
      }
      if (!this.#isClosed) next.send();
      next.done();
    }
    this.#isSending = false;
  }
}
