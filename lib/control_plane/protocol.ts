/**
 * Messages between Control Plane and agent, as in the StreamSpace v2.0 WebSocket protocol: parses received frames and encodes outgoing messages.
 * Pure; parsing never throws, whatever the peer sent.
 * @module
 */
import { asRecord } from "../common/json.ts";

/** A command as received; its payload is untrusted. */
export interface Command {
  readonly commandId: string;
  readonly action: string;
  readonly payload: unknown;
}

/** A message from the Control Plane. */
export type Inbound =
  | { readonly type: "command"; readonly command: Command }
  | { readonly type: "ping" }
  | { readonly type: "shutdown"; readonly reason: string }
  | { readonly type: "vnc_data"; readonly sessionId: string; readonly bytes: Uint8Array }
  | { readonly type: "vnc_close"; readonly sessionId: string }
  | { readonly type: "unknown"; readonly name: string }
  | { readonly type: "malformed"; readonly problem: string; readonly excerpt: string };

/** What this agent can run; part of the registration and of each heartbeat. */
export interface Capacity {
  readonly maxCpu: number;
  readonly maxMemory: number;
  readonly maxSessions: number;
  readonly cpu: string;
  readonly memory: string;
}

/** What the sessions currently use of a capacity. */
export interface Usage {
  readonly usedSessions: number;
  /** Cores. */
  readonly usedCpu: number;
  /** GiB. */
  readonly usedMemory: number;
}

/** State of a session in the Control Plane's terms. */
export type SessionState = "pending" | "running" | "hibernated" | "terminated" | "failed";

/**
 * The complete record of a session. Each status must contain all fields, as the Control Plane overwrites every column.
 */
export interface SessionStatus {
  readonly sessionId: string;
  readonly state: SessionState;
  readonly vncReady: boolean;
  readonly vncPort: number;
  readonly platformMetadata: Readonly<Record<string, string>>;
  /** Number of open streams; absent if no stream was ever opened. */
  readonly viewers?: number;
  /** When a stream was open last (RFC 3339); absent if none ever was. */
  readonly lastActivity?: string;
}

/** Outcome of a successful command. */
export type CommandResult = Readonly<Record<string, unknown>>;

/** A message to the Control Plane. */
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
  | { readonly type: "pong"; readonly payload: Record<never, never> }
  | {
    readonly type: "vnc_ready";
    readonly payload: { readonly sessionId: string; readonly vncPort: number; readonly podName: string };
  }
  | {
    readonly type: "vnc_data";
    /** The data is encoded as base64. */
    readonly payload: { readonly sessionId: string; readonly data: string };
  };

/** The result of a command; its last message. */
export type Result = Extract<Outbound, { type: "complete" | "failed" }>;

/** Longest text of an error, in characters: the Control Plane limits the size of a frame. */
const ERROR_LENGTH = 4000;
const EXCERPT_LENGTH = 40;
const COMMAND_ID_LENGTH = 256;

/** Makes the result of a successful command. */
export function completed(commandId: string, result: CommandResult): Result {
  return { type: "complete", payload: { commandId, result } };
}

/** Makes the result of a failed command. */
export function failed(commandId: string, reason: string): Result {
  return { type: "failed", payload: { commandId, error: reason.slice(0, ERROR_LENGTH) } };
}

/**
 * Parses a text frame, which may contain several messages separated by line feeds. A malformed message does not affect the others.
 */
export function parseFrame(frame: string): Inbound[] {
  return frame.split("\n").filter((line) => line.trim() !== "").map(parseMessage);
}

/** Encodes a message, with the current time as its timestamp (RFC 3339, UTC). */
export function encode(message: Outbound, now = new Date()): string {
  return JSON.stringify({ type: message.type, timestamp: now.toISOString(), payload: message.payload });
}

function parseMessage(text: string): Inbound {
  let message;
  try {
    message = asRecord(JSON.parse(text));
  } catch {
    return malformed("not JSON", text);
  }
  if (!message) return malformed("not an object", text);
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
    case "vnc_data":
    case "vnc_close":
      return parseVncMessage(message.type, { payload, text });
    default:
      return typeof message.type === "string"
        ? { type: "unknown", name: message.type.slice(0, EXCERPT_LENGTH) }
        : malformed('"type" is not a string', text);
  }
}

/** Only the command id is required here, since a result needs it; the dispatcher validates the rest. */
function parseCommand(payload: Readonly<Record<string, unknown>> | undefined, text: string): Inbound {
  const commandId = payload?.commandId;
  if (typeof commandId !== "string" || commandId === "") {
    return malformed('"commandId" is missing or not a string', text);
  }
  if (commandId.length > COMMAND_ID_LENGTH) {
    return malformed(`"commandId" is longer than ${COMMAND_ID_LENGTH} characters`, text);
  }
  const action = typeof payload?.action === "string" ? payload.action : "";
  return { type: "command", command: { commandId, action, payload: payload?.payload } };
}

function parseVncMessage(
  type: "vnc_data" | "vnc_close",
  { payload, text }: { payload: Readonly<Record<string, unknown>> | undefined; text: string },
): Inbound {
  const { sessionId, data } = payload ?? {};
  if (typeof sessionId !== "string") return malformed('"sessionId" is missing or not a string', text);
  if (type === "vnc_close") return { type, sessionId };
  try {
    return { type, sessionId, bytes: Uint8Array.fromBase64(String(data)) };
  } catch {
    return malformed('"data" is not base64', text);
  }
}

/** The excerpt identifies the message; it is too short to contain secrets of a payload. */
function malformed(problem: string, text: string): Inbound {
  return { type: "malformed", problem, excerpt: text.slice(0, EXCERPT_LENGTH) };
}
