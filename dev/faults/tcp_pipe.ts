/**
 * One direction of a TCP connection through a proxy: data is written in order, after its delay.
 * @module
 */
import type { Socket } from "node:net";
import type { TcpFault } from "./tcp_fault.ts";

/** Data that was read and not written yet; without bytes, the end. */
interface Waiting {
  readonly at: number;
  readonly bytes: Uint8Array | undefined;
}

/** Buffer size for delayed data; without a delay, everything is written before more is read. */
const DELAYED_BYTES = 1024 * 1024;
/** Number of writes per second while throttled. */
const PARTS_PER_SECOND = 10;

/** Forwards until it is stopped. */
export class TcpPipe {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #mode: TcpFault;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #throttledUntil = 0;
  #isWriting = false;
  #isStopped = false;

  constructor(options: { from: Socket; to: Socket; mode: TcpFault }) {
    this.#from = options.from;
    this.#to = options.to;
    this.#mode = options.mode;
    this.#from.on("data", (bytes: Uint8Array) => this.#take(bytes));
    this.#from.on("end", () => this.#take(undefined));
  }

  /** Applies a mode, also to data that waits already. */
  apply(mode: TcpFault): void {
    this.#mode = mode;
    this.#throttledUntil = 0;
    this.#pump();
  }

  /** Stops reading and writing permanently. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#from.pause();
  }

  #take(bytes: Uint8Array | undefined): void {
    if (this.#isStopped) return;
    this.#waiting.push({ at: performance.now(), bytes });
    this.#waitingBytes += bytes?.length ?? 0;
    this.#pump();
  }

  #pump(): void {
    if (this.#isStopped) return;
    this.#regulate();
    const next = this.#waiting[0];
    if (this.#isWriting || !next) return;
    clearTimeout(this.#timer);
    const wait = Math.ceil(this.#dueAt(next) - performance.now());
    if (wait > 0) this.#timer = setTimeout(() => this.#pump(), wait);
    else if (next.bytes) this.#write(next.at, next.bytes);
    else this.#to.end();
  }

  #regulate(): void {
    const limit = this.#mode.kind === "delay" ? DELAYED_BYTES : 0;
    if (this.#waitingBytes > limit) this.#from.pause();
    else this.#from.resume();
  }

  #dueAt({ at }: Waiting): number {
    if (this.#mode.kind === "delay") return at + this.#mode.ms;
    return this.#mode.kind === "throttle" ? this.#throttledUntil : 0;
  }

  #write(at: number, bytes: Uint8Array): void {
    const part = bytes.subarray(0, this.#partSize());
    const rest = bytes.subarray(part.length);
    if (rest.length > 0) this.#waiting[0] = { at, bytes: rest };
    else this.#waiting.shift();
    this.#isWriting = true;
    this.#to.write(part, () => {
      this.#isWriting = false;
      this.#waitingBytes -= part.length;
      this.#pump();
    });
  }

  /** The number of bytes that may be written now; counts them as written. */
  #partSize(): number {
    if (this.#mode.kind !== "throttle") return Infinity;
    const { bytesPerSecond } = this.#mode;
    const size = Math.max(1, Math.floor(bytesPerSecond / PARTS_PER_SECOND));
    this.#throttledUntil = performance.now() + size / bytesPerSecond * 1000;
    return size;
  }
}
