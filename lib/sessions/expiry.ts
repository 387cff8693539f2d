/**
 * Ends the runs of sessions that are past their maximal duration. When that is, the sessions' Deployments say, so that each process knows it;
 * one timer waits for the earliest of them.
 * @module
 */
import { Backoff, type BackoffOptions } from "../common/backoff.ts";
import { CommandError, messageOf } from "../common/errors.ts";
import type { SessionStatus } from "../control_plane/protocol.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { log } from "../common/log.ts";
import type { ScaleRequest, StopRequest } from "../model/requests.ts";
import { endOfRun } from "../status/max_duration.ts";

/** What ends a run: hibernating or stopping the session, as the command of the same name would. */
type EndRequest = ScaleRequest | StopRequest;

/** What an expiry needs. */
export interface ExpiryOptions {
  readonly cache: SessionCache;
  /** Whether a session is hibernated or stopped at the end of its run. */
  readonly action: "hibernate" | "stop";
  /** Queues the request behind the session's commands. */
  readonly dispatcher: {
    insert(request: EndRequest, work: (signal: AbortSignal) => Promise<void>): Promise<void>;
  };
  readonly operations: {
    expire(request: EndRequest, signal: AbortSignal): Promise<SessionStatus | undefined>;
  };
  /** Reports the status of the session afterwards. */
  readonly monitor: { tell(status: SessionStatus): void };
  /** Delays between failed attempts to end a run, in milliseconds. @default {{ firstMs: 5000, longestMs: 300_000 }} */
  readonly retry?: BackoffOptions;
}

/** One stretch of a session's life that has an end. */
interface Run {
  /** Milliseconds since 1970. */
  readonly endsAt: number;
  /** When to end it next: later than it ends where that has failed. */
  dueAt: number;
  readonly backoff: Backoff;
  isEnding: boolean;
}

/** Longest time without a look at the clock, in milliseconds: it can be set, and a machine can sleep. */
const LONGEST_WAIT_MS = 60_000;
const RETRY = { firstMs: 5000, longestMs: 5 * 60_000 };

/** Watches the time of all sessions. */
export class Expiry implements Disposable {
  readonly #options: ExpiryOptions;
  readonly #runs = new Map<string, Run>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopListening: () => void = () => {};

  constructor(options: ExpiryOptions) {
    this.#options = options;
  }

  /** Sees to all sessions from now on. To be called once the cluster is known. */
  start(): void {
    const { cache } = this.#options;
    for (const sessionId of cache.sessionIds()) this.#look(sessionId);
    this.#stopListening = cache.listen((sessionId) => this.#look(sessionId));
  }

  /** Ends no more runs. */
  [Symbol.dispose](): void {
    this.#stopListening();
    clearTimeout(this.#timer);
    this.#runs.clear();
  }

  #look(sessionId: string): void {
    const endsAt = endOfRun(this.#options.cache.session(sessionId).deployment);
    if (endsAt === this.#runs.get(sessionId)?.endsAt) return;
    if (endsAt === undefined) this.#runs.delete(sessionId);
    else {
      const backoff = new Backoff(this.#options.retry ?? RETRY);
      this.#runs.set(sessionId, { endsAt, dueAt: endsAt, backoff, isEnding: false });
    }
    this.#setTimer();
  }

  #setTimer(): void {
    clearTimeout(this.#timer);
    let earliest = Infinity;
    for (const { dueAt, isEnding } of this.#runs.values()) {
      if (!isEnding) earliest = Math.min(earliest, dueAt);
    }
    if (earliest === Infinity) return;
    const waitMs = Math.min(Math.max(0, earliest - Date.now()), LONGEST_WAIT_MS);
    this.#timer = setTimeout(() => this.#endWhatIsDue(), waitMs);
  }

  #endWhatIsDue(): void {
    const now = Date.now();
    for (const [sessionId, run] of this.#runs) {
      if (!run.isEnding && run.dueAt <= now) void this.#end(sessionId, run);
    }
    this.#setTimer();
  }

  /** Never rejects. */
  async #end(sessionId: string, run: Run): Promise<void> {
    run.isEnding = true;
    try {
      await this.#endInTurn(sessionId);
    } catch (error) {
      if (isTrouble(error)) {
        log.warn("Session {sessionId} is past its maximal duration and could not be ended: {reason}", {
          sessionId,
          reason: messageOf(error),
        });
      }
    }
    // The run is known no more if it was ended; if not, it is tried again, but never at once.
    run.isEnding = false;
    run.dueAt = Date.now() + run.backoff.next();
    if (this.#runs.get(sessionId) === run) this.#setTimer();
  }

  /** Waits for the session's commands, and ends the run if it is still due then. */
  async #endInTurn(sessionId: string): Promise<void> {
    const { action, dispatcher, operations, monitor } = this.#options;
    const request: EndRequest = action === "stop"
      ? { action: "stop_session", sessionId, deletePVC: false }
      : { action: "hibernate_session", sessionId };
    await dispatcher.insert(request, async (signal) => {
      const status = await operations.expire(request, signal);
      if (status && !signal.aborted) monitor.tell(status);
    });
  }
}

/** A stop that came, the end of the process, or a session that somebody else ended is none. */
function isTrouble(error: unknown): boolean {
  const untroubled = ["cancelled", "draining", "handed_over", "not_found"];
  return !(error instanceof CommandError) || !untroubled.includes(error.failure);
}
