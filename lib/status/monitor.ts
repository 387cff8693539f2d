/**
 * Reports changes of sessions that no command of this agent made, such as an evicted pod or a deleted Deployment. While a command runs for a
 * session, the command reports; the monitor checks again when it is done. The last reported status is recorded in the cluster, so that the next
 * process reports what changed while no process ran.
 * @module
 */
import type { SessionStatus } from "../control_plane/protocol.ts";
import type { ReportedStatuses } from "../control_plane/reported_statuses.ts";
import type { Reporter } from "../control_plane/reporter.ts";
import { Turns } from "../common/event_loop.ts";
import type { ObservedVersions, SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import { DEFAULT_TIMINGS } from "../model/timings.ts";
import { isLeftByGoAgent, isReportedBefore, recordedActivity, recordedStatus } from "./annotations.ts";
import type { BusySessions } from "./busy_sessions.ts";
import type { Problem } from "./causes.ts";
import { disruptionOf, isSameStatus, observedStatus } from "./observed.ts";
import type { Activity, SessionActivity } from "./session_activity.ts";
import { statusOf } from "./status.ts";

/** What a monitor needs. */
export interface MonitorOptions {
  readonly cache: SessionCache;
  readonly reported: ReportedStatuses;
  readonly reporter: Pick<Reporter, "status" | "activity" | "hasUnsentStatus">;
  /** Sessions with a running or queued command. */
  readonly busy: BusySessions;
  /** Persists a reported status. */
  readonly recordStatus: (status: SessionStatus) => Promise<void>;
  readonly activity: SessionActivity;
  /** Persists the use of a session. */
  readonly recordActivity: (sessionId: string, activity: Activity) => Promise<void>;
  /** How long a running session may be unready before that is reported, in milliseconds. @default {2000} */
  readonly unreadyGraceMs?: number;
}

/** Sessions of the previous process. */
export interface RecoveredSessions {
  /** Sessions that existed. Those that are gone by now are reported as terminated. */
  readonly known: readonly string[];
  /** Sessions with an unfinished command, whose last status may not have reached the Control Plane. */
  readonly uncertain: readonly string[];
  /** Resource versions up to which the previous process reported all changes. @default {none} */
  readonly reportedUpTo?: ObservedVersions | undefined;
}

/** A running session that is not ready for the moment. */
interface Unready {
  readonly timer: ReturnType<typeof setTimeout>;
  /** Kept because the disrupted pod may be gone when the grace period ends. */
  readonly disruption: Problem | undefined;
}

/** Compares each session's status with the last reported one. */
export class Monitor implements Disposable {
  readonly #options: MonitorOptions;
  readonly #unready = new Map<string, Unready>();
  /** Sessions whose status was reported before they were taken over. */
  readonly #reportedByCommands = new Set<string>();
  #stopListening: Array<() => void> = [];

  constructor(options: MonitorOptions) {
    this.#options = options;
  }

  /** Notes what commands report before {@linkcode start}. Call it before commands are resumed. */
  prepare(): void {
    this.#stopListening.push(
      this.#options.reported.listen((sessionId) => this.#reportedByCommands.add(sessionId)),
    );
  }

  /**
   * Reports what changed since the previous process reported, and every change from now on; resolves when all sessions are taken over, and rejects
   * with the signal's reason. Call it when the cache is synced.
   */
  async start({ known, uncertain, reportedUpTo }: RecoveredSessions, signal: AbortSignal): Promise<void> {
    const { cache, busy, activity } = this.#options;
    const isKnown = new Set(known);
    const isUncertain = new Set(uncertain);
    // Commands and changes go on while the sessions are taken over.
    const changed = new Set<string>();
    this.#stopListening.push(
      cache.listen((sessionId) => changed.add(sessionId)),
      busy.onIdle((sessionId) => changed.add(sessionId)),
    );
    const turns = new Turns();
    for (const sessionId of new Set([...cache.sessionIds(), ...known, ...uncertain])) {
      await turns.next();
      signal.throwIfAborted();
      if (!this.#reportedByCommands.has(sessionId)) {
        this.#takeOver(sessionId, {
          isUncertain: isUncertain.has(sessionId),
          isKnown: isKnown.has(sessionId),
          reportedUpTo,
        });
      }
      this.check(sessionId);
    }
    this.#stop();
    this.#reportedByCommands.clear();
    this.#listen();
    for (const sessionId of changed) this.check(sessionId);
    for (const sessionId of cache.sessionIds()) {
      await turns.next();
      signal.throwIfAborted();
      const recorded = recordedActivity(cache.session(sessionId));
      if (recorded) activity.restore(sessionId, recorded);
      // Of a stream that was opened before.
      if (activity.of(sessionId)?.viewers) void this.#reportActivity(sessionId);
    }
  }

  /** Reports the status of a session if it differs from the last reported one. */
  check(sessionId: string): void {
    this.#check(sessionId, { isGraceOver: false });
  }

  /** Reports a status. It is recorded once it is sent: until then, the next process may have to report it. */
  report(status: SessionStatus): void {
    const { reporter, recordStatus } = this.#options;
    reporter.status(status, { onSent: () => void recordStatus(status) });
  }

  /** Stops listening. */
  [Symbol.dispose](): void {
    this.#stop();
    for (const { timer } of this.#unready.values()) clearTimeout(timer);
    this.#unready.clear();
  }

  #listen(): void {
    const { cache, reported, busy, activity } = this.#options;
    const check = (sessionId: string) => {
      this.check(sessionId);
      this.#advance();
    };
    this.#stopListening = [
      cache.listen(check),
      busy.onIdle(check),
      reported.listen((sessionId) => reported.get(sessionId) ?? activity.forget(sessionId)),
      activity.onPublish((sessionId) => void this.#reportActivity(sessionId)),
    ];
  }

  #stop(): void {
    for (const stop of this.#stopListening) stop();
  }

  /** Sets what the Control Plane knows of a session that an earlier process may have reported. */
  #takeOver(
    sessionId: string,
    { isUncertain, isKnown, reportedUpTo }: {
      isUncertain: boolean;
      isKnown: boolean;
      reportedUpTo: ObservedVersions | undefined;
    },
  ): void {
    const { reported, busy } = this.#options;
    const objects = this.#options.cache.session(sessionId);
    const lastReported = isUncertain ? undefined : recordedStatus(sessionId, objects);
    if (lastReported) return reported.set(lastReported);
    const observed = observedStatus(sessionId, { objects, lastReported, disruption: undefined });
    if (observed && !isUncertain && reportedUpTo && isReportedBefore(observed, objects, reportedUpTo)) {
      reported.set(observed);
    } // A session that the journal does not know, such as one of the Go agent: its current status counts as reported. But the Go agent reported
    // neither hibernations nor ends.
    else if (observed && !isUncertain && !isKnown && !isUnreportedByGoAgent(observed, objects)) {
      reported.set(observed);
    } else if (observed && !busy.has(sessionId)) this.report(observed);
    else reported.set(statusOf(sessionId, "pending"));
  }

  #check(sessionId: string, { isGraceOver }: { isGraceOver: boolean }): void {
    const { cache, reported, busy } = this.#options;
    const lastReported = reported.get(sessionId);
    const unready = this.#unready.get(sessionId);
    // A command reports while it runs.
    if (!lastReported || busy.has(sessionId)) return this.#endGrace(sessionId);
    const objects = cache.session(sessionId);
    const disruption = disruptionOf(objects, lastReported) ?? unready?.disruption;
    const isForeign = cache.foreign.agentOfSession(sessionId) !== undefined && !objects.deployment;
    const status = isForeign ? undefined : observedStatus(sessionId, { objects, lastReported, disruption });
    // The garbage collector deletes the pod of a deleted Deployment a moment later.
    const isPassing = status?.state === "pending" || (status?.state === "failed" && objects.pods.length > 0);
    if (lastReported.state === "running" && isPassing && !isGraceOver) {
      const timer = unready?.timer ?? this.#checkAfterGrace(sessionId);
      this.#unready.set(sessionId, { timer, disruption });
      return;
    }
    this.#endGrace(sessionId);
    if (status && !isSameStatus(status, lastReported)) this.report(status);
  }

  #endGrace(sessionId: string): void {
    clearTimeout(this.#unready.get(sessionId)?.timer);
    this.#unready.delete(sessionId);
  }

  /**
   * Reports the use of a session and records it; while a command runs for the session, its status includes the use. Viewers are recorded before they
   * are reported, and their end once it is sent: if this process ends in between, the next one reports from the record that the streams have ended.
   */
  async #reportActivity(sessionId: string): Promise<void> {
    const { busy, reporter, activity, recordActivity } = this.#options;
    const current = activity.of(sessionId);
    if (!current) return;
    const hasEnded = current.viewers === 0;
    if (!hasEnded) await recordActivity(sessionId, current);
    const onSent = hasEnded ? () => void recordActivity(sessionId, current) : undefined;
    if (!busy.has(sessionId)) reporter.activity(sessionId, onSent ? { onSent } : {});
    else onSent?.();
  }

  /** Notes that everything up to now is reported, except changes that a running command will report, which the journal has. */
  #advance(): void {
    const { cache, reported, reporter, busy } = this.#options;
    if (!busy.hasUnrecordedWork && !reporter.hasUnsentStatus) reported.upTo = cache.versions;
  }

  #checkAfterGrace(sessionId: string): ReturnType<typeof setTimeout> {
    const { unreadyGraceMs = DEFAULT_TIMINGS.unreadyGraceMs } = this.#options;
    return setTimeout(() => this.#check(sessionId, { isGraceOver: true }), unreadyGraceMs);
  }
}

function isUnreportedByGoAgent({ state }: SessionStatus, objects: SessionObjects): boolean {
  return state === "hibernated" || (state === "terminated" && isLeftByGoAgent(objects));
}
