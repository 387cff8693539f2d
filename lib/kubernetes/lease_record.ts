/**
 * What a Lease says of who leads, and what to write there. Pure: records and times come in, verdicts and records go out.
 * @module
 */
import { type V1LeaseSpec, V1MicroTime } from "@kubernetes/client-node";

/** Durations of leader election, in milliseconds; the lease must outlast the renew deadline, and that several retries. */
export interface LeaseTiming {
  /** How long others wait after the leader's last sign of life. The API keeps it in whole seconds, rounded up. */
  readonly leaseMs: number;
  /** Age of the last renewal at which a leader stops to lead. */
  readonly renewDeadlineMs: number;
  /** From one attempt to take or renew a lease to the next. */
  readonly retryPeriodMs: number;
}

/** Who wants or has a lease. */
export interface Candidate {
  readonly identity: string;
  readonly leaseMs: number;
}

/** Whose a lease is, as one candidate sees it. */
export type Ownership =
  | { readonly kind: "ours" }
  | { readonly kind: "free" }
  | { readonly kind: "taken"; readonly holder: string; readonly expiresInMs: number };

/**
 * Judges whether another's lease still holds: by how long ago, on this machine's own clock, its record was last seen to change. The times in
 * the record are the holder's, whose clock may be wrong by hours.
 */
export class LeaseObserver {
  readonly #candidate: Candidate;
  #record = "";
  #changedAt = 0;

  constructor(candidate: Candidate) {
    this.#candidate = candidate;
  }

  /** @param now milliseconds of a clock that never jumps, when the record came in */
  judge(spec: V1LeaseSpec | undefined, now: number): Ownership {
    const record = JSON.stringify(spec ?? {});
    if (record !== this.#record) {
      this.#record = record;
      this.#changedAt = now;
    }
    const { holderIdentity: holder, leaseDurationSeconds: seconds = 0 } = spec ?? {};
    if (!holder) return { kind: "free" };
    if (holder === this.#candidate.identity) return { kind: "ours" };
    // The longer of both: a duration that was shortened by hand does not shorten the time that the holder trusts in.
    const expiresInMs = this.#changedAt + Math.max(seconds * 1000, this.#candidate.leaseMs) - now;
    return expiresInMs > 0 ? { kind: "taken", holder, expiresInMs } : { kind: "free" };
  }
}

/** The record by which a candidate takes or renews a lease; each change of holder counts as a transition. */
export function claimed(
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

/** The record by which a leader lets go: nobody holds it, so that nobody waits. */
export function released(spec: V1LeaseSpec | undefined, now: Date): V1LeaseSpec {
  return { ...spec, holderIdentity: "", leaseDurationSeconds: 1, renewTime: new V1MicroTime(now) };
}
