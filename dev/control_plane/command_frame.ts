/**
 * Encodes what the Control Plane sends: messages and commands as the text of a WebSocket frame.
 * @module
 */
import { isObject } from "./schemas.ts";

/** A command to an agent. */
export interface Command {
  action: string;
  sessionId: string;
  /** The session id is added to an object without a `sessionId`; any other value is sent unchanged. */
  payload?: unknown;
  /** @default {a new id} */
  commandId?: string;
}

/** Encodes one message. */
export function encodeMessage(type: string, payload: unknown): string {
  return JSON.stringify({ type, timestamp: new Date().toISOString(), payload });
}

/** Encodes commands as one frame, joined by line feeds as the Control Plane joins queued messages; returns their ids, too. */
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
