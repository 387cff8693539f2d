/**
 * The messages of all agents, in the order in which they arrived.
 * @module
 */
import { Feed } from "./feed.ts";
import type { Message } from "./messages.ts";
import { excerpt, type JsonObject } from "./schemas.ts";

/** A received message of an agent. */
export interface Received {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly agentId: string;
  readonly message: Message;
}

/** The result of a command. */
export interface CommandResult {
  readonly type: "complete" | "failed";
  readonly payload: Record<string, unknown>;
}

/** Options of the waits. */
export interface WaitOptions {
  /** Ends the wait with an error that lists the messages so far. @default {a timeout of two minutes} */
  signal?: AbortSignal;
}

/** Limit for the VNC messages that are kept, in characters. */
const MAX_DISPLAY_CHARS = 64 * 1024 * 1024;

/** Keeps all messages, but of VNC messages only the first 64 MiB: later ones only end the waits for them. */
export class MessageLog {
  readonly #messages = new Feed<Received>();
  /** Characters of the VNC messages so far. */
  #displayChars = 0;

  /** The kept messages; a live view. */
  get items(): readonly Received[] {
    return this.#messages.items;
  }

  /** Adds a message that arrived. */
  add(received: Received): void {
    const { type, payload } = received.message;
    if (type === "vnc_data") this.#displayChars += String(payload.data).length;
    if (type === "vnc_data" && this.#displayChars > MAX_DISPLAY_CHARS) this.#messages.pass(received);
    else this.#messages.push(received);
  }

  /** Resolves with the first message, past or future, that the predicate accepts. */
  async waitFor(predicate: (message: Message) => boolean, options: WaitOptions): Promise<Message> {
    return await this.#waitFor("a message", predicate, options);
  }

  /** Resolves with the first result of a command. */
  async result(commandId: string, options: WaitOptions): Promise<CommandResult> {
    const { type, payload } = await this.#waitFor(
      `the result of command "${commandId}"`,
      ({ type, payload }) => (type === "complete" || type === "failed") && payload.commandId === commandId,
      options,
    );
    return { type: type === "complete" ? "complete" : "failed", payload };
  }

  /** The last status of a session as the API shows it; `undefined` if there was none. */
  lastStatus(sessionId: string): JsonObject | undefined {
    const last = this.items.findLast(({ message: { type, payload } }) =>
      type === "status" && payload.sessionId === sessionId
    );
    return last && { agentId: last.agentId, updatedAt: last.message.timestamp, ...last.message.payload };
  }

  /** Rejects all waits. */
  close(): void {
    this.#messages.close();
  }

  async #waitFor(
    what: string,
    predicate: (message: Message) => boolean,
    options: WaitOptions,
  ): Promise<Message> {
    const received = await this.#messages.waitFor(({ message }) => predicate(message), {
      ...options,
      what,
      soFar: () => this.#summary(),
    });
    return received.message;
  }

  #summary(): string {
    const lines = this.items.map(({ message: { type, payload } }) =>
      type === "heartbeat" ? type : `${type} ${excerpt(payload)}`
    );
    return lines.join(", ") || "no message";
  }
}
