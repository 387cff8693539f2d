/**
 * Queues of tasks, one per session: the tasks of one session run one after the other, sessions in parallel. A session with tasks is marked busy.
 * @module
 */
import type { BusySessions } from "../status/busy_sessions.ts";

/** The tasks of one session, in order. */
interface Lane<T> {
  readonly tasks: Set<T>;
  end: Promise<void>;
}

/** One lane per session that has tasks. */
export class Lanes<T> {
  readonly #busy: BusySessions;
  readonly #lanes = new Map<string, Lane<T>>();

  /** @param busy where the sessions that have tasks are marked */
  constructor(busy: BusySessions) {
    this.#busy = busy;
  }

  /** Whether no session has a task. */
  get isEmpty(): boolean {
    return this.#lanes.size === 0;
  }

  /** All queued and running tasks. */
  all(): T[] {
    return [...this.#lanes.values()].flatMap((lane) => [...lane.tasks]);
  }

  /** The queued and running tasks of one session. */
  of(sessionId: string): T[] {
    return [...this.#lanes.get(sessionId)?.tasks ?? []];
  }

  /** Runs a task after the earlier ones of its session. Rejects as `work` does, which does not affect the next task. */
  take(sessionId: string, task: T, work: () => Promise<void>): Promise<void> {
    const lane = this.#lanes.get(sessionId) ?? { tasks: new Set(), end: Promise.resolve() };
    const mark = this.#busy.mark(sessionId);
    lane.tasks.add(task);
    const done = lane.end.then(work);
    lane.end = done.catch(() => {}).finally(() => {
      lane.tasks.delete(task);
      if (lane.tasks.size === 0) this.#lanes.delete(sessionId);
      mark[Symbol.dispose]();
    });
    this.#lanes.set(sessionId, lane);
    return done;
  }

  /** Resolves once all tasks that are queued or running now have ended. */
  async done(): Promise<void> {
    await Promise.all([...this.#lanes.values()].map((lane) => lane.end));
  }
}
