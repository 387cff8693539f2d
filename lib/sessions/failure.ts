/**
 * Errors of operations as those hear of them who gave the command, and those who see the session's state. Pure.
 * @module
 */
import { CommandError, KubernetesError, messageOf } from "../common/errors.ts";
import type { SessionRequest } from "../model/requests.ts";
import type { Note } from "../status/status.ts";
import { refusalReason } from "../status/words.ts";

const VERBS: Readonly<Record<SessionRequest["action"], string>> = {
  start_session: "start",
  stop_session: "stop",
  hibernate_session: "hibernate",
  wake_session: "wake",
};

/** What went wrong, as a sentence that says what could not be done. */
export function failureOf({ action, sessionId }: SessionRequest, error: unknown): CommandError {
  const sentence = `Cannot ${VERBS[action]} session "${sessionId}": ${messageOf(error)}`;
  if (error instanceof CommandError) {
    return new CommandError(error.failure, sentence, { cause: error, reason: error.reason });
  }
  const isRefusal = error instanceof KubernetesError && error.status >= 400 && error.status < 500;
  return new CommandError("cluster", sentence, {
    cause: error,
    reason: isRefusal ? refusalReason(error.message) : "",
  });
}

/** The same for a session's status. */
export function noteOf({ reason, message }: CommandError): Note {
  return { reason, message };
}
