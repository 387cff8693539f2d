/**
 * Hibernates or stops sessions that reached their maximum duration. The Deployments have the times, so that every process knows them; one timer
 * waits for the earliest.
 * @module
 */
import { Backoff, type BackoffOptions } from "../common/backoff.ts";
import { CommandError, type CommandFailure, messageOf } from "../common/errors.ts";
import { log } from "../common/log.ts";
import type { SessionStatus } from "../control_plane/protocol.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import type { ScaleRequest, StopRequest } from "../model/requests.ts";
import { endOfRun } from "../status/max_duration.ts";

/** The request that ends a run, like the command with the same action. */
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
  readonly monitor: { report(status: SessionStatus): void };
  /** Pauses between attempts to end a run. @default {{ firstMs: 5000, longestMs: 300_000, jitter: [0.5, 1] }} */
  readonly retry?: BackoffOptions;
}

/** The current run of a session with a maximum duration. Times are milliseconds since 1970. */
interface Run {
  readonly endsAt: number;
  /** Time of the next attempt to end it: `endsAt`, or later after a failure. */
  dueAt: number;
  readonly backoff: Backoff;
  isEnding: boolean;
}

/** Longest timer, in milliseconds: a machine can suspend, and its clock can be set. */
const MAX_TIMER_MS = 60_000;
const RETRY: BackoffOptions = { firstMs: 5000, longestMs: 300_000, jitter: [0.5, 1] };

/** Failures that need no warning: another command or process takes over, or the session was deleted. */
const EXPECTED_FAILURES: readonly CommandFailure[] = ["cancelled", "draining", "handed_over", "not_found"];

/** Ends the runs of all sessions in time. */
export class Expiry implements Disposable {
  readonly #options: ExpiryOptions;
  readonly #runs = new Map<string, Run>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopListening: () => void = () => {};

  constructor(options: ExpiryOptions) {
    this.#options = options;
  }

  /** Watches all sessions from now on. Call it when the cache is synced. */
  start(): void {
    const { cache } = this.#options;
    for (const sessionId of cache.sessionIds()) this.#update(sessionId);
    this.#stopListening = cache.listen((sessionId) => this.#update(sessionId));
  }

  /** Stops watching. */
  [Symbol.dispose](): void {
    this.#stopListening();
    clearTimeout(this.#timer);
    this.#runs.clear();
  }

  #update(sessionId: string): void {
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
    const waiting = [...this.#runs.values()].filter(({ isEnding }) => !isEnding);
    const earliest = waiting.reduce((earliest, { dueAt }) => Math.min(earliest, dueAt), Infinity);
    if (earliest === Infinity) return;
    const waitMs = Math.min(Math.max(0, earliest - Date.now()), MAX_TIMER_MS);
    this.#timer = setTimeout(() => this.#endDueRuns(), waitMs);
  }

  #endDueRuns(): void {
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
      await this.#insert(sessionId);
    } catch (error) {
      if (!(error instanceof CommandError && EXPECTED_FAILURES.includes(error.failure))) {
        const reason = messageOf(error);
        log.warn("Cannot end session {sessionId} after its maximum duration: {reason}", {
          sessionId,
          reason,
        });
      }
    }
    // A run that ended is removed when the cache shows it; otherwise the next attempt follows after a pause.
    run.isEnding = false;
    run.dueAt = Date.now() + run.backoff.next();
    if (this.#runs.get(sessionId) === run) this.#setTimer();
  }

  /** Waits for the session's commands, and ends the run if it is still due then. */
  async #insert(sessionId: string): Promise<void> {
    const { action, dispatcher, operations, monitor } = this.#options;
    const request: EndRequest = action === "stop"
      ? { action: "stop_session", sessionId, deletePVC: false }
      : { action: "hibernate_session", sessionId };
    await dispatcher.insert(request, async (signal) => {
      const status = await operations.expire(request, signal);
      if (status && !signal.aborted) monitor.report(status);
    });
  }
}
