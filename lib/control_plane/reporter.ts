/**
 * Reports to the Control Plane: turns results, session statuses and heartbeats into messages for the outbox, and records
 * the reported statuses.
 * @module
 */
import { log } from "../common/log.ts";
import type { Outbox } from "./outbox.ts";
import type { Capacity, Result, SessionStatus, Usage } from "./protocol.ts";
import type { ReportedStatuses } from "./reported_statuses.ts";

/** Options of a {@linkcode Reporter}. */
export interface ReporterOptions {
  /** Whether this replica is still the leader. @default {it always is} */
  readonly isLeading?: () => boolean;
  /** The use of a session, which is part of its status. @default {unknown} */
  readonly activityOf?: (
    sessionId: string,
  ) => { readonly viewers: number; readonly lastActivity: Date } | undefined;
}

/**
 * Sends messages; its methods neither wait nor fail. A process that was suspended for longer than its lease reports nothing more: the next leader
 * may have reported newer statuses and results.
 */
export class Reporter {
  readonly #outbox: Outbox;
  readonly #reported: ReportedStatuses;
  readonly #options: ReporterOptions;

  constructor(outbox: Outbox, reported: ReportedStatuses, options: ReporterOptions = {}) {
    this.#outbox = outbox;
    this.#reported = reported;
    this.#options = options;
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
    if (this.#isLeading) this.#outbox.send(result, options);
  }

  /**
   * Reports the status of a session, and logs it.
   *
   * @param options.onSent called once it is sent, which is never if a later status of the session replaces it before
   */
  status(status: SessionStatus, options: { onSent?: () => void } = {}): void {
    if (!this.#isLeading) return;
    const { sessionId, state, platformMetadata: { message } } = status;
    if (message) log.info("Session {sessionId} is {state}: {reason}", { sessionId, state, reason: message });
    else log.info("Session {sessionId} is {state}", { sessionId, state });
    this.#sendStatus(status, options);
  }

  /**
   * Reports the last status of a session again, because its use changed; does nothing without one.
   *
   * @param options.onSent as for {@linkcode status}
   */
  activity(sessionId: string, options: { onSent?: () => void } = {}): void {
    const status = this.#reported.get(sessionId);
    if (status && this.#isLeading) this.#sendStatus(status, options);
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

  get #isLeading(): boolean {
    return this.#options.isLeading?.() ?? true;
  }

  #sendStatus(status: SessionStatus, options: { onSent?: () => void } = {}): void {
    const activity = this.#options.activityOf?.(status.sessionId);
    const { viewers, lastActivity } = activity ?? {};
    const payload = lastActivity ? { ...status, viewers, lastActivity: lastActivity.toISOString() } : status;
    this.#reported.set(payload);
    this.#outbox.send({ type: "status", payload }, options);
  }
}
