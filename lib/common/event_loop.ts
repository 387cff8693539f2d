/**
 * Shares the event loop: with thousands of sessions, a loop over all of them would delay heartbeats and renewals of the lease.
 * @module
 */
import { setTimeout } from "node:timers/promises";

/** How long a loop runs before other tasks get their turn, in milliseconds. */
const TURN_MS = 10;

/** The turns of the event loop that a long loop takes. */
export class Turns {
  #startedAt = performance.now();

  /** Waits for the next turn of the event loop if the loop has run for 10 ms; call it in each round of the loop. */
  async next(): Promise<void> {
    if (performance.now() - this.#startedAt < TURN_MS) return;
    // Not `setImmediate()`: Deno reads from no socket while immediates are pending.
    await setTimeout();
    this.#startedAt = performance.now();
  }

  /** Waits for a promise, during which the loop does not run. */
  async wait<T>(promise: Promise<T>): Promise<T> {
    const startedAt = performance.now();
    const value = await promise;
    this.#startedAt += performance.now() - startedAt;
    return value;
  }
}
