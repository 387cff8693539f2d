/**
 * Sees what happens to sessions behind the agent's back, such as a pod that is evicted or a Deployment that somebody deletes, and tells it.
 * While a command is at work on a session the command tells; the monitor looks again when it is done. What was told last the sessions
 * themselves remember, so that a new process tells what changed while there was none.
 * @module
 */
import type { Reporter } from "../control_plane/reporter.ts";
import type { SessionStatus } from "../control_plane/protocol.ts";
import type { ReportedStatuses } from "../control_plane/reported_statuses.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { DEFAULT_TIMINGS } from "../model/timings.ts";
import type { BusySessions } from "./busy_sessions.ts";
import { recordedStatus } from "./annotations.ts";
import type { Problem } from "./causes.ts";
import { disruptionOf, isSameStatus, observedStatus } from "./observed.ts";
import { statusOf } from "./status.ts";

/** What the monitor listens to and speaks through. */
export interface MonitorOptions {
  readonly cache: SessionCache;
  readonly reported: ReportedStatuses;
  readonly reporter: Pick<Reporter, "status">;
  readonly busy: BusySessions;
  /** Lets a session remember what was told of it. */
  readonly remember: (status: SessionStatus) => Promise<void>;
  /** How long a running session may be unready before that is reported, in milliseconds. @default {2000} */
  readonly unreadyGraceMs?: number;
}

/** Sessions of the previous process. */
export interface RecoveredSessions {
  /** Sessions that existed: those that are gone are reported. */
  readonly known: readonly string[];
  /** Sessions whose last report is unknown, because a command was not finished. */
  readonly uncertain: readonly string[];
}

/** Compares each session's state with the one that was told last. */
export class Monitor implements Disposable {
  readonly #options: MonitorOptions;
  /** Sessions that do not serve for a moment, and why they lost the pod that did, which may be gone by the time it is told. */
  readonly #unready = new Map<
    string,
    { timer: ReturnType<typeof setTimeout>; disruption: Problem | undefined }
  >();
  #stopListening: Array<() => void> = [];

  constructor(options: MonitorOptions) {
    this.#options = options;
  }

  /** Reports what changed since the previous process reported it, and every change from now on. Call it once the cache is in sync. */
  start({ known, uncertain }: RecoveredSessions): void {
    const { cache, busy } = this.#options;
    for (const sessionId of new Set([...cache.sessionIds(), ...known, ...uncertain])) {
      const objects = cache.session(sessionId);
      const isUncertain = uncertain.includes(sessionId);
      const told = isUncertain ? undefined : recordedStatus(sessionId, objects);
      const disruption = disruptionOf(objects, told);
      const seen = observedStatus(sessionId, { objects, lastReported: told, disruption });
      const isNews = isUncertain || known.includes(sessionId);
      if (told) this.#assume(told);
      // Nobody knows what was told of it, such as by an agent that left no traces: it is taken as it is.
      else if (seen && !isNews) this.#assume(seen);
      else if (seen && !busy.has(sessionId)) this.tell(seen);
      else this.#assume(statusOf(sessionId, "pending"));
      this.look(sessionId);
    }
    const check = (sessionId: string) => this.look(sessionId);
    this.#stopListening = [cache.listen(check), busy.onIdle(check)];
  }

  /** Tells a session's state if it is not the one that was told last. */
  look(sessionId: string): void {
    this.#look(sessionId, { hasLasted: false });
  }

  /** Tells a session's state. What waits for a link is not remembered as told: the next process would keep silent about it. */
  tell(status: SessionStatus): void {
    if (this.#options.reporter.status(status)) void this.#options.remember(status);
  }

  /** Stops listening. */
  [Symbol.dispose](): void {
    for (const stop of this.#stopListening) stop();
    for (const { timer } of this.#unready.values()) clearTimeout(timer);
    this.#unready.clear();
  }

  #look(sessionId: string, { hasLasted }: { hasLasted: boolean }): void {
    const { cache, reported, busy } = this.#options;
    const told = reported.get(sessionId);
    const objects = cache.session(sessionId);
    const waiting = this.#unready.get(sessionId);
    const disruption = disruptionOf(objects, told) ?? waiting?.disruption;
    const seen = told && !busy.has(sessionId)
      ? observedStatus(sessionId, { objects, lastReported: told, disruption })
      : undefined;
    if (told?.state === "running" && seen?.state === "pending" && !hasLasted) {
      this.#unready.set(sessionId, { timer: waiting?.timer ?? this.#lookAgain(sessionId), disruption });
      return;
    }
    clearTimeout(waiting?.timer);
    this.#unready.delete(sessionId);
    if (told && seen && !isSameStatus(seen, told)) this.tell(seen);
  }

  #lookAgain(sessionId: string): ReturnType<typeof setTimeout> {
    const { unreadyGraceMs = DEFAULT_TIMINGS.unreadyGraceMs } = this.#options;
    return setTimeout(() => this.#look(sessionId, { hasLasted: true }), unreadyGraceMs);
  }

  #assume(status: SessionStatus): void {
    this.#options.reported.set(status);
  }
}
