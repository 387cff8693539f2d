/**
 * The text of a journal in the cluster: it is read once, and changes that come together are written together, one write at a time, again and
 * again until the cluster answers.
 * @module
 */
import { abortable, deadline, delay } from "@std/async";
import { Backoff } from "../common/backoff.ts";
import { hasStatus, isPermanent, messageOf } from "../common/errors.ts";
import { log, RepeatFilter } from "../common/log.ts";

/** Texts by their keys; null where there is to be none. */
export type JournalChanges = Readonly<Record<string, string | null>>;

/** Where a journal is kept. Both methods reject with a {@linkcode KubernetesError}. */
export interface JournalStore {
  /** Gives no entries where there is no journal yet. */
  read(): Promise<Readonly<Record<string, string>>>;
  /** Sets entries and removes those that are null; others stay as they are. */
  write(changes: JournalChanges): Promise<void>;
}

/** What a journal's file needs. */
export interface JournalFileOptions {
  readonly store: JournalStore;
  /** What is written down whenever something else is. */
  readonly rider: () => JournalChanges;
  /**
   * Longest wait for a write, in milliseconds: where it is too long, commands are carried out and answered without being written down. To
   * be `Infinity` where another process may take over while this one still lives, as then only what is written down may be begun or said.
   */
  readonly patienceMs: number;
}

/** What can fail. */
type Operation = "reading" | "writing";

/** Wait before the next attempt where the cluster refuses, in milliseconds. */
const REFUSED_RETRY_MS = 30_000;
/** How often a refusal to give the journal is put up with. */
const READ_RETRIES = 4;

const TROUBLES: Readonly<Record<Operation, string>> = {
  reading: "The journal cannot be read, what an earlier process did not answer has to wait: {reason}",
  writing:
    "The journal cannot be written, what is not answered yet would be lost with this process: {reason}",
};

/** The one file of a journal. */
export class JournalFile implements Disposable {
  readonly #options: JournalFileOptions;
  /** What the cluster holds. */
  readonly #written = new Map<string, string>();
  readonly #changes = new Map<string, string | null>();
  readonly #closing = new AbortController();
  #writing: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** Which operation failed last, unless it has succeeded since. */
  #failing: Operation | undefined;
  readonly #failures = new RepeatFilter();

  constructor(options: JournalFileOptions) {
    this.#options = options;
  }

  /** Whether it could not be read, or written, when that was tried last. */
  get isFailing(): boolean {
    return this.#failing !== undefined;
  }

  /**
   * Reads the texts whose keys are wanted; tries again for as long as the cluster does not answer.
   *
   * @throws the signal's reason
   */
  async read(isWanted: (key: string) => boolean, signal: AbortSignal): Promise<Array<[string, string]>> {
    const own = Object.entries(await this.#read(signal)).filter(([key]) => isWanted(key));
    for (const [key, text] of own) this.#written.set(key, text);
    return own;
  }

  /** The text that the cluster holds. */
  written(key: string): string | undefined {
    return this.#written.get(key);
  }

  /** Takes note of a change, which the next write brings into the cluster. */
  change(key: string, text: string | null): void {
    this.#changes.set(key, text);
  }

  /** Writes all changes down; resolves once that is done, or has taken too long, or was refused. */
  async commit(): Promise<void> {
    const { patienceMs } = this.#options;
    const write = this.#commit();
    if (patienceMs === Infinity) return await write;
    // Where the last write failed the next one is not waited for: that would hold up every command for the whole outage.
    if (this.#failing === "writing") return;
    await deadline(write, patienceMs).catch(() => {
      this.#tell("writing", new Error("Kubernetes does not answer"));
    });
  }

  /** Writes all changes down, and nobody waits for it. */
  commitLater(): void {
    void this.#commit();
  }

  /** Waits until all is written down; rejects with the signal's reason if that comes first. */
  async flush(signal: AbortSignal): Promise<void> {
    if (this.#changes.size > 0) await abortable(this.#commit(), signal);
  }

  /** Ends the attempts to write. */
  [Symbol.dispose](): void {
    this.#closing.abort();
    clearTimeout(this.#retry);
  }

  /** One write at a time: what comes meanwhile goes with the next one. */
  #commit(): Promise<void> {
    this.#next ??= this.#writing.then(() => {
      this.#next = undefined;
      this.#writing = this.#write();
      return this.#writing;
    });
    return this.#next;
  }

  /** Never rejects: it tries until the cluster answers, or the file is disposed. Where the answer is no, it tries again much later. */
  async #write(): Promise<void> {
    const { signal } = this.#closing;
    clearTimeout(this.#retry);
    const backoff = new Backoff();
    let most = Infinity;
    while (!signal.aborted && this.#changes.size > 0) {
      const batch = this.#batch(most);
      try {
        await this.#options.store.write(Object.fromEntries(batch));
        this.#wrote(batch);
        if (most === Infinity) break;
      } catch (error) {
        if (signal.aborted) return;
        if (isTooLarge(error) && batch.size > 1) {
          // What does not fit is not to keep out what does.
          most = Math.ceil(batch.size / 2);
          continue;
        }
        this.#tell("writing", error);
        if (isPermanent(error)) {
          this.#retry = setTimeout(() => void this.#commit(), REFUSED_RETRY_MS);
          return;
        }
        await delay(backoff.next(), { signal }).catch(() => {});
      }
    }
    if (this.#failing !== "writing" || signal.aborted) return;
    this.#succeeded();
    log.info("The journal is written again");
  }

  /** All changes with what goes along with them, or some: the smallest first, as a removal makes room for the others. */
  #batch(most: number): Map<string, string | null> {
    if (most === Infinity) return new Map([...this.#changes, ...Object.entries(this.#options.rider())]);
    const bySize = [...this.#changes].sort(([, one], [, other]) => (one?.length ?? 0) - (other?.length ?? 0));
    return new Map(bySize.slice(0, most));
  }

  #wrote(batch: ReadonlyMap<string, string | null>): void {
    for (const [key, text] of batch) {
      if (text === null) this.#written.delete(key);
      else this.#written.set(key, text);
      if (this.#changes.get(key) === text) this.#changes.delete(key);
    }
  }

  async #read(signal: AbortSignal): Promise<Readonly<Record<string, string>>> {
    const backoff = new Backoff();
    while (true) {
      signal.throwIfAborted();
      try {
        const data = await abortable(this.#options.store.read(), signal);
        if (this.#failing === "reading") this.#succeeded();
        return data;
      } catch (error) {
        signal.throwIfAborted();
        this.#tell("reading", error);
        // A refusal may pass, too, such as of a token that is just being renewed; to take it for "nothing there" would lose commands.
        if (isPermanent(error) && backoff.failures >= READ_RETRIES) return {};
        await delay(backoff.next(), { signal });
      }
    }
  }

  /** Logs a failure once, until its reason changes. */
  #tell(operation: Operation, error: unknown): void {
    const reason = messageOf(error);
    this.#failing = operation;
    if (this.#failures.isNew(`${operation}: ${reason}`)) log.error(TROUBLES[operation], { reason });
  }

  #succeeded(): void {
    this.#failing = undefined;
    this.#failures.reset();
  }
}

/** As the API server refuses an object that is too large, and a request. */
function isTooLarge(error: unknown): boolean {
  return hasStatus(error, 413, 422);
}
