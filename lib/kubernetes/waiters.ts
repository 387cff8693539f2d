/**
 * Pending waits for changes of sessions. Waits fail if the changes of a kind of object cannot be received for some time.
 * @module
 */

/** Pending waits by session id; each ends with a change, a timeout, or an abort. */
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

  /** Ends the waits for a session. */
  wake(sessionId: string): void {
    for (const wake of [...this.#waiters.get(sessionId) ?? []]) wake();
  }

  /** Ends all waits. */
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

  /**
   * Resolves at the next change or after `recheckInMs`.
   *
   * @throws the error of a kind that is blocked for too long, or the signal's reason
   */
  async next(
    sessionId: string,
    { recheckInMs = Infinity, signal }: { recheckInMs?: number; signal: AbortSignal },
  ): Promise<void> {
    const waitMs = Math.min(recheckInMs, this.#graceLeftMs());
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiters = this.#waiters.get(sessionId) ?? new Set();
    const timer = waitMs === Infinity ? undefined : setTimeout(resolve, waitMs);
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    this.#waiters.set(sessionId, waiters.add(resolve));
    await promise.finally(() => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      waiters.delete(resolve);
      if (waiters.size === 0 && this.#waiters.get(sessionId) === waiters) this.#waiters.delete(sessionId);
    });
  }

  #graceLeftMs(): number {
    const [earliest] = [...this.#blocked.values()].toSorted((one, other) => one.since - other.since);
    if (!earliest) return Infinity;
    const leftMs = earliest.since + this.#graceMs - performance.now();
    if (leftMs <= 0) throw earliest.error;
    return Math.ceil(leftMs);
  }
}
