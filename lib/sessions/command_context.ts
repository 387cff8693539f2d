/**
 * What an operation knows of the command that it carries out, beside what was asked for.
 * @module
 */
import { CommandError } from "../common/errors.ts";

/** The command that brought a request. */
export interface CommandContext {
  readonly commandId: string;
  /** How long an earlier process was at work on it, in milliseconds; 0 for a new command. */
  readonly spentMs: number;
  /** Cancels between two steps; its reason is what is thrown. */
  readonly signal: AbortSignal;
  /** Told when its turn to create objects, or to scale them up, has come. */
  readonly onTurn?: () => void;
}

/** Whether somebody else goes on with what was begun: the stop that cancelled it, or the next process. */
export function isLeftToOthers(signal: AbortSignal): boolean {
  const isHandedOver = signal.reason instanceof CommandError && signal.reason.failure === "handed_over";
  return isHandedOver || isCancelledByStop(signal);
}

/** Whether a stop of the same session cancelled the command. */
export function isCancelledByStop({ reason }: AbortSignal): boolean {
  return reason instanceof CommandError && reason.failure === "cancelled";
}
