/**
 * What the Control Plane sends: messages and commands come in, the text of a frame comes out.
 * @module
 */
import { isObject } from "./fields.ts";

/** A command to an agent. */
export interface Command {
  action: string;
  sessionId: string;
  /** An object gets the session's id where it has no field of that name; anything else is sent as it is. */
  payload?: unknown;
  /** @default {a new id} */
  commandId?: string;
}

/** One message as text. */
export function encodeMessage(type: string, payload: unknown): string {
  return JSON.stringify({ type, timestamp: new Date().toISOString(), payload });
}

/** The commands as one frame, joined by line feeds as the Control Plane joins what is queued, and their ids. */
export function encodeCommands(commands: readonly Command[]): { frame: string; commandIds: string[] } {
  const payloads = commands.map(toPayload);
  return {
    frame: payloads.map((payload) => encodeMessage("command", payload)).join("\n"),
    commandIds: payloads.map(({ commandId }) => commandId),
  };
}

function toPayload({ action, sessionId, payload = {}, commandId = newCommandId() }: Command) {
  return { commandId, action, payload: isObject(payload) ? { sessionId, ...payload } : payload };
}

function newCommandId(): string {
  return `cmd-${crypto.randomUUID().slice(0, 8)}`;
}
