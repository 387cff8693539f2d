/**
 * How long to wait before the next attempt to have a link: pure arithmetic, no clock.
 * @module
 */
import { pauseAfter } from "./retry.ts";

const WAITS = { firstMs: 2000, longestMs: 32_000 };
/** Up to this part of each wait is added, so that agents cut off together do not come back together. */
const JITTER = 0.1;
/** A link that lived this long makes the next loss a first one: shorter ones are a Control Plane's normal clean-up. */
const STABLE_MS = 30_000;

/**
 * Counts failed attempts and gives each its wait: 2, 4, 8, 16, 32 seconds, then no more (documentation, "Reconnection Issues").
 */
export class Backoff {
  readonly #attempts: number;
  #failures = 0;

  /** @param attempts waits to give before giving up; 0 never gives up */
  constructor(attempts: number) {
    this.#attempts = attempts;
  }

  /** Attempts made since the last stable link. */
  get failures(): number {
    return this.#failures;
  }

  /**
   * The wait before the next attempt, in milliseconds.
   *
   * @param atLeastMs a wait that the peer asked for
   * @returns `undefined` when the attempts are used up
   */
  next(atLeastMs = 0): number | undefined {
    if (this.#attempts > 0 && this.#failures >= this.#attempts) return undefined;
    const wait = pauseAfter(this.#failures, WAITS);
    this.#failures += 1;
    return Math.max(wait, atLeastMs) * (1 + Math.random() * JITTER);
  }

  /** Starts over if the link that just ended had been up for long enough. */
  linkEnded(uptimeMs: number): void {
    if (uptimeMs >= STABLE_MS) this.#failures = 0;
  }
}
