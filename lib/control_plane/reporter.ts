/**
 * What the agent has to say, as messages: results and states of sessions come in, messages go into the outbox.
 * @module
 */
import { messageOf } from "../errors.ts";
import { log } from "../log.ts";
import type { Outbox } from "./outbox.ts";
import type { Capacity, CommandResult, Result, SessionStatus } from "./protocol.ts";

/** Longest text of an error, in characters: a frame has a limit, and a person's patience too. */
const ERROR_LENGTH = 4000;

/** Tells the Control Plane; never waits, never fails. */
export class Reporter {
  readonly #outbox: Outbox;
  readonly #statuses = new Map<string, SessionStatus>();

  constructor(outbox: Outbox) {
    this.#outbox = outbox;
  }

  /** A command arrived. */
  ack(commandId: string): void {
    this.#outbox.send({ type: "ack", payload: { commandId } });
  }

  /** A command was carried out. */
  complete(commandId: string, result: CommandResult): Result {
    return this.repeat({ type: "complete", payload: { commandId, result } });
  }

  /** A command was not carried out. */
  failed(commandId: string, error: unknown): Result {
    return this.repeat({
      type: "failed",
      payload: { commandId, error: messageOf(error).slice(0, ERROR_LENGTH) },
    });
  }

  /** Says a result, once more if need be. */
  repeat(result: Result): Result {
    this.#outbox.send(result);
    return result;
  }

  /** A session changed its state. */
  status(status: SessionStatus): void {
    this.assume(status);
    log.info("Session {sessionId} is {state}", { sessionId: status.sessionId, state: status.state });
    this.#outbox.send({ type: "status", payload: status });
  }

  /** A session's state that the Control Plane is taken to know. A session that is over has none. */
  assume(status: SessionStatus): void {
    const isOver = status.state === "terminated" || status.state === "failed";
    if (isOver) this.#statuses.delete(status.sessionId);
    else this.#statuses.set(status.sessionId, status);
  }

  /** A stop was received: nothing that was said of the session before is worth saying again. */
  stopReceived(sessionId: string): void {
    this.#outbox.forgetStatus(sessionId);
  }

  /** What was told last of a session that is not over. */
  lastStatus(sessionId: string): SessionStatus | undefined {
    return this.#statuses.get(sessionId);
  }

  /** The agent is alive. */
  heartbeat(beat: { isDraining: boolean; activeSessions: number; capacity: Capacity }): void {
    const { isDraining, activeSessions, capacity } = beat;
    this.#outbox.send({
      type: "heartbeat",
      payload: { status: isDraining ? "draining" : "online", activeSessions, capacity },
    });
  }

  /** The answer to a ping. */
  pong(): void {
    this.#outbox.send({ type: "pong", payload: {} });
  }
}
