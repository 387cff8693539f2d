/**
 * What outlives the agent: each command that was received and is not known to have been answered, and which sessions there were, in one
 * ConfigMap. A command is written down before it is acknowledged, and its result before it is sent, so that a process that was killed
 * leaves to the next one what it still owed. Commands that come together are written together.
 * @module
 */
import { abortable, delay } from "@std/async";
import type { Result } from "../control_plane/protocol.ts";
import { isFinal, messageOf } from "../errors.ts";
import { log } from "../log.ts";
import { pauseAfter } from "../retry.ts";
import type { SessionRequest } from "./requests.ts";

/** Where a journal is kept. Both methods reject with a {@linkcode KubernetesError}. */
export interface JournalStore {
  /** Gives no entries where there is no journal yet. */
  read(): Promise<Readonly<Record<string, string>>>;
  /** Sets entries and removes those that are null; others stay as they are. */
  write(changes: Readonly<Record<string, string | null>>): Promise<void>;
}

/** A command that may still be owed its answer. */
export interface JournalEntry {
  readonly commandId: string;
  /** Milliseconds since 1970. */
  readonly receivedAt: number;
  /** All of it for as long as there is no result. Absent for a command that was refused as soon as it was read. */
  readonly request?: Pick<SessionRequest, "action" | "sessionId">;
  /** The answer, which may not have arrived. */
  readonly result?: Result;
}

/** What an earlier process left. */
export interface Legacy {
  /** In the order in which the commands were received. */
  readonly entries: readonly JournalEntry[];
  /** Sessions that existed then, as far as they were written down. */
  readonly sessionIds: readonly string[];
}

/** What a journal needs. */
export interface JournalOptions {
  readonly store: JournalStore;
  /** Stands before each key, as agents of other ids may share the ConfigMap. */
  readonly prefix: string;
  /** The sessions that exist now; written down whenever something else is. */
  readonly sessionIds: () => readonly string[];
  /**
   * Longest wait for a write, in milliseconds: where it is too long, commands are carried out and answered without being written down. To
   * be `Infinity` where another process may take over while this one still lives, as then only what is written down may be begun or said.
   */
  readonly patienceMs: number;
}

const RETRY = { firstMs: 250, longestMs: 10_000 };
/** Wait before the next attempt where the cluster refuses, in milliseconds. */
const REFUSED_RETRY_MS = 30_000;
/** How often a refusal to give the journal is put up with. */
const READ_RETRIES = 4;
/** Half of what a ConfigMap can hold: the other half is for the results of what is open. */
const MAX_LENGTH = 512 * 1024;
const SESSIONS = "sessions";
/** So that keys sort as numbers do. */
const SEQUENCE_DIGITS = 16;

interface Kept {
  readonly key: string;
  readonly entry: JournalEntry;
  readonly length: number;
}

/** The one journal of an agent. */
export class Journal implements Disposable {
  readonly #options: JournalOptions;
  readonly #kept = new Map<string, Kept>();
  /** Keys that the cluster holds. */
  readonly #written = new Map<string, string>();
  readonly #changes = new Map<string, string | null>();
  readonly #closing = new AbortController();
  #length = 0;
  #lastSequence = 0;
  #writing: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** Why the last write failed. */
  #trouble: string | undefined;

  constructor(options: JournalOptions) {
    this.#options = options;
  }

  /**
   * Reads what an earlier process left; tries again for as long as the cluster does not answer. To be called before anything is written.
   *
   * @throws the signal's reason
   */
  async load(signal: AbortSignal): Promise<Legacy> {
    const data = await this.#read(signal);
    const prefix = `${this.#options.prefix}.`;
    const own = Object.entries(data).filter(([key]) => key.startsWith(prefix)).sort(([a], [b]) =>
      a < b ? -1 : 1
    );
    for (const [key, text] of own) {
      this.#written.set(key, text);
      const entry = parseEntry(text);
      if (!entry) continue;
      this.#keep({ key, entry, length: text.length });
      this.#lastSequence = Math.max(this.#lastSequence, Number(key.slice(prefix.length)) || 0);
    }
    const sessionIds = this.#written.get(`${prefix}${SESSIONS}`)?.split("\n").filter((id) => id !== "") ?? [];
    return { entries: [...this.#kept.values()].map(({ entry }) => entry), sessionIds };
  }

  /** Whether no more commands can be written down. */
  get isFull(): boolean {
    return this.#length >= MAX_LENGTH;
  }

  /** How many commands it holds, how many bytes they take, and whether they cannot be written. */
  get extent(): { readonly entries: number; readonly bytes: number; readonly isFailing: boolean } {
    return { entries: this.#kept.size, bytes: this.#length, isFailing: this.#trouble !== undefined };
  }

  /** Whether the command would be known to the next process. */
  holds(commandId: string): boolean {
    return this.#written.has(this.#kept.get(commandId)?.key ?? "");
  }

  /** Writes a command down; resolves once that is done, or has taken too long. */
  async open(entry: JournalEntry): Promise<void> {
    this.#lastSequence = Math.max(this.#lastSequence + 1, entry.receivedAt * 1000);
    const sequence = String(this.#lastSequence).padStart(SEQUENCE_DIGITS, "0");
    this.#put(`${this.#options.prefix}.${sequence}`, entry);
    this.#makeRoom();
    await this.#patiently(this.#commit());
  }

  /**
   * Writes the result of a command down; resolves once that is done, or has taken too long.
   *
   * @param options.isRecorded the result is known to the cluster already: it is written down here only when something else is, too
   */
  async close(result: Result, { isRecorded }: { isRecorded: boolean }): Promise<void> {
    const kept = this.#kept.get(result.payload.commandId);
    if (!kept) return;
    const { request, ...entry } = kept.entry;
    // What was asked for, such as a whole template, would only keep room from other commands.
    const answered = request && { action: request.action, sessionId: request.sessionId };
    this.#put(kept.key, { ...entry, ...(answered ? { request: answered } : {}), result });
    if (!isRecorded) await this.#patiently(this.#commit());
  }

  /** Strikes commands out whose results have arrived. */
  forget(commandIds: readonly string[]): void {
    for (const commandId of commandIds) this.#strike(commandId);
    if (this.#changes.size > 0) void this.#commit();
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

  #put(key: string, entry: JournalEntry): void {
    const text = JSON.stringify(entry);
    this.#keep({ key, entry, length: text.length });
    this.#changes.set(key, text);
  }

  #keep(kept: Kept): void {
    this.#length += kept.length - (this.#kept.get(kept.entry.commandId)?.length ?? 0);
    this.#kept.set(kept.entry.commandId, kept);
  }

  #strike(commandId: string): void {
    const kept = this.#kept.get(commandId);
    if (!kept) return;
    this.#kept.delete(commandId);
    this.#length -= kept.length;
    // What never reached the cluster need not be removed there; what is on its way must be.
    this.#changes.set(kept.key, null);
  }

  /** Results that were sent, and most likely arrived, make room for commands that are not answered yet. */
  #makeRoom(): void {
    let struck = 0;
    for (const { entry } of [...this.#kept.values()]) {
      if (!this.isFull) break;
      if (!entry.result) continue;
      this.#strike(entry.commandId);
      struck += 1;
    }
    if (struck > 0) {
      log.error("The journal is full: {struck} results are no longer kept, which may not have arrived", {
        struck,
      });
    }
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

  /** Never rejects: it tries until the cluster answers, or the journal is disposed. Where the answer is no, it tries again much later. */
  async #write(): Promise<void> {
    const { signal } = this.#closing;
    clearTimeout(this.#retry);
    for (let failures = 0; !signal.aborted && this.#changes.size > 0; failures += 1) {
      const batch = new Map(this.#changes);
      this.#addSessionIds(batch);
      try {
        await this.#options.store.write(Object.fromEntries(batch));
        this.#wrote(batch);
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#tell(error);
        if (isFinal(error)) {
          this.#retry = setTimeout(() => void this.#commit(), REFUSED_RETRY_MS);
          return;
        }
        await delay(pauseAfter(failures, RETRY), { signal }).catch(() => {});
      }
    }
  }

  #addSessionIds(batch: Map<string, string | null>): void {
    const key = `${this.#options.prefix}.${SESSIONS}`;
    const text = this.#options.sessionIds().toSorted().join("\n");
    if (text !== (this.#written.get(key) ?? "")) batch.set(key, text === "" ? null : text);
  }

  #wrote(batch: ReadonlyMap<string, string | null>): void {
    for (const [key, text] of batch) {
      if (text === null) this.#written.delete(key);
      else this.#written.set(key, text);
      if (this.#changes.get(key) === text) this.#changes.delete(key);
    }
    if (this.#trouble !== undefined) log.info("The journal is written again");
    this.#trouble = undefined;
  }

  #tell(error: unknown): void {
    const reason = messageOf(error);
    if (reason === this.#trouble) return;
    this.#trouble = reason;
    log.error(
      "The journal cannot be written, what is not answered yet would be lost with this process: {reason}",
      {
        reason,
      },
    );
  }

  async #patiently(write: Promise<void>): Promise<void> {
    const { patienceMs } = this.#options;
    if (patienceMs === Infinity) return await write;
    // Where the last write failed the next one is not waited for: that would hold up every command for the whole outage.
    if (this.#trouble !== undefined) return;
    await abortable(write, AbortSignal.timeout(patienceMs)).catch(() => {
      this.#tell(new Error("Kubernetes does not answer"));
    });
  }

  async #read(signal: AbortSignal): Promise<Readonly<Record<string, string>>> {
    for (let failures = 0;; failures += 1) {
      signal.throwIfAborted();
      try {
        return await abortable(this.#options.store.read(), signal);
      } catch (error) {
        signal.throwIfAborted();
        this.#tell(error);
        // A refusal may pass, too, such as of a token that is just being renewed; to take it for "nothing there" would lose commands.
        if (isFinal(error) && failures >= READ_RETRIES) return {};
        await delay(pauseAfter(failures, RETRY), { signal });
      }
    }
  }
}

/** A ConfigMap can be edited by others: what is no entry is left alone, and a request is checked once more before it is carried out. */
function parseEntry(text: string): JournalEntry | undefined {
  let entry: JournalEntry;
  try {
    entry = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { commandId, receivedAt, result } = entry ?? {};
  if (typeof commandId !== "string" || typeof receivedAt !== "number") return undefined;
  const isAnswer = result === undefined ||
    ((result.type === "complete" || result.type === "failed") && result.payload?.commandId === commandId);
  return isAnswer ? entry : undefined;
}
