/**
 * The agent's messages as the protocol has them: a frame's text comes in, a message and what is wrong with it come out.
 * Written without the agent's own protocol code, so that it finds that code's mistakes.
 * @module
 */
import {
  AMOUNT,
  ANY_TEXT,
  BASE64,
  checkFields,
  COUNT,
  excerpt,
  FLAG,
  isObject,
  type JsonObject,
  OBJECT,
  oneOf,
  optional,
  PORT,
  type Shape,
  TEXT,
} from "./fields.ts";

/** A message as it is on the wire. */
export interface Message {
  type: string;
  /** RFC 3339, UTC. */
  timestamp: string;
  payload: JsonObject;
}

/** Frames that are larger, in bytes, are refused. */
export const MAX_FRAME_BYTES = 512 * 1024;

/** The capacity of an agent: two generations of the Control Plane read different fields of it. */
export const CAPACITY: Shape = {
  maxCpu: optional(AMOUNT),
  maxMemory: optional(AMOUNT),
  maxSessions: optional(COUNT),
  cpu: optional(ANY_TEXT),
  memory: optional(ANY_TEXT),
  usedSessions: optional(COUNT),
  usedCpu: optional(AMOUNT),
  usedMemory: optional(AMOUNT),
};

const PAYLOADS = new Map<string, Shape>([
  ["heartbeat", { status: oneOf("online", "draining"), activeSessions: COUNT, capacity: OBJECT }],
  ["ack", { commandId: TEXT }],
  ["complete", { commandId: TEXT, result: OBJECT }],
  ["failed", { commandId: TEXT, error: TEXT }],
  ["status", {
    sessionId: TEXT,
    state: oneOf("pending", "running", "hibernated", "terminated", "failed"),
    vncReady: FLAG,
    vncPort: optional(PORT),
    platformMetadata: optional(OBJECT),
  }],
  ["pong", {}],
  ["vnc_ready", { sessionId: TEXT, vncPort: PORT, podName: TEXT }],
  ["vnc_data", { sessionId: TEXT, data: BASE64 }],
  ["vnc_error", { sessionId: TEXT, error: TEXT }],
]);

const UTC_TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)$/;

/** A frame that was read; without a message when there was none in it. */
export interface ReadFrame {
  readonly message?: Message;
  readonly problems: readonly string[];
}

/** Reads one frame, which must hold exactly one message: the Control Plane does not split what an agent sends. */
export function readFrame(data: unknown): ReadFrame {
  if (typeof data !== "string") return { problems: ["The frame is binary, messages are text"] };
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    return { problems: [`The frame is not one JSON value: ${excerpt(data)}`] };
  }
  if (!isObject(value) || typeof value.type !== "string") {
    return { problems: [`The frame is not a message with a type: ${excerpt(data)}`] };
  }
  return readMessage(value, value.type);
}

function readMessage(value: JsonObject, type: string): ReadFrame {
  const { timestamp } = value;
  // Only a pong says all it has to say by its type.
  const payload = type === "pong" ? value.payload ?? {} : value.payload;
  const problems: string[] = [];
  if (!isTimestamp(timestamp)) problems.push(`timestamp must be RFC 3339 in UTC, not ${excerpt(timestamp)}`);
  if (isObject(payload)) problems.push(...checkPayload(type, payload));
  else problems.push(`payload must be an object, not ${excerpt(payload)}`);
  const message = {
    type,
    timestamp: typeof timestamp === "string" ? timestamp : "",
    payload: isObject(payload) ? payload : {},
  };
  return { message, problems: problems.map((problem) => `Message ${excerpt(type)}: ${problem}`) };
}

function checkPayload(type: string, payload: JsonObject): string[] {
  const shape = PAYLOADS.get(type);
  if (shape === undefined) return [`type must be one of ${[...PAYLOADS.keys()].join(", ")}`];
  const problems = checkFields(payload, shape, "payload.");
  if (isObject(payload.capacity)) {
    problems.push(...checkFields(payload.capacity, CAPACITY, "payload.capacity."));
  }
  if (type === "status" && payload.state === "running") problems.push(...checkRunning(payload));
  return problems;
}

/** The Control Plane takes the pod's name from every status: one without it blanks the name of a running session. */
function checkRunning(payload: JsonObject): string[] {
  const metadata = isObject(payload.platformMetadata) ? payload.platformMetadata : {};
  return checkFields(metadata, { podName: TEXT }, "payload.platformMetadata.");
}

function isTimestamp(value: unknown): boolean {
  return typeof value === "string" && UTC_TIMESTAMP.test(value) && !Number.isNaN(Date.parse(value));
}
