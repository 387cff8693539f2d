/**
 * The last status of each session that the Control Plane received, or is assumed to know. The reporter writes it; the journal, the monitor, the
 * Session objects and the metrics read it. It is lost with the process: the next one restores it from the journal and the cluster.
 * @module
 */
import type { ObservedVersions } from "../kubernetes/session_cache.ts";
import type { SessionStatus } from "./protocol.ts";

/** Last reported statuses of the sessions that have not ended. */
export class ReportedStatuses {
  readonly #statuses = new Map<string, SessionStatus>();
  readonly #listeners = new Set<(sessionId: string) => void>();
  #sessionIds: readonly string[] | undefined;

  /** Resource versions up to which all changes of sessions were reported; `undefined` until that is known. */
  upTo: ObservedVersions | undefined;

  /** Sorted ids of all sessions that have not ended; the same array until a session is added or removed. */
  sessionIds(): readonly string[] {
    return this.#sessionIds ??= [...this.#statuses.keys()].toSorted();
  }

  /** The last status of a session; `undefined` once the session has ended. */
  get(sessionId: string): SessionStatus | undefined {
    return this.#statuses.get(sessionId);
  }

  /** Records a status as reported. A terminated or failed session is removed. */
  set(status: SessionStatus): void {
    const { sessionId, state } = status;
    const hasEnded = state === "terminated" || state === "failed";
    if (hasEnded === this.#statuses.has(sessionId)) this.#sessionIds = undefined;
    if (hasEnded) this.#statuses.delete(sessionId);
    else this.#statuses.set(sessionId, status);
    for (const listener of this.#listeners) listener(sessionId);
  }

  /** Calls the listener after each change of a session's status; returns a function that removes the listener. */
  listen(listener: (sessionId: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
