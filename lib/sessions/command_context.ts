/**
 * The command that an operation belongs to: its id, its cancellation, and the error that the command's sender and the session's status get.
 * @module
 */
import { CommandError, KubernetesError, messageOf } from "../common/errors.ts";
import type { SessionRequest } from "../model/requests.ts";
import { rejectionCause } from "../status/causes.ts";
import type { StatusDetail } from "../status/status.ts";

/** The command that brought a request. */
export interface CommandContext {
  readonly commandId: string;
  /** How long an earlier process worked on the command, in milliseconds; 0 for a new command. */
  readonly spentMs: number;
  /** Cancels the operation between two steps; its reason is thrown. */
  readonly signal: AbortSignal;
  /** Called when the operation gets one of the slots for creating or scaling up objects. */
  readonly onAdmitted?: () => void;
}

const ACTION_VERBS: Readonly<Record<SessionRequest["action"], string>> = {
  start_session: "start",
  stop_session: "stop",
  hibernate_session: "hibernate",
  wake_session: "wake",
};

/** Whether the stop that cancelled a command, or the next process, continues the work. */
export function isContinuedElsewhere(signal: AbortSignal): boolean {
  const isHandedOver = signal.reason instanceof CommandError && signal.reason.failure === "handed_over";
  return isHandedOver || isCancelledByStop(signal);
}

/** Whether a stop of the same session cancelled a command. */
export function isCancelledByStop({ reason }: AbortSignal): boolean {
  return reason instanceof CommandError && reason.failure === "cancelled";
}

/** The error of a failed request: it says which action failed for which session, and keeps the failure and the reason. */
export function requestError({ action, sessionId }: SessionRequest, error: unknown): CommandError {
  const message = `Cannot ${ACTION_VERBS[action]} session "${sessionId}": ${messageOf(error)}`;
  if (error instanceof CommandError) {
    return new CommandError(error.failure, message, { cause: error, reason: error.reason });
  }
  const isRejected = error instanceof KubernetesError && error.status >= 400 && error.status < 500;
  const reason = isRejected ? rejectionCause(error.message) : "";
  return new CommandError("cluster", message, { cause: error, reason });
}

/** The status detail for an error of a request. */
export function statusDetail({ reason, message }: CommandError): StatusDetail {
  return { reason, message };
}
