/**
 * The capacity of this agent: limits for the number, CPU and memory of all running sessions. Usage consists of what the cache shows, whose sum is
 * updated at each change, and of the reservations of commands that are about to start or wake a session. Sums are of integers, so that they
 * cannot drift.
 * @module
 */
import type { V1Container, V1Deployment } from "@kubernetes/client-node";
import type { Usage } from "../control_plane/protocol.ts";
import { CommandError } from "../common/errors.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { parseQuantity } from "../common/quantities.ts";
import type { Settings } from "../model/settings.ts";

/** The limits for all sessions together. */
export type CapacityLimits = Pick<Settings, "maxSessions" | "maxCpu" | "maxMemory">;

/** The resources of a session, as integers, so that sums are exact. */
interface Resources {
  readonly millicores: number;
  readonly bytes: number;
}

const GIB = 2 ** 30;

/** The resources of several sessions. */
interface Sum extends Resources {
  readonly sessions: number;
}

/** Admits sessions as long as capacity is left. */
export class SessionCapacity {
  readonly #cache: SessionCache;
  readonly #limits: CapacityLimits;
  /** Session id → resources, of the sessions that run according to the cache. */
  readonly #running = new Map<string, Resources>();
  #sum: Sum = { sessions: 0, millicores: 0, bytes: 0 };
  /** Session id → resources. */
  readonly #reservations = new Map<string, Resources>();

  constructor(cache: SessionCache, limits: CapacityLimits) {
    this.#cache = cache;
    this.#limits = limits;
    for (const sessionId of cache.sessionIds()) this.#update(sessionId);
    cache.listen((sessionId) => this.#update(sessionId));
  }

  /** What all sessions use now. */
  usage(): Usage {
    const { sessions, millicores, bytes } = this.#used();
    return { usedSessions: sessions, usedCpu: millicores / 1000, usedMemory: bytes / GIB };
  }

  /**
   * Reserves the resources of a Deployment until the reservation is disposed. A session that already runs, such as one with an interrupted start,
   * is always admitted.
   *
   * @throws {CommandError} with failure `at_capacity`
   */
  reserve(sessionId: string, deployment: V1Deployment): Disposable {
    const requested = resourcesOf(deployment);
    const isCounted = this.#running.has(sessionId) || this.#reservations.has(sessionId);
    if (!isCounted) this.#check(requested, this.#used());
    this.#reservations.set(sessionId, requested);
    return { [Symbol.dispose]: () => void this.#reservations.delete(sessionId) };
  }

  #update(sessionId: string): void {
    const known = this.#running.get(sessionId);
    const deployment = this.#cache.runningDeployment(sessionId);
    if (known) this.#sum = add(this.#sum, known, -1);
    if (!deployment) {
      this.#running.delete(sessionId);
      return;
    }
    const resources = resourcesOf(deployment);
    this.#running.set(sessionId, resources);
    this.#sum = add(this.#sum, resources);
  }

  #used(): Sum {
    const reserved = [...this.#reservations].filter(([sessionId]) => !this.#running.has(sessionId));
    return reserved.reduce((sum, [, resources]) => add(sum, resources), this.#sum);
  }

  #check(requested: Resources, { sessions, millicores, bytes }: Sum): void {
    const { maxSessions, maxCpu, maxMemory } = this.#limits;
    if (sessions >= maxSessions) throw atCapacity(`${sessions} of ${maxSessions} sessions`);
    if (millicores + requested.millicores > maxCpu * 1000) {
      const cores = decimal(requested.millicores / 1000);
      const unit = cores === "1" ? "core" : "cores";
      throw atCapacity(`${cores} ${unit} requested, ${decimal(millicores / 1000)} of ${maxCpu} in use`);
    }
    if (bytes + requested.bytes > maxMemory * GIB) {
      const memory = decimal(requested.bytes / GIB);
      throw atCapacity(`${memory}Gi of memory requested, ${decimal(bytes / GIB)}Gi of ${maxMemory}Gi in use`);
    }
  }
}

/** What the scheduler reserves for the pod of a Deployment: the requests of its containers. */
function resourcesOf({ spec }: V1Deployment): Resources {
  const containers = spec?.template.spec?.containers ?? [];
  return {
    millicores: sum(containers.map((container) => Math.round(1000 * request(container, "cpu")))),
    bytes: sum(containers.map((container) => Math.round(request(container, "memory")))),
  };
}

/** Kubernetes uses the limit if there is no request. */
function request({ resources }: V1Container, resource: "cpu" | "memory"): number {
  return parseQuantity(resources?.requests?.[resource] ?? resources?.limits?.[resource] ?? "0") ?? 0;
}

function add(sum: Sum, { millicores, bytes }: Resources, sign: 1 | -1 = 1): Sum {
  return {
    sessions: sum.sessions + sign,
    millicores: sum.millicores + sign * millicores,
    bytes: sum.bytes + sign * bytes,
  };
}

function sum(amounts: readonly number[]): number {
  return amounts.reduce((one, other) => one + other, 0);
}

function decimal(amount: number): string {
  return String(Number(amount.toFixed(2)));
}

function atCapacity(problem: string): CommandError {
  return new CommandError("at_capacity", `at capacity: ${problem}`);
}
