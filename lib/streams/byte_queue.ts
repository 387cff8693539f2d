/**
 * Received bytes that wait to be passed on.
 * @module
 */

/** Small messages are joined up to this size, in bytes: a message takes far more memory than a few bytes. */
const JOINED_BYTES = 4 * 1024;

/** A queue of bytes, whose memory is proportional to their number however small the messages were. */
export class ByteQueue {
  readonly #chunks: Uint8Array[] = [];
  #size = 0;

  /** Number of bytes. */
  get size(): number {
    return this.#size;
  }

  /** Appends bytes, which the queue owns from now on. */
  push(bytes: Uint8Array): void {
    this.#size += bytes.length;
    const last = this.#chunks.at(-1);
    if (!last || last.length + bytes.length > JOINED_BYTES) {
      this.#chunks.push(bytes);
      return;
    }
    const joined = new Uint8Array(last.length + bytes.length);
    joined.set(last);
    joined.set(bytes, last.length);
    this.#chunks[this.#chunks.length - 1] = joined;
  }

  /** Removes and returns the next bytes; `undefined` if there are none. */
  shift(): Uint8Array | undefined {
    const bytes = this.#chunks.shift();
    this.#size -= bytes?.length ?? 0;
    return bytes;
  }

  /** Removes all bytes. */
  clear(): void {
    this.#chunks.length = 0;
    this.#size = 0;
  }
}
