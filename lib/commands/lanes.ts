/**
 * The order of what is done to sessions: to one session one thing after the other, to several side by side.
 * @module
 */

/** The tasks of one session, in order. */
interface Lane<T> {
  readonly tasks: Set<T>;
  end: Promise<void>;
}

/** Lanes of tasks, one for each session that has any. */
export class Lanes<T> {
  readonly #onIdle: (sessionId: string) => void;
  readonly #lanes = new Map<string, Lane<T>>();

  /** @param onIdle told when no task of a session is left */
  constructor(onIdle: (sessionId: string) => void) {
    this.#onIdle = onIdle;
  }

  /** Whether no session has a task. */
  get isEmpty(): boolean {
    return this.#lanes.size === 0;
  }

  /** All tasks that wait for their turn or are being done. */
  all(): T[] {
    return [...this.#lanes.values()].flatMap((lane) => [...lane.tasks]);
  }

  /** Those of one session. */
  of(sessionId: string): T[] {
    return [...this.#lanes.get(sessionId)?.tasks ?? []];
  }

  /** Does a task once all that came before in its session's lane is done; rejects as `work` does, which does not hold up the next. */
  take(sessionId: string, task: T, work: () => Promise<void>): Promise<void> {
    const lane = this.#lanes.get(sessionId) ?? { tasks: new Set(), end: Promise.resolve() };
    lane.tasks.add(task);
    const done = lane.end.then(work);
    lane.end = done.catch(() => {}).finally(() => {
      lane.tasks.delete(task);
      if (lane.tasks.size > 0) return;
      this.#lanes.delete(sessionId);
      this.#onIdle(sessionId);
    });
    this.#lanes.set(sessionId, lane);
    return done;
  }

  /** Resolves when all that is there now is done. */
  async done(): Promise<void> {
    await Promise.all([...this.#lanes.values()].map((lane) => lane.end));
  }
}
