/**
 * The wire between Control Plane and agent: text of frames in, typed messages out, and back. Pure; never throws on what a peer sent.
 * The shapes are the StreamSpace v2.0 WebSocket protocol of its documentation.
 * @module
 */
import { asRecord } from "../common/json.ts";

/** A command as received; its payload is untrusted. */
export interface Command {
  readonly commandId: string;
  readonly action: string;
  readonly payload: unknown;
}

/** What a frame of the Control Plane can bring. */
export type Inbound =
  | { readonly type: "command"; readonly command: Command }
  | { readonly type: "ping" }
  | { readonly type: "shutdown"; readonly reason: string }
  | { readonly type: "unknown"; readonly name: string }
  | { readonly type: "malformed"; readonly problem: string; readonly excerpt: string };

/** What this agent can run, as registration and heartbeat tell it. */
export interface Capacity {
  readonly maxCpu: number;
  readonly maxMemory: number;
  readonly maxSessions: number;
  readonly cpu: string;
  readonly memory: string;
}

/** What sessions take of a capacity now. */
export interface Usage {
  readonly usedSessions: number;
  /** Cores. */
  readonly usedCpu: number;
  /** GiB. */
  readonly usedMemory: number;
}

/** A session's state as the Control Plane knows it. */
export type SessionState = "pending" | "running" | "hibernated" | "terminated" | "failed";

/**
 * The whole record of a session: the Control Plane overwrites each column from every status, so a field left out is a field lost.
 */
export interface SessionStatus {
  readonly sessionId: string;
  readonly state: SessionState;
  readonly vncReady: boolean;
  readonly vncPort: number;
  readonly platformMetadata: Readonly<Record<string, string>>;
}

/** What a command that succeeded brought about. */
export type CommandResult = Readonly<Record<string, unknown>>;

/** What the agent sends. */
export type Outbound =
  | {
    readonly type: "heartbeat";
    readonly payload: {
      readonly status: "online" | "draining";
      readonly activeSessions: number;
      readonly capacity: Capacity & Usage;
    };
  }
  | { readonly type: "ack"; readonly payload: { readonly commandId: string } }
  | {
    readonly type: "complete";
    readonly payload: { readonly commandId: string; readonly result: CommandResult };
  }
  | { readonly type: "failed"; readonly payload: { readonly commandId: string; readonly error: string } }
  | { readonly type: "status"; readonly payload: SessionStatus }
  | { readonly type: "pong"; readonly payload: Record<never, never> };

/** The final word on a command. */
export type Result = Extract<Outbound, { type: "complete" | "failed" }>;

/** Longest text of an error, in characters: a frame has a limit, and a person's patience too. */
const ERROR_LENGTH = 4000;
const EXCERPT_LENGTH = 40;
const COMMAND_ID_LENGTH = 256;

/** The result of a command that was carried out. */
export function completed(commandId: string, result: CommandResult): Result {
  return { type: "complete", payload: { commandId, result } };
}

/** The result of a command that was not carried out, with the reason for a person. */
export function failed(commandId: string, reason: string): Result {
  return { type: "failed", payload: { commandId, error: reason.slice(0, ERROR_LENGTH) } };
}

/**
 * Reads a text frame, which may hold several messages joined by line feeds; a broken one never loses the others.
 */
export function parseFrame(frame: string): Inbound[] {
  return frame.split("\n").filter((line) => line.trim() !== "").map(parseMessage);
}

/** Writes a message with the time it leaves at (RFC 3339, UTC). */
export function encode(message: Outbound, now = new Date()): string {
  return JSON.stringify({ type: message.type, timestamp: now.toISOString(), payload: message.payload });
}

function parseMessage(text: string): Inbound {
  let message;
  try {
    message = asRecord(JSON.parse(text));
  } catch {
    return malformed("it is not JSON", text);
  }
  if (!message) return malformed("it is not an object", text);
  const payload = asRecord(message.payload);
  switch (message.type) {
    case "command":
      return parseCommand(payload, text);
    case "ping":
      return { type: "ping" };
    case "shutdown":
      return {
        type: "shutdown",
        reason: typeof payload?.reason === "string" ? payload.reason : "no reason given",
      };
    default:
      return typeof message.type === "string"
        ? { type: "unknown", name: message.type.slice(0, EXCERPT_LENGTH) }
        : malformed('its "type" is not text', text);
  }
}

/** Without a command id nobody can be answered; everything else about a command is judged when it is carried out. */
function parseCommand(payload: Readonly<Record<string, unknown>> | undefined, text: string): Inbound {
  const commandId = payload?.commandId;
  if (typeof commandId !== "string" || commandId === "") {
    return malformed('its "commandId" is missing or not text', text);
  }
  if (commandId.length > COMMAND_ID_LENGTH) {
    return malformed(`its "commandId" is longer than ${COMMAND_ID_LENGTH} characters`, text);
  }
  const action = typeof payload?.action === "string" ? payload.action : "";
  return { type: "command", command: { commandId, action, payload: payload?.payload } };
}

/** The excerpt is short on purpose: enough to tell a message by, too little for a payload's secrets. */
function malformed(problem: string, text: string): Inbound {
  return { type: "malformed", problem, excerpt: text.slice(0, EXCERPT_LENGTH) };
}
