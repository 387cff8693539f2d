/**
 * What this agent may run, and what it runs: each session whose Deployment wants a pod, and each that a command is about to start or wake.
 * Nothing is counted up or down, so nothing can be miscounted: the sum is made anew whenever somebody asks.
 * @module
 */
import type { V1Container, V1Deployment } from "@kubernetes/client-node";
import type { Usage } from "../control_plane/protocol.ts";
import type { Settings } from "../model/settings.ts";
import { CommandError } from "../common/errors.ts";
import { wantsPod } from "../kubernetes/objects.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { parseQuantity } from "../common/quantities.ts";

/** The most that all sessions together may use. */
export type CapacityLimits = Pick<Settings, "maxSessions" | "maxCpu" | "maxMemory">;

/** Whole numbers, so that sums are exact. */
interface Demand {
  readonly millicores: number;
  readonly bytes: number;
}

const GIB = 2 ** 30;

/** Lets sessions in for as long as there is room. */
export class SessionCapacity {
  readonly #cache: SessionCache;
  readonly #limits: CapacityLimits;
  /** Sessions that a command is about to start or wake, by their id. */
  readonly #reserved = new Map<string, Demand>();

  constructor(cache: SessionCache, limits: CapacityLimits) {
    this.#cache = cache;
    this.#limits = limits;
  }

  /** What all sessions take now. */
  usage(): Usage {
    const demands = this.#demands();
    const { millicores, bytes } = total(demands);
    return { usedSessions: demands.size, usedCpu: millicores / 1000, usedMemory: bytes / GIB };
  }

  /**
   * Takes the place of a session whose Deployment will want a pod, until it is disposed. A session that has its place already, such as one
   * whose start was interrupted, keeps it.
   *
   * @throws {CommandError} with failure `at_capacity` when there is no room
   */
  reserve(sessionId: string, deployment: V1Deployment): Disposable {
    const demand = demandOf(deployment);
    const others = this.#demands();
    if (!others.has(sessionId)) this.#check(demand, others);
    this.#reserved.set(sessionId, demand);
    return { [Symbol.dispose]: () => void this.#reserved.delete(sessionId) };
  }

  #demands(): Map<string, Demand> {
    const demands = new Map(this.#reserved);
    for (const sessionId of this.#cache.sessionIds()) {
      const { deployment } = this.#cache.session(sessionId);
      if (wantsPod(deployment)) demands.set(sessionId, demandOf(deployment));
    }
    return demands;
  }

  #check(demand: Demand, others: ReadonlyMap<string, Demand>): void {
    const { maxSessions, maxCpu, maxMemory } = this.#limits;
    const used = total(others);
    if (others.size >= maxSessions) throw atCapacity(`${others.size} of ${maxSessions} sessions`);
    if (used.millicores + demand.millicores > maxCpu * 1000) {
      const [asked, inUse] = [demand.millicores, used.millicores].map((amount) => decimal(amount / 1000));
      throw atCapacity(
        `${asked} ${asked === "1" ? "core" : "cores"} asked for, ${inUse} of ${maxCpu} in use`,
      );
    }
    if (used.bytes + demand.bytes > maxMemory * GIB) {
      const [asked, inUse] = [demand.bytes, used.bytes].map((amount) => decimal(amount / GIB));
      throw atCapacity(`${asked}Gi of memory asked for, ${inUse}Gi of ${maxMemory}Gi in use`);
    }
  }
}

/** What the pod of a Deployment reserves on a node: the requests of its containers. */
function demandOf({ spec }: V1Deployment): Demand {
  const containers = spec?.template.spec?.containers ?? [];
  return {
    millicores: sum(containers.map((container) => Math.round(1000 * requested(container, "cpu")))),
    bytes: sum(containers.map((container) => Math.round(requested(container, "memory")))),
  };
}

/** A limit without a request is a request, too. */
function requested({ resources }: V1Container, resource: "cpu" | "memory"): number {
  return parseQuantity(resources?.requests?.[resource] ?? resources?.limits?.[resource] ?? "0") ?? 0;
}

function total(demands: ReadonlyMap<string, Demand>): Demand {
  const all = [...demands.values()];
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
