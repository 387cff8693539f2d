/**
 * The process of an API server on this machine.
 * @module
 */

/** Freezes and resumes the process. */
export class ApiServerProcess implements Disposable {
  readonly #pid: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(pid: number) {
    this.#pid = pid;
  }

  /** Freezes the process for a time. */
  freeze(ms: number, onResume: () => void): void {
    this.heal();
    Deno.kill(this.#pid, "SIGSTOP");
    this.#timer = setTimeout(() => {
      this.heal();
      onResume();
    }, ms);
  }

  [Symbol.dispose](): void {
    this.heal();
  }

  /** Resumes the process if it is frozen. */
  heal(): void {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    Deno.kill(this.#pid, "SIGCONT");
  }
}
