/**
 * Leader election: of the agents that share a Lease one leads, and stops before another can. A campaign goes in; what comes out is leadership
 * with a signal that says when it is over.
 * Source: https://kubernetes.io/docs/concepts/architecture/leases/
 * @module
 */
import type { V1Lease } from "@kubernetes/client-node";
import { delay } from "@std/async";
import { messageOf } from "../common/errors.ts";
import { log, RepeatFilter } from "../common/log.ts";
import { formatDuration } from "../common/quantities.ts";
import type { LeaseApi } from "./client.ts";
import { type Attempt, type Held, LeaseLock } from "./lease_lock.ts";
import type { LeaseTiming } from "./lease_record.ts";

/** A time of being the leader. Disposing it ends it and lets the next one lead at once; stop the leader's work before. */
export interface Leadership extends AsyncDisposable {
  /** Aborted when leadership is lost or given up; after a loss the reason is an error that says why. */
  readonly lost: AbortSignal;
  /** Whether it is held by the clock: a process that was frozen may run before the timer that tells it of its loss. */
  isHeld(): boolean;
}

/** How a candidate stands in the election; unknown where the lease cannot be read. */
export type Standing = "leading" | "standing_by" | "unknown";

/** Who wants to lead what. */
export interface LeaderElectionOptions {
  readonly leases: LeaseApi;
  /** Name of the lease that the candidates share. */
  readonly name: string;
  /** This candidate's own name, such as its pod's: two of the same name would both lead. */
  readonly identity: string;
  /** @default a lease of 15 seconds, 10 to renew it, 2 between attempts */
  readonly timing?: LeaseTiming;
  /** Told at each turn of the loop. */
  readonly onTurn?: (standing: Standing) => void;
}

const DEFAULT_TIMING: LeaseTiming = { leaseMs: 15_000, renewDeadlineMs: 10_000, retryPeriodMs: 2000 };
/** Up to this part of each wait is added, so that candidates do not all come at once. */
const JITTER = 0.1;

/** One candidate in the election of a leader. */
export class LeaderElection {
  readonly #name: string;
  readonly #identity: string;
  readonly #timing: LeaseTiming;
  readonly #lock: LeaseLock;
  readonly #onTurn: (standing: Standing) => void;
  /** Logs a state of the election once, not at each attempt. */
  readonly #states = new RepeatFilter();

  constructor(options: LeaderElectionOptions) {
    const { leases, name, identity, timing = DEFAULT_TIMING, onTurn = () => {} } = options;
    this.#name = name;
    this.#identity = identity;
    this.#timing = timing;
    this.#onTurn = onTurn;
    const { leaseMs, renewDeadlineMs } = timing;
    // Half of the deadline leaves room for a second attempt after one that hangs.
    this.#lock = new LeaseLock({ leases, name, identity, leaseMs, requestTimeoutMs: renewDeadlineMs / 2 });
  }

  /**
   * Waits until this candidate leads, however long that takes and whatever the API says meanwhile. May be called again once an earlier
   * leadership is over.
   *
   * @throws the signal's reason if that comes first; nothing is held then
   */
  async acquire(signal: AbortSignal): Promise<Leadership> {
    while (true) {
      const attempt = await this.#attempt(signal);
      if (attempt.kind === "held") return await this.#lead(attempt, signal);
      // Twice as often as the leader renews: the time until its lease expires counts from when its last renewal was seen.
      const lookAgainMs = this.#timing.retryPeriodMs / 2 * (1 + JITTER * Math.random());
      const expiresInMs = attempt.kind === "taken" ? Math.ceil(attempt.expiresInMs) : Infinity;
      await delay(Math.min(lookAgainMs, expiresInMs), { signal });
    }
  }

  async #attempt(signal: AbortSignal): Promise<Attempt> {
    try {
      const attempt = await this.#lock.take(signal);
      this.#onTurn(attempt.kind === "held" ? "leading" : "standing_by");
      if (attempt.kind === "taken" && this.#states.isNew(`taken by ${attempt.holder}`)) {
        log.info("Waiting to lead: {holder} is the leader", { holder: attempt.holder });
      }
      return attempt;
    } catch (error) {
      signal.throwIfAborted();
      const reason = messageOf(error);
      this.#onTurn("unknown");
      if (this.#states.isNew(reason)) {
        log.warn("Waiting to lead: it is unknown who leads: {reason}", { reason });
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
    this.#states.reset();
    const leadership = new HeldLease(held, { lock: this.#lock, timing: this.#timing, onTurn: this.#onTurn });
    if (!signal.aborted) return leadership;
    await leadership[Symbol.asyncDispose]();
    throw signal.reason;
  }
}

/** Renews a lease until it is lost or given up. */
class HeldLease implements Leadership {
  readonly #lock: LeaseLock;
  readonly #timing: LeaseTiming;
  readonly #onTurn: (standing: Standing) => void;
  readonly #lost = new AbortController();
  readonly #renewing: Promise<void>;
  #lease: V1Lease;
  #heldUntilMs = 0;
  #deadline: ReturnType<typeof setTimeout> | undefined;
  /** Why the last renewal failed. */
  #failure: string | undefined;

  constructor(
    held: Held,
    { lock, timing, onTurn }: {
      lock: LeaseLock;
      timing: LeaseTiming;
      onTurn: (standing: Standing) => void;
    },
  ) {
    this.#lock = lock;
    this.#timing = timing;
    this.#onTurn = onTurn;
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
    clearTimeout(this.#deadline);
    this.#lost.abort(new DOMException("Leadership was given up", "AbortError"));
    await this.#renewing;
    if (!isHeld) return;
    try {
      await this.#lock.release(this.#lease);
      log.info("Leading no more: leadership was given up");
    } catch (error) {
      const reason = messageOf(error);
      log.warn("Leading no more, but the next leader waits until the lease expires: {reason}", { reason });
    }
  }

  async #renew(): Promise<void> {
    while (true) {
      await delay(this.#timing.retryPeriodMs, { signal: this.lost }).catch(() => {});
      if (this.lost.aborted) return;
      this.#onTurn("leading");
      try {
        const attempt = await this.#lock.renew(this.#lease, this.lost);
        if (attempt.kind === "held") this.#hold(attempt);
        if (attempt.kind === "taken") this.#lose(`${attempt.holder} is the leader`);
      } catch (error) {
        this.#failure = messageOf(error);
      }
    }
  }

  /** Counts from when the request was sent: no other candidate can have begun to count before. */
  #hold({ lease, sinceMs }: Held): void {
    this.#lease = lease;
    this.#failure = undefined;
    clearTimeout(this.#deadline);
    if (this.lost.aborted) return;
    const { renewDeadlineMs } = this.#timing;
    this.#heldUntilMs = sinceMs + renewDeadlineMs;
    this.#deadline = setTimeout(() => {
      const reason = this.#failure ? `: ${this.#failure}` : "";
      this.#lose(`the lease could not be renewed within ${formatDuration(renewDeadlineMs)}${reason}`);
    }, Math.max(0, this.#heldUntilMs - performance.now()));
  }

  #lose(reason: string): void {
    if (this.lost.aborted) return;
    clearTimeout(this.#deadline);
    log.warn("Leading no more: {reason}", { reason });
    this.#lost.abort(new Error(`Leadership was lost: ${reason}`));
  }
}
