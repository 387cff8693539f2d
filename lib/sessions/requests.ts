/**
 * Commands as they may be carried out: an untrusted payload goes in, a typed request or an error that names the field comes out. Pure.
 * @module
 */
import type { Command } from "../control_plane/protocol.ts";
import { CommandError } from "../errors.ts";
import { asRecord } from "../json.ts";
import { parseDuration, parseQuantity } from "../quantities.ts";

/** Start a session. */
export interface StartRequest {
  readonly action: "start_session";
  readonly sessionId: string;
  readonly user: string;
  readonly template: string;
  /** Whether the session gets a home volume that outlives it. */
  readonly persistentHome: boolean;
  /** Kubernetes quantity; both request and limit. */
  readonly memory: string;
  /** Kubernetes quantity; both request and limit. */
  readonly cpu: string;
  /** For the Control Plane, which sees whether a session is used. */
  readonly idleTimeoutMs?: number;
  /** Longest time from a start or wake on. */
  readonly maxSessionDurationMs?: number;
}

/** Remove a session. */
export interface StopRequest {
  readonly action: "stop_session";
  readonly sessionId: string;
  /** Whether the home volume goes too. */
  readonly deletePVC: boolean;
}

/** Give a session's pod back to the cluster, or ask for a new one. */
export interface ScaleRequest {
  readonly action: "hibernate_session" | "wake_session";
  readonly sessionId: string;
}

export type SessionRequest = StartRequest | StopRequest | ScaleRequest;

/** The largest session that this agent may start. */
export interface RequestLimits {
  /** Cores. */
  readonly maxCpu: number;
  /** GiB. */
  readonly maxMemory: number;
}

/** What a command can ask for. */
export const ACTIONS = ["start_session", "stop_session", "hibernate_session", "wake_session"] as const;
const DEFAULT_MEMORY = "2Gi";
const DEFAULT_CPU = "1000m";
const GIB = 2 ** 30;
/** Less is a missing unit ("2" is two bytes), and no desktop starts in it. */
const LEAST_MEMORY_BYTES = 16 * 2 ** 20;
const LEAST_CPU_CORES = 0.001;
const TEXT_LENGTH = 253;

/** Reads the fields of one payload; each method throws a {@linkcode CommandError} that names its field. */
class Payload {
  readonly #fields: Readonly<Record<string, unknown>>;

  constructor(payload: unknown) {
    const fields = asRecord(payload);
    if (!fields) throw invalid("payload", "must be an object", payload);
    this.#fields = fields;
  }

  /** The field's own value: what an object inherits, such as `constructor`, is not in a payload. */
  #own(field: string): unknown {
    return Object.hasOwn(this.#fields, field) ? this.#fields[field] : undefined;
  }

  text(field: string): string {
    const value = this.#own(field);
    if (value === undefined || value === null) {
      throw new CommandError("invalid", `Cannot do without "${field}": it is missing`);
    }
    if (typeof value !== "string") throw invalid(field, "must be text", value);
    if (value.trim() === "") throw invalid(field, "must not be empty", value);
    if (value.length > TEXT_LENGTH) {
      throw invalid(field, `must not be longer than ${TEXT_LENGTH} characters`, value);
    }
    // No container starts with a NUL in a variable, and none of the others is part of a name.
    if (/\p{Cc}/u.test(value)) throw invalid(field, "must not hold control characters", value);
    // Half of a surrogate pair would reach Kubernetes as another text.
    if (!value.isWellFormed()) throw invalid(field, "must be Unicode text", value);
    return value;
  }

  flag(field: string): boolean {
    const value = this.#own(field) ?? false;
    if (typeof value !== "boolean") throw invalid(field, "must be true or false", value);
    return value;
  }

  /** Milliseconds, written as text, as seconds, or, in a request that was read before, in the field with `Ms` at its end. */
  duration(field: string): number | undefined {
    const readBefore = this.#own(`${field}Ms`);
    if (typeof readBefore === "number") return readBefore;
    const value = this.#own(field);
    if (value === undefined || value === null) return undefined;
    const durationMs = typeof value === "object" ? undefined : parseDuration(String(value));
    if (durationMs === undefined) throw invalid(field, 'must be a duration such as "8h"', value);
    return durationMs === 0 ? undefined : durationMs;
  }

  quantity(
    field: string,
    limits: { fallback: string; least: number; most: number; mostText: string },
  ): string {
    const value = this.#own(field) ?? limits.fallback;
    const amount = typeof value === "string" ? parseQuantity(value) : undefined;
    if (typeof value !== "string" || amount === undefined) {
      throw invalid(field, `must be a Kubernetes quantity such as "${limits.fallback}"`, value);
    }
    if (amount < limits.least) throw invalid(field, "is too small for a session", value);
    if (amount > limits.most) throw invalid(field, `is more than this agent has (${limits.mostText})`, value);
    return value;
  }
}

/**
 * Reads a command's action and payload.
 *
 * @throws {CommandError} naming the field and what is wrong with it
 */
export function parseRequest(command: Command, limits: RequestLimits): SessionRequest {
  const action = ACTIONS.find((known) => known === command.action);
  if (!action) {
    throw new CommandError(
      "unknown_action",
      `Unknown action ${excerpt(command.action)}: known are ${ACTIONS.join(", ")}`,
    );
  }
  const payload = new Payload(command.payload);
  const sessionId = payload.text("sessionId");
  switch (action) {
    case "start_session":
      return { action, sessionId, ...startFields(payload, limits) };
    case "stop_session":
      return { action, sessionId, deletePVC: payload.flag("deletePVC") };
    default:
      return { action, sessionId };
  }
}

function startFields(payload: Payload, limits: RequestLimits): Omit<StartRequest, "action" | "sessionId"> {
  const { maxCpu, maxMemory } = limits;
  const idleTimeoutMs = payload.duration("idleTimeout");
  const maxSessionDurationMs = payload.duration("maxSessionDuration");
  return {
    ...(idleTimeoutMs === undefined ? {} : { idleTimeoutMs }),
    ...(maxSessionDurationMs === undefined ? {} : { maxSessionDurationMs }),
    user: payload.text("user"),
    template: payload.text("template"),
    persistentHome: payload.flag("persistentHome"),
    memory: payload.quantity("memory", {
      fallback: DEFAULT_MEMORY,
      least: LEAST_MEMORY_BYTES,
      most: maxMemory * GIB,
      mostText: `${maxMemory}Gi`,
    }),
    cpu: payload.quantity("cpu", {
      fallback: DEFAULT_CPU,
      least: LEAST_CPU_CORES,
      most: maxCpu,
      mostText: `${maxCpu} cores`,
    }),
  };
}

function invalid(field: string, problem: string, value: unknown): CommandError {
  return new CommandError("invalid", `Cannot use "${field}": it ${problem}, and is ${excerpt(value)}`);
}

/** Enough of an untrusted value to recognise it by. */
function excerpt(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
