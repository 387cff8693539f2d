/**
 * One Lease in the cluster: attempts to take it, to renew it and to let it go. Of writers at the same time the API lets just one through, by
 * the version that each write carries. Every request has a deadline of its own: the transport's patience is longer than a lease.
 * @module
 */
import type { V1Lease } from "@kubernetes/client-node";
import { deadline } from "@std/async";
import { hasStatus, isTimeout, type KubernetesError } from "../common/errors.ts";
import { formatDuration } from "../common/quantities.ts";
import type { LeaseApi } from "./client.ts";
import { type Candidate, claimed, LeaseObserver, type Ownership, released } from "./lease_record.ts";

/** A lease that is held by this candidate. */
export interface Held {
  readonly kind: "held";
  readonly lease: V1Lease;
  /** When the request that took or renewed it was sent, by `performance.now()`: others count from then or later. */
  readonly sinceMs: number;
}

/** What became of an attempt to hold a lease; `contended` if another wrote at the same time. */
export type Attempt = Held | Extract<Ownership, { kind: "taken" }> | { readonly kind: "contended" };

/** What a lock needs. */
export interface LeaseLockOptions extends Candidate {
  readonly leases: LeaseApi;
  /** Name of the lease. */
  readonly name: string;
  /** Longest wait for one answer, in milliseconds. */
  readonly requestTimeoutMs: number;
}

/** One candidate's hand on a lease. */
export class LeaseLock {
  readonly #options: LeaseLockOptions;
  readonly #observer: LeaseObserver;

  constructor(options: LeaseLockOptions) {
    this.#options = options;
    this.#observer = new LeaseObserver(options);
  }

  /**
   * Takes the lease if it is this candidate's, nobody's or expired. An abort ends the look at it, but a write under way is waited for:
   * abandoned, it might take the lease for nobody.
   *
   * @throws {Error} when the API refuses or does not answer, or the signal's reason
   */
  async take(signal: AbortSignal): Promise<Attempt> {
    const { leases, name } = this.#options;
    signal.throwIfAborted();
    const lease = await this.#answer(leases.read(name), signal);
    if (lease) {
      const standing = this.#observer.judge(lease.spec, performance.now());
      if (standing.kind === "taken") return standing;
    }
    signal.throwIfAborted();
    return await this.#claim(lease);
  }

  /** Renews the lease as it was last written; one that was changed or deleted since is looked at anew. */
  async renew(lease: V1Lease, signal: AbortSignal): Promise<Attempt> {
    const attempt = await this.#claim(lease);
    return attempt.kind === "contended" ? await this.take(signal) : attempt;
  }

  /** Lets go of the lease, unless it is another's or gone by now. */
  async release(lease: V1Lease): Promise<void> {
    try {
      await this.#replace(lease);
    } catch (error) {
      if (!isOutdated(error)) throw error;
      const current = await this.#answer(this.#options.leases.read(this.#options.name));
      if (current?.spec?.holderIdentity === this.#options.identity) await this.#replace(current);
    }
  }

  async #claim(lease: V1Lease | undefined): Promise<Attempt> {
    const { leases, name, identity, leaseMs } = this.#options;
    const sinceMs = performance.now();
    const spec = claimed(lease?.spec, { identity, leaseMs, now: new Date() });
    try {
      const request = lease
        ? leases.replace({ ...lease, spec })
        : leases.create({ apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: { name }, spec });
      return { kind: "held", lease: await this.#answer(request), sinceMs };
    } catch (error) {
      // Where the lease itself was not expected, "not found" is the namespace: that is no race.
      const isRace = isOutdated(error) && (lease !== undefined || error.status === 409);
      if (isRace) return { kind: "contended" };
      throw error;
    }
  }

  async #replace(lease: V1Lease): Promise<void> {
    const spec = released(lease.spec, new Date());
    await this.#answer(this.#options.leases.replace({ ...lease, spec }));
  }

  async #answer<T>(request: Promise<T>, signal?: AbortSignal): Promise<T> {
    const { requestTimeoutMs } = this.#options;
    try {
      return await deadline(request, requestTimeoutMs, { signal });
    } catch (error) {
      if (!isTimeout(error)) throw error;
      const problem = `Kubernetes did not answer within ${formatDuration(requestTimeoutMs)}`;
      throw new Error(problem, { cause: error });
    }
  }
}

/** Whether a write was refused as the lease is no longer what was last read; servers differ in how they say so of a deleted one. */
function isOutdated(error: unknown): error is KubernetesError {
  return hasStatus(error, 404, 409);
}
