/**
 * Waiting for what the cluster makes of a session: always in the shared cache, always with a deadline, always open to cancellation.
 * @module
 */
import type { V1Pod } from "@kubernetes/client-node";
import { CommandError } from "../common/errors.ts";
import type { SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import { formatDuration } from "../common/quantities.ts";
import { DEFAULT_TIMINGS, type Timings } from "../model/timings.ts";
import { judge, type Verdict } from "../status/readiness.ts";
import type { Note } from "../status/status.ts";

/** The times that operations need. */
export type OperationTimings = Pick<
  Timings,
  | "terminationTimeoutMs"
  | "rollBackTimeoutMs"
  | "pollIntervalMs"
  | "progressIntervalMs"
  | "minRemainingMs"
  | "graceFactor"
>;

/** The time that a wait has. */
export interface WaitTime {
  /** Milliseconds. */
  readonly timeoutMs: number;
  /** When the time began, as `performance.now()` gives it; absent: with the wait. */
  readonly startedAt?: number;
}

/** A condition, how long it may take, and what to say when it does not come true. */
export interface WaitOptions extends WaitTime {
  readonly signal: AbortSignal;
  readonly isDone: (objects: SessionObjects) => boolean;
  /** What keeps the condition from being true, as the end of a sentence. */
  readonly left: (objects: SessionObjects) => string;
}

/**
 * Waits until a condition on a session's objects holds.
 *
 * @throws {CommandError} with failure `timeout`, or the signal's reason
 */
export async function waitUntil(cache: SessionCache, sessionId: string, options: WaitOptions): Promise<void> {
  const { signal, isDone, timeoutMs, startedAt = performance.now(), left } = options;
  await cache.waitFor(sessionId, {
    signal,
    look: (objects) => {
      if (isDone(objects)) return { answer: undefined };
      return { lookAgainInMs: Math.ceil(timeLeft({ timeoutMs, startedAt }, () => left(objects))) };
    },
  });
}

/**
 * What is left of a wait's time, in milliseconds.
 *
 * @param left what the wait is for, as the end of a sentence
 * @throws {CommandError} with failure `timeout` when nothing is
 */
export function timeLeft({ timeoutMs, startedAt }: Required<WaitTime>, left: () => string): number {
  const leftMs = startedAt + timeoutMs - performance.now();
  if (leftMs > 0) return leftMs;
  throw new CommandError("timeout", `after ${formatDuration(timeoutMs)}, ${left()}`);
}

/** A wait for a session to serve. */
export interface ReadyOptions {
  readonly signal: AbortSignal;
  /** Milliseconds; more where the cluster scales up for the session. */
  readonly timeoutMs: number;
  /**
   * How much of that an earlier process took, in milliseconds. It is not taken at its word: the clocks of two machines tell it, and the other
   * process may have been at something else. @default {0}
   */
  readonly spentMs?: number;
  /** @default {DEFAULT_TIMINGS} */
  readonly timings?: Pick<OperationTimings, "progressIntervalMs" | "minRemainingMs" | "graceFactor">;
  /** Told what the session waits for, once that takes longer than a second and whenever it changes, at most once a second. */
  readonly onProgress?: (note: Note) => void;
}

/**
 * Waits for a session's pod to serve; a trouble is final once it has lasted for its grace.
 *
 * @throws {CommandError} with failure `start_failed` or `timeout` and the reason in words, or the signal's reason
 */
export async function waitUntilReady(
  cache: SessionCache,
  sessionId: string,
  options: ReadyOptions,
): Promise<V1Pod> {
  const { signal, onProgress = () => {}, timings = DEFAULT_TIMINGS } = options;
  const patience = new Patience({ ...options, timings });
  const progress = new Progress(onProgress, timings.progressIntervalMs);
  return await cache.waitFor<V1Pod>(sessionId, {
    signal,
    look: (objects) => {
      const verdict = judge(objects);
      if (verdict.state === "ready") return { answer: verdict.pod };
      const lookAgainInMs = Math.min(patience.left(verdict), progress.note(verdict));
      return { lookAgainInMs: Math.ceil(lookAgainInMs) };
    },
  });
}

type Unready = Exclude<Verdict, { state: "ready" }>;

/** How long a session may still take; times are milliseconds since the wait began. */
class Patience {
  readonly #startedAt = performance.now();
  /** As the setting has it. */
  readonly #timeoutMs: number;
  readonly #graceFactor: number;
  #limitMs: number;
  #isExtended = false;
  #trouble: { readonly reason: string; readonly sinceMs: number } | undefined;

  constructor(
    { timeoutMs, spentMs = 0, timings }: Pick<ReadyOptions, "timeoutMs" | "spentMs"> & {
      readonly timings: Pick<OperationTimings, "minRemainingMs" | "graceFactor">;
    },
  ) {
    this.#timeoutMs = timeoutMs;
    this.#graceFactor = timings.graceFactor;
    this.#limitMs = Math.min(timeoutMs, Math.max(timings.minRemainingMs, timeoutMs - spentMs));
  }

  /**
   * The time until this verdict ends the wait.
   *
   * @throws {CommandError} when it does
   */
  left(verdict: Unready): number {
    const nowMs = performance.now() - this.#startedAt;
    if (verdict.state === "waiting" && verdict.extensionMs !== undefined && !this.#isExtended) {
      this.#isExtended = true;
      this.#limitMs = Math.max(this.#limitMs, nowMs + verdict.extensionMs);
    }
    const leftMs = this.#limitMs - nowMs;
    if (verdict.state === "waiting") {
      this.#trouble = undefined;
      if (leftMs <= 0) throw this.#timeout(`still ${verdict.progress}`, "Timeout");
      return leftMs;
    }
    const { reason, words, graceMs } = verdict;
    if (this.#trouble?.reason !== reason) this.#trouble = { reason, sinceMs: nowMs };
    const graceLeftMs = this.#trouble.sinceMs + graceMs * this.#graceFactor - nowMs;
    if (graceLeftMs <= 0) throw new CommandError("start_failed", words, { reason });
    if (leftMs <= 0) throw this.#timeout(words, reason);
    return Math.min(leftMs, graceLeftMs);
  }

  #timeout(words: string, reason: string): CommandError {
    const separator = reason === "Timeout" ? ", " : ": ";
    // An earlier process took the rest of it.
    const limit = formatDuration(Math.max(this.#limitMs, this.#timeoutMs));
    const sentence = `it was not ready within ${limit}${separator}${words}`;
    return new CommandError("timeout", sentence, { reason });
  }
}

/** Tells what a session waits for, and neither what is over in a moment nor all that changes within one, nor one cause in new words. */
class Progress {
  readonly #tell: (note: Note) => void;
  readonly #intervalMs: number;
  #notBefore: number;
  #told = "";

  constructor(tell: (note: Note) => void, intervalMs: number) {
    this.#tell = tell;
    this.#intervalMs = intervalMs;
    this.#notBefore = performance.now() + intervalMs;
  }

  /** Tells it, or gives the time until it may be told. */
  note(verdict: Unready): number {
    const isOfCause = verdict.state === "trouble" && verdict.progress === verdict.words;
    // Words that hold an address or an id are new at each attempt.
    const news = isOfCause ? verdict.reason : verdict.progress;
    if (news === this.#told) return Infinity;
    const now = performance.now();
    if (now < this.#notBefore) return this.#notBefore - now;
    this.#told = news;
    this.#notBefore = now + this.#intervalMs;
    this.#tell({ reason: verdict.state === "trouble" ? verdict.reason : "", message: verdict.progress });
    return Infinity;
  }
}
