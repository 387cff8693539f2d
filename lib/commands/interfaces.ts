/**
 * What the dispatcher works with: its tasks, the operations that carry out requests, and the observer of commands.
 * @module
 */
import type { CommandError } from "../common/errors.ts";
import type { SessionRequest } from "../model/requests.ts";
import type { CommandContext } from "../sessions/command_context.ts";
import type { Outcome } from "../status/annotations.ts";

/** Runs one request at a time per session. */
export interface Operations {
  run(request: SessionRequest, context: CommandContext): Promise<Outcome>;
  /** Reports the status of a session whose start failed before it ran. */
  reportFailedStart(
    request: Pick<SessionRequest, "sessionId">,
    error: CommandError,
    signal: AbortSignal,
  ): Promise<void>;
  /** The outcome of a command that a previous process completed, if the session's objects show it. */
  earlierOutcome(request: SessionRequest, commandId: string): Outcome | undefined;
}

/** Sees the steps of each command. */
export interface CommandObserver {
  /** @param receivedAt milliseconds since 1970; a previous process may have received the command long ago */
  received(commandId: string, command: { readonly action: string; readonly receivedAt: number }): void;
  /** The command runs: no earlier command of its session is left. */
  started(commandId: string, request: SessionRequest): void;
  /** A start or wake got one of the slots of `--max-concurrent-starts`. */
  admitted(commandId: string): void;
  /** @param error why the command failed */
  ended(commandId: string, outcome: "complete" | "failed" | "handed_over", error?: unknown): void;
}

/** The agent itself repairs a session. */
export interface RepairRequest {
  readonly action: "repair_session";
  readonly sessionId: string;
}

/** A command, or something that the agent does by itself, that is queued or running. */
export interface Task {
  /** Empty for what the agent does by itself. */
  readonly commandId: string;
  readonly request: Pick<SessionRequest, "action" | "sessionId"> | RepairRequest;
  readonly spentMs: number;
  readonly cancel: AbortController;
}

/** A command that is queued or running. */
export interface CommandTask extends Task {
  readonly request: SessionRequest;
}
