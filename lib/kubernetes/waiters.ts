/**
 * Pending waits for changes of sessions. Waits fail if the changes of a kind of object cannot be received for some time.
 * @module
 */

/** One wait for changes of a session; dispose it at its end. */
export interface Waiter extends Disposable {
  /**
   * Resolves at the next change or after `recheckInMs`, which is never by default.
   *
   * @throws the error of a kind that is blocked for too long, or the signal's reason
   */
  next(recheckInMs?: number): Promise<void>;
}

/** Pending waits by session id. */
export class Waiters<Kind> {
  readonly #waiters = new Map<string, Set<() => void>>();
  /** Kind → why its changes are not received, and since when by `performance.now()`. */
  readonly #blocked = new Map<Kind, { readonly error: Error; readonly since: number }>();
  readonly #graceMs: number;

  /** @param graceMs how long a kind may be blocked before waits fail, in milliseconds */
  constructor(graceMs: number) {
    this.#graceMs = graceMs;
  }

  /** Session ids with pending waits. */
  sessionIds(): string[] {
    return [...this.#waiters.keys()];
  }

  /** Lets the waits for a session check again. */
  wake(sessionId: string): void {
    for (const wake of this.#waiters.get(sessionId) ?? []) wake();
  }

  /** Lets all waits check again. */
  wakeAll(): void {
    for (const sessionId of this.sessionIds()) this.wake(sessionId);
  }

  /** Sets why the changes of a kind are not received; `undefined`: they are. */
  setBlocked(kind: Kind, error: Error | undefined): void {
    const { since = performance.now() } = this.#blocked.get(kind) ?? {};
    if (error) this.#blocked.set(kind, { error, since });
    else if (!this.#blocked.delete(kind)) return;
    this.wakeAll();
  }

  /** Begins to wait for changes of a session, until the signal is aborted. */
  begin(sessionId: string, signal: AbortSignal): Waiter {
    let next: PromiseWithResolvers<void> | undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const wake = () => next?.resolve();
    const onAbort = () => next?.reject(signal.reason);
    const waiters = this.#waiters.get(sessionId) ?? new Set();
    this.#waiters.set(sessionId, waiters.add(wake));
    signal.addEventListener("abort", onAbort, { once: true });
    return {
      next: async (recheckInMs = Infinity) => {
        signal.throwIfAborted();
        const waitMs = Math.min(recheckInMs, this.#graceLeftMs());
        next = Promise.withResolvers();
        if (waitMs !== Infinity) timer = setTimeout(wake, waitMs);
        await next.promise.finally(() => clearTimeout(timer));
      },
      [Symbol.dispose]: () => {
        signal.removeEventListener("abort", onAbort);
        waiters.delete(wake);
        if (waiters.size === 0 && this.#waiters.get(sessionId) === waiters) this.#waiters.delete(sessionId);
      },
    };
  }

  #graceLeftMs(): number {
    let earliest: { readonly error: Error; readonly since: number } | undefined;
    for (const one of this.#blocked.values()) if (!earliest || one.since < earliest.since) earliest = one;
    if (!earliest) return Infinity;
    const leftMs = earliest.since + this.#graceMs - performance.now();
    if (leftMs <= 0) throw earliest.error;
    return Math.ceil(leftMs);
  }
}
