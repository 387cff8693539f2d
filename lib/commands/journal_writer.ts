/**
 * Keeps key-value entries in the cluster: it reads them once, collects changes, and writes the collected ones together, one write at a time,
 * with retries until the cluster accepts them.
 * @module
 */
import { abortable, deadline, delay } from "@std/async";
import { Backoff } from "../common/backoff.ts";
import { hasStatus, isPermanent, messageOf } from "../common/errors.ts";
import { log, RepeatFilter } from "../common/log.ts";

/** New values by key; `null` removes a key. */
export type JournalChanges = Readonly<Record<string, string | null>>;

/** Where a journal is stored. Both methods reject with a {@linkcode KubernetesError}. */
export interface JournalStore {
  /** Returns no entries if there is no journal yet. */
  read(): Promise<Readonly<Record<string, string>>>;
  /** Applies changes; entries that are not mentioned stay as they are. */
  write(changes: JournalChanges): Promise<void>;
  /** Waits before a retry, at most for `ms`; rejects with the signal's reason if it is aborted. */
  pause(ms: number, signal: AbortSignal): Promise<unknown>;
}

/** What a journal writer needs. */
export interface JournalWriterOptions {
  readonly store: JournalStore;
  /** Changes that every write includes. */
  readonly extraChanges: () => JournalChanges;
  /**
   * Longest wait for a write, in milliseconds; after it, commands run and are answered without a record. Must be `Infinity` if another process
   * can take over while this one is still alive, because then only recorded commands may run or be answered.
   */
  readonly writeTimeoutMs: number;
  /**
   * How long a write that somebody waits for collects further changes, which would have to wait for a second one, in milliseconds; up to five times
   * as long while they keep coming.
   */
  readonly collectMs: number;
  /** How long changes are collected for a write in the background, in milliseconds. */
  readonly groupMs: number;
  /** Delay before the next attempt after Kubernetes rejected a write, in milliseconds. */
  readonly rejectedRetryMs: number;
}

type Operation = "reading" | "writing";

/** How often a write waits for further changes while they keep coming. */
const MAX_COLLECT_MOMENTS = 5;
/** Rejected reads before the journal counts as empty. */
const MAX_READ_RETRIES = 4;

const MESSAGES: Readonly<Record<Operation, string>> = {
  reading: "The journal cannot be read, unfinished commands of the previous process have to wait: {reason}",
  writing: "The journal cannot be written, pending commands would be lost if this process ended: {reason}",
};

/** Reads and writes the entries of one journal. */
export class JournalWriter implements Disposable {
  readonly #options: JournalWriterOptions;
  /** The entries that the cluster holds. */
  readonly #persisted = new Map<string, string>();
  readonly #changes = new Map<string, string | null>();
  readonly #closing = new AbortController();
  #writing: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** Starts a background write. */
  #later: ReturnType<typeof setTimeout> | undefined;
  /** Which operation failed last, unless it has succeeded since. */
  #failing: Operation | undefined;
  readonly #failures = new RepeatFilter();

  constructor(options: JournalWriterOptions) {
    this.#options = options;
  }

  /** Whether the last attempt to read or write failed. */
  get isFailing(): boolean {
    return this.#failing !== undefined;
  }

  /**
   * Reads the entries whose keys are wanted; retries until the cluster answers.
   *
   * @throws the signal's reason
   */
  async read(isWanted: (key: string) => boolean, signal: AbortSignal): Promise<Array<[string, string]>> {
    const own = Object.entries(await this.#read(signal)).filter(([key]) => isWanted(key));
    for (const [key, text] of own) this.#persisted.set(key, text);
    return own;
  }

  /** The value that the cluster holds. */
  persisted(key: string): string | undefined {
    return this.#persisted.get(key);
  }

  /** Adds a change to the next write. */
  change(key: string, text: string | null): void {
    this.#changes.set(key, text);
  }

  /** Writes all changes; resolves once they are written, the write timed out, or Kubernetes rejected it. */
  async commit(): Promise<void> {
    const { writeTimeoutMs } = this.#options;
    const write = this.#commit();
    if (writeTimeoutMs === Infinity) return await write;
    // After a failure nobody waits until a write has succeeded: otherwise every command would be delayed during an outage.
    if (this.#failing === "writing") return;
    await deadline(write, writeTimeoutMs).catch(() => {
      this.#fail("writing", new Error("Kubernetes does not answer"));
    });
  }

  /** Writes all changes in the background, together with those of the next moments. */
  commitLater(): void {
    this.#later ??= setTimeout(() => void this.#commit(), this.#options.groupMs);
  }

  /** Waits until all changes are written; rejects with the signal's reason if that comes first. */
  async flush(signal: AbortSignal): Promise<void> {
    if (this.#changes.size > 0) await abortable(this.#commit(), signal);
  }

  /** Cancels all further attempts to write. */
  [Symbol.dispose](): void {
    this.#closing.abort();
    clearTimeout(this.#retry);
    clearTimeout(this.#later);
  }

  /** Starts a write after the current one; changes that come before it starts are part of it. */
  #commit(): Promise<void> {
    this.#next ??= this.#writing.then(() => {
      this.#next = undefined;
      this.#writing = this.#write();
      return this.#writing;
    });
    return this.#next;
  }

  /** Never rejects: retries until the cluster answers or the writer is disposed. After a rejection the next attempt follows much later. */
  async #write(): Promise<void> {
    const { signal } = this.#closing;
    clearTimeout(this.#retry);
    clearTimeout(this.#later);
    this.#later = undefined;
    const backoff = new Backoff();
    let maxEntries = Infinity;
    await this.#collect();
    while (!signal.aborted) {
      const batch = this.#batch(maxEntries);
      if (batch.size === 0) break;
      try {
        await this.#options.store.write(Object.fromEntries(batch));
        this.#applied(batch);
        if (maxEntries === Infinity) break;
      } catch (error) {
        if (signal.aborted) return;
        if (isTooLarge(error) && batch.size > 1) {
          // An entry that does not fit must not keep out those that do.
          maxEntries = Math.ceil(batch.size / 2);
          continue;
        }
        this.#fail("writing", error);
        if (isPermanent(error)) {
          this.#retry = setTimeout(() => void this.#commit(), this.#options.rejectedRetryMs);
          return;
        }
        await this.#options.store.pause(backoff.next(), signal).catch(() => {});
      }
    }
    if (this.#failing !== "writing" || signal.aborted) return;
    this.#succeed();
    log.info("The journal can be written again");
  }

  /** Waits for further changes as long as they keep coming, at most for some moments. */
  async #collect(): Promise<void> {
    const { collectMs } = this.#options;
    const { signal } = this.#closing;
    if (collectMs === 0) return;
    let size = -1;
    for (let moment = 0; moment < MAX_COLLECT_MOMENTS && this.#changes.size > size; moment++) {
      size = this.#changes.size;
      await delay(collectMs, { signal }).catch(() => {});
    }
  }

  /** All changes including the extra ones; or a number of changes, smallest first, because a removal makes room for others. */
  #batch(maxEntries: number): Map<string, string | null> {
    const { extraChanges } = this.#options;
    if (maxEntries === Infinity) return new Map([...this.#changes, ...Object.entries(extraChanges())]);
    const bySize = [...this.#changes].sort(([, one], [, other]) => (one?.length ?? 0) - (other?.length ?? 0));
    return new Map(bySize.slice(0, maxEntries));
  }

  #applied(batch: ReadonlyMap<string, string | null>): void {
    for (const [key, text] of batch) {
      if (text === null) this.#persisted.delete(key);
      else this.#persisted.set(key, text);
      if (this.#changes.get(key) === text) this.#changes.delete(key);
    }
  }

  async #read(signal: AbortSignal): Promise<Readonly<Record<string, string>>> {
    const backoff = new Backoff();
    while (true) {
      signal.throwIfAborted();
      try {
        const data = await abortable(this.#options.store.read(), signal);
        if (this.#failing === "reading") this.#succeed();
        return data;
      } catch (error) {
        signal.throwIfAborted();
        this.#fail("reading", error);
        // A rejection can be temporary, such as of an expired token; taking it for an empty journal would lose commands.
        if (isPermanent(error) && backoff.failures >= MAX_READ_RETRIES) return {};
        await this.#options.store.pause(backoff.next(), signal);
      }
    }
  }

  #fail(operation: Operation, error: unknown): void {
    const reason = messageOf(error);
    this.#failing = operation;
    if (this.#failures.isNew(`${operation}: ${reason}`)) log.error(MESSAGES[operation], { reason });
  }

  #succeed(): void {
    this.#failing = undefined;
    this.#failures.reset();
  }
}

/** Whether the API server rejected an object (422) or a request (413) because of its size. */
function isTooLarge(error: unknown): boolean {
  return hasStatus(error, 413, 422);
}
