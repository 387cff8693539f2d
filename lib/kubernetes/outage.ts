/**
 * Notices when the API server responds again after an outage, so that requests and watches go on at once instead of after their back-off.
 * @module
 */
import { delay } from "@std/async";

/** Longest pause between two probes, in milliseconds; the shortest is half as long, so that agents do not probe together. */
const PROBE_MS = 200;
/** The same after the first minute of an outage. */
const LATER_PROBE_MS = 1000;
const MINUTE_MS = 60_000;

/** Probes an API server that does not respond, until it does. */
export class Outage implements Disposable {
  readonly #responds: (signal: AbortSignal) => Promise<boolean>;
  readonly #disposed = new AbortController();
  /** Aborted at the end of an outage. */
  #end = new AbortController();
  #isProbing = false;
  #isOver = false;

  /** @param responds whether the API server responds; must not reject */
  constructor(responds: (signal: AbortSignal) => Promise<boolean>) {
    this.#responds = responds;
  }

  /** Notes that a request got no response. */
  onNoResponse(): void {
    if (!this.#isProbing) void this.#probe();
  }

  /** Notes that a request succeeded, whatever the probes say. */
  onResponse(): void {
    this.#isOver = true;
  }

  /**
   * Waits; the wait ends early with the end of an outage. Rejects with the signal's reason if it is aborted.
   *
   * @returns whether an outage has ended
   */
  async wait(ms: number, signal: AbortSignal): Promise<boolean> {
    const end = this.#end.signal;
    await delay(ms, { signal: AbortSignal.any([signal, end]) }).catch(() => signal.throwIfAborted());
    return end.aborted;
  }

  /** Stops probing. */
  [Symbol.dispose](): void {
    this.#disposed.abort();
  }

  /** If the first probe succeeds, there was no outage: the server refuses only some requests, and their back-off applies. */
  async #probe(): Promise<void> {
    const { signal } = this.#disposed;
    this.#isProbing = true;
    this.#isOver = false;
    const startedAt = performance.now();
    const pause = () => {
      const longestMs = performance.now() - startedAt < MINUTE_MS ? PROBE_MS : LATER_PROBE_MS;
      return delay(longestMs * (1 + Math.random()) / 2, { signal }).catch(() => {});
    };
    let isOutage = false;
    await pause();
    while (!signal.aborted && !this.#isOver && !await this.#responds(signal)) {
      isOutage = true;
      await pause();
    }
    this.#isProbing = false;
    if (!isOutage) return;
    this.#end.abort();
    this.#end = new AbortController();
  }
}
