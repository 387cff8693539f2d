/**
 * Limits how many tasks run concurrently; the others wait in first-in, first-out order.
 * @module
 */

/** Counting semaphore with a fixed number of permits. */
export class Semaphore {
  readonly #waiting: Array<() => void> = [];
  #free: number;

  /** @param permits maximum number of concurrent tasks */
  constructor(permits: number) {
    this.#free = permits;
  }

  /** Runs a task as soon as a permit is free; rejects with the signal's reason if it is aborted before that. */
  async run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#wait(signal);
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }

  #wait(signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = () => {
      this.#waiting.splice(this.#waiting.indexOf(enter), 1);
      reject(signal?.reason);
    };
    const enter = () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#waiting.push(enter);
    return promise;
  }
}
