/**
 * The parts of `@std/async` that this project uses, typed, from the copy of the standard library on npm.
 * @module
 */
import { abortable as abortableImplementation } from "deno-std/async/abortable.js";
import { delay as delayImplementation } from "deno-std/async/delay.js";
import { deadline as deadlineImplementation } from "deno-std/async/deadline.js";
import { retry as retryImplementation } from "deno-std/async/retry.js";

/** Options of {@linkcode delay}. */
export interface DelayOptions {
  /** Ends the wait early by rejecting with the signal's reason. */
  signal?: AbortSignal;
  /** Whether the timer keeps the process alive. @default {true} */
  persistent?: boolean;
}

/** Options of {@linkcode retry}. */
export interface RetryOptions {
  /** @default {2} */
  multiplier?: number;
  /** Longest wait between two attempts, in milliseconds. @default {60000} */
  maxTimeout?: number;
  /** @default {5} */
  maxAttempts?: number;
  /** First wait, in milliseconds. @default {1000} */
  minTimeout?: number;
  /** 0 waits in full, 1 a random part of it. @default {1} */
  jitter?: number;
  /** Says which errors are worth another attempt. */
  isRetriable?: (error: unknown) => boolean;
  /** Ends the retries by rejecting with the signal's reason. */
  signal?: AbortSignal;
}

/** Resolves after `ms` milliseconds. */
export const delay = delayImplementation as (ms: number, options?: DelayOptions) => Promise<void>;

/** Calls `fn` until it succeeds or its attempts are used up. */
export const retry = retryImplementation as <T>(
  fn: () => T | Promise<T>,
  options?: RetryOptions,
) => Promise<T>;

/** Waits for a promise until the signal is aborted; rejects with its reason then. */
export const abortable = abortableImplementation as <T>(
  promise: Promise<T>,
  signal: AbortSignal,
) => Promise<T>;

/** Waits for a promise for at most `ms` milliseconds, then rejects with a `TimeoutError`; or until the signal is aborted. */
export const deadline = deadlineImplementation as <T>(
  promise: Promise<T>,
  ms: number,
  options?: { signal?: AbortSignal | undefined },
) => Promise<T>;
