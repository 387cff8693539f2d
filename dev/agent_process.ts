/**
 * The agent as a separate process for demo, benchmark, chaos and end-to-end tests: the bundled source with the permissions of `deno.json`, or
 * the executable that `K8S_AGENT` names.
 * @module
 */
import { bundleAgent } from "./agent_bundle.ts";
import { OutputLines } from "./output_lines.ts";

/** Options of {@linkcode AgentProcess.start}. */
export interface AgentProcessOptions {
  /** Command-line flags. */
  readonly args: readonly string[];
  /** Environment variables besides those that the runtime needs; `HEALTH_ADDR` is `off` unless set, as agents cannot share a port. */
  readonly env?: Readonly<Record<string, string>>;
  /** Receives each line of output. */
  readonly onLine?: (line: string) => void;
}

/** Variables that the runtime needs to find its cache. */
const RUNTIME_VARIABLES = ["HOME", "PATH", "DENO_DIR", "XDG_CACHE_HOME"];
const ROOT = new URL("../", import.meta.url);

/** A running agent; disposing it kills it. */
export class AgentProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines = new OutputLines();
  readonly #reading: Promise<unknown>;
  readonly #onLine: (line: string) => void;

  private constructor(child: Deno.ChildProcess, onLine: (line: string) => void) {
    this.#child = child;
    this.#onLine = onLine;
    this.#reading = Promise.all([this.#read(child.stdout), this.#read(child.stderr)]).then(() =>
      this.#lines.close()
    );
  }

  /** Builds what {@linkcode AgentProcess.start} needs, so that the next start is quick. */
  static async prepare(): Promise<void> {
    await programOf([]);
  }

  /** Starts an agent. */
  static async start(options: AgentProcessOptions): Promise<AgentProcess> {
    const [path, args] = await programOf(options.args);
    const runtime = Object.fromEntries(
      RUNTIME_VARIABLES.map((name) => [name, Deno.env.get(name)]).filter(([, value]) => value),
    );
    const command = new Deno.Command(path, {
      args: [...args],
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
    return this.#lines.all;
  }

  /** Waits for a line of output, past or future; rejects with the whole output when the agent ends first, or after two minutes. */
  async line(pattern: RegExp): Promise<string> {
    return await this.#lines.find(pattern);
  }

  /** Sends a signal, unless the process has ended. */
  kill(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
  }

  /** Requests a graceful shutdown. */
  stop(): void {
    this.kill("SIGTERM");
  }

  /** Resolves when the process has ended with exit code 0; rejects with its output when the code is another one. */
  async ended(): Promise<void> {
    const code = await this.exit();
    if (code !== 0) throw new Error(`The agent ended with exit code ${code}:\n${this.#lines}`);
  }

  /** Resolves with the exit code when the process has ended and all its output was read. */
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
    }
  }
}

/** The program and its arguments: the executable that `K8S_AGENT` names, or the bundled source. */
async function programOf(args: readonly string[]): Promise<[path: string, args: readonly string[]]> {
  const executable = Deno.env.get("K8S_AGENT");
  if (executable) return [executable, args];
  const config = new URL("deno.json", ROOT).pathname;
  const bundle = await bundleAgent();
  return [Deno.execPath(), ["run", `--config=${config}`, "--permission-set", "--quiet", bundle, ...args]];
}
