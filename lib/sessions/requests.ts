/**
 * Commands as typed requests: an untrusted payload goes in, a request or an error that names the field comes out. Pure.
 * @module
 */
import * as v from "valibot";
import type { Command } from "../control_plane/protocol.ts";
import { CommandError } from "../common/errors.ts";
import { parseDuration } from "../common/quantities.ts";
import {
  excerpt,
  fields,
  flag,
  integer,
  invalid,
  parse,
  quantity,
  type Schema,
  shown,
  text,
} from "../common/schema.ts";
import { ACTIONS, type SessionRequest } from "../model/requests.ts";
import type { RequestLimits } from "../model/settings.ts";
import { VARIABLES } from "../templates/env.ts";
import { cpuBounds, memoryBounds } from "../templates/resources.ts";
import { MANIFEST } from "../templates/template.ts";

const MIN_DURATION_MS = 1000;
const MAX_DURATION_MS = 366 * 24 * 3_600_000;
/** The maximum of Kubernetes. */
const MAX_NAMESPACE_LENGTH = 63;

const MILLISECONDS = v.optional(integer(MIN_DURATION_MS, MAX_DURATION_MS));

/** A duration in milliseconds; `undefined` for 0, which means no limit. */
const DURATION: Schema<number | undefined> = v.pipe(
  v.unknown(),
  v.rawTransform(({ dataset: { value }, addIssue, NEVER }): number | undefined => {
    const isText = typeof value === "string" || typeof value === "number";
    const milliseconds = isText ? parseDuration(String(value)) : undefined;
    if (milliseconds === 0) return undefined;
    if (milliseconds !== undefined && milliseconds >= MIN_DURATION_MS && milliseconds <= MAX_DURATION_MS) {
      return milliseconds;
    }
    const problem = milliseconds === undefined
      ? 'must be a duration such as "8h" or "1h30m", or a number of seconds'
      : "must be from 1 second to 366 days";
    addIssue({ message: shown(problem) });
    return NEVER;
  }),
);

/** The payload of `start_session`. The limits of the agent are not part of it. */
export const START_PAYLOAD = fields({
  sessionId: text(),
  user: text(),
  template: text(),
  templateManifest: v.optional(MANIFEST),
  persistentHome: flag(),
  memory: v.nullish(quantity(memoryBounds(Infinity))),
  cpu: v.nullish(quantity(cpuBounds(Infinity))),
  env: v.optional(VARIABLES),
  // Reported only, so any value is accepted.
  namespace: v.optional(v.pipe(
    v.unknown(),
    v.transform((name) => typeof name === "string" ? name.slice(0, MAX_NAMESPACE_LENGTH) : undefined),
  )),
  // As in a request that was parsed before.
  idleTimeoutMs: MILLISECONDS,
  maxSessionDurationMs: MILLISECONDS,
  idleTimeout: v.optional(DURATION),
  maxSessionDuration: v.optional(DURATION),
});

/** The payload of `stop_session`. */
export const STOP_PAYLOAD = fields({ sessionId: text(), deletePVC: flag() });

/** The payload of `hibernate_session` and `wake_session`. */
export const SCALE_PAYLOAD = fields({ sessionId: text() });

/**
 * Parses the action and payload of a command. The result is itself a payload that parses as the same request.
 *
 * @throws {CommandError} naming the field and what is wrong with it
 */
export function parseRequest(command: Command, limits: RequestLimits): SessionRequest {
  const { payload } = command;
  const action = ACTIONS.find((known) => known === command.action);
  if (!action) {
    const known = ACTIONS.join(", ");
    throw new CommandError(
      "unknown_action",
      `Unknown action ${excerpt(command.action)}: must be one of ${known}`,
    );
  }
  if (payload === undefined || payload === null) {
    throw invalid("payload", `must be an object, but is ${excerpt(payload)}`);
  }
  switch (action) {
    case "start_session":
      return { action, ...parseStart(payload, limits) };
    case "stop_session":
      return { action, ...parse(STOP_PAYLOAD, payload, "", "payload") };
    default:
      return { action, ...parse(SCALE_PAYLOAD, payload, "", "payload") };
  }
}

function parseStart(payload: unknown, { maxCpu, maxMemory }: RequestLimits) {
  const start = parse(START_PAYLOAD, payload, "", "payload");
  const { memory, cpu, idleTimeout, maxSessionDuration, ...others } = start;
  return {
    ...others,
    ...(memory ? { memory: parse(quantity(memoryBounds(maxMemory)), memory, "memory") } : {}),
    ...(cpu ? { cpu: parse(quantity(cpuBounds(maxCpu)), cpu, "cpu") } : {}),
    ...(idleTimeout ? { idleTimeoutMs: idleTimeout } : {}),
    ...(maxSessionDuration ? { maxSessionDurationMs: maxSessionDuration } : {}),
  };
}
