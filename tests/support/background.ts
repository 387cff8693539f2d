/**
 * A program that runs in the background until the test is over.
 * @module
 */
import { abortable, deadline } from "@std/async";

/** Timeout of {@linkcode Background.output} and {@linkcode Background.stop}, in milliseconds: generous, so that no test fails because the machine is slow. */
const OUTPUT_TIMEOUT_MS = 60_000;

/** A running program; disposing it kills it. */
export class Background implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<unknown>;
  #output = "";
  #onOutput = () => {};
  #isOver = false;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#reading = Promise.all([this.#read(child.stdout), this.#read(child.stderr)])
      .then(() => this.#isOver = true)
      .then(() => this.#onOutput());
  }

  /** Starts a command in bash, which it replaces, so that a signal reaches the program itself. */
  static start(command: string, options: { cwd: string; env: Readonly<Record<string, string>> }): Background {
    const args = ["-c", `exec ${command}`];
    const child = new Deno.Command("bash", { args, ...options, stdout: "piped", stderr: "piped" }).spawn();
    return new Background(child);
  }

  /**
   * Waits until the output matches a pattern.
   *
   * @throws {Error} with the whole output when the program ends first, or after a minute
   */
  async output(pattern: RegExp): Promise<RegExpExecArray> {
    const signal = AbortSignal.timeout(OUTPUT_TIMEOUT_MS);
    while (true) {
      const match = pattern.exec(this.#output);
      if (match) return match;
      if (this.#isOver || signal.aborted) {
        throw new Error(`The program printed nothing like ${pattern}:\n${this.#output}`);
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onOutput = resolve;
      await abortable(promise, signal).catch(() => {});
    }
  }

  /** Requests a graceful shutdown, with which the program ends its own ones, and waits until it has ended. */
  async stop(): Promise<void> {
    if (!this.#isOver) this.#child.kill("SIGTERM");
    await deadline(this.#reading, OUTPUT_TIMEOUT_MS);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOver) this.#child.kill("SIGKILL");
    await this.#child.status;
    await this.#reading;
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      this.#output += text;
      this.#onOutput();
    }
  }
}
