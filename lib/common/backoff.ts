/**
 * Exponential back-off: how long to wait before the next attempt. It only computes; the caller waits.
 * @module
 */

/** Options of a {@linkcode Backoff}; the defaults suit requests to the Kubernetes API. */
export interface BackoffOptions {
  /** Pause before the second attempt, in milliseconds; each further one is twice as long. @default {500} */
  readonly firstMs?: number;
  /** Longest pause, in milliseconds. @default {10_000} */
  readonly longestMs?: number;
  /** Maximum number of pauses. @default {Infinity} */
  readonly attempts?: number;
  /**
   * Bounds of the random factor that each pause is multiplied by, so that clients that failed together do not retry together. The default is
   * "full jitter": https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/. @default {[0, 1]}
   */
  readonly jitter?: readonly [from: number, to: number];
}

/** Counts failures in a row and computes the pause after each. */
export class Backoff {
  readonly #options: Required<BackoffOptions>;
  #failures = 0;

  constructor(options: BackoffOptions = {}) {
    this.#options = { firstMs: 500, longestMs: 10_000, attempts: Infinity, jitter: [0, 1], ...options };
  }

  /** Failures since the last reset. */
  get failures(): number {
    return this.#failures;
  }

  /** Whether all attempts are used up. */
  get isExhausted(): boolean {
    return this.#failures >= this.#options.attempts;
  }

  /**
   * Counts a failure.
   *
   * @param retryAfterMs pause that the server requested, in milliseconds; the own pause is added to it
   * @returns the pause before the next attempt, in milliseconds
   */
  next(retryAfterMs = 0): number {
    const { firstMs, longestMs, jitter: [from, to] } = this.#options;
    const pauseMs = Math.min(longestMs, firstMs * 2 ** this.#failures);
    this.#failures += 1;
    return retryAfterMs + pauseMs * (from + Math.random() * (to - from));
  }

  /** Starts over after a success. */
  reset(): void {
    this.#failures = 0;
  }
}

/** Upper limit for `Retry-After`, in milliseconds: a mistake in a header must not stop the agent for a year. */
const MAX_RETRY_AFTER_MS = 3_600_000;

/**
 * Reads the header `Retry-After`, which holds seconds or a date. Source: RFC 9110, section 10.2.3.
 *
 * @returns milliseconds from `now`, one hour at most; `undefined` if the header is missing or invalid
 */
export function parseRetryAfter(headers: Headers, now = Date.now()): number | undefined {
  const value = headers.get("Retry-After");
  if (!value) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isFinite(ms) ? Math.min(Math.max(0, ms), MAX_RETRY_AFTER_MS) : undefined;
}
