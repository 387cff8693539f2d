/**
 * Sees what happens to sessions behind the agent's back, such as a pod that is evicted or a Deployment that somebody deletes, and tells it.
 * While a command is at work on a session the command tells; the monitor looks again when it is done. What was told last the sessions
 * themselves remember, so that a new process tells what changed while there was none.
 * @module
 */
import type { Reporter } from "../control_plane/reporter.ts";
import type { SessionStatus } from "../control_plane/protocol.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { recordedStatus } from "./annotations.ts";
import type { Problem } from "./causes.ts";
import { disruptionOf, isSameStatus, observedStatus } from "./observed.ts";
import { statusOf } from "./status.ts";

/** Default of {@linkcode MonitorOptions.unreadyGraceMs}. */
const UNREADY_GRACE_MS = 2000;

/** What the monitor listens to and speaks through. */
export interface MonitorOptions {
  readonly cache: SessionCache;
  readonly reporter: Reporter;
  /** Whether a command is at work on the session, or waits for its turn. */
  readonly isBusy: (sessionId: string) => boolean;
  /** Lets a session remember what was told of it. */
  readonly remember: (status: SessionStatus) => Promise<void>;
  /** How long a running session may be unready before that is reported, in milliseconds. @default {2000} */
  readonly unreadyGraceMs?: number;
}

/** Compares each session's state with the one that was told last. */
export class Monitor implements Disposable {
  readonly #options: MonitorOptions;
  /** Sessions that do not serve for a moment, and why they lost the pod that did, which may be gone by the time it is told. */
  readonly #unready = new Map<
    string,
    { timer: ReturnType<typeof setTimeout>; disruption: Problem | undefined }
  >();
  #expected: readonly string[] = [];
  #stopListening: () => void = () => {};

  constructor(options: MonitorOptions) {
    this.#options = options;
  }

  /** Takes note of sessions that existed for an earlier process: the Control Plane is told of those that are gone. */
  expect(sessionIds: readonly string[]): void {
    this.#expected = sessionIds;
    for (const sessionId of sessionIds) this.#assume(statusOf(sessionId, "pending"));
  }

  /**
   * Tells what changed since an earlier process told it, and sees every change from now on. To be called once the cluster is known.
   *
   * @param uncertain sessions of which it is not known what the Control Plane was told
   */
  begin(uncertain: readonly string[]): void {
    const { cache, isBusy } = this.#options;
    for (const sessionId of new Set([...cache.sessionIds(), ...this.#expected, ...uncertain])) {
      const objects = cache.session(sessionId);
      const isUncertain = uncertain.includes(sessionId);
      const told = isUncertain ? undefined : recordedStatus(sessionId, objects);
      const disruption = disruptionOf(objects, told);
      const seen = observedStatus(sessionId, { objects, lastReported: told, disruption });
      const isNews = isUncertain || this.#expected.includes(sessionId);
      if (told) this.#assume(told);
      // Nobody knows what was told of it, such as by an agent that left no traces: it is taken as it is.
      else if (seen && !isNews) this.#assume(seen);
      else if (seen && !isBusy(sessionId)) this.tell(seen);
      else this.#assume(statusOf(sessionId, "pending"));
      this.look(sessionId);
    }
    this.#stopListening = cache.listen((sessionId) => this.look(sessionId));
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
    this.#stopListening();
    for (const { timer } of this.#unready.values()) clearTimeout(timer);
    this.#unready.clear();
  }

  #look(sessionId: string, { hasLasted }: { hasLasted: boolean }): void {
    const { cache, reporter, isBusy } = this.#options;
    const told = reporter.lastStatus(sessionId);
    const objects = cache.session(sessionId);
    const waiting = this.#unready.get(sessionId);
    const disruption = disruptionOf(objects, told) ?? waiting?.disruption;
    const seen = told && !isBusy(sessionId)
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
    const { unreadyGraceMs = UNREADY_GRACE_MS } = this.#options;
    return setTimeout(() => this.#look(sessionId, { hasLasted: true }), unreadyGraceMs);
  }

  #assume(status: SessionStatus): void {
    this.#options.reporter.assume(status);
  }
}
