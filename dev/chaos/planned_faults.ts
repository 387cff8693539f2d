/**
 * Random faults of agents, of their connections, and of the API server. Pure.
 * @module
 */
import type {
  ApiFaultEvent,
  ConnectionFault,
  Deletion,
  EndReplica,
  FreezeReplica,
  LinkFaultEvent,
  Role,
} from "./event.ts";
import { SESSION_IDS } from "./planned_commands.ts";
import type { Random } from "./random.ts";

const VERBS: readonly [string, ...string[]] = ["create", "get", "list", "patch", "delete", "update", "watch"];

/** A replica is killed, terminated or frozen, sometimes longer than its lease. */
export function agentFault(random: Random): EndReplica | FreezeReplica {
  return random.weighted<() => EndReplica | FreezeReplica>([
    [35, () => ({ kind: "kill", role: "leader" })],
    [8, () => ({ kind: "kill", role: "standby" })],
    [22, () => ({ kind: "terminate", role: "leader" })],
    [5, () => ({ kind: "terminate", role: "standby" })],
    [15, () => ({ kind: "freeze", role: "leader", ms: random.integer(500, 8000) })],
    [15, () => ({ kind: "freeze", role: "leader", ms: random.integer(13_000, 20_000) })],
  ])();
}

/** A fault of the connection to the Control Plane, or of the Control Plane itself. */
export function linkFault(random: Random): LinkFaultEvent {
  const fault = random.weighted<() => LinkFaultEvent["fault"]>([
    [60, () => connectionFault(random, { maxMs: 8000, bytesPerSecond: [500, 5000] })],
    [20, () => ({ kind: "disconnect", ...(random.chance(0.5) ? { code: 1011 } : {}) })],
    [20, () => ({
      kind: "registration",
      status: random.chance(0.5) ? 429 : 503,
      times: random.integer(1, 2),
      retryAfterSeconds: random.integer(1, 4),
    })],
  ])();
  return { kind: "link", role: roleOf(random), fault };
}

/** A fault of the connection to the API server, or of its responses. */
export function apiFault(random: Random): ApiFaultEvent {
  const verb = random.pick(VERBS);
  const times = random.integer(1, 6);
  const errorStatus = (code: number, headers?: Readonly<Record<string, string>>): ApiFaultEvent["fault"] => ({
    kind: "answers",
    fault: { kind: "status", code, verb, times, ...(headers ? { headers } : {}) },
  });
  const fault = random.weighted<() => ApiFaultEvent["fault"]>([
    [30, () => connectionFault(random, { maxMs: 15_000, bytesPerSecond: [5000, 50_000] })],
    [8, () => errorStatus(429, { "Retry-After": String(random.integer(1, 3)) })],
    [12, () => errorStatus(random.chance(0.5) ? 500 : 503)],
    [4, () => errorStatus(401)],
    [18, () => ({
      kind: "answers",
      fault: { kind: "lost-answer", isBegun: random.chance(0.6), verb, times: random.integer(1, 3) },
    })],
    [6, () => ({ kind: "answers", fault: { kind: "delay", verb, times, ms: random.integer(500, 6000) } })],
    [6, () => ({ kind: "hang", verb, times: random.integer(1, 3), ms: random.integer(3000, 14_000) })],
    [16, () => ({ kind: "watches", how: random.weighted([[4, "end"], [4, "expire"], [2, "stall"]]) })],
  ])();
  return { kind: "api", role: roleOf(random), fault };
}

/** A deletion of objects of a session. */
export function deletion(random: Random): Deletion {
  return {
    kind: "administrator",
    sessionId: random.pick(SESSION_IDS),
    target: random.weighted([
      [6, "pod"],
      [2, "replicaset"],
      [4, "service"],
      [2, "policy"],
      [2, "labels"],
      [3, "deployment"],
      [2, "session"],
    ]),
  };
}

function connectionFault(
  random: Random,
  limits: { maxMs: number; bytesPerSecond: readonly [number, number] },
): ConnectionFault {
  const ms = random.integer(1000, limits.maxMs);
  return random.weighted<() => ConnectionFault>([
    [15, () => ({ kind: "cut" })],
    [15, () => ({ kind: "reset" })],
    [10, () => ({ kind: "mode", mode: { kind: "half-open", includesNew: random.chance(0.4) }, ms })],
    [15, () => ({ kind: "mode", mode: { kind: "refuse" }, ms })],
    [25, () => ({ kind: "mode", mode: { kind: "delay", ms: random.integer(50, 1500) }, ms })],
    [20, () => ({
      kind: "mode",
      mode: { kind: "throttle", bytesPerSecond: random.integer(...limits.bytesPerSecond) },
      ms,
    })],
  ])();
}

/** Mostly the leader. */
function roleOf(random: Random): Role {
  return random.chance(0.85) ? "leader" : "standby";
}
