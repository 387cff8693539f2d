/**
 * The history of each command from the point of view of the Control Plane.
 * @module
 */
import type { Received } from "../control_plane/message_log.ts";
import type { Deletion, PlannedCommand } from "./event.ts";

/** A result of a command. */
export interface Answer {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly type: "complete" | "failed";
  /** The result or error, as JSON. */
  readonly text: string;
}

/** A command with its acknowledgement and results. */
export interface CommandRecord {
  readonly command: PlannedCommand;
  /** Milliseconds since 1970. */
  readonly sentAt: number;
  readonly ackedAt: number | undefined;
  /** In the order in which they arrived. */
  readonly answers: readonly Answer[];
}

/** A deletion by the administrator, with its start and end in milliseconds since 1970. */
export interface PastDeletion extends Deletion {
  readonly from: number;
  to: number;
}

/** Records the sent commands, and finds their results in the messages of the Control Plane. */
export class History {
  readonly #messages: readonly Received[];
  readonly #sent = new Map<string, { command: PlannedCommand; sentAt: number }>();
  readonly deletions: PastDeletion[] = [];

  /** @param messages all messages of the agents; the array grows */
  constructor(messages: readonly Received[]) {
    this.#messages = messages;
  }

  /** Records a command that is sent now. */
  sent(command: PlannedCommand): void {
    if (this.#sent.has(command.commandId)) return;
    this.#sent.set(command.commandId, { command, sentAt: Date.now() });
  }

  /** Notes a deletion that begins now; returns a function that records its end. */
  deleting(deletion: Deletion): () => void {
    const past: PastDeletion = { ...deletion, from: Date.now(), to: Infinity };
    this.deletions.push(past);
    return () => void (past.to = Date.now());
  }

  /** All commands in the order in which they were first sent. */
  records(): CommandRecord[] {
    const acks = new Map<string, number>();
    const answers = new Map<string, Answer[]>();
    for (const { at, message: { type, payload } } of this.#messages) {
      const commandId = String(payload.commandId);
      if (type === "ack" && !acks.has(commandId)) acks.set(commandId, at);
      if (type !== "complete" && type !== "failed") continue;
      const text = JSON.stringify(type === "complete" ? payload.result : payload.error);
      answers.set(commandId, [...answers.get(commandId) ?? [], { at, type, text }]);
    }
    return [...this.#sent.values()].map((one) => ({
      ...one,
      ackedAt: acks.get(one.command.commandId),
      answers: answers.get(one.command.commandId) ?? [],
    }));
  }

  /** The last status of each session, with its time. */
  lastStatuses(): Map<string, { at: number; payload: Readonly<Record<string, unknown>> }> {
    const statuses = new Map<string, { at: number; payload: Readonly<Record<string, unknown>> }>();
    for (const { at, message: { type, payload } } of this.#messages) {
      if (type === "status") statuses.set(String(payload.sessionId), { at, payload });
    }
    return statuses;
  }

  /** All messages and deletions about a session in chronological order, as text. */
  about(sessionId: string): string[] {
    const records = this.records().filter(({ command }) => command.sessionId === sessionId);
    const ids = new Set(records.map(({ command }) => command.commandId));
    const lines = [
      ...records.map(({ command, sentAt }) => ({
        at: sentAt,
        text: `sent ${command.commandId} ${command.action} ${JSON.stringify(command.payload)}`,
      })),
      ...this.deletions.filter((deletion) => deletion.sessionId === sessionId)
        .map(({ from, target }) => ({ at: from, text: `the administrator deletes the ${target}` })),
      ...this.#messages.filter(({ message: { type, payload } }) =>
        ids.has(String(payload.commandId)) || (type === "status" && payload.sessionId === sessionId)
      ).map(({ at, message: { type, payload } }) => ({
        at,
        text: `received ${type} ${JSON.stringify(payload)}`,
      })),
    ];
    return lines.toSorted((one, other) => one.at - other.at)
      .map(({ at, text }) => `${new Date(at).toISOString()} ${text}`);
  }
}

/** Whether the agent acknowledged or answered a command. */
export function isReceived({ ackedAt, answers }: CommandRecord): boolean {
  return ackedAt !== undefined || answers.length > 0;
}
