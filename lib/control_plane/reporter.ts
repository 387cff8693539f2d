/**
 * Reports to the Control Plane: turns results, session statuses and heartbeats into messages for the outbox, and records
 * the reported statuses.
 * @module
 */
import { log } from "../common/log.ts";
import type { Outbox } from "./outbox.ts";
import type { Capacity, Result, SessionStatus, Usage } from "./protocol.ts";
import type { ReportedStatuses } from "./reported_statuses.ts";

/**
 * Sends messages; its methods neither wait nor fail. A process that was suspended for longer than its lease reports nothing more: the next leader
 * may have reported newer statuses and results.
 */
export class Reporter {
  readonly #outbox: Outbox;
  readonly #reported: ReportedStatuses;
  readonly #isLeading: () => boolean;

  /** @param isLeading whether this replica is still the leader. @default {it always is} */
  constructor(outbox: Outbox, reported: ReportedStatuses, isLeading: () => boolean = () => true) {
    this.#outbox = outbox;
    this.#reported = reported;
    this.#isLeading = isLeading;
  }

  /** Whether a status waits for a link. */
  get hasUnsentStatus(): boolean {
    return this.#outbox.backlog.statuses > 0;
  }

  /** Notes that a command has just arrived: its result is not sent before the Control Plane has recorded that it sent the command. */
  commandReceived(commandId: string): void {
    this.#outbox.commandReceived(commandId);
  }

  /** Acknowledges a command. */
  ack(commandId: string): void {
    this.#outbox.send({ type: "ack", payload: { commandId } });
  }

  /**
   * Reports the result of a command.
   *
   * @param options.waitedMs how long a previous process has kept it, in milliseconds. @default {0}
   */
  result(result: Result, options: { waitedMs?: number } = {}): void {
    if (this.#isLeading()) this.#outbox.send(result, options);
  }

  /**
   * Reports the status of a session, and logs it.
   *
   * @param options.onSent called once it is sent, which is never if a later status of the session replaces it before
   */
  status(status: SessionStatus, options: { onSent?: () => void } = {}): void {
    if (!this.#isLeading()) return;
    this.#reported.set(status);
    const { sessionId, state, platformMetadata: { message } } = status;
    if (message) log.info("Session {sessionId} is {state}: {reason}", { sessionId, state, reason: message });
    else log.info("Session {sessionId} is {state}", { sessionId, state });
    this.#outbox.send({ type: "status", payload: status }, options);
  }

  /** Drops statuses of a session that are not delivered yet, as a stop was received: sent after it, they would undo it. */
  discardStatus(sessionId: string): void {
    this.#outbox.forgetStatus(sessionId);
  }

  /** Sends a heartbeat. */
  heartbeat(beat: { isDraining: boolean; activeSessions: number; capacity: Capacity & Usage }): void {
    const { isDraining, activeSessions, capacity } = beat;
    this.#outbox.send({
      type: "heartbeat",
      payload: { status: isDraining ? "draining" : "online", activeSessions, capacity },
    });
  }

  /** Answers a ping. */
  pong(): void {
    this.#outbox.send({ type: "pong", payload: {} });
  }
}
