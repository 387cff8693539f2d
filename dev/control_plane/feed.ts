/**
 * An append-only list whose past items can be read and whose future items can be awaited.
 * @module
 */

interface Waiter<T> {
  readonly predicate: (item: T) => boolean;
  readonly resolve: (item: T) => void;
  readonly reject: (reason: Error) => void;
}

/** Default timeout of a wait, in milliseconds; generous enough for a slow machine. */
const LONGEST_WAIT_MS = 120_000;

/** Options of {@linkcode Feed.waitFor}. */
export interface FeedWaitOptions {
  /** Ends the wait with an error that lists the items so far. @default {a timeout of two minutes} */
  signal?: AbortSignal;
  /** What the caller waits for; used in the error message. */
  what: string;
  /** Describes the items so far; used in the error message. */
  soFar: () => string;
}

/** An ordered list of items with waiters. */
export class Feed<T> {
  readonly #items: T[] = [];
  readonly #waiters = new Set<Waiter<T>>();
  #closed = false;

  /** All items so far; a live view. */
  get items(): readonly T[] {
    return this.#items;
  }

  /** Appends the item and resolves the waits whose predicate accepts it. */
  push(item: T): void {
    this.#items.push(item);
    this.pass(item);
  }

  /** Resolves the waits whose predicate accepts the item, without keeping it. */
  pass(item: T): void {
    for (const waiter of this.#waiters) settle(waiter, item);
  }

  /**
   * Resolves with the first item, past or future, that the predicate accepts. The predicate sees each item once, in order.
   * Rejects when the signal is aborted or the feed is closed.
   */
  waitFor(predicate: (item: T) => boolean, options: FeedWaitOptions): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const { signal = AbortSignal.timeout(LONGEST_WAIT_MS), what, soFar } = options;
    const found = this.#items.findIndex((item) => predicate(item));
    if (found >= 0) return Promise.resolve(this.#items[found] as T);
    if (this.#closed) {
      return Promise.reject(new Error(`Cannot wait for ${what}: the Control Plane is closed`));
    }

    const timeOut = () =>
      waiter.reject(
        new Error(`Timed out waiting for ${what}; received so far: ${soFar()}`, { cause: signal.reason }),
      );
    const remove = () => {
      this.#waiters.delete(waiter);
      signal.removeEventListener("abort", timeOut);
    };
    const waiter: Waiter<T> = {
      predicate,
      resolve: (item) => (remove(), resolve(item)),
      reject: (reason) => (remove(), reject(reason)),
    };
    this.#waiters.add(waiter);
    if (signal.aborted) timeOut();
    else signal.addEventListener("abort", timeOut);
    return promise;
  }

  /** Rejects all pending waits, and later ones that no past item satisfies. */
  close(): void {
    this.#closed = true;
    for (const waiter of this.#waiters) {
      waiter.reject(new Error("Stopped waiting: the Control Plane was closed"));
    }
  }
}

function settle<T>(waiter: Waiter<T>, item: T): void {
  try {
    if (waiter.predicate(item)) waiter.resolve(item);
  } catch (error) {
    waiter.reject(error instanceof Error ? error : new Error(String(error)));
  }
}
