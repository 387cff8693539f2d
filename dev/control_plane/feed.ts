/**
 * An append-only record that can be awaited: what happened so far is an array, what happens next is a promise.
 * @module
 */

interface Waiter<T> {
  readonly predicate: (item: T) => boolean;
  readonly resolve: (item: T) => void;
  readonly reject: (reason: Error) => void;
}

/** Longest wait that is not bounded otherwise, in milliseconds: longer than whatever is waited for takes on a slow machine. */
const LONGEST_WAIT_MS = 120_000;

/** Options of {@linkcode Feed.waitFor}. */
export interface FeedWaitOptions {
  /** Ends the wait early with an error that says what there was instead. @default after two minutes */
  signal?: AbortSignal;
  /** What is waited for, for the error's text. */
  what: string;
  /** What there was until now, for the error's text. */
  soFar: () => string;
}

/** Keeps everything it is given, in order, and wakes those who wait for an item. */
export class Feed<T> {
  readonly #items: T[] = [];
  readonly #waiters = new Set<Waiter<T>>();
  #closed = false;

  /** All items so far; grows as items come. */
  get items(): readonly T[] {
    return this.#items;
  }

  /** Appends the item and resolves the waits it fulfils. */
  push(item: T): void {
    this.#items.push(item);
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
      return Promise.reject(new Error(`Cannot wait for ${what}: the control plane is closed`));
    }

    const giveUp = () =>
      waiter.reject(new Error(`Waited in vain for ${what}; so far: ${soFar()}`, { cause: signal.reason }));
    const leave = () => {
      this.#waiters.delete(waiter);
      signal.removeEventListener("abort", giveUp);
    };
    const waiter: Waiter<T> = {
      predicate,
      resolve: (item) => (leave(), resolve(item)),
      reject: (reason) => (leave(), reject(reason)),
    };
    this.#waiters.add(waiter);
    if (signal.aborted) giveUp();
    else signal.addEventListener("abort", giveUp);
    return promise;
  }

  /** Rejects every wait that is still open, and every later one that the past does not fulfil. */
  close(): void {
    this.#closed = true;
    for (const waiter of this.#waiters) {
      waiter.reject(new Error("Waited in vain: the control plane was closed"));
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
