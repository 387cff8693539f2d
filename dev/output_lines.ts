/**
 * The lines that an agent has printed so far, and waits for the next ones.
 * @module
 */
import { abortable } from "@std/async";

/** Timeout of {@linkcode OutputLines.find}, in milliseconds: generous, so that no test fails because the machine is slow. */
const TIMEOUT_MS = 120_000;

/** Lines in the order in which they were printed. */
export class OutputLines {
  readonly all: string[] = [];
  #waiters: Array<() => void> = [];
  #isClosed = false;

  /** Adds a line. */
  push(line: string): void {
    this.all.push(line);
    this.#wake();
  }

  /** No more lines will be added: waits for others are rejected. */
  close(): void {
    this.#isClosed = true;
    this.#wake();
  }

  /** Waits for a line, past or future; rejects with all lines when the output is closed first, or after two minutes. */
  async find(pattern: RegExp): Promise<string> {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    while (true) {
      const found = this.all.find((line) => pattern.test(line));
      if (found !== undefined) return found;
      if (this.#isClosed) throw new Error(`The agent ended without a line like ${pattern}:\n${this}`);
      if (signal.aborted) throw new Error(`The agent logged no line like ${pattern} in time:\n${this}`);
      await this.#nextChange(signal);
    }
  }

  toString(): string {
    return this.all.join("\n");
  }

  /** Leaves no listener on the signal: a timeout with a listener keeps the event loop running. */
  async #nextChange(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiters.push(resolve);
    await abortable(promise, signal).catch(() => {});
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}
