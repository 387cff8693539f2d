/**
 * Reads a value from files that are rotated: while they are missing, half-written or do not belong together, the last valid value stays in use.
 * @module
 */
import { messageOf } from "./errors.ts";
import { log, RepeatFilter } from "./log.ts";

/** The last valid value of something that is read again and again. */
export class LastValid<T> {
  readonly #read: () => T;
  readonly #warnings = new RepeatFilter();
  #value: T;

  /**
   * Reads the first value.
   *
   * @param read returns the current value, or throws an error that names the file
   * @param initial the value until `read` returns one; without it, the first error of `read` is thrown
   */
  constructor(read: () => T, initial?: T) {
    this.#read = read;
    this.#value = initial ?? read();
  }

  /** Reads the current value. If that fails, logs a warning once and returns the last valid one. */
  current(): T {
    try {
      this.#value = this.#read();
      this.#warnings.reset();
    } catch (error) {
      const reason = messageOf(error);
      if (this.#warnings.isNew(reason)) log.warn("Using the previous credentials: {reason}", { reason });
    }
    return this.#value;
  }
}
