/**
 * Those who wait for news of something that has a name: each wait ends with the next news, with the end of a time, or with a signal.
 * @module
 */

/** How a wait may end without news. */
export interface WaitEnd {
  /** Milliseconds; absent: no end. */
  readonly lookAgainInMs?: number;
  readonly signal: AbortSignal;
}

/** Waits by name. */
export class Waiters {
  readonly #waiters = new Map<string, Set<() => void>>();

  /** What is waited for. */
  names(): string[] {
    return [...this.#waiters.keys()];
  }

  /** Ends the waits for a name. */
  wake(name: string): void {
    for (const wake of [...this.#waiters.get(name) ?? []]) wake();
  }

  /** Resolves with the next news, or when the time is over; rejects with the signal's reason. */
  next(name: string, { lookAgainInMs, signal }: WaitEnd): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiters = this.#waiters.get(name) ?? new Set();
    const timer = lookAgainInMs === undefined ? undefined : setTimeout(resolve, lookAgainInMs);
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    this.#waiters.set(name, waiters.add(resolve));
    return promise.finally(() => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      waiters.delete(resolve);
      if (waiters.size === 0 && this.#waiters.get(name) === waiters) this.#waiters.delete(name);
    });
  }
}
