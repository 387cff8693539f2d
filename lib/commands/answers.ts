/**
 * Each command has exactly one answer, and the same command again gets the same one. It is written down before it is sent.
 * @module
 */
import { failed, type Result } from "../control_plane/protocol.ts";
import type { Reporter } from "../control_plane/reporter.ts";
import { failureCode, messageOf } from "../common/errors.ts";
import { log } from "../common/log.ts";
import type { Journal } from "./journal.ts";

/** What answers need. */
export interface AnswersOptions {
  readonly journal: Pick<Journal, "close">;
  readonly reporter: Pick<Reporter, "result">;
  /** Told of each answer, and of a failure's error. */
  readonly onAnswer: (result: Result, error: unknown) => void;
}

/** Answers that are remembered, so that a repeated command is answered and not repeated. */
const REMEMBERED = 10_000;

/** What was answered, and what is still to be. */
export class Answers {
  readonly #options: AnswersOptions;
  readonly #results = new Map<string, Result | "open">();

  constructor(options: AnswersOptions) {
    this.#options = options;
  }

  /** A command's answer; `open` as long as there is none, and nothing where the command never came. */
  of(commandId: string): Result | "open" | undefined {
    return this.#results.get(commandId);
  }

  /** Takes note of a command, or of the answer that an earlier process gave it. */
  expect(commandId: string, result: Result | "open" = "open"): void {
    this.#results.set(commandId, result);
    if (this.#results.size <= REMEMBERED) return;
    for (const [id, remembered] of this.#results) {
      if (remembered === "open") continue;
      this.#results.delete(id);
      return;
    }
  }

  /** Sends a command's one answer. */
  give(result: Result, error?: unknown): void {
    const { commandId } = result.payload;
    if (this.of(commandId) !== "open") return;
    this.#options.onAnswer(result, error);
    this.expect(commandId, result);
    this.#options.reporter.result(result);
    if (result.type === "complete") return;
    log.warn("Command {commandId} failed: {reason}", {
      commandId,
      reason: result.payload.error,
      failure: failureCode(error),
    });
  }

  /** Answers a command that failed once that is written down. */
  async fail(commandId: string, error: unknown): Promise<void> {
    if (this.of(commandId) !== "open") return;
    const result = failed(commandId, messageOf(error));
    await this.#options.journal.close(result, { isRecorded: false });
    this.give(result, error);
  }
}
