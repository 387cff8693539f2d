/**
 * Which sessions are in use: the streams that are open to each, and when the last one ended. It is lost with the process, which ends all streams.
 * @module
 */

interface Activity {
  viewers: number;
  lastActivity: Date;
}

/** Counts the streams of sessions. */
export class SessionActivity {
  readonly #sessions = new Map<string, Activity>();
  readonly #startedAt = new Date();
  readonly #listeners = new Set<(sessionId: string) => void>();

  /** Records that a stream to a session was opened, until the returned object is disposed. */
  opened(sessionId: string): Disposable {
    const activity = this.#sessions.get(sessionId) ?? { viewers: 0, lastActivity: new Date() };
    this.#sessions.set(sessionId, activity);
    this.#change(sessionId, activity, 1);
    let isOpen = true;
    return {
      [Symbol.dispose]: () => {
        if (isOpen) this.#change(sessionId, activity, -1);
        isOpen = false;
      },
    };
  }

  /** Number of open streams to a session. */
  viewers(sessionId: string): number {
    return this.#sessions.get(sessionId)?.viewers ?? 0;
  }

  /** When a session was used last: now while a stream is open; `undefined` if this process had none. */
  lastActivity(sessionId: string): Date | undefined {
    const activity = this.#sessions.get(sessionId);
    return activity && activity.viewers > 0 ? new Date() : activity?.lastActivity;
  }

  /**
   * Since when no stream to a session is open, in milliseconds since 1970; `undefined` while one is. For a session that this process has not seen
   * in use, it is the start of the process.
   */
  idleSince(sessionId: string): number | undefined {
    const { viewers, lastActivity } = this.#sessions.get(sessionId) ??
      { viewers: 0, lastActivity: this.#startedAt };
    return viewers > 0 ? undefined : lastActivity.getTime();
  }

  /** Forgets a session that is gone. */
  forget(sessionId: string): void {
    if (this.viewers(sessionId) === 0) this.#sessions.delete(sessionId);
  }

  /** Calls the listener when the number of streams of a session changes; returns a function that removes it. */
  listen(listener: (sessionId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #change(sessionId: string, activity: Activity, by: 1 | -1): void {
    activity.viewers += by;
    activity.lastActivity = new Date();
    for (const listener of this.#listeners) listener(sessionId);
  }
}
