/**
 * The capacity of this agent: limits for the number, CPU and memory of all running sessions. Usage is never counted up or down, but computed on
 * each request from the cache and the reservations of commands that are about to start or wake a session, so that it cannot drift.
 * @module
 */
import type { V1Container, V1Deployment } from "@kubernetes/client-node";
import type { Usage } from "../control_plane/protocol.ts";
import { CommandError } from "../common/errors.ts";
import { wantsPod } from "../kubernetes/objects.ts";
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

/** Admits sessions as long as capacity is left. */
export class SessionCapacity {
  readonly #cache: SessionCache;
  readonly #limits: CapacityLimits;
  /** Session id → resources. */
  readonly #reservations = new Map<string, Resources>();

  constructor(cache: SessionCache, limits: CapacityLimits) {
    this.#cache = cache;
    this.#limits = limits;
  }

  /** What all sessions use now. */
  usage(): Usage {
    const used = this.#used();
    const { millicores, bytes } = total(used);
    return { usedSessions: used.size, usedCpu: millicores / 1000, usedMemory: bytes / GIB };
  }

  /**
   * Reserves the resources of a Deployment until the reservation is disposed. A session that already runs, such as one with an interrupted start,
   * is always admitted.
   *
   * @throws {CommandError} with failure `at_capacity`
   */
  reserve(sessionId: string, deployment: V1Deployment): Disposable {
    const requested = resourcesOf(deployment);
    const used = this.#used();
    if (!used.has(sessionId)) this.#check(requested, used);
    this.#reservations.set(sessionId, requested);
    return { [Symbol.dispose]: () => void this.#reservations.delete(sessionId) };
  }

  #used(): Map<string, Resources> {
    const used = new Map(this.#reservations);
    for (const sessionId of this.#cache.sessionIds()) {
      const { deployment } = this.#cache.session(sessionId);
      if (wantsPod(deployment)) used.set(sessionId, resourcesOf(deployment));
    }
    return used;
  }

  #check(requested: Resources, used: ReadonlyMap<string, Resources>): void {
    const { maxSessions, maxCpu, maxMemory } = this.#limits;
    const { millicores, bytes } = total(used);
    if (used.size >= maxSessions) throw atCapacity(`${used.size} of ${maxSessions} sessions`);
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

function total(used: ReadonlyMap<string, Resources>): Resources {
  const all = [...used.values()];
  return {
    millicores: sum(all.map(({ millicores }) => millicores)),
    bytes: sum(all.map(({ bytes }) => bytes)),
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
