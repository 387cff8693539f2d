/**
 * The agent as a process of its own, as demo, benchmark and end-to-end tests run it: from source, or as the executable that `K8S_AGENT` names.
 * @module
 */
import { abortable } from "@std/async";

/** How to start an agent. */
export interface AgentProcessOptions {
  /** Flags. */
  readonly args: readonly string[];
  /** The whole environment besides what the runtime itself needs; agents beside each other cannot all have the default `HEALTH_ADDR`. */
  readonly env?: Readonly<Record<string, string>>;
  /** Told each line of the agent's log as it comes. */
  readonly onLine?: (line: string) => void;
}

/** Variables without which the runtime that runs the source cannot find its packages. */
const RUNTIME_VARIABLES = ["HOME", "PATH", "DENO_DIR", "XDG_CACHE_HOME"];
/** Longest wait for a line, in milliseconds: longer than whatever an agent does takes on a slow machine. */
const LONGEST_WAIT_MS = 120_000;
const ROOT = new URL("../", import.meta.url);

/** A running agent; disposing it kills it. */
export class AgentProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: string[] = [];
  readonly #reading: Promise<unknown>;
  readonly #onLine: (line: string) => void;
  #waiters: Array<() => void> = [];
  #isOver = false;

  private constructor(child: Deno.ChildProcess, onLine: (line: string) => void) {
    this.#child = child;
    this.#onLine = onLine;
    this.#reading = Promise.all([this.#read(child.stdout), this.#read(child.stderr)]).then(() => {
      this.#isOver = true;
      this.#wake();
    });
  }

  /** Starts an agent. */
  static start(options: AgentProcessOptions): AgentProcess {
    const executable = Deno.env.get("K8S_AGENT");
    const runtime = Object.fromEntries(
      RUNTIME_VARIABLES.map((name) => [name, Deno.env.get(name)]).filter(([, value]) => value),
    );
    const command = new Deno.Command(executable ?? Deno.execPath(), {
      args: executable
        ? [...options.args]
        : ["run", "--permission-set", "--quiet", new URL("main.ts", ROOT).pathname, ...options.args],
      env: { ...runtime, NO_COLOR: "1", HEALTH_ADDR: "off", ...options.env },
      clearEnv: true,
      cwd: ROOT,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    });
    return new AgentProcess(command.spawn(), options.onLine ?? (() => {}));
  }

  /** Process id. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Everything the agent has printed so far. */
  get output(): readonly string[] {
    return this.#lines;
  }

  /** Waits for a line, also among those that came already; rejects with all of the output when the agent ends first, or after two minutes. */
  async line(pattern: RegExp): Promise<string> {
    const signal = AbortSignal.timeout(LONGEST_WAIT_MS);
    while (true) {
      const found = this.#lines.find((line) => pattern.test(line));
      if (found !== undefined) return found;
      if (this.#isOver) {
        throw new Error(`The agent ended without a line like ${pattern}:\n${this.#lines.join("\n")}`);
      }
      if (signal.aborted) {
        throw new Error(`Waited in vain for a line like ${pattern}:\n${this.#lines.join("\n")}`);
      }
      await this.#nextChange(signal);
    }
  }

  /** Sends a signal; one to a process that has ended is lost. */
  kill(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
  }

  /** Resolves with the exit code once the agent has ended and all its output was read. */
  async exit(): Promise<number> {
    const { code } = await this.#child.status;
    await this.#reading;
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill("SIGKILL");
    await this.exit();
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of stream) {
      const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      for (const line of parts) {
        this.#lines.push(line);
        this.#onLine(line);
      }
      this.#wake();
    }
  }

  /** Leaves nothing at the signal: a timeout that is listened to keeps a program from ending. */
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
