/**
 * Hibernates or stops sessions that reached their maximum duration, or that nobody used for their idle timeout. The Deployments have the times, so that every process knows them; one timer
 * waits for the earliest.
 * @module
 */
import { Backoff, type BackoffOptions } from "../common/backoff.ts";
import { CommandError, type CommandFailure, messageOf } from "../common/errors.ts";
import { log } from "../common/log.ts";
import type { SessionStatus } from "../control_plane/protocol.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import type { ScaleRequest, StopRequest } from "../model/requests.ts";
import { type EndCause, type EndOfRun, endOfRun } from "../status/end_of_run.ts";
import type { SessionActivity } from "../status/session_activity.ts";

type Action = "hibernate" | "stop";

/** The request that ends a run, like the command with the same action. */
type EndRequest = ScaleRequest | StopRequest;

/** What an expiry needs. */
export interface ExpiryOptions {
  readonly cache: SessionCache;
  /** Which sessions are in use. */
  readonly activity: Pick<SessionActivity, "idleSince" | "listen">;
  /** What happens to a session at the end of its run; with `none`, the idle timeout does not end it. */
  readonly actions: { readonly "max-duration": Action; readonly "idle-timeout": Action | "none" };
  /** Queues the request behind the session's commands. */
  readonly dispatcher: {
    insert(request: EndRequest, work: (signal: AbortSignal) => Promise<void>): Promise<void>;
  };
  readonly operations: {
    expire(
      request: EndRequest,
      end: { readonly cause: EndCause; readonly signal: AbortSignal },
    ): Promise<SessionStatus | undefined>;
  };
  /** Reports the status of the session afterwards. */
  readonly monitor: { report(status: SessionStatus): void };
  /** Pauses between attempts to end a run. @default {{ firstMs: 5000, longestMs: 300_000, jitter: [0.5, 1] }} */
  readonly retry?: BackoffOptions;
}

/** The current run of a session that ends by itself. Times are milliseconds since 1970. */
interface Run {
  readonly end: EndOfRun;
  /** Time of the next attempt to end it: that of `end`, or later after a failure. */
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
  /** When the timer ends, by `performance.now()`. */
  #timerEndsAt = Infinity;
  #stopListening: () => void = () => {};

  constructor(options: ExpiryOptions) {
    this.#options = options;
  }

  /** Watches all sessions from now on. Call it when the cache is synced. */
  start(): void {
    const { cache, activity } = this.#options;
    for (const sessionId of cache.sessionIds()) this.#update(sessionId);
    const update = (sessionId: string) => this.#update(sessionId);
    const stops = [cache.listen(update), activity.listen(update)];
    this.#stopListening = () => stops.forEach((stop) => stop());
  }

  /** Stops watching. */
  [Symbol.dispose](): void {
    this.#stopListening();
    clearTimeout(this.#timer);
    this.#runs.clear();
  }

  #update(sessionId: string): void {
    const end = this.#endOf(sessionId);
    const known = this.#runs.get(sessionId)?.end;
    if (end?.at === known?.at && end?.cause === known?.cause) return;
    if (end === undefined) this.#runs.delete(sessionId);
    else {
      const backoff = new Backoff(this.#options.retry ?? RETRY);
      this.#runs.set(sessionId, { end, dueAt: end.at, backoff, isEnding: false });
    }
    this.#setTimer(end?.at);
  }

  #endOf(sessionId: string): EndOfRun | undefined {
    const { cache, activity, actions } = this.#options;
    const isIdleEnforced = actions["idle-timeout"] !== "none";
    return endOfRun(
      cache.runningDeployment(sessionId),
      isIdleEnforced ? activity.idleSince(sessionId) : undefined,
    );
  }

  /** Makes the timer end no later than at the given time. A run that was removed leaves it as it is, unless it was the last one. */
  #setTimer(dueAt = Infinity): void {
    const waitMs = Math.min(Math.max(0, dueAt - Date.now()), MAX_TIMER_MS);
    const endsAt = performance.now() + waitMs;
    if (this.#runs.size > 0 && (dueAt === Infinity || endsAt >= this.#timerEndsAt)) return;
    clearTimeout(this.#timer);
    this.#timerEndsAt = Infinity;
    if (this.#runs.size === 0) return;
    this.#timerEndsAt = endsAt;
    this.#timer = setTimeout(() => this.#endDueRuns(), waitMs);
  }

  #endDueRuns(): void {
    this.#timerEndsAt = Infinity;
    const now = Date.now();
    let earliest = Infinity;
    for (const [sessionId, run] of this.#runs) {
      if (run.isEnding) continue;
      if (run.dueAt <= now) void this.#end(sessionId, run);
      else earliest = Math.min(earliest, run.dueAt);
    }
    this.#setTimer(earliest);
  }

  /** Never rejects. */
  async #end(sessionId: string, run: Run): Promise<void> {
    run.isEnding = true;
    try {
      await this.#insert(sessionId, run.end);
    } catch (error) {
      if (!(error instanceof CommandError && EXPECTED_FAILURES.includes(error.failure))) {
        const reason = messageOf(error);
        log.warn("Cannot end the run of session {sessionId}: {reason}", { sessionId, reason });
      }
    }
    // A run that ended is removed when the cache shows it; otherwise the next attempt follows after a pause.
    run.isEnding = false;
    run.dueAt = Date.now() + run.backoff.next();
    if (this.#runs.get(sessionId) === run) this.#setTimer(run.dueAt);
  }

  /** Waits for the session's commands, and ends the run if it is still due then. */
  async #insert(sessionId: string, { cause }: EndOfRun): Promise<void> {
    const { actions, dispatcher, operations, monitor } = this.#options;
    const request: EndRequest = actions[cause] === "stop"
      ? { action: "stop_session", sessionId, deletePVC: false }
      : { action: "hibernate_session", sessionId };
    await dispatcher.insert(request, async (signal) => {
      // A wake or a viewer may have come first.
      const end = this.#endOf(sessionId);
      if (end?.cause !== cause || end.at > Date.now()) return;
      const status = await operations.expire(request, { cause, signal });
      if (status && !signal.aborted) monitor.report(status);
    });
  }
}
