/**
 * The journal outlives the process: one ConfigMap holds the commands whose results are not known to have arrived, and the ids of the sessions.
 * A command is recorded before it is acknowledged, and its result before it is sent, so that the next process can resume after a crash.
 * @module
 */
import type { Result } from "../control_plane/protocol.ts";
import type { ReportedStatuses } from "../control_plane/reported_statuses.ts";
import { CommandError } from "../common/errors.ts";
import { parseRecord } from "../common/json.ts";
import { log } from "../common/log.ts";
import { type JournalChanges, JournalWriter, type JournalWriterOptions } from "./journal_writer.ts";
import type { ObservedVersions } from "../kubernetes/session_cache.ts";
import type { SessionRequest } from "../model/requests.ts";

/** A command whose result may not have arrived. */
export interface JournalEntry {
  readonly commandId: string;
  /** Milliseconds since 1970. */
  readonly receivedAt: number;
  /** Complete until there is a result. Absent for a command without a valid session id. */
  readonly request?: Pick<SessionRequest, "action" | "sessionId">;
  /** The result, which may not have arrived. */
  readonly result?: Result;
  /** The reason of a failure, as in a status. Absent if there is none. */
  readonly reason?: string;
}

/** What the previous process left. */
export interface RecoveredState {
  /** In the order in which the commands were received. */
  readonly entries: readonly JournalEntry[];
  /** Sessions that existed at the last write. */
  readonly sessionIds: readonly string[];
  /** Resource versions up to which the previous process reported all changes of sessions; `undefined` if it recorded none. */
  readonly reportedUpTo: ObservedVersions | undefined;
}

/** What a journal needs. */
export interface JournalOptions extends Omit<JournalWriterOptions, "extraChanges"> {
  /** Prefix of this agent's keys, because agents with other ids can share the ConfigMap. */
  readonly prefix: string;
  /** Prefixes of agents whose sessions are adopted: their commands are resumed, too. @default none */
  readonly adoptedPrefixes?: readonly string[];
  /** Time between two checks whether the sessions, or what was reported of them, changed without a command, in milliseconds. */
  readonly refreshMs: number;
  /** The sessions that exist now; every write includes their ids, and up to which resource versions their changes were reported. */
  readonly sessions: Pick<ReportedStatuses, "sessionIds" | "upTo">;
}

/** Half of a ConfigMap's capacity, in bytes; the other half is for the results of these commands, for session ids and for other agents. */
const MAX_PENDING_BYTES = 512 * 1024;
/** Limit for pending commands and results together, in bytes. */
const MAX_BYTES = 768 * 1024;
const SESSIONS_KEY = "sessions";
const REPORTED_KEY = "reported";
/** Zero-padded, so that keys sort by number. */
const SEQUENCE_DIGITS = 16;
/** Own keys after the prefix. Ids can contain dots, so that another agent's keys can start with this agent's prefix. */
const OWN_KEY = /^(?:\d{16}|sessions|reported)$/;

/** An entry with its key and its size in the ConfigMap. */
interface StoredEntry {
  readonly key: string;
  readonly entry: JournalEntry;
  readonly bytes: number;
}

/** The journal of one agent. */
export class Journal implements Disposable {
  readonly #options: JournalOptions;
  readonly #writer: JournalWriter;
  /** By command id, oldest first. */
  readonly #entries = new Map<string, StoredEntry>();
  /** Session id → number of its commands without a result. */
  readonly #pending = new Map<string | undefined, number>();
  #bytes = 0;
  /** Size of the entries without a result. */
  #pendingBytes = 0;
  #lastSequence = 0;
  /** Ids of the sessions, and the same as one text: there may be thousands, and every write includes them. */
  #sessions: { readonly ids: readonly string[]; readonly text: string } = { ids: [], text: "" };
  #refresh: ReturnType<typeof setInterval> | undefined;

  constructor(options: JournalOptions) {
    this.#options = options;
    this.#writer = new JournalWriter({ ...options, extraChanges: () => this.#sessionChanges() });
  }

  /**
   * Reads what the previous process left; retries until the cluster answers.
   *
   * @throws the signal's reason
   */
  async load(signal: AbortSignal): Promise<RecoveredState> {
    const prefixes = [this.#options.prefix, ...this.#options.adoptedPrefixes ?? []].map((one) => `${one}.`);
    const isOwn = (key: string) =>
      prefixes.some((prefix) => key.startsWith(prefix) && OWN_KEY.test(key.slice(prefix.length)));
    const own = (await this.#writer.read(isOwn, signal))
      .sort(([a], [b]) => sequenceOf(a) - sequenceOf(b) || (a < b ? -1 : 1));
    for (const [key, text] of own) {
      const entry = parseEntry(text);
      if (!entry) continue;
      this.#lastSequence = Math.max(this.#lastSequence, sequenceOf(key));
      const known = this.#entries.get(entry.commandId);
      if (!known) this.#attach({ key, entry, bytes: bytesOf(text) });
      // The command was received again before the journal could be read. Of two keys, one would never be removed.
      else if (known.key !== key) this.#writer.change(key, null);
    }
    const sessionIds = prefixes.flatMap((prefix) =>
      this.#writer.persisted(`${prefix}${SESSIONS_KEY}`)?.split("\n") ?? []
    );
    // The sessions of adopted agents are listed under the own key from now on.
    for (const prefix of prefixes.slice(1)) {
      const key = `${prefix}${SESSIONS_KEY}`;
      if (this.#writer.persisted(key) !== undefined) this.#writer.change(key, null);
    }
    this.#refresh = setInterval(() => this.#writeChanges(), this.#options.refreshMs);
    return {
      entries: [...this.#entries.values()].map(({ entry }) => entry),
      sessionIds: [...new Set(sessionIds)].filter((id) => id !== ""),
      reportedUpTo: parseVersions(this.#writer.persisted(this.#key(REPORTED_KEY))),
    };
  }

  /** Number of entries, their size, and whether the journal cannot be read or written. */
  get usage(): { readonly entries: number; readonly bytes: number; readonly isFailing: boolean } {
    return { entries: this.#entries.size, bytes: this.#bytes, isFailing: this.#writer.isFailing };
  }

  /**
   * Checks that an entry can be added.
   *
   * @throws {CommandError} if it is too large, or if there are too many pending commands
   */
  checkCapacity(entry: JournalEntry): void {
    const bytes = bytesOf(JSON.stringify(entry));
    if (bytes > MAX_PENDING_BYTES) {
      throw new CommandError(
        "invalid",
        `The command is too large: ${bytes} bytes, at most ${MAX_PENDING_BYTES} are allowed`,
      );
    }
    if (this.#pendingBytes + bytes > MAX_PENDING_BYTES) {
      throw new CommandError("busy", "The agent has too many pending commands");
    }
  }

  /** Whether the cluster holds the command, so that the next process would resume it. */
  isPersisted(commandId: string): boolean {
    const stored = this.#entries.get(commandId);
    return stored !== undefined && this.#writer.persisted(stored.key) !== undefined;
  }

  /** Records a command; resolves once it is written or the write timed out. */
  async add(entry: JournalEntry): Promise<void> {
    this.#lastSequence = Math.max(this.#lastSequence + 1, entry.receivedAt * 1000);
    this.#put(this.#key(String(this.#lastSequence).padStart(SEQUENCE_DIGITS, "0")), entry);
    await this.#writer.commit();
  }

  /**
   * Records the result of a command; resolves once it is written or the write timed out.
   *
   * @param options.isEvident whether the session's objects show the result, so that it need not be waited for unless the session's next
   *   command changes them
   * @param options.reason the reason of a failure. @default none
   */
  async setResult(
    result: Result,
    { isEvident, reason }: { isEvident: boolean; reason?: string },
  ): Promise<void> {
    const stored = this.#entries.get(result.payload.commandId);
    if (!stored) return;
    const { request, ...entry } = stored.entry;
    // The rest of the request, such as a whole template, would only take room from other commands.
    const summary = request && { action: request.action, sessionId: request.sessionId };
    this.#put(stored.key, {
      ...entry,
      ...(summary ? { request: summary } : {}),
      result,
      ...(reason ? { reason } : {}),
    });
    // The outcome of another pending command of the session will replace what the objects show.
    if (!isEvident || this.#pending.has(request?.sessionId)) await this.#writer.commit();
    else this.#writer.commitLater();
  }

  /** Removes commands whose results have arrived, in the background. */
  forget(commandIds: readonly string[]): void {
    const known = commandIds.filter((commandId) => this.#remove(commandId));
    if (known.length > 0) this.#writer.commitLater();
  }

  /** Records in the background which sessions exist, if that changed: a session that ended without a command is not reported again. */
  recordSessions(): void {
    this.#writer.commitLater();
  }

  /** Waits until everything is written; rejects with the signal's reason if that comes first. */
  async flush(signal: AbortSignal): Promise<void> {
    await this.#writer.flush(signal);
  }

  /** Cancels all further attempts to write. */
  [Symbol.dispose](): void {
    clearInterval(this.#refresh);
    this.#writer[Symbol.dispose]();
  }

  /** Nodes and users change sessions without a command, and the next process must not report that again. */
  #writeChanges(): void {
    if (Object.keys(this.#sessionChanges()).length > 0) this.#writer.commitLater();
  }

  #key(rest: string): string {
    return `${this.#options.prefix}.${rest}`;
  }

  #put(key: string, entry: JournalEntry): void {
    const text = JSON.stringify(entry);
    this.#attach({ key, entry, bytes: bytesOf(text) });
    this.#writer.change(key, text);
    this.#makeRoom();
  }

  #attach(stored: StoredEntry): void {
    const { commandId } = stored.entry;
    this.#detach(commandId);
    this.#entries.set(commandId, stored);
    this.#count(stored, 1);
  }

  /** Removes a command here and in the cluster; returns whether there was one. */
  #remove(commandId: string): boolean {
    const stored = this.#detach(commandId);
    // Also if the cluster does not hold it: a write of it may be in progress.
    if (stored) this.#writer.change(stored.key, null);
    return stored !== undefined;
  }

  #detach(commandId: string): StoredEntry | undefined {
    const stored = this.#entries.get(commandId);
    if (!stored) return undefined;
    this.#entries.delete(commandId);
    this.#count(stored, -1);
    return stored;
  }

  #count({ bytes, entry }: StoredEntry, sign: 1 | -1): void {
    this.#bytes += sign * bytes;
    if (entry.result) return;
    this.#pendingBytes += sign * bytes;
    const sessionId = entry.request?.sessionId;
    const pending = (this.#pending.get(sessionId) ?? 0) + sign;
    if (pending > 0) this.#pending.set(sessionId, pending);
    else this.#pending.delete(sessionId);
  }

  /** Removes the oldest results, which most likely arrived, in favor of pending commands. */
  #makeRoom(): void {
    let removed = 0;
    for (const { entry } of this.#entries.values()) {
      if (this.#bytes <= MAX_BYTES) break;
      if (!entry.result) continue;
      this.#remove(entry.commandId);
      removed += 1;
    }
    if (removed > 0) {
      log.error("The journal is full: {removed} results are no longer kept and may not have arrived", {
        removed,
      });
    }
  }

  #sessionChanges(): JournalChanges {
    const { sessions } = this.#options;
    const ids = sessions.sessionIds();
    if (ids !== this.#sessions.ids) this.#sessions = { ids, text: ids.join("\n") };
    return {
      ...this.#change(SESSIONS_KEY, this.#sessions.text),
      ...(sessions.upTo ? this.#change(REPORTED_KEY, JSON.stringify(sessions.upTo)) : {}),
    };
  }

  #change(rest: string, text: string): JournalChanges {
    const key = this.#key(rest);
    return text === (this.#writer.persisted(key) ?? "") ? {} : { [key]: text === "" ? null : text };
  }
}

/** The sequence number at the end of a key; 0 for other keys. */
function sequenceOf(key: string): number {
  return Number(key.slice(-SEQUENCE_DIGITS)) || 0;
}

function parseVersions(text: string | undefined): ObservedVersions | undefined {
  const { pod, deployment } = parseRecord(text ?? "") ?? {};
  return typeof pod === "number" && typeof deployment === "number" ? { pod, deployment } : undefined;
}

function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** Others can edit a ConfigMap: what is not an entry is ignored, and a request is validated again before it runs. */
function parseEntry(text: string): JournalEntry | undefined {
  let entry: JournalEntry;
  try {
    entry = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { commandId, receivedAt, result } = entry ?? {};
  if (typeof commandId !== "string" || typeof receivedAt !== "number") return undefined;
  const isValidResult = result === undefined ||
    ((result.type === "complete" || result.type === "failed") && result.payload?.commandId === commandId);
  return isValidResult ? entry : undefined;
}
