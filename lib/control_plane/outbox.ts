/**
 * Messages on their way out. While the link is down results wait in order and the newest status of each session waits; acks, heartbeats and
 * pongs are worth nothing later and are let go. The state is in memory; that results outlive the process is the journal's part, which is told
 * once they have surely arrived.
 * @module
 */
import { abortable } from "@std/async";
import { log } from "../common/log.ts";
import { encode, type Outbound, type Result } from "./protocol.ts";

/** Where messages go while the link is up. */
export interface Wire {
  /** Sends a message; tells whether it left. */
  send(text: string): boolean;
}

/** Where results are kept until they have arrived. */
export interface ResultStore {
  /** Removes the results of these commands: they have arrived, as has all that was sent before them. */
  forget(commandIds: readonly string[]): void;
}

/**
 * The Control Plane may overwrite a result that comes within milliseconds of its command: such results are said twice. One without an ack is of
 * a command that came again, or that an earlier process acknowledged, nobody knows when.
 */
const FAST_RESULT_MS = 1000;
const REPEAT_AFTER_MS = 2000;
/** When a repetition is late enough for what it is for: the Control Plane writes down that it sent a command within milliseconds. */
const LATE_ENOUGH_MS = 200;
/**
 * A socket takes messages that no longer arrive: results and statuses sent this shortly before a break are sent again. A Control Plane drops
 * a silent link after 45 s, so that what was sent earlier did arrive.
 */
const UNCERTAIN_MS = 60_000;
/** More than an agent sends in that time, short of a flood: what is beyond is taken to have arrived, so that memory stays bounded. */
const MAX_UNCERTAIN = 10_000;

/** What is worth something later. */
type Lasting = Extract<Outbound, { type: "complete" | "failed" | "status" }>;

/** A result that is still to be repeated. */
interface Repetition {
  readonly saidAt: number;
  readonly timer: ReturnType<typeof setTimeout>;
  readonly say: () => void;
}

interface Sent {
  readonly message: Lasting;
  readonly sentAt: number;
}

/** The one way out of the agent. */
export class Outbox implements Disposable {
  readonly #store: ResultStore | undefined;
  #wire: Wire | undefined;
  #results: Result[] = [];
  #recent: Sent[] = [];
  /** When the first of what waits began to. */
  #waitingSince = 0;
  readonly #statuses = new Map<string, Lasting>();
  readonly #ackedAt = new Map<string, number>();
  #onEmpty: () => void = () => {};
  /** Repetitions that are still due, by command. */
  readonly #repeats = new Map<string, Repetition>();

  /** @param store where results are kept until they have arrived */
  constructor(store?: ResultStore) {
    this.#store = store;
  }

  /** How many results and statuses wait for a link. */
  get waiting(): number {
    return this.#results.length + this.#statuses.size;
  }

  /** What waits for a link, and for how many milliseconds at most. */
  get backlog(): { readonly results: number; readonly statuses: number; readonly oldestMs: number } {
    const oldestMs = this.waiting === 0 ? 0 : performance.now() - this.#waitingSince;
    return { results: this.#results.length, statuses: this.#statuses.size, oldestMs };
  }

  /** A link is up: what waited leaves first. */
  attach(wire: Wire): void {
    this.#wire = wire;
    const results = this.#results;
    const statuses = [...this.#statuses.values()];
    this.#results = [];
    this.#statuses.clear();
    for (const message of [...results, ...statuses]) if (!this.#transmit(message)) this.#keep(message);
    if (this.waiting === 0) this.#onEmpty();
  }

  /**
   * The link is down.
   *
   * @param hasArrived whether the Control Plane agreed to the end, and so has read all that was sent before
   */
  detach({ hasArrived }: { hasArrived: boolean }): void {
    this.#wire = undefined;
    const isDue = ({ message }: Sent) =>
      message.type !== "status" && this.#repeats.has(message.payload.commandId);
    // What is still to be repeated has arrived, and may be overwritten all the same.
    const due = hasArrived ? this.#recent.filter(isDue) : [];
    if (hasArrived) this.#recent = this.#recent.filter((sent) => !isDue(sent));
    this.#settle(hasArrived ? Infinity : performance.now() - UNCERTAIN_MS);
    const uncertain = [...this.#recent, ...due].map(({ message }) => message);
    // What has not left at all came after what may not have arrived.
    const unsent = [...this.#results, ...this.#statuses.values()];
    this.#recent = [];
    this.#results = [];
    this.#statuses.clear();
    this.#cancelRepeats();
    for (const message of [...uncertain, ...unsent]) this.#keep(message);
  }

  /**
   * Sends a message now or, where it is worth it, once a link is up.
   *
   * @param options.waitedMs how long it has waited elsewhere, in milliseconds. @default {0}
   * @returns whether it left
   */
  send(message: Outbound, { waitedMs = 0 }: { waitedMs?: number } = {}): boolean {
    if (!this.#transmit(message)) {
      if (message.type === "complete" || message.type === "failed") {
        log.info("The result of command {commandId} waits for a link", {
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

  /** Lets go of what was or will be told of a session that is to be stopped: it would undo the stop. */
  forgetStatus(sessionId: string): void {
    const isOther = ({ message }: Sent) =>
      message.type !== "status" || message.payload.sessionId !== sessionId;
    this.#recent = this.#recent.filter(isOther);
    this.#statuses.delete(sessionId);
  }

  /** Resolves once nothing waits for a link, or rejects with the signal's reason. */
  async empty(signal: AbortSignal): Promise<void> {
    if (this.waiting > 0) await abortable(new Promise<void>((resolve) => this.#onEmpty = resolve), signal);
  }

  /** Repeats at once what is still to be repeated, for an end of the link that is near; what was said just now is kept for the next link. */
  repeatNow(): void {
    const before = performance.now() - LATE_ENOUGH_MS;
    for (const { saidAt, timer, say } of [...this.#repeats.values()]) {
      if (saidAt > before) continue;
      clearTimeout(timer);
      say();
    }
  }

  /** Forgets the repetitions that are still due. */
  [Symbol.dispose](): void {
    this.#cancelRepeats();
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

  #remember(message: Lasting): void {
    this.#recent.push({ message, sentAt: performance.now() });
    if (this.#recent.length <= MAX_UNCERTAIN) return;
    log.error(
      "More than {limit} results and statuses within a minute: the older ones are not sent again after a loss",
      {
        limit: MAX_UNCERTAIN,
      },
    );
    this.#settle(this.#recent[MAX_UNCERTAIN / 2]?.sentAt ?? 0);
  }

  /** What was sent before a time has arrived. Called often: each heartbeat passes here. */
  #settle(before: number): void {
    const first = this.#recent.findIndex((one) => one.sentAt > before);
    const arrived = this.#recent.splice(0, first < 0 ? this.#recent.length : first);
    const commandIds = arrived.flatMap(({ message }) =>
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
    clearTimeout(this.#repeats.get(commandId)?.timer);
    const say = () => {
      if (this.#wire?.send(encode(result))) this.#repeats.delete(commandId);
    };
    this.#repeats.set(commandId, { saidAt: performance.now(), timer: setTimeout(say, REPEAT_AFTER_MS), say });
  }

  #cancelRepeats(): void {
    for (const { timer } of this.#repeats.values()) clearTimeout(timer);
    this.#repeats.clear();
  }
}
