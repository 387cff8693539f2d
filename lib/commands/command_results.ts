/**
 * The results of commands: exactly one per command, recorded in the journal before it is sent. A repeated command gets the same result again.
 * @module
 */
import { failed, type Result } from "../control_plane/protocol.ts";
import type { Reporter } from "../control_plane/reporter.ts";
import { CommandError, failureCode, messageOf } from "../common/errors.ts";
import { log } from "../common/log.ts";
import type { Journal } from "./journal.ts";

/** What the results need. */
export interface CommandResultsOptions {
  readonly journal: Pick<Journal, "setResult">;
  readonly reporter: Pick<Reporter, "result">;
  /** Called with each result, and with the error of a failure. */
  readonly onResult: (result: Result, error: unknown) => void;
}

/** Results that are kept for repeated commands; the oldest are dropped first. */
const MAX_RESULTS = 10_000;

/** All known commands and their results. */
export class CommandResults {
  readonly #options: CommandResultsOptions;
  readonly #results = new Map<string, Result | "pending">();

  constructor(options: CommandResultsOptions) {
    this.#options = options;
  }

  /** The result of a command; `undefined` for an unknown command. */
  get(commandId: string): Result | "pending" | undefined {
    return this.#results.get(commandId);
  }

  /** Adds a command, with its result if a previous process sent one. */
  add(commandId: string, result: Result | "pending" = "pending"): void {
    this.#results.set(commandId, result);
    if (this.#results.size <= MAX_RESULTS) return;
    for (const [id, known] of this.#results) {
      if (known === "pending") continue;
      this.#results.delete(id);
      return;
    }
  }

  /** Sends the result of a pending command. */
  send(result: Result, error?: unknown): void {
    const { commandId } = result.payload;
    if (this.get(commandId) !== "pending") return;
    this.#options.onResult(result, error);
    this.add(commandId, result);
    this.#options.reporter.result(result);
    if (result.type === "complete") return;
    log.warn("Command {commandId} failed: {reason}", {
      commandId,
      reason: result.payload.error,
      failure: failureCode(error),
    });
  }

  /** Records the failure of a pending command in the journal, then sends it. */
  async fail(commandId: string, error: unknown): Promise<void> {
    if (this.get(commandId) !== "pending") return;
    const result = failed(commandId, messageOf(error));
    const { reason = "" } = error instanceof CommandError ? error : {};
    await this.#options.journal.setResult(result, { isEvident: false, reason });
    this.send(result, error);
  }
}
