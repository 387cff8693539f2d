/**
 * Commands as typed requests: an untrusted payload goes in, a request or an error that names the field comes out. Pure.
 * @module
 */
import * as v from "valibot";
import type { Command } from "../control_plane/protocol.ts";
import { CommandError } from "../common/errors.ts";
import { parseDuration } from "../common/quantities.ts";
import * as s from "../common/schema.ts";
import { ACTIONS, type SessionRequest } from "../model/requests.ts";
import type { RequestLimits } from "../model/settings.ts";
import { VARIABLES } from "../templates/env.ts";
import { cpuBounds, memoryBounds } from "../templates/resources.ts";
import { MANIFEST } from "../templates/template.ts";

const MIN_DURATION_MS = 1000;
const MAX_DURATION_MS = 366 * 24 * 3_600_000;
/** The maximum of Kubernetes. */
const MAX_NAMESPACE_LENGTH = 63;

const MILLISECONDS = s.optional(s.integer(MIN_DURATION_MS, MAX_DURATION_MS));

/** Milliseconds; `undefined` for 0, which means no limit. */
const DURATION: s.Schema<number | undefined> = v.pipe(
  v.unknown(),
  v.check(
    (value) => toMilliseconds(value) !== undefined,
    s.shown('must be a duration such as "8h" or "1h30m", or a number of seconds'),
  ),
  v.check((value) => {
    const milliseconds = toMilliseconds(value) ?? 0;
    return milliseconds === 0 || milliseconds >= MIN_DURATION_MS && milliseconds <= MAX_DURATION_MS;
  }, s.shown("must be from 1 second to 366 days")),
  v.transform((value) => toMilliseconds(value) || undefined),
);

function toMilliseconds(value: unknown): number | undefined {
  return typeof value === "string" || typeof value === "number" ? parseDuration(String(value)) : undefined;
}

/** The payload of `start_session`, without the limits of the agent. */
const START_PAYLOAD = s.fields({
  sessionId: s.text(),
  user: s.text(),
  template: s.text(),
  templateManifest: s.optional(MANIFEST),
  persistentHome: s.flag(),
  memory: s.nullish(s.orNumber(s.quantity(memoryBounds(Infinity)))),
  cpu: s.nullish(s.orNumber(s.quantity(cpuBounds(Infinity)))),
  env: s.optional(VARIABLES),
  // The agent only logs it, so any value is accepted.
  namespace: s.optional(v.pipe(
    v.unknown(),
    v.transform((name) => typeof name === "string" ? name.slice(0, MAX_NAMESPACE_LENGTH) : undefined),
  )),
  // As in a request that was parsed before.
  idleTimeoutMs: MILLISECONDS,
  maxSessionDurationMs: MILLISECONDS,
  idleTimeout: s.optional(DURATION),
  maxSessionDuration: s.optional(DURATION),
});

/** The payload of `stop_session`. */
const STOP_PAYLOAD = s.fields({ sessionId: s.text(), deletePVC: s.flag() });

/** The payload of `hibernate_session` and `wake_session`. */
const SCALE_PAYLOAD = s.fields({ sessionId: s.text() });

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
      `Unknown action ${s.excerpt(command.action)}: must be one of ${known}`,
    );
  }
  if (payload === undefined || payload === null) {
    throw s.invalid("payload", `must be an object, but is ${s.excerpt(payload)}`);
  }
  switch (action) {
    case "start_session":
      return { action, ...parseStart(payload, limits) };
    case "stop_session":
      return { action, ...s.parse(STOP_PAYLOAD, payload, "", "payload") };
    default:
      return { action, ...s.parse(SCALE_PAYLOAD, payload, "", "payload") };
  }
}

function parseStart(payload: unknown, { maxCpu, maxMemory }: RequestLimits) {
  const start = s.parse(START_PAYLOAD, payload, "", "payload");
  const { memory, cpu, idleTimeout, maxSessionDuration, ...others } = start;
  return {
    ...others,
    ...(memory ? { memory: s.parse(s.quantity(memoryBounds(maxMemory)), memory, "memory") } : {}),
    ...(cpu ? { cpu: s.parse(s.quantity(cpuBounds(maxCpu)), cpu, "cpu") } : {}),
    ...(idleTimeout ? { idleTimeoutMs: idleTimeout } : {}),
    ...(maxSessionDuration ? { maxSessionDurationMs: maxSessionDuration } : {}),
  };
}
