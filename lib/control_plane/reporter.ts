/**
 * What the agent has to say, as messages: results and states of sessions come in, messages go into the outbox.
 * @module
 */
import { log } from "../common/log.ts";
import type { Outbox } from "./outbox.ts";
import type { Capacity, Result, SessionStatus, Usage } from "./protocol.ts";
import type { ReportedStatuses } from "./reported_statuses.ts";

/** Tells the Control Plane; never waits, never fails. */
export class Reporter {
  readonly #outbox: Outbox;
  readonly #reported: ReportedStatuses;

  constructor(outbox: Outbox, reported: ReportedStatuses) {
    this.#outbox = outbox;
    this.#reported = reported;
  }

  /** A command arrived. */
  ack(commandId: string): void {
    this.#outbox.send({ type: "ack", payload: { commandId } });
  }

  /**
   * A command has its answer.
   *
   * @param options.waitedMs how long it may have waited for a link in an earlier process, in milliseconds. @default {0}
   */
  result(result: Result, options: { waitedMs?: number } = {}): void {
    this.#outbox.send(result, options);
  }

  /**
   * A session changed its state.
   *
   * @returns whether it was told at once; otherwise it waits for a link
   */
  status(status: SessionStatus): boolean {
    this.#reported.set(status);
    const { sessionId, state, platformMetadata: { message } } = status;
    if (message) log.info("Session {sessionId} is {state}: {reason}", { sessionId, state, reason: message });
    else log.info("Session {sessionId} is {state}", { sessionId, state });
    return this.#outbox.send({ type: "status", payload: status });
  }

  /** A stop was received: nothing that was said of the session before is worth saying again. */
  stopReceived(sessionId: string): void {
    this.#outbox.forgetStatus(sessionId);
  }

  /** The agent is alive. */
  heartbeat(beat: { isDraining: boolean; activeSessions: number; capacity: Capacity & Usage }): void {
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
