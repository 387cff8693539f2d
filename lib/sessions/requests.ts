/**
 * Commands as typed requests: an untrusted payload goes in, a request or an error that names the field comes out. Pure.
 * @module
 */
import * as v from "valibot";
import type { Command } from "../control_plane/protocol.ts";
import { CommandError } from "../common/errors.ts";
import { asRecord, parseRecord } from "../common/json.ts";
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

const MILLISECONDS = s.integer(MIN_DURATION_MS, MAX_DURATION_MS);

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

/** The problem of a field that is ignored, because its value cannot be understood. */
class Ignored {
  readonly problem: string;

  constructor(problem: string) {
    this.problem = problem;
  }
}

/** The values of a payload's fields that are not ignored. */
type Understood<T> = { [Name in keyof T]: Exclude<T[Name], Ignored> };

/** A field that a start can do without. */
function lenient<T>(schema: s.Schema<T>): s.Schema<T | Ignored> {
  return v.pipe(
    v.unknown(),
    v.transform((value) => {
      const { success, output, issues } = v.safeParse(schema, value, { abortEarly: true });
      return success ? output : new Ignored(issues[0].message);
    }),
  );
}

/** A field that is ignored if its value is of another kind. A value of the right kind must be valid. */
function lenientKind<T>(
  schema: s.Schema<T>,
  isKind: (value: unknown) => boolean,
): s.Schema<T | Ignored> {
  return v.lazy((value): s.Schema<T | Ignored> => isKind(value) ? schema : lenient(schema));
}

function isObjectOrItsJson(value: unknown): boolean {
  return asRecord(value) !== undefined ||
    typeof value === "string" && (value.trim() === "" || parseRecord(value) !== undefined);
}

function isObjectOrList(value: unknown): boolean {
  return asRecord(value) !== undefined || Array.isArray(value);
}

/** The payload of `start_session`, without the limits of the agent. */
const START_PAYLOAD = s.fields({
  sessionId: s.text(),
  user: s.text(),
  template: s.text(),
  templateManifest: s.optional(lenientKind(MANIFEST, isObjectOrItsJson)),
  persistentHome: s.flag(),
  memory: s.nullish(s.orNumber(s.quantity(memoryBounds(Infinity)))),
  cpu: s.nullish(s.orNumber(s.quantity(cpuBounds(Infinity)))),
  env: s.optional(lenientKind(VARIABLES, isObjectOrList)),
  // The agent only logs it, so any value is accepted.
  namespace: s.optional(v.pipe(
    v.unknown(),
    v.transform((name) => typeof name === "string" ? name.slice(0, MAX_NAMESPACE_LENGTH) : undefined),
  )),
  // As in a request that was parsed before.
  idleTimeoutMs: s.optional(lenient(MILLISECONDS)),
  maxSessionDurationMs: s.optional(lenient(MILLISECONDS)),
  idleTimeout: s.optional(lenient(DURATION)),
  maxSessionDuration: s.optional(lenient(DURATION)),
});

/** The payload of `stop_session`. */
const STOP_PAYLOAD = s.fields({ sessionId: s.text(), deletePVC: s.flag() });

/** The payload of `hibernate_session` and `wake_session`. */
const SCALE_PAYLOAD = s.fields({ sessionId: s.text() });

/**
 * Parses the action and payload of a command. The result is itself a payload that parses as the same request.
 *
 * @param onIgnored called with the problem of each field that is ignored, because its value cannot be understood and a start can do without it
 * @throws {CommandError} naming the field and what is wrong with it
 */
export function parseRequest(
  command: Command,
  limits: RequestLimits,
  onIgnored: (problem: string) => void = () => {},
): SessionRequest {
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
      return { action, ...parseStart(payload, limits, onIgnored) };
    case "stop_session":
      return { action, ...s.parse(STOP_PAYLOAD, payload, "", "payload") };
    default:
      return { action, ...s.parse(SCALE_PAYLOAD, payload, "", "payload") };
  }
}

/** The session of a payload that may be invalid otherwise; `undefined` if its id is invalid, too. */
export function sessionIdOf(payload: unknown): string | undefined {
  const { success, output } = v.safeParse(SCALE_PAYLOAD, payload);
  return success ? output.sessionId : undefined;
}

function parseStart(
  payload: unknown,
  { maxCpu, maxMemory }: RequestLimits,
  onIgnored: (problem: string) => void,
) {
  const start = understood(s.parse(START_PAYLOAD, payload, "", "payload"), onIgnored);
  const { memory, cpu, idleTimeout, maxSessionDuration, ...others } = start;
  return {
    ...others,
    ...(memory ? { memory: s.parse(s.quantity(memoryBounds(maxMemory)), memory, "memory") } : {}),
    ...(cpu ? { cpu: s.parse(s.quantity(cpuBounds(maxCpu)), cpu, "cpu") } : {}),
    ...(idleTimeout ? { idleTimeoutMs: idleTimeout } : {}),
    ...(maxSessionDuration ? { maxSessionDurationMs: maxSessionDuration } : {}),
  };
}

function understood<T extends object>(payload: T, onIgnored: (problem: string) => void): Understood<T> {
  const fields = Object.entries(payload).filter(([name, value]) => {
    if (value instanceof Ignored) onIgnored(`"${name}" ${value.problem}`);
    return !(value instanceof Ignored);
  });
  return Object.fromEntries(fields) as Understood<T>;
}
