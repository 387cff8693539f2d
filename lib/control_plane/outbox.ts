/**
 * Outgoing messages. While the link is down, results wait in order, and the latest status of each session waits; acks, heartbeats and pongs are
 * dropped, as they are useless later. The queue is in memory; the journal persists results, and learns here when they are delivered.
 * @module
 */
import { abortable } from "@std/async";
import { log } from "../common/log.ts";
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
 * The Control Plane may overwrite a result that arrives within milliseconds of its command, so a result that follows its ack this quickly is sent
 * twice. So is a result without an ack on this link: its command was repeated, or acknowledged by a previous process.
 */
const FAST_RESULT_MS = 1000;
const REPEAT_AFTER_MS = 2000;
/** Age at which a result may be repeated early: the Control Plane has recorded by then that it sent the command. */
const MIN_REPEAT_AGE_MS = 200;
/**
 * A socket accepts messages that never arrive, so results and statuses of this period are sent again after a disconnect. Earlier ones did arrive,
 * as the Control Plane drops a silent link after 45 seconds.
 */
const UNCERTAIN_MS = 60_000;
/** Bounds the memory for messages of that period; beyond it, the older half counts as delivered. */
const MAX_UNCERTAIN = 10_000;

/** Messages that are still useful after a reconnect. */
type Durable = Extract<Outbound, { type: "complete" | "failed" | "status" }>;

/** A result that will be sent a second time. */
interface Repetition {
  readonly sentAt: number;
  readonly timer: ReturnType<typeof setTimeout>;
  readonly send: () => void;
}

interface Sent {
  readonly message: Durable;
  readonly sentAt: number;
}

/** The queue of all outgoing messages. */
export class Outbox implements Disposable {
  readonly #store: ResultStore | undefined;
  #wire: Wire | undefined;
  #results: Result[] = [];
  #recent: Sent[] = [];
  /** Since when the oldest waiting message has been waiting. */
  #waitingSince = 0;
  readonly #statuses = new Map<string, Durable>();
  readonly #ackedAt = new Map<string, number>();
  #onEmpty: () => void = () => {};
  /** Pending repetitions by command id. */
  readonly #repetitions = new Map<string, Repetition>();

  constructor(store?: ResultStore) {
    this.#store = store;
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
    for (const message of [...results, ...statuses]) {
      if (!this.#transmit(message)) this.#keep(message, oldestMs);
    }
    if (this.waiting === 0) this.#onEmpty();
  }

  /**
   * Disconnects the outbox from a link that is down.
   *
   * @param isDelivered whether the Control Plane completed the closing handshake, and so has received everything sent before
   */
  detach({ isDelivered }: { isDelivered: boolean }): void {
    this.#wire = undefined;
    const { oldestMs } = this.backlog;
    const isRepeated = ({ message }: Sent) =>
      message.type !== "status" && this.#repetitions.has(message.payload.commandId);
    // Results with a pending repetition were delivered, but may still be overwritten.
    const repeated = isDelivered ? this.#recent.filter(isRepeated) : [];
    if (isDelivered) this.#recent = this.#recent.filter((sent) => !isRepeated(sent));
    this.#settle(isDelivered ? Infinity : performance.now() - UNCERTAIN_MS);
    const uncertain = [...this.#recent, ...repeated].map(({ message }) => message);
    // Unsent messages are newer than those that may not have arrived.
    const unsent = [...this.#results, ...this.#statuses.values()];
    this.#recent = [];
    this.#results = [];
    this.#statuses.clear();
    this.#cancelRepetitions();
    for (const message of [...uncertain, ...unsent]) this.#keep(message, oldestMs);
  }

  /**
   * Sends a message now or, if it is still useful then, once a link is up.
   *
   * @param options.waitedMs how long a previous process has kept it, in milliseconds. @default {0}
   * @returns whether it was sent now
   */
  send(message: Outbound, { waitedMs = 0 }: { waitedMs?: number } = {}): boolean {
    if (!this.#transmit(message)) {
      if (message.type === "complete" || message.type === "failed") {
        log.info("Queued the result of command {commandId} until the link is up", {
          commandId: message.payload.commandId,
        });
      }
      this.#keep(message, waitedMs);
      return false;
    }
    if (message.type === "ack") this.#ackedAt.set(message.payload.commandId, performance.now());
    if (message.type === "complete" || message.type === "failed") this.#repeatIfFast(message);
    return true;
  }

  /** Drops the unsent and unconfirmed statuses of a session that is being stopped: on the Control Plane they would undo the stop. */
  forgetStatus(sessionId: string): void {
    const isOther = ({ message }: Sent) =>
      message.type !== "status" || message.payload.sessionId !== sessionId;
    this.#recent = this.#recent.filter(isOther);
    this.#statuses.delete(sessionId);
  }

  /** Resolves when nothing waits for a link; rejects with the signal's reason. */
  async empty(signal: AbortSignal): Promise<void> {
    if (this.waiting > 0) await abortable(new Promise<void>((resolve) => this.#onEmpty = resolve), signal);
  }

  /** Sends pending repetitions now, before the link is closed; results that are too recent for that are kept for the next link. */
  repeatNow(): void {
    const before = performance.now() - MIN_REPEAT_AGE_MS;
    for (const { sentAt, timer, send } of [...this.#repetitions.values()]) {
      if (sentAt > before) continue;
      clearTimeout(timer);
      send();
    }
  }

  /** Cancels pending repetitions. */
  [Symbol.dispose](): void {
    this.#cancelRepetitions();
  }

  #transmit(message: Outbound): boolean {
    if (!this.#wire?.send(encode(message))) return false;
    this.#settle(performance.now() - UNCERTAIN_MS);
    if (message.type === "complete" || message.type === "failed" || message.type === "status") {
      this.#remember(message);
    }
    return true;
  }

  #keep(message: Outbound, waitedMs = 0): void {
    const since = performance.now() - waitedMs;
    this.#waitingSince = this.waiting === 0 ? since : Math.min(this.#waitingSince, since);
    switch (message.type) {
      case "complete":
      case "failed":
        this.#results.push(message);
        this.#ackedAt.delete(message.payload.commandId);
        break;
      case "status":
        this.#statuses.set(message.payload.sessionId, message);
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

  #repeatIfFast(result: Result): void {
    const { commandId } = result.payload;
    const ackedAt = this.#ackedAt.get(commandId);
    this.#ackedAt.delete(commandId);
    if (ackedAt === undefined || performance.now() - ackedAt < FAST_RESULT_MS) this.#repeatLater(result);
  }

  #repeatLater(result: Result): void {
    const { commandId } = result.payload;
    clearTimeout(this.#repetitions.get(commandId)?.timer);
    const send = () => {
      if (this.#wire?.send(encode(result))) this.#repetitions.delete(commandId);
    };
    const timer = setTimeout(send, REPEAT_AFTER_MS);
    this.#repetitions.set(commandId, { sentAt: performance.now(), timer, send });
  }

  #cancelRepetitions(): void {
    for (const { timer } of this.#repetitions.values()) clearTimeout(timer);
    this.#repetitions.clear();
  }
}
