/**
 * Waits for conditions on a session's objects in the shared cache. Every wait has a timeout and can be cancelled.
 * @module
 */
import type { KubernetesObject, V1Pod } from "@kubernetes/client-node";
import { delay } from "@std/async";
import { CommandError } from "../common/errors.ts";
import { formatDuration } from "../common/quantities.ts";
import type { SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import { DEFAULT_TIMINGS, type Timings } from "../model/timings.ts";
import { problem } from "../status/causes.ts";
import { checkReadiness, type Unready } from "../status/readiness.ts";
import type { StatusDetail } from "../status/status.ts";

/** The timings that operations need. */
export type OperationTimings = Pick<
  Timings,
  | "terminationTimeoutMs"
  | "rollBackTimeoutMs"
  | "pollIntervalMs"
  | "progressIntervalMs"
  | "minRemainingMs"
  | "graceFactor"
>;

/** The time limit of a wait. */
export interface TimeLimit {
  /** Milliseconds. */
  readonly timeoutMs: number;
  /** Start of the time limit by `performance.now()`, so that several waits can share it. @default {now} */
  readonly startedAt?: number;
}

/** Options of {@linkcode waitUntil}. */
export interface WaitOptions extends TimeLimit {
  readonly signal: AbortSignal;
  readonly isDone: (objects: SessionObjects) => boolean;
  /** The end of the error message after a timeout: why the condition does not hold, such as `"s1" is still being deleted`. */
  readonly pending: (objects: SessionObjects) => string;
}

/**
 * Waits until a condition on a session's objects holds.
 *
 * @throws {CommandError} with failure `timeout`, or the signal's reason
 */
export async function waitUntil(cache: SessionCache, sessionId: string, options: WaitOptions): Promise<void> {
  const { signal, isDone, timeoutMs, startedAt = performance.now(), pending } = options;
  await cache.waitFor(sessionId, {
    signal,
    check: (objects) => {
      if (isDone(objects)) return { value: undefined };
      const recheckInMs = remainingMs({ timeoutMs, startedAt }, () => pending(objects));
      return { recheckInMs: Math.ceil(recheckInMs) };
    },
  });
}

/** Options of {@linkcode waitUntilDeleted}. */
export interface DeletionWaitOptions extends TimeLimit {
  readonly signal: AbortSignal;
  readonly object: KubernetesObject;
  readonly read: () => Promise<KubernetesObject | undefined>;
  /** As for {@linkcode waitUntil}. */
  readonly pending: () => string;
  readonly pollIntervalMs: number;
}

/**
 * Waits until an object of a session, cached or not, is deleted.
 *
 * @throws {CommandError} with failure `timeout`, or the signal's reason
 */
export async function waitUntilDeleted(
  cache: SessionCache,
  sessionId: string,
  { object, read, pollIntervalMs, ...options }: DeletionWaitOptions,
): Promise<void> {
  const { signal, pending, timeoutMs, startedAt = performance.now() } = options;
  const isGone = () => cache.isGone(object, sessionId);
  if (!isGone()) return await waitUntil(cache, sessionId, { ...options, startedAt, isDone: isGone });
  // The watch does not cover every object, such as a home volume that another agent created.
  while ((await read())?.metadata?.uid === object.metadata?.uid) {
    await delay(Math.min(pollIntervalMs, remainingMs({ timeoutMs, startedAt }, pending)), { signal });
  }
}

/**
 * The remaining time of a wait, in milliseconds.
 *
 * @param pending what is still missing, as the end of an error message
 * @throws {CommandError} with failure `timeout` if no time is left
 */
function remainingMs({ timeoutMs, startedAt }: Required<TimeLimit>, pending: () => string): number {
  const remaining = startedAt + timeoutMs - performance.now();
  if (remaining > 0) return remaining;
  throw new CommandError("timeout", `after ${formatDuration(timeoutMs)}, ${pending()}`);
}

/** Options of {@linkcode waitUntilReady}. */
export interface ReadyOptions {
  readonly signal: AbortSignal;
  /** Milliseconds; extended when the cluster scales up for the session. */
  readonly timeoutMs: number;
  /**
   * How much of the timeout an earlier process used, in milliseconds. At least `minRemainingMs` is left, as the clocks of two machines differ and
   * the earlier process may have done something else in that time. @default {0}
   */
  readonly spentMs?: number;
  /** @default {DEFAULT_TIMINGS} */
  readonly timings?: Pick<OperationTimings, "progressIntervalMs" | "minRemainingMs" | "graceFactor">;
  /** Called with the current step or problem, first after `progressIntervalMs` and then for each change, but not more often. */
  readonly onProgress?: (detail: StatusDetail) => void;
}

/**
 * Waits until a session's pod is ready. Fails early if a problem lasts longer than its grace period.
 *
 * @throws {CommandError} with failure `start_failed` or `timeout` and the cause, or the signal's reason
 */
export async function waitUntilReady(
  cache: SessionCache,
  sessionId: string,
  options: ReadyOptions,
): Promise<V1Pod> {
  const { signal, onProgress = () => {}, timings = DEFAULT_TIMINGS } = options;
  const deadline = new ReadyDeadline({ ...options, timings });
  const progress = new ProgressReports(onProgress, timings.progressIntervalMs);
  return await cache.waitFor<V1Pod>(sessionId, {
    signal,
    check: (objects) => {
      const readiness = checkReadiness(objects);
      if (readiness.state === "ready") return { value: readiness.pod };
      const recheckInMs = Math.min(deadline.remainingMs(readiness), progress.update(readiness));
      return { recheckInMs: Math.ceil(recheckInMs) };
    },
  });
}

/** The deadline of a start, and the grace period of its current problem. Times are milliseconds since the wait began. */
class ReadyDeadline {
  readonly #startedAt = performance.now();
  /** As configured. */
  readonly #timeoutMs: number;
  readonly #graceFactor: number;
  #deadlineMs: number;
  #isExtended = false;
  #problem: { readonly reason: string; readonly sinceMs: number } | undefined;

  constructor(
    { timeoutMs, spentMs = 0, timings }: Pick<ReadyOptions, "timeoutMs" | "spentMs"> & {
      readonly timings: Pick<OperationTimings, "minRemainingMs" | "graceFactor">;
    },
  ) {
    this.#timeoutMs = timeoutMs;
    this.#graceFactor = timings.graceFactor;
    this.#deadlineMs = Math.min(timeoutMs, Math.max(timings.minRemainingMs, timeoutMs - spentMs));
  }

  /**
   * The time until the session fails if nothing changes.
   *
   * @throws {CommandError} if no time is left
   */
  remainingMs(readiness: Unready): number {
    const nowMs = performance.now() - this.#startedAt;
    return readiness.state === "starting"
      ? this.#remainingWithoutProblem(readiness, nowMs)
      : this.#remainingWithProblem(readiness, nowMs);
  }

  #remainingWithoutProblem(
    { progress, extensionMs }: Extract<Unready, { state: "starting" }>,
    nowMs: number,
  ): number {
    this.#problem = undefined;
    if (extensionMs !== undefined && !this.#isExtended) {
      this.#isExtended = true;
      this.#deadlineMs = Math.max(this.#deadlineMs, nowMs + extensionMs);
    }
    if (nowMs < this.#deadlineMs) return this.#deadlineMs - nowMs;
    const { reason, message } = problem("Timeout", { timeout: this.#timeout(), progress });
    throw new CommandError("timeout", message, { reason });
  }

  #remainingWithProblem(
    { problem: { reason, message }, graceMs }: Extract<Unready, { state: "failing" }>,
    nowMs: number,
  ): number {
    if (this.#problem?.reason !== reason) this.#problem = { reason, sinceMs: nowMs };
    const graceLeftMs = this.#problem.sinceMs + graceMs * this.#graceFactor - nowMs;
    if (graceLeftMs <= 0) throw new CommandError("start_failed", message, { reason });
    const leftMs = this.#deadlineMs - nowMs;
    if (leftMs > 0) return Math.min(leftMs, graceLeftMs);
    throw new CommandError("timeout", `it was not ready within ${this.#timeout()}: ${message}`, { reason });
  }

  /** The full timeout, even if an earlier process used a part of it. */
  #timeout(): string {
    return formatDuration(Math.max(this.#deadlineMs, this.#timeoutMs));
  }
}

/** Reports the progress of a start, but not short steps, and not the same cause again with another message. */
class ProgressReports {
  readonly #report: (detail: StatusDetail) => void;
  readonly #intervalMs: number;
  #nextAt: number;
  #lastReported = "";

  constructor(report: (detail: StatusDetail) => void, intervalMs: number) {
    this.#report = report;
    this.#intervalMs = intervalMs;
    this.#nextAt = performance.now() + intervalMs;
  }

  /** Reports a change, or returns the time until it may be reported, in milliseconds. */
  update(readiness: Unready): number {
    const { progress } = readiness;
    const problem = readiness.state === "failing" ? readiness.problem : undefined;
    // A problem's message may contain an address or id that differs in each attempt, so the reason is compared.
    const key = problem && problem.message === progress ? problem.reason : progress;
    if (key === this.#lastReported) return Infinity;
    const now = performance.now();
    if (now < this.#nextAt) return this.#nextAt - now;
    this.#lastReported = key;
    this.#nextAt = now + this.#intervalMs;
    this.#report({ reason: problem?.reason ?? "", message: progress });
    return Infinity;
  }
}
