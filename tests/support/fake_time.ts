/**
 * Time that stands still until a test moves it.
 * @module
 */
import { type Clock, install } from "@sinonjs/fake-timers";

/** Replaces the clock and all timers, those of `AbortSignal.timeout` too, until it is disposed. */
export class FakeTime implements Disposable {
  readonly #clock: Clock;
  readonly #abortAfter = AbortSignal.timeout;
  /** Delays of the timers that are set, by their id. */
  readonly #delays = new Map<number, number>();
  /** Timers of `AbortSignal.timeout`, which nobody can clear; real ones keep no process alive. */
  readonly #timeouts = new Set<number>();
  readonly #watchers = new Set<() => void>();

  constructor(now = 0) {
    this.#clock = install({
      now,
      toFake: ["Date", "performance", "setTimeout", "clearTimeout"],
      // The runtime itself clears real timers by the global function.
      shouldClearNativeTimers: true,
    });
    this.#recordTimers();
    AbortSignal.timeout = (ms) => {
      const controller = new AbortController();
      const abort = () => controller.abort(new DOMException("Signal timed out.", "TimeoutError"));
      this.#timeouts.add(Number(setTimeout(abort, ms)));
      return controller.signal;
    };
  }

  /** Delays of the timers that are set now, in milliseconds, without those of `AbortSignal.timeout`. */
  get pending(): number[] {
    return [...this.#delays].filter(([id]) => !this.#timeouts.has(id)).map(([, delayMs]) => delayMs);
  }

  /** Moves the time and runs what is due. */
  tick(ms: number): void {
    this.#clock.tick(ms);
  }

  /** Lets time pass in which nothing could run, as for a process that was frozen: what was due then is late. */
  jump(ms: number): void {
    this.#clock.jump(ms);
  }

  /** Sets the clock, as an administrator would: timers take no notice. */
  setClock(now: number): void {
    this.#clock.setSystemTime(now);
  }

  /** Moves the time, runs what is due and lets promises settle in between. */
  async tickAsync(ms: number): Promise<void> {
    await this.#clock.tickAsync(ms);
  }

  /** Waits until a timer with this delay is set, and gives the delay. */
  async timer(delayMs: number): Promise<number> {
    while (true) {
      if ([...this.#delays.values()].includes(delayMs)) return delayMs;
      await new Promise<void>((resolve) => this.#watchers.add(resolve));
    }
  }

  [Symbol.dispose](): void {
    AbortSignal.timeout = this.#abortAfter;
    this.#clock.uninstall();
  }

  #recordTimers(): void {
    const { setTimeout: set, clearTimeout: clear } = globalThis;
    const recordingSet = (callback: (...args: unknown[]) => void, ms = 0, ...args: unknown[]) => {
      const id: ReturnType<typeof setTimeout> = set(() => {
        this.#delays.delete(Number(id));
        callback(...args);
      }, ms);
      this.#delays.set(Number(id), ms);
      for (const wake of this.#watchers) wake();
      this.#watchers.clear();
      return id;
    };
    globalThis.setTimeout = recordingSet as unknown as typeof setTimeout;
    globalThis.clearTimeout = (id) => {
      this.#delays.delete(Number(id));
      clear(id);
    };
  }
}
