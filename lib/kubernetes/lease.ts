/**
 * One Lease as a lock: attempts to acquire, renew and release it. The API rejects all but one of concurrent writes by their resource version. Each
 * request has its own timeout, as the transport's one is longer than a lease.
 * Source: https://kubernetes.io/docs/concepts/architecture/leases/
 * @module
 */
import type { V1Lease, V1LeaseSpec } from "@kubernetes/client-node";
import { V1MicroTime } from "@kubernetes/client-node/dist/types.js";
import { deadline } from "@std/async";
import { hasStatus, isTimeout, type KubernetesError } from "../common/errors.ts";
import { formatDuration } from "../common/quantities.ts";
import type { LeaseApi } from "./client.ts";

/** A candidate for a lease. */
export interface Candidate {
  readonly identity: string;
  /** Duration of the lease, in milliseconds. */
  readonly leaseMs: number;
}

/** Ownership of a lease from the view of one candidate. */
export type Ownership =
  | { readonly kind: "ours" }
  | { readonly kind: "free" }
  | { readonly kind: "taken"; readonly holder: string; readonly expiresInMs: number };

/** A lease that this candidate holds. */
export interface Held {
  readonly kind: "held";
  readonly lease: V1Lease;
  /** Time of `performance.now()` at which the write was sent; other candidates count from then or later. */
  readonly sinceMs: number;
}

/** Result of an attempt to hold a lease; `contended` if another candidate wrote it at the same time. */
export type Attempt = Held | Extract<Ownership, { kind: "taken" }> | { readonly kind: "contended" };

/** Options of a {@linkcode LeaseLock}. */
export interface LeaseLockOptions extends Candidate {
  readonly leases: LeaseApi;
  /** Name of the lease. */
  readonly name: string;
  /** Timeout of one request, in milliseconds. */
  readonly requestTimeoutMs: number;
}

/** One candidate's access to a lease. */
export class LeaseLock {
  readonly #options: LeaseLockOptions;
  readonly #observer: LeaseObserver;

  constructor(options: LeaseLockOptions) {
    this.#options = options;
    this.#observer = new LeaseObserver(options);
  }

  /**
   * Acquires the lease if it is free, expired, or already held by this candidate. The signal aborts only the read: an abandoned write could still
   * acquire the lease, and nobody would renew it.
   *
   * @throws {Error} when a request is refused or times out; the signal's reason when it is aborted
   */
  async take(signal: AbortSignal): Promise<Attempt> {
    const { leases, name } = this.#options;
    signal.throwIfAborted();
    const lease = await this.#request(leases.read(name), signal);
    if (lease) {
      const ownership = this.#observer.judge(lease.spec, performance.now());
      if (ownership.kind === "taken") return ownership;
    }
    signal.throwIfAborted();
    return await this.#claim(lease);
  }

  /** Renews a lease in the version last written; if it was changed or deleted since, tries to take it. */
  async renew(lease: V1Lease, signal: AbortSignal): Promise<Attempt> {
    const attempt = await this.#claim(lease);
    return attempt.kind === "contended" ? await this.take(signal) : attempt;
  }

  /** Releases the lease, unless it was deleted or another candidate holds it. */
  async release(lease: V1Lease): Promise<void> {
    try {
      await this.#replace(lease);
    } catch (error) {
      if (!isOutdated(error)) throw error;
      const current = await this.#request(this.#options.leases.read(this.#options.name));
      if (current?.spec?.holderIdentity === this.#options.identity) await this.#replace(current);
    }
  }

  async #claim(lease: V1Lease | undefined): Promise<Attempt> {
    const { leases, name, identity, leaseMs } = this.#options;
    const sinceMs = performance.now();
    const spec = claimedSpec(lease?.spec, { identity, leaseMs, now: new Date() });
    try {
      const request = lease
        ? leases.replace({ ...lease, spec })
        : leases.create({ apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: { name }, spec });
      return { kind: "held", lease: await this.#request(request), sinceMs };
    } catch (error) {
      // When a lease is created, 404 means that the namespace does not exist, which is no race.
      const isRace = isOutdated(error) && (lease !== undefined || error.status === 409);
      if (isRace) return { kind: "contended" };
      throw error;
    }
  }

  async #replace(lease: V1Lease): Promise<void> {
    const spec = releasedSpec(lease.spec, new Date());
    await this.#request(this.#options.leases.replace({ ...lease, spec }));
  }

  async #request<T>(request: Promise<T>, signal?: AbortSignal): Promise<T> {
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

/** Whether a write failed because the lease changed since it was read; API servers answer 404 or 409 if it was deleted. */
function isOutdated(error: unknown): error is KubernetesError {
  return hasStatus(error, 404, 409);
}

/**
 * Decides whether another candidate's lease has expired, by the time since this process last saw its record change. The times in the record are not
 * used, as the holder's clock may be wrong.
 */
export class LeaseObserver {
  readonly #candidate: Candidate;
  #record = "";
  #changedAt = 0;

  constructor(candidate: Candidate) {
    this.#candidate = candidate;
  }

  /** @param now monotonic time at which the record was read, in milliseconds */
  judge(spec: V1LeaseSpec | undefined, now: number): Ownership {
    const record = JSON.stringify(spec ?? {});
    if (record !== this.#record) {
      this.#record = record;
      this.#changedAt = now;
    }
    const { holderIdentity: holder, leaseDurationSeconds: seconds = 0 } = spec ?? {};
    if (!holder) return { kind: "free" };
    if (holder === this.#candidate.identity) return { kind: "ours" };
    // The longer duration counts: one that was shortened by hand does not shorten the time that the holder relies on.
    const expiresInMs = this.#changedAt + Math.max(seconds * 1000, this.#candidate.leaseMs) - now;
    return expiresInMs > 0 ? { kind: "taken", holder, expiresInMs } : { kind: "free" };
  }
}

/** Record with which a candidate acquires or renews a lease; each change of holder counts as a transition. */
export function claimedSpec(
  spec: V1LeaseSpec | undefined,
  { identity, leaseMs, now }: Candidate & { readonly now: Date },
): V1LeaseSpec {
  const time = new V1MicroTime(now);
  const isOurs = spec?.holderIdentity === identity;
  const transitions = spec?.leaseTransitions ?? 0;
  return {
    ...spec,
    holderIdentity: identity,
    leaseDurationSeconds: Math.ceil(leaseMs / 1000),
    acquireTime: isOurs && spec.acquireTime ? spec.acquireTime : time,
    renewTime: time,
    leaseTransitions: isOurs || !spec ? transitions : transitions + 1,
  };
}

/** Record with which a leader releases a lease: without a holder, the next candidate need not wait for its expiry. */
export function releasedSpec(spec: V1LeaseSpec | undefined, now: Date): V1LeaseSpec {
  return { ...spec, holderIdentity: "", leaseDurationSeconds: 1, renewTime: new V1MicroTime(now) };
}
