/**
 * Messages on their way out. While the link is down results wait in order and the newest status of each session waits; acks, heartbeats and
 * pongs are worth nothing later and are let go. The state is in memory: what still waits when the process ends is lost.
 * @module
 */
import { abortable } from "@std/async";
import { log } from "../log.ts";
import { encode, type Outbound, type Result } from "./protocol.ts";

/** Where messages go while the link is up. */
export interface Wire {
  send(text: string): void;
}

/** The Control Plane may overwrite a result that comes within milliseconds of its command: such results are said twice. */
const FAST_RESULT_MS = 1000;
const REPEAT_AFTER_MS = 2000;
/**
 * A socket takes messages that no longer arrive: results and statuses sent this shortly before a break are sent again. A Control Plane drops
 * a silent link after 45 s, so that what was sent earlier did arrive.
 */
const UNCERTAIN_MS = 60_000;

/** What is worth something later. */
type Lasting = Extract<Outbound, { type: "complete" | "failed" | "status" }>;

interface Sent {
  readonly message: Lasting;
  readonly sentAt: number;
}

/** The one way out of the agent. */
export class Outbox implements Disposable {
  #wire: Wire | undefined;
  #results: Result[] = [];
  #recent: Sent[] = [];
  readonly #statuses = new Map<string, Outbound>();
  readonly #ackedAt = new Map<string, number>();
  #onEmpty: () => void = () => {};
  readonly #repeats = new Set<ReturnType<typeof setTimeout>>();

  /** How many results and statuses wait for a link. */
  get waiting(): number {
    return this.#results.length + this.#statuses.size;
  }

  /** A link is up: what waited leaves first. */
  attach(wire: Wire): void {
    this.#wire = wire;
    const results = this.#results;
    const statuses = [...this.#statuses.values()];
    this.#results = [];
    this.#statuses.clear();
    for (const message of [...results, ...statuses]) this.send(message);
    this.#onEmpty();
  }

  /** The link is down. */
  detach(): void {
    this.#wire = undefined;
    const since = Date.now() - UNCERTAIN_MS;
    const uncertain = this.#recent.filter((one) => one.sentAt >= since);
    this.#recent = [];
    for (const { message } of uncertain) this.#keep(message);
  }

  /** Sends a message now or, where it is worth it, once a link is up. */
  send(message: Outbound): void {
    if (!this.#wire) {
      if (message.type === "complete" || message.type === "failed") {
        log.info("The result of command {commandId} waits for a link", {
          commandId: message.payload.commandId,
        });
      }
      this.#keep(message);
      return;
    }
    this.#wire.send(encode(message));
    if (message.type === "ack") this.#ackedAt.set(message.payload.commandId, Date.now());
    if (message.type === "status") this.#remember(message);
    if (message.type === "complete" || message.type === "failed") {
      this.#remember(message);
      this.#repeatIfFast(message);
    }
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

  /** Forgets the repetitions that are still due. */
  [Symbol.dispose](): void {
    for (const timer of this.#repeats) clearTimeout(timer);
    this.#repeats.clear();
  }

  #keep(message: Outbound): void {
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
    const now = Date.now();
    while (this.#recent[0] && now - this.#recent[0].sentAt >= UNCERTAIN_MS) this.#recent.shift();
    this.#recent.push({ message, sentAt: now });
  }

  #repeatIfFast(result: Result): void {
    const { commandId } = result.payload;
    const ackedAt = this.#ackedAt.get(commandId);
    this.#ackedAt.delete(commandId);
    if (ackedAt !== undefined && Date.now() - ackedAt < FAST_RESULT_MS) this.#repeatLater(result);
  }

  #repeatLater(result: Result): void {
    const timer = setTimeout(() => {
      this.#repeats.delete(timer);
      this.#wire?.send(encode(result));
    }, REPEAT_AFTER_MS);
    this.#repeats.add(timer);
  }
}
