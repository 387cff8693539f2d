/**
 * Carries out the states that others request in the spec of Session objects, with `--session-objects=control`: each is a command to its session,
 * and its result is reported to the Control Plane as a status.
 * @module
 */
import { CommandError, type CommandFailure, messageOf } from "../common/errors.ts";
import { log } from "../common/log.ts";
import type { SessionStatus } from "../control_plane/protocol.ts";
import type { ScaleRequest, StopRequest } from "../model/requests.ts";
import type { Outcome } from "../status/annotations.ts";
import type { StateRequest } from "../status/session_resource_reconciler.ts";
import type { CommandContext } from "./command_context.ts";

type Request = ScaleRequest | StopRequest;

/** What the requests need. */
export interface StateRequestsOptions {
  /** Queues a request behind the session's commands. */
  readonly dispatcher: {
    insert(request: Request, work: (signal: AbortSignal) => Promise<void>): Promise<void>;
  };
  readonly operations: { run(request: Request, context: CommandContext): Promise<Outcome> };
  readonly monitor: { report(status: SessionStatus): void };
}

/** Failures after which the request stays: another command or process decides about it. */
const POSTPONED: readonly CommandFailure[] = ["cancelled", "draining", "handed_over"];

/** Carries out requested states. */
export class StateRequests {
  readonly #options: StateRequestsOptions;

  constructor(options: StateRequestsOptions) {
    this.#options = options;
  }

  /** Carries out one request; returns whether it is rejected, so that it must not be repeated. Never rejects. */
  async carryOut({ sessionId, state, generation }: StateRequest): Promise<boolean> {
    const { dispatcher, operations, monitor } = this.#options;
    const request = commandFor(sessionId, state);
    if (!request) {
      log.warn("The Session object of {sessionId} requests the unknown state {state}", {
        sessionId,
        state: JSON.stringify(state)?.slice(0, 100),
      });
      return true;
    }
    const { action } = request;
    log.info("The Session object of {sessionId} requests {action}", { sessionId, action });
    // The same request of a later process is the same command.
    const commandId = `session-object-${generation}`;
    try {
      await dispatcher.insert(request, async (signal) => {
        const { status } = await operations.run(request, { commandId, spentMs: 0, signal });
        if (status && !signal.aborted) monitor.report(status);
      });
      return false;
    } catch (error) {
      if (error instanceof CommandError && POSTPONED.includes(error.failure)) return false;
      log.warn("Cannot do what the Session object of {sessionId} requests: {reason}", {
        sessionId,
        reason: messageOf(error),
      });
      return true;
    }
  }
}

/** The command with the same effect as a requested state; `undefined` for an unknown state. */
function commandFor(sessionId: string, state: unknown): Request | undefined {
  switch (state) {
    case "running":
      return { action: "wake_session", sessionId };
    case "hibernated":
      return { action: "hibernate_session", sessionId };
    case "terminated":
      return { action: "stop_session", sessionId, deletePVC: false };
    default:
      return undefined;
  }
}
