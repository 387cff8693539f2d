/**
 * The sessions whose stop has arrived, but does not run yet. The Control Plane already shows them as stopping, which another status would undo.
 * @module
 */
import type { Reporter } from "../control_plane/reporter.ts";
import type { BusySessions } from "../status/busy_sessions.ts";

/** What pending stops need. */
export interface PendingStopsOptions {
  /** Where the sessions are marked, so that changes of their objects are not reported. */
  readonly busy: BusySessions;
  readonly reporter: Pick<Reporter, "discardStatus">;
}

/** Counts the pending stops of each session. */
export class PendingStops {
  readonly #options: PendingStopsOptions;
  readonly #stops = new Set<{ readonly sessionId: string }>();

  constructor(options: PendingStopsOptions) {
    this.#options = options;
  }

  /** Whether a stop of the session is pending. */
  has(sessionId: string): boolean {
    return [...this.#stops].some((stop) => stop.sessionId === sessionId);
  }

  /** Discards the unsent status of the session and suppresses further ones until the stop is disposed. */
  add(sessionId: string): Disposable {
    const stop = { sessionId };
    const mark = this.#options.busy.mark(sessionId);
    this.#stops.add(stop);
    this.#options.reporter.discardStatus(sessionId);
    return {
      [Symbol.dispose]: () => {
        this.#stops.delete(stop);
        mark[Symbol.dispose]();
      },
    };
  }
}
