/**
 * Which sessions are in use: the streams that are open to each, and when the last one ended. Changes are published at most once a minute per
 * session, because a web page can open many streams.
 * @module
 */

/** The use of a session. */
export interface Activity {
  /** Number of open streams. */
  readonly viewers: number;
  /** When a stream was open last: now while one is. */
  readonly lastActivity: Date;
}

interface Entry {
  viewers: number;
  lastActivity: Date;
  /** Whether something changed since the last publication. */
  isChanged: boolean;
  /** Runs until the next publication is allowed. */
  timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether the session has ended. */
  isForgotten: boolean;
}

const PUBLISH_INTERVAL_MS = 60_000;

/** Counts the streams of sessions. */
export class SessionActivity implements Disposable {
  readonly #publishIntervalMs: number;
  readonly #sessions = new Map<string, Entry>();
  readonly #startedAt = new Date();
  readonly #changeListeners = new Set<(sessionId: string) => void>();
  readonly #publicationListeners = new Set<(sessionId: string) => void>();

  /** @param options.publishIntervalMs shortest time between two publications of a session, in milliseconds. @default {60_000} */
  constructor({ publishIntervalMs = PUBLISH_INTERVAL_MS } = {}) {
    this.#publishIntervalMs = publishIntervalMs;
  }

  /** Records that a stream to a session was opened, until the returned object is disposed. */
  opened(sessionId: string): Disposable {
    const entry = this.#entry(sessionId);
    entry.isForgotten = false;
    this.#change(sessionId, entry, 1);
    let isOpen = true;
    return {
      [Symbol.dispose]: () => {
        if (isOpen) this.#change(sessionId, entry, -1);
        isOpen = false;
      },
    };
  }

  /** Restores what the previous process recorded. Its streams ended with it. */
  restore(sessionId: string, { viewers, lastActivity }: Activity): void {
    // It was used since.
    if (this.#sessions.has(sessionId)) return;
    const entry = this.#entry(sessionId);
    entry.lastActivity = viewers > 0 ? this.#startedAt : lastActivity;
    if (viewers === 0) return;
    entry.isChanged = true;
    this.#publish(sessionId, entry);
  }

  /** The use of a session; `undefined` if it is not known to have been used. */
  of(sessionId: string): Activity | undefined {
    const entry = this.#sessions.get(sessionId);
    if (!entry) return undefined;
    const { viewers, lastActivity } = entry;
    return { viewers, lastActivity: viewers > 0 ? new Date() : lastActivity };
  }

  /**
   * Since when no stream to a session is open, in milliseconds since 1970; `undefined` while one is. For a session that is not known to have been
   * used, it is the start of the process.
   */
  idleSince(sessionId: string): number | undefined {
    const { viewers, lastActivity } = this.#sessions.get(sessionId) ??
      { viewers: 0, lastActivity: this.#startedAt };
    return viewers > 0 ? undefined : lastActivity.getTime();
  }

  /** Forgets a session that has ended, once its streams have ended, too. */
  forget(sessionId: string): void {
    const entry = this.#sessions.get(sessionId);
    if (!entry) return;
    entry.isForgotten = true;
    if (entry.viewers === 0) this.#delete(sessionId, entry);
  }

  /** Calls the listener when the number of streams of a session changes; returns a function that removes it. */
  listen(listener: (sessionId: string) => void): () => void {
    this.#changeListeners.add(listener);
    return () => this.#changeListeners.delete(listener);
  }

  /**
   * Calls the listener when the use of a session changes, and each time the publication interval has passed while a stream is open. Returns a
   * function that removes it.
   */
  onPublish(listener: (sessionId: string) => void): () => void {
    this.#publicationListeners.add(listener);
    return () => this.#publicationListeners.delete(listener);
  }

  /** Clears the timers. */
  [Symbol.dispose](): void {
    for (const { timer } of this.#sessions.values()) clearTimeout(timer);
  }

  #entry(sessionId: string): Entry {
    const entry = this.#sessions.get(sessionId) ??
      { viewers: 0, lastActivity: new Date(), isChanged: false, timer: undefined, isForgotten: false };
    this.#sessions.set(sessionId, entry);
    return entry;
  }

  #change(sessionId: string, entry: Entry, by: 1 | -1): void {
    entry.viewers += by;
    entry.lastActivity = new Date();
    entry.isChanged = true;
    if (entry.isForgotten && entry.viewers === 0) return this.#delete(sessionId, entry);
    for (const listener of this.#changeListeners) listener(sessionId);
    if (entry.timer === undefined) this.#publish(sessionId, entry);
  }

  #publish(sessionId: string, entry: Entry): void {
    entry.timer = undefined;
    if (!entry.isChanged && entry.viewers === 0) return;
    entry.isChanged = false;
    entry.timer = setTimeout(() => this.#publish(sessionId, entry), this.#publishIntervalMs);
    for (const listener of this.#publicationListeners) listener(sessionId);
  }

  #delete(sessionId: string, entry: Entry): void {
    clearTimeout(entry.timer);
    if (this.#sessions.get(sessionId) === entry) this.#sessions.delete(sessionId);
  }
}
