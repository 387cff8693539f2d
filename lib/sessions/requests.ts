/**
 * Commands as they may be carried out: an untrusted payload goes in, a typed request or an error that names the field comes out. Pure.
 * @module
 */
import type { Command } from "../control_plane/protocol.ts";
import { CommandError } from "../common/errors.ts";
import { parseDuration } from "../common/quantities.ts";
import { cpuBounds, memoryBounds } from "../templates/amounts.ts";
import type { RequestLimits } from "../model/settings.ts";
import { ACTIONS, type SessionRequest, type StartRequest } from "../model/requests.ts";
import { readVariables } from "../templates/env.ts";
import { parseManifest } from "../templates/manifest.ts";
import { excerpt, Field } from "../common/untrusted.ts";

const LEAST_DURATION_MS = 1000;
const LONGEST_DURATION_MS = 366 * 24 * 3_600_000;
/** As Kubernetes has it. */
const LONGEST_NAMESPACE = 63;

/**
 * Reads a command's action and payload. What it returns is itself a payload that reads as the same request.
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
  const payload = new Field(command.payload, "payload", "");
  if (payload.isAbsent) throw payload.invalid("must be an object");
  const sessionId = payload.at("sessionId").text();
  switch (action) {
    case "start_session":
      return { action, sessionId, ...startFields(payload, limits) };
    case "stop_session":
      return { action, sessionId, deletePVC: payload.at("deletePVC").flag() };
    default:
      return { action, sessionId };
  }
}

function startFields(
  payload: Field,
  { maxCpu, maxMemory }: RequestLimits,
): Omit<StartRequest, "action" | "sessionId"> {
  const spec = parseManifest(payload.at("templateManifest"));
  const { memory, cpu } = { memory: payload.at("memory"), cpu: payload.at("cpu") };
  return {
    user: payload.at("user").text(),
    template: payload.at("template").text(),
    ...(spec ? { templateManifest: { spec } } : {}),
    persistentHome: payload.at("persistentHome").flag(),
    ...(memory.isAbsent ? {} : { memory: memory.quantity(memoryBounds(maxMemory)) }),
    ...(cpu.isAbsent ? {} : { cpu: cpu.quantity(cpuBounds(maxCpu)) }),
    ...payload.given({ env: readEnv, namespace: readNamespace }),
    ...readDurations(payload),
  };
}

function readEnv(env: Field): Record<string, string> | undefined {
  const variables = readVariables(env);
  return Object.keys(variables).length > 0 ? variables : undefined;
}

/** It is only told of, so that nothing is wrong with it. */
function readNamespace({ value }: Field): string | undefined {
  return typeof value === "string" ? value.slice(0, LONGEST_NAMESPACE) : undefined;
}

function readDurations(payload: Field): Pick<StartRequest, "idleTimeoutMs" | "maxSessionDurationMs"> {
  const milliseconds = (field: Field) => field.whole(LEAST_DURATION_MS, LONGEST_DURATION_MS);
  const written = payload.given<{ idleTimeout: number; maxSessionDuration: number }>({
    idleTimeout: readDuration,
    maxSessionDuration: readDuration,
  });
  return {
    // As a request holds them that was read before.
    ...payload.given({ idleTimeoutMs: milliseconds, maxSessionDurationMs: milliseconds }),
    ...(written.idleTimeout ? { idleTimeoutMs: written.idleTimeout } : {}),
    ...(written.maxSessionDuration ? { maxSessionDurationMs: written.maxSessionDuration } : {}),
  };
}

/** Milliseconds; 0 means that there is no limit. */
function readDuration(field: Field): number | undefined {
  const { value } = field;
  const isWritten = typeof value === "string" || typeof value === "number";
  const milliseconds = isWritten ? parseDuration(String(value)) : undefined;
  if (milliseconds === undefined) {
    throw field.invalid('must be a duration such as "8h" or "1h30m", or a number of seconds');
  }
  if (milliseconds === 0) return undefined;
  if (milliseconds < LEAST_DURATION_MS || milliseconds > LONGEST_DURATION_MS) {
    throw field.invalid("must be from one second to a year");
  }
  return milliseconds;
}
