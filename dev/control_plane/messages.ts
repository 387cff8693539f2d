/**
 * Reads an agent's frames: the text of a frame becomes a message and a list of violations of the protocol.
 * @module
 */
import { excerpt, isObject, type JsonObject, PAYLOADS, problemsOf } from "./schemas.ts";

/** A message of the protocol. */
export interface Message {
  type: string;
  /** RFC 3339, UTC. */
  timestamp: string;
  payload: JsonObject;
}

/** Maximum size of a frame, in bytes. */
export const MAX_FRAME_BYTES = 512 * 1024;

const UTC_TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)$/;

/** The result of reading a frame; without a message if the frame holds none. */
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
  // A pong needs no payload.
  const payload = type === "pong" ? value.payload ?? {} : value.payload;
  const problems: string[] = [];
  if (!isTimestamp(timestamp)) {
    problems.push(`timestamp must be RFC 3339 in UTC, but is ${excerpt(timestamp)}`);
  }
  if (isObject(payload)) problems.push(...checkPayload(type, payload));
  else problems.push(`payload must be an object, but is ${excerpt(payload)}`);
  const message = {
    type,
    timestamp: typeof timestamp === "string" ? timestamp : "",
    payload: isObject(payload) ? payload : {},
  };
  return { message, problems: problems.map((problem) => `Message ${excerpt(type)}: ${problem}`) };
}

function checkPayload(type: string, payload: JsonObject): string[] {
  const schema = PAYLOADS.get(type);
  if (schema === undefined) return [`type must be one of ${[...PAYLOADS.keys()].join(", ")}`];
  return problemsOf(schema, payload, "payload");
}

function isTimestamp(value: unknown): boolean {
  return typeof value === "string" && UTC_TIMESTAMP.test(value) && !Number.isNaN(Date.parse(value));
}
