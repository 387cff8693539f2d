/**
 * The API server's own process, where it runs on this machine.
 * @module
 */

/** Lets the process stand still for times; disposing it lets it go on. */
export class ApiServerProcess implements Disposable {
  readonly #pid: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(pid: number) {
    this.#pid = pid;
  }

  /** Stops it, and lets it go on after a time. */
  freeze(ms: number, onOver: () => void): void {
    this.heal();
    Deno.kill(this.#pid, "SIGSTOP");
    this.#timer = setTimeout(() => {
      this.heal();
      onOver();
    }, ms);
  }

  [Symbol.dispose](): void {
    this.heal();
  }

  /** Lets it go on at once, if it stands still. */
  heal(): void {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    Deno.kill(this.#pid, "SIGCONT");
  }
}
