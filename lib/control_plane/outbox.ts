/**
 * Outgoing messages. While the link is down, results wait in order, and the latest status of each session waits; acks, heartbeats and pongs are
 * dropped, as they are useless later. The queue is in memory; the journal persists results, and learns here when they are delivered.
 * @module
 */
import { abortable, delay } from "@std/async";
import { log } from "../common/log.ts";
import { DEFAULT_TIMINGS } from "../model/timings.ts";
import { encode, type Outbound, type Result } from "./protocol.ts";

/** A connection to send through. */
export interface Wire {
  /** Sends a message; returns whether it was sent. */
  send(text: string): boolean;
}

/** Persists results until they are delivered. */
export interface ResultStore {
  /** Removes the results of these commands: they have been delivered, and so has everything sent before them. */
  forget(commandIds: readonly string[]): void;
}

/**
 * A socket accepts messages that never arrive, so results and statuses of this period are sent again after a disconnect. Earlier ones did arrive,
 * as the Control Plane drops a silent link after 45 seconds.
 */
const UNCERTAIN_MS = 60_000;
/** Bounds the memory for messages of that period; beyond it, the older half counts as delivered. */
const MAX_UNCERTAIN = 10_000;

/** Messages that are still useful after a reconnect. */
type Durable = Extract<Outbound, { type: "complete" | "failed" | "status" }>;

/** How a message is sent. */
interface SendOptions {
  readonly waitedMs?: number | undefined;
  readonly onSent?: (() => void) | undefined;
}

/** A result that is ready, but too early for the Control Plane. */
interface HeldResult {
  readonly result: Result;
  /** When it is sent, on the clock of `performance.now()`. */
  readonly dueAt: number;
}

/** A status that waits for a link. */
interface WaitingStatus {
  readonly message: Durable;
  readonly onSent: () => void;
}

interface Sent {
  readonly message: Durable;
  readonly sentAt: number;
}

/** The queue of all outgoing messages. */
export class Outbox implements Disposable {
  readonly #store: ResultStore | undefined;
  readonly #holdMs: number;
  #wire: Wire | undefined;
  #results: Result[] = [];
  #recent: Sent[] = [];
  /** Since when the oldest waiting message has been waiting. */
  #waitingSince = 0;
  readonly #statuses = new Map<string, WaitingStatus>();
  /** When commands without a result arrived, by command id. */
  readonly #receivedAt = new Map<string, number>();
  /** By the time when they are due. */
  readonly #held: HeldResult[] = [];
  #holdTimer: ReturnType<typeof setTimeout> | undefined;
  #onEmpty: () => void = () => {};

  /** @param options.resultHoldMs see {@linkcode Timings.resultHoldMs} */
  constructor(store?: ResultStore, { resultHoldMs = DEFAULT_TIMINGS.resultHoldMs } = {}) {
    this.#store = store;
    this.#holdMs = resultHoldMs;
  }

  /** Number of results and statuses that wait for a link. */
  get waiting(): number {
    return this.#results.length + this.#statuses.size;
  }

  /** What waits for a link, and the age of the oldest message in milliseconds. */
  get backlog(): { readonly results: number; readonly statuses: number; readonly oldestMs: number } {
    const oldestMs = this.waiting === 0 ? 0 : performance.now() - this.#waitingSince;
    return { results: this.#results.length, statuses: this.#statuses.size, oldestMs };
  }

  /** Connects the outbox to a link that is up, and sends the waiting messages first. */
  attach(wire: Wire): void {
    this.#wire = wire;
    const { oldestMs } = this.backlog;
    const results = this.#results;
    const statuses = [...this.#statuses.values()];
    this.#results = [];
    this.#statuses.clear();
    for (const message of results) this.#deliver(message, { waitedMs: oldestMs });
    for (const { message, onSent } of statuses) this.#deliver(message, { waitedMs: oldestMs, onSent });
    this.#checkEmpty();
  }

  /**
   * Disconnects the outbox from a link that is down.
   *
   * @param isDelivered whether the Control Plane completed the closing handshake, and so has received everything sent before
   */
  detach({ isDelivered }: { isDelivered: boolean }): void {
    this.#wire = undefined;
    const { oldestMs } = this.backlog;
    this.#settle(isDelivered ? Infinity : performance.now() - UNCERTAIN_MS);
    // Unsent messages are newer than those that may not have arrived.
    const results = this.#results;
    const statuses = [...this.#statuses.values()];
    const uncertain = this.#recent;
    this.#recent = [];
    this.#results = [];
    this.#statuses.clear();
    for (const { message } of uncertain) this.#keep(message, { waitedMs: oldestMs });
    for (const message of results) this.#keep(message, { waitedMs: oldestMs });
    for (const { message, onSent } of statuses) this.#keep(message, { waitedMs: oldestMs, onSent });
  }

  /**
   * Notes that a command has just arrived, so that its result is held if it is ready too early: the Control Plane records that it sent a command
   * only after sending it, and would overwrite a result that it received before.
   */
  commandReceived(commandId: string): void {
    this.#receivedAt.set(commandId, performance.now());
  }

  /**
   * Sends a message now or, if it is still useful then, once a link is up. A result may be held before that, see
   * {@linkcode Outbox.commandReceived}.
   *
   * @param options.waitedMs how long a previous process has kept it, in milliseconds. @default {0}
   * @param options.onSent called once a status is sent, which is never if a later status of the session replaces it before
   * @returns whether it was sent now
   */
  send(message: Outbound, { waitedMs = 0, onSent }: SendOptions = {}): boolean {
    if (message.type !== "complete" && message.type !== "failed") return this.#deliver(message, { onSent });
    const { commandId } = message.payload;
    const dueAt = (this.#receivedAt.get(commandId) ?? -Infinity) + this.#holdMs;
    this.#receivedAt.delete(commandId);
    if (dueAt <= performance.now()) {
      // Earlier results first, whose timer may be late.
      this.#sendDue();
      return this.#deliver(message, { waitedMs });
    }
    this.#hold({ result: message, dueAt });
    return false;
  }

  /** Drops the unsent and unconfirmed statuses of a session that is being stopped: on the Control Plane they would undo the stop. */
  forgetStatus(sessionId: string): void {
    const isOther = ({ message }: Sent) =>
      message.type !== "status" || message.payload.sessionId !== sessionId;
    this.#recent = this.#recent.filter(isOther);
    this.#statuses.delete(sessionId);
  }

  /** Resolves when no message waits for a link or is held; rejects with the signal's reason. */
  async empty(signal: AbortSignal): Promise<void> {
    if (this.#isEmpty()) return;
    await abortable(new Promise<void>((resolve) => this.#onEmpty = resolve), signal);
  }

  /** Resolves when no result is held any more, which takes 200 ms at most. */
  async released(): Promise<void> {
    const last = this.#held.at(-1);
    if (last) await delay(Math.ceil(last.dueAt - performance.now()));
    this.#sendDue();
  }

  /** Clears the timer. */
  [Symbol.dispose](): void {
    clearTimeout(this.#holdTimer);
  }

  #isEmpty(): boolean {
    return this.waiting === 0 && this.#held.length === 0;
  }

  #checkEmpty(): void {
    if (this.#isEmpty()) this.#onEmpty();
  }

  #deliver(message: Outbound, options: SendOptions): boolean {
    if (this.#transmit(message)) {
      options.onSent?.();
      return true;
    }
    if (message.type === "complete" || message.type === "failed") {
      log.info("Queued the result of command {commandId} until the link is up", {
        commandId: message.payload.commandId,
      });
    }
    this.#keep(message, options);
    return false;
  }

  /** Holds a result until it is due. It replaces a held result of the same command, which was repeated. */
  #hold(held: HeldResult): void {
    const { commandId } = held.result.payload;
    const repeated = this.#held.findIndex(({ result }) => result.payload.commandId === commandId);
    if (repeated >= 0) this.#held.splice(repeated, 1);
    // Commands of one session end in the order in which they arrived, and their results stay in that order.
    const index = this.#held.findLastIndex(({ dueAt }) => dueAt <= held.dueAt) + 1;
    this.#held.splice(index, 0, held);
    this.#setHoldTimer();
  }

  #sendDue(): void {
    const now = performance.now();
    const later = this.#held.findIndex(({ dueAt }) => dueAt > now);
    const due = this.#held.splice(0, later < 0 ? this.#held.length : later);
    for (const { result } of due) this.#deliver(result, {});
    this.#setHoldTimer();
    this.#checkEmpty();
  }

  #setHoldTimer(): void {
    clearTimeout(this.#holdTimer);
    const [next] = this.#held;
    if (!next) return;
    this.#holdTimer = setTimeout(() => this.#sendDue(), Math.ceil(next.dueAt - performance.now()));
  }

  #transmit(message: Outbound): boolean {
    if (!this.#wire?.send(encode(message))) return false;
    this.#settle(performance.now() - UNCERTAIN_MS);
    if (message.type === "complete" || message.type === "failed" || message.type === "status") {
      this.#remember(message);
    }
    return true;
  }

  #keep(message: Outbound, { waitedMs = 0, onSent = () => {} }: SendOptions): void {
    const since = performance.now() - waitedMs;
    this.#waitingSince = this.waiting === 0 ? since : Math.min(this.#waitingSince, since);
    switch (message.type) {
      case "complete":
      case "failed":
        this.#results.push(message);
        break;
      case "status":
        this.#statuses.set(message.payload.sessionId, { message, onSent });
        break;
    }
  }

  #remember(message: Durable): void {
    this.#recent.push({ message, sentAt: performance.now() });
    if (this.#recent.length <= MAX_UNCERTAIN) return;
    log.error(
      "More than {limit} results and statuses within a minute: the older half is not sent again after a disconnect",
      { limit: MAX_UNCERTAIN },
    );
    this.#settle(this.#recent[MAX_UNCERTAIN / 2]?.sentAt ?? 0);
  }

  /** Counts messages sent before a time as delivered. It runs for each message, so at each heartbeat at the latest. */
  #settle(before: number): void {
    const first = this.#recent.findIndex((one) => one.sentAt > before);
    const delivered = this.#recent.splice(0, first < 0 ? this.#recent.length : first);
    const commandIds = delivered.flatMap(({ message }) =>
      message.type === "status" ? [] : [message.payload.commandId]
    );
    if (commandIds.length > 0) this.#store?.forget(commandIds);
  }
}
