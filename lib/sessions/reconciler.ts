/**
 * Keeps sessions complete: what somebody deletes or changes is restored at once, also if it happened while no agent was running. A repair takes
 * its turn in the lane of its session, so that it never overlaps with commands. Another controller that undoes the repairs slows them down.
 * @module
 */
import { Backoff, type BackoffOptions } from "../common/backoff.ts";
import { CommandError, messageOf } from "../common/errors.ts";
import { Turns } from "../common/event_loop.ts";
import { log, RepeatFilter } from "../common/log.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import type { BusySessions } from "../status/busy_sessions.ts";
import type { CreationOptions } from "./object_creation.ts";
import type { Part } from "./session_repair.ts";

/** What a reconciler needs. */
export interface ReconcilerOptions {
  readonly cache: SessionCache;
  readonly busy: BusySessions;
  readonly repair: {
    damage(sessionId: string): Part[];
    isIncomplete(sessionId: string): boolean;
    repair(options: CreationOptions): Promise<void>;
  };
  /** Queues a repair behind the session's commands. */
  readonly dispatcher: {
    insertRepair(sessionId: string, work: (signal: AbortSignal) => Promise<void>): Promise<void>;
  };
  /** Longest wait for an object that is being deleted, in milliseconds. */
  readonly timeoutMs: number;
  /** Pauses between two repairs of one session. @default {{ firstMs: 1000, longestMs: 300_000, jitter: [0.5, 1] }} */
  readonly backoff?: BackoffOptions;
}

/** The repairs of one session. */
interface Repairs {
  readonly backoff: Backoff;
  readonly problems: RepeatFilter;
  /** When the next repair may begin, by `performance.now()`. */
  notBefore: number;
  /** The damage that the last repair left. */
  remaining: string;
  timer?: ReturnType<typeof setTimeout>;
}

const BACKOFF: BackoffOptions = { firstMs: 1000, longestMs: 300_000, jitter: [0.5, 1] };
/** After this time without a repair, the next one is not delayed, in milliseconds. */
const FORGET_MS = 600_000;

/** Restores the parts of all sessions. */
export class Reconciler implements Disposable {
  readonly #options: ReconcilerOptions;
  readonly #repairs = new Map<string, Repairs>();
  #stopListening: Array<() => void> = [];

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  /**
   * Checks all sessions now and after each change; resolves when all are checked, and rejects with the signal's reason. Call it when the cache is
   * synced, before other listeners report the damage.
   */
  async start(signal: AbortSignal): Promise<void> {
    const { cache, busy } = this.#options;
    const check = (sessionId: string) => this.#check(sessionId);
    this.#stopListening = [cache.listen(check), busy.onIdle(check)];
    const turns = new Turns();
    for (const sessionId of cache.sessionIds()) {
      await turns.next();
      signal.throwIfAborted();
      check(sessionId);
    }
  }

  /** Stops repairing. */
  [Symbol.dispose](): void {
    for (const stop of this.#stopListening) stop();
    for (const { timer } of this.#repairs.values()) clearTimeout(timer);
    this.#repairs.clear();
  }

  #check(sessionId: string): void {
    const { busy, repair } = this.#options;
    if (busy.has(sessionId)) return;
    const damage = repair.damage(sessionId).join();
    const known = this.#repairs.get(sessionId);
    clearTimeout(known?.timer);
    if (damage === "") {
      if (known) this.#forgetLater(sessionId, known);
      return;
    }
    const repairs = known ?? this.#begin(sessionId);
    const waitMs = repairs.notBefore - performance.now();
    if (waitMs > 0) repairs.timer = setTimeout(() => this.#check(sessionId), waitMs);
    else if (repair.isIncomplete(sessionId) || damage !== repairs.remaining) {
      void this.#run(sessionId, repairs);
    }
  }

  #begin(sessionId: string): Repairs {
    const backoff = new Backoff(this.#options.backoff ?? BACKOFF);
    const repairs = { backoff, problems: new RepeatFilter(), notBefore: 0, remaining: "" };
    this.#repairs.set(sessionId, repairs);
    return repairs;
  }

  #forgetLater(sessionId: string, repairs: Repairs): void {
    repairs.problems.reset();
    repairs.remaining = "";
    repairs.timer = setTimeout(() => this.#repairs.delete(sessionId), FORGET_MS);
  }

  /** Never rejects. */
  async #run(sessionId: string, repairs: Repairs): Promise<void> {
    const { dispatcher, repair, timeoutMs } = this.#options;
    repairs.notBefore = performance.now() + repairs.backoff.next();
    try {
      await dispatcher.insertRepair(sessionId, async (signal) => {
        await repair.repair({ sessionId, signal, timeoutMs });
        // A Deployment or a home volume that does not exist is looked for only once.
        repairs.remaining = repair.damage(sessionId).join();
      });
    } catch (error) {
      const isExpected = error instanceof CommandError && ["cancelled", "draining"].includes(error.failure);
      const reason = messageOf(error);
      if (!isExpected && repairs.problems.isNew(reason)) {
        log.warn("Cannot restore session {sessionId}: {reason}", { sessionId, reason });
      }
    }
  }
}
