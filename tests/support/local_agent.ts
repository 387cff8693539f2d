/**
 * The agent in the test's own process: it starts in milliseconds, and its timings can be set. For tests that neither kill it nor check exit
 * codes, signals, environment or permissions.
 * @module
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { OutputLines } from "../../dev/output_lines.ts";
import { run } from "../../lib/agent.ts";
import { loadConfig } from "../../lib/cli/config.ts";
import { configureLog } from "../../lib/common/log.ts";
import type { Timings } from "../../lib/model/timings.ts";

/** Options of {@linkcode LocalAgent.start}. */
export interface LocalAgentOptions {
  /** Command-line flags. */
  readonly args: readonly string[];
  /** Environment variables; `HEALTH_ADDR` is `off` unless set. */
  readonly env?: Readonly<Record<string, string>>;
  readonly timings?: Partial<Timings>;
}

/** The agent whose code runs now: the log is one for all agents of a process. */
const running = new AsyncLocalStorage<LocalAgent>();

/** A running agent; disposing it stops it. */
export class LocalAgent implements AsyncDisposable {
  readonly #lines = new OutputLines();
  readonly #stop = new AbortController();
  readonly #ended: Promise<void>;
  #isEndAwaited = false;

  private constructor({ args, env = {}, timings }: LocalAgentOptions) {
    const all: Record<string, string> = { HEALTH_ADDR: "off", ...env };
    const invocation = loadConfig({ args, env: (name) => all[name], readFile: Deno.readTextFileSync });
    if (invocation.kind !== "run") throw new Error(`Cannot run "${invocation.kind}" in the test's process`);
    const { config } = invocation;
    const { logFormat: format, logLevel: level, agentId } = config;
    configureLog({ format, level, agentId, write: (line) => (running.getStore() ?? this).#lines.push(line) });
    this.#ended = running.run(this, () => run(config, this.#stop.signal, timings))
      .finally(() => this.#lines.close());
    // ended() reports the error.
    this.#ended.catch(() => {});
  }

  /**
   * Starts an agent.
   *
   * @throws {ConfigError} when flags or variables are not valid
   */
  static start(options: LocalAgentOptions): LocalAgent {
    return new LocalAgent(options);
  }

  /** All log lines so far. */
  get output(): readonly string[] {
    return this.#lines.all;
  }

  /** Waits for a log line, past or future; rejects with the whole log when the agent ends first, or after two minutes. */
  async line(pattern: RegExp): Promise<string> {
    return await this.#lines.find(pattern);
  }

  /** Requests a graceful shutdown, as SIGTERM does. */
  stop(): void {
    running.run(this, () => this.#stop.abort());
  }

  /** Resolves when the agent has ended; rejects with the error that ended it. */
  async ended(): Promise<void> {
    this.#isEndAwaited = true;
    await this.#ended;
  }

  /** Rejects when the agent ended with an error that no test waited for. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    await this.#ended.catch((error) => {
      if (!this.#isEndAwaited) throw error;
    });
  }
}
