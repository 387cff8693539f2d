/**
 * Schemas of what agents and users send, and the check that turns every problem into a sentence. They describe the wire protocol on their own,
 * without the agent's encoding code, so that they find its mistakes; the building blocks are those of the agent's schemas.
 * @module
 */
import * as v from "valibot";
import { integer, oneOf, shown } from "../../lib/common/schema.ts";
import { asRecord } from "../../lib/common/json.ts";
import { ACTIONS } from "../../lib/model/requests.ts";

/** A JSON object of unknown content. */
export type JsonObject = Record<string, unknown>;

const text = v.pipe(v.string(shown("must be a string")), v.nonEmpty("must not be empty"));
const anyText = v.string(shown("must be a string"));
const count = integer(0, Number.MAX_SAFE_INTEGER);
const port = integer(0, 65_535);
const amount = v.pipe(
  v.number(shown("must be a number from 0")),
  v.finite(shown("must be a number from 0")),
  v.minValue(0, shown("must be a number from 0")),
);
const object = v.custom<JsonObject>((value) => asRecord(value) !== undefined, shown("must be an object"));
const base64 = v.pipe(v.string(shown("must be base64")), v.base64(shown("must be base64")));

/** The capacity of an agent: two generations of the Control Plane read different fields of it. */
const capacity = v.looseObject({
  maxCpu: v.optional(amount),
  maxMemory: v.optional(amount),
  maxSessions: v.optional(count),
  cpu: v.optional(anyText),
  memory: v.optional(anyText),
  usedSessions: v.optional(count),
  usedCpu: v.optional(amount),
  usedMemory: v.optional(amount),
}, shown("must be an object"));

/** The body of a registration. */
export const REGISTRATION = v.looseObject({
  agentId: text,
  platform: text,
  region: v.optional(anyText),
  capacity: v.optional(capacity),
  features: v.optional(v.array(text, shown("must be a list"))),
  metadata: v.optional(object),
}, shown("must be a JSON object"));

/** The body of a user's command. The payload is passed on unchecked, because the agent has to answer for a bad one. */
export const COMMAND = v.looseObject({
  action: oneOf(...ACTIONS),
  sessionId: text,
  payload: v.optional(object),
}, shown("must be a JSON object"));

const use = { viewers: v.optional(count), lastActivity: v.optional(text) };

/** A status message; the Control Plane takes the pod's name from each one, so a running session must name it. */
const status = v.variant("state", [
  v.looseObject({
    sessionId: text,
    state: v.literal("running"),
    vncReady: v.boolean(shown("must be true or false")),
    vncPort: v.optional(port),
    ...use,
    platformMetadata: v.looseObject({ podName: text }, shown("must be an object")),
  }),
  v.looseObject({
    sessionId: text,
    state: oneOf("pending", "hibernated", "terminated", "failed"),
    vncReady: v.boolean(shown("must be true or false")),
    vncPort: v.optional(port),
    ...use,
    platformMetadata: v.optional(object),
  }),
], shown("must be one of pending, running, hibernated, terminated, failed"));

/** The payloads of the agent's messages, by type. */
export const PAYLOADS: ReadonlyMap<string, v.GenericSchema> = new Map<string, v.GenericSchema>([
  ["heartbeat", v.looseObject({ status: oneOf("online", "draining"), activeSessions: count, capacity })],
  ["ack", v.looseObject({ commandId: text })],
  ["complete", v.looseObject({ commandId: text, result: object })],
  ["failed", v.looseObject({ commandId: text, error: text })],
  ["status", status],
  ["pong", v.looseObject({})],
  ["vnc_ready", v.looseObject({ sessionId: text, vncPort: port, podName: text })],
  ["vnc_data", v.looseObject({ sessionId: text, data: base64 })],
  ["vnc_error", v.looseObject({ sessionId: text, error: text })],
]);

/** Every problem of a value as a sentence that begins with the path of the field, such as `payload.commandId is required`. */
export function problemsOf(schema: v.GenericSchema, value: unknown, path: string): string[] {
  const { issues = [] } = v.safeParse(schema, value);
  return issues.map((issue) => {
    const name = [path, v.getDotPath(issue)].filter(Boolean).join(".") || "The body";
    const isMissing = issue.path?.at(-1)?.origin === "key";
    return `${name} ${isMissing ? "is required" : issue.message}`;
  });
}

/** Whether the value is a JSON object (not null, not an array). */
export function isObject(value: unknown): value is JsonObject {
  return asRecord(value) !== undefined;
}

/** The value as JSON, shortened for a sentence. */
export function excerpt(value: unknown, maxLength = 80): string {
  const text = value === undefined ? "missing" : JSON.stringify(value);
  return text.length > maxLength ? `${text.slice(0, maxLength)}…` : text;
}
