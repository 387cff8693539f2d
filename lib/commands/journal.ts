/**
 * What outlives the agent: each command that was received and is not known to have been answered, and which sessions there were, in one
 * ConfigMap. A command is written down before it is acknowledged, and its result before it is sent, so that a process that was killed
 * leaves to the next one what it still owed.
 * @module
 */
import type { Result } from "../control_plane/protocol.ts";
import { CommandError } from "../common/errors.ts";
import { log } from "../common/log.ts";
import { type JournalChanges, JournalFile, type JournalFileOptions } from "./journal_writer.ts";
import type { SessionRequest } from "../model/requests.ts";

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
export interface RecoveredState {
  /** In the order in which the commands were received. */
  readonly entries: readonly JournalEntry[];
  /** Sessions that existed then, as far as they were written down. */
  readonly sessionIds: readonly string[];
}

/** What a journal needs. */
export interface JournalOptions extends Pick<JournalFileOptions, "store" | "patienceMs"> {
  /** Stands before each key, as agents of other ids may share the ConfigMap. */
  readonly prefix: string;
  /** The sessions that exist now; their ids are written along with every other change. */
  readonly sessions: { sessionIds(): readonly string[] };
}

/** Half of what a ConfigMap can hold, in bytes: the other half is for the results of what is open, for the sessions and for other agents. */
const MAX_OPEN_BYTES = 512 * 1024;
/** What is open and the results together, in bytes. */
const MAX_BYTES = 768 * 1024;
const SESSIONS = "sessions";
/** So that keys sort as numbers do. */
const SEQUENCE_DIGITS = 16;
/** What follows an agent's prefix: ids may hold dots, and another's keys begin as this one's do. */
const OWN_KEY = /^(?:\d{16}|sessions)$/;

interface Kept {
  readonly key: string;
  readonly entry: JournalEntry;
  readonly bytes: number;
}

/** The one journal of an agent. */
export class Journal implements Disposable {
  readonly #options: JournalOptions;
  readonly #file: JournalFile;
  readonly #kept = new Map<string, Kept>();
  #bytes = 0;
  /** Of what has no result. */
  #openBytes = 0;
  #lastSequence = 0;

  constructor(options: JournalOptions) {
    this.#options = options;
    const { store, patienceMs } = options;
    this.#file = new JournalFile({ store, patienceMs, rider: () => this.#newSessionIds() });
  }

  /**
   * Reads what an earlier process left; tries again for as long as the cluster does not answer.
   *
   * @throws the signal's reason
   */
  async load(signal: AbortSignal): Promise<RecoveredState> {
    const prefix = this.#key("");
    const isOwn = (key: string) => key.startsWith(prefix) && OWN_KEY.test(key.slice(prefix.length));
    const own = (await this.#file.read(isOwn, signal)).sort(([a], [b]) => a < b ? -1 : 1);
    for (const [key, text] of own) {
      const entry = parseEntry(text);
      if (!entry) continue;
      this.#lastSequence = Math.max(this.#lastSequence, Number(key.slice(prefix.length)) || 0);
      const known = this.#kept.get(entry.commandId);
      if (!known) this.#keep({ key, entry, bytes: bytesOf(text) });
      // It was sent again before the journal could be read. With two keys, one would never be struck out.
      else if (known.key !== key) this.#file.change(key, null);
    }
    const sessionIds = this.#file.written(this.#key(SESSIONS))?.split("\n").filter((id) => id !== "") ?? [];
    return { entries: [...this.#kept.values()].map(({ entry }) => entry), sessionIds };
  }

  /** How many commands it holds, how many bytes they take, and whether it cannot be read or written. */
  get extent(): { readonly entries: number; readonly bytes: number; readonly isFailing: boolean } {
    return { entries: this.#kept.size, bytes: this.#bytes, isFailing: this.#file.isFailing };
  }

  /**
   * Makes sure that a command can be written down.
   *
   * @throws {CommandError} when it is too large, or too many others are not answered yet
   */
  checkRoom(entry: JournalEntry): void {
    const bytes = bytesOf(JSON.stringify(entry));
    if (bytes > MAX_OPEN_BYTES) {
      throw new CommandError(
        "invalid",
        `The command is too large: its ${bytes} bytes are more than ${MAX_OPEN_BYTES}`,
      );
    }
    if (this.#openBytes + bytes > MAX_OPEN_BYTES) {
      throw new CommandError("busy", "The agent has too many commands that are not answered yet");
    }
  }

  /** Whether the command would be known to the next process. */
  holds(commandId: string): boolean {
    const kept = this.#kept.get(commandId);
    return kept !== undefined && this.#file.written(kept.key) !== undefined;
  }

  /** Writes a command down; resolves once that is done, or has taken too long. */
  async open(entry: JournalEntry): Promise<void> {
    this.#lastSequence = Math.max(this.#lastSequence + 1, entry.receivedAt * 1000);
    this.#put(this.#key(String(this.#lastSequence).padStart(SEQUENCE_DIGITS, "0")), entry);
    await this.#file.commit();
  }

  /**
   * Writes the result of a command down; resolves once that is done, or has taken too long.
   *
   * @param options.isRecorded the session remembers the result as that of its last command: until the next one, it is written down here only
   *   when something else is, too
   */
  async close(result: Result, { isRecorded }: { isRecorded: boolean }): Promise<void> {
    const kept = this.#kept.get(result.payload.commandId);
    if (!kept) return;
    const { request, ...entry } = kept.entry;
    // What was asked for, such as a whole template, would only keep room from other commands.
    const answered = request && { action: request.action, sessionId: request.sessionId };
    this.#put(kept.key, { ...entry, ...(answered ? { request: answered } : {}), result });
    if (!isRecorded || this.#isAwaited(request?.sessionId)) await this.#file.commit();
  }

  /** Strikes commands out whose results have arrived. */
  forget(commandIds: readonly string[]): void {
    const known = commandIds.filter((commandId) => this.#strike(commandId));
    if (known.length > 0) this.#file.commitLater();
  }

  /** Waits until all is written down; rejects with the signal's reason if that comes first. */
  async flush(signal: AbortSignal): Promise<void> {
    await this.#file.flush(signal);
  }

  /** Ends the attempts to write. */
  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }

  #key(rest: string): string {
    return `${this.#options.prefix}.${rest}`;
  }

  /** Whether a session has a command to come, whose outcome it will remember in place of this one. */
  #isAwaited(sessionId: string | undefined): boolean {
    return [...this.#kept.values()].some(({ entry: { request, result } }) =>
      !result && request?.sessionId === sessionId
    );
  }

  #put(key: string, entry: JournalEntry): void {
    const text = JSON.stringify(entry);
    this.#keep({ key, entry, bytes: bytesOf(text) });
    this.#file.change(key, text);
    this.#makeRoom();
  }

  #keep(kept: Kept): void {
    const { commandId } = kept.entry;
    this.#lose(commandId);
    this.#kept.set(commandId, kept);
    this.#count(kept, 1);
  }

  #strike(commandId: string): boolean {
    const kept = this.#lose(commandId);
    // What never reached the cluster need not be removed there; what is on its way must be.
    if (kept) this.#file.change(kept.key, null);
    return kept !== undefined;
  }

  #lose(commandId: string): Kept | undefined {
    const kept = this.#kept.get(commandId);
    if (!kept) return undefined;
    this.#kept.delete(commandId);
    this.#count(kept, -1);
    return kept;
  }

  #count({ bytes, entry }: Kept, sign: 1 | -1): void {
    this.#bytes += sign * bytes;
    if (!entry.result) this.#openBytes += sign * bytes;
  }

  /** The oldest results, which were sent and most likely arrived, make room for commands that are not answered yet. */
  #makeRoom(): void {
    let struck = 0;
    for (const { entry } of [...this.#kept.values()]) {
      if (this.#bytes <= MAX_BYTES) break;
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

  #newSessionIds(): JournalChanges {
    const key = this.#key(SESSIONS);
    const text = this.#options.sessions.sessionIds().toSorted().join("\n");
    return text === (this.#file.written(key) ?? "") ? {} : { [key]: text === "" ? null : text };
  }
}

function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length;
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
