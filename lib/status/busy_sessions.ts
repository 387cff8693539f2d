/**
 * The sessions that commands are working on. The dispatcher marks them; the monitor does not report a marked session, because its commands do,
 * and checks it once the last mark is gone.
 * @module
 */

/** Marks of busy sessions. */
export class BusySessions {
  readonly #marks = new Map<string, number>();
  readonly #listeners = new Set<(sessionId: string) => void>();
  #unrecorded = 0;

  /** Whether the agent changes a session by itself: no journal has that, so the next process would not know of it. */
  get hasUnrecordedWork(): boolean {
    return this.#unrecorded > 0;
  }

  /** Whether the session has at least one mark. */
  has(sessionId: string): boolean {
    return this.#marks.has(sessionId);
  }

  /** Marks a session until the returned object is disposed; a session can have several marks. */
  mark(sessionId: string): Disposable {
    this.#marks.set(sessionId, (this.#marks.get(sessionId) ?? 0) + 1);
    return { [Symbol.dispose]: () => this.#unmark(sessionId) };
  }

  /** Marks unrecorded work until the returned object is disposed. */
  markUnrecordedWork(): Disposable {
    this.#unrecorded += 1;
    return { [Symbol.dispose]: () => this.#unrecorded -= 1 };
  }

  /** Calls the listener when a session loses its last mark; returns a function that removes the listener. */
  onIdle(listener: (sessionId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #unmark(sessionId: string): void {
    const left = (this.#marks.get(sessionId) ?? 1) - 1;
    if (left > 0) {
      this.#marks.set(sessionId, left);
      return;
    }
    this.#marks.delete(sessionId);
    for (const listener of this.#listeners) listener(sessionId);
  }
}
