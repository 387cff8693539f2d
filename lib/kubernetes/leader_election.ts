/**
 * Leader election: of the replicas that share a Lease, one leads, and stops before another one can acquire the lease. It returns the leadership
 * with a signal that is aborted when it ends.
 * Source: https://kubernetes.io/docs/concepts/architecture/leases/
 * @module
 */
import type { V1Lease } from "@kubernetes/client-node";
import { delay } from "@std/async";
import { messageOf } from "../common/errors.ts";
import { log, RepeatFilter } from "../common/log.ts";
import { formatDuration } from "../common/quantities.ts";
import { DEFAULT_TIMINGS, type Timings } from "../model/timings.ts";
import type { LeaseApi } from "./client.ts";
import { type Attempt, type Held, LeaseLock } from "./lease.ts";

/** The time in which this replica is the leader. Disposing it releases the lease, so that another replica can lead at once; stop the work before. */
export interface Leadership extends AsyncDisposable {
  /** Aborted when leadership is lost or released; after a loss the reason is an error that states why. */
  readonly lost: AbortSignal;
  /** Whether the lease is held right now, by the clock: after a suspended process resumes, its code may run before the timer that aborts `lost`. */
  isHeld(): boolean;
}

/** Status of a candidate; `unknown` until the lease was read, and while it cannot be read. */
export type LeadershipStatus = "leading" | "standby" | "unknown";

/** Durations of leader election; `leaseMs` > `renewDeadlineMs` > several times `retryPeriodMs`. */
export type LeaseTimings = Pick<Timings, "leaseMs" | "renewDeadlineMs" | "retryPeriodMs">;

/** Options of a {@linkcode LeaderElection}. */
export interface LeaderElectionOptions {
  readonly leases: LeaseApi;
  /** Name of the lease that the candidates share. */
  readonly name: string;
  /** Identity of this candidate; must be unique among the candidates, see {@linkcode electionIdentity}. */
  readonly identity: string;
  /** @default {DEFAULT_TIMINGS} */
  readonly timings?: LeaseTimings;
  /** Called at each iteration of the election loop, also while leading. */
  readonly onTick?: (status: LeadershipStatus) => void;
}

/** Largest part of a candidate's pause that is added to it at random, so that candidates do not all try at once. */
const JITTER = 0.1;

/**
 * An identity for this process. The name of the pod or host alone is not unique: processes on one machine share the host name, and a StatefulSet
 * may replace a pod whose process still runs on an unreachable node. Of two processes with one identity, both would lead.
 */
export function electionIdentity(name: string): string {
  return `${name}_${crypto.randomUUID().slice(0, 8)}`;
}

/** The name in an identity; earlier versions of the agent used the name alone. */
export function replicaName(identity: string): string {
  return identity.replace(/_[0-9a-f]{8}$/, "");
}

/**
 * Acquires several leases in order. The leadership ends when one of them is lost.
 *
 * @throws the signal's reason when it is aborted first; no lease is held then
 */
export async function acquireAll(
  elections: readonly LeaderElection[],
  signal: AbortSignal,
): Promise<Leadership> {
  await using acquired = new AsyncDisposableStack();
  const leaderships: Leadership[] = [];
  for (const election of elections) leaderships.push(acquired.use(await election.acquire(signal)));
  const held = acquired.move();
  return {
    lost: AbortSignal.any(leaderships.map(({ lost }) => lost)),
    isHeld: () => leaderships.every((leadership) => leadership.isHeld()),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

/** One candidate in a leader election. */
export class LeaderElection {
  readonly #name: string;
  readonly #identity: string;
  readonly #timings: LeaseTimings;
  readonly #lock: LeaseLock;
  readonly #onTick: (status: LeadershipStatus) => void;
  readonly #waitingLog = new RepeatFilter();

  constructor(options: LeaderElectionOptions) {
    const { leases, name, identity, timings = DEFAULT_TIMINGS, onTick = () => {} } = options;
    this.#name = name;
    this.#identity = identity;
    this.#timings = timings;
    this.#onTick = onTick;
    const { leaseMs, renewDeadlineMs } = timings;
    // Half of the deadline leaves time for a second attempt after one that times out.
    this.#lock = new LeaseLock({ leases, name, identity, leaseMs, requestTimeoutMs: renewDeadlineMs / 2 });
  }

  /**
   * Waits until this candidate leads, however long that takes and whatever errors the API returns. May be called again after a leadership ended.
   *
   * @throws the signal's reason when it is aborted first; the lease is not held then
   */
  async acquire(signal: AbortSignal): Promise<Leadership> {
    while (true) {
      const attempt = await this.#attempt(signal);
      if (attempt.kind === "held") return await this.#lead(attempt, signal);
      // Twice as often as the leader renews, as the time until expiry counts from when this candidate saw the last renewal.
      const pauseMs = this.#timings.retryPeriodMs / 2 * (1 + JITTER * Math.random());
      const expiresInMs = attempt.kind === "taken" ? Math.ceil(attempt.expiresInMs) : Infinity;
      await delay(Math.min(pauseMs, expiresInMs), { signal });
    }
  }

  async #attempt(signal: AbortSignal): Promise<Attempt> {
    try {
      const attempt = await this.#lock.take(signal);
      this.#onTick(attempt.kind === "held" ? "leading" : "standby");
      if (attempt.kind === "taken" && this.#waitingLog.isNew(`held by ${attempt.holder}`)) {
        log.info("Waiting for leadership: {holder} is the leader", { holder: attempt.holder });
      }
      return attempt;
    } catch (error) {
      signal.throwIfAborted();
      const reason = messageOf(error);
      this.#onTick("unknown");
      if (this.#waitingLog.isNew(reason)) {
        log.warn("Cannot read the lease, retrying: {reason} (run k8s-agent doctor for details)", { reason });
      }
      return { kind: "contended" };
    }
  }

  async #lead(held: Held, signal: AbortSignal): Promise<Leadership> {
    const { leaseTransitions } = held.lease.spec ?? {};
    log.info("Leading as {identity} (lease {lease}, transition {transition})", {
      identity: this.#identity,
      lease: this.#name,
      transition: leaseTransitions ?? 0,
    });
    this.#waitingLog.reset();
    const leadership = new HeldLease(held, {
      lock: this.#lock,
      timings: this.#timings,
      onTick: this.#onTick,
    });
    if (!signal.aborted) return leadership;
    await leadership[Symbol.asyncDispose]();
    throw signal.reason;
  }
}

/** Renews a held lease until it is lost or released. */
class HeldLease implements Leadership {
  readonly #lock: LeaseLock;
  readonly #timings: LeaseTimings;
  readonly #onTick: (status: LeadershipStatus) => void;
  readonly #lost = new AbortController();
  readonly #renewing: Promise<void>;
  #lease: V1Lease;
  #heldUntilMs = 0;
  #expiry: ReturnType<typeof setTimeout> | undefined;
  /** Why the last renewal failed. */
  #failure: string | undefined;

  constructor(
    held: Held,
    { lock, timings, onTick }: {
      lock: LeaseLock;
      timings: LeaseTimings;
      onTick: (status: LeadershipStatus) => void;
    },
  ) {
    this.#lock = lock;
    this.#timings = timings;
    this.#onTick = onTick;
    this.#lease = held.lease;
    this.#hold(held);
    this.#renewing = this.#renew();
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  isHeld(): boolean {
    return !this.lost.aborted && performance.now() < this.#heldUntilMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const isHeld = !this.lost.aborted;
    clearTimeout(this.#expiry);
    this.#lost.abort(new DOMException("Leadership was released", "AbortError"));
    await this.#renewing;
    if (!isHeld) return;
    try {
      await this.#lock.release(this.#lease);
      log.info("Released leadership");
    } catch (error) {
      const reason = messageOf(error);
      log.warn("Cannot release the lease, the next leader waits until it expires: {reason}", { reason });
    }
  }

  async #renew(): Promise<void> {
    while (true) {
      await delay(this.#timings.retryPeriodMs, { signal: this.lost }).catch(() => {});
      if (this.lost.aborted) return;
      this.#onTick("leading");
      try {
        const attempt = await this.#lock.renew(this.#lease, this.lost);
        if (attempt.kind === "held") this.#hold(attempt);
        if (attempt.kind === "taken") this.#lose(`${attempt.holder} is the leader`);
      } catch (error) {
        this.#failure = messageOf(error);
      }
    }
  }

  /** Extends the leadership from the time at which the write was sent: no other candidate can have seen it before. */
  #hold({ lease, sinceMs }: Held): void {
    this.#lease = lease;
    this.#failure = undefined;
    clearTimeout(this.#expiry);
    if (this.lost.aborted) return;
    const { renewDeadlineMs } = this.#timings;
    this.#heldUntilMs = sinceMs + renewDeadlineMs;
    this.#expiry = setTimeout(() => {
      const reason = this.#failure ? `: ${this.#failure}` : "";
      this.#lose(`the lease could not be renewed within ${formatDuration(renewDeadlineMs)}${reason}`);
    }, Math.max(0, this.#heldUntilMs - performance.now()));
  }

  #lose(reason: string): void {
    if (this.lost.aborted) return;
    clearTimeout(this.#expiry);
    log.warn("Lost leadership: {reason}", { reason });
    this.#lost.abort(new Error(`Lost leadership: ${reason}`));
  }
}
