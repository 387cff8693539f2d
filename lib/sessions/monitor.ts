/**
 * Sees what happens to sessions behind the agent's back, such as a pod that is evicted or a Deployment that somebody deletes, and tells it.
 * While a command is at work on a session the command tells; the monitor looks again when it is done. What was told last the sessions
 * themselves remember, so that a new process tells what changed while there was none.
 * @module
 */
import type { Reporter } from "../control_plane/reporter.ts";
import type { SessionStatus } from "../control_plane/protocol.ts";
import type { SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import { becauseOfMaxDuration, isAsleepByMaxDuration } from "./max_duration.ts";
import { judge } from "./readiness.ts";
import { lastTold } from "./outcome.ts";
import { statusOf } from "./status.ts";

/** A pod that is not ready for a moment is not worth a word, in milliseconds. */
const FLAP_MS = 2000;

/** What the monitor listens to and speaks through. */
export interface MonitorOptions {
  readonly cache: SessionCache;
  readonly reporter: Reporter;
  /** Whether a command is at work on the session, or waits for its turn. */
  readonly isBusy: (sessionId: string) => boolean;
  /** Lets a session remember what was told of it. */
  readonly remember: (status: SessionStatus) => Promise<void>;
}

/** Compares each session's state with the one that was told last. */
export class Monitor implements Disposable {
  readonly #options: MonitorOptions;
  readonly #unready = new Map<string, ReturnType<typeof setTimeout>>();
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
      const seen = observedStatus(sessionId, objects);
      const isUncertain = uncertain.includes(sessionId);
      const told = isUncertain ? undefined : lastTold(sessionId, objects);
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
    const { cache, reporter, isBusy } = this.#options;
    clearTimeout(this.#unready.get(sessionId));
    this.#unready.delete(sessionId);
    const told = reporter.lastStatus(sessionId);
    if (!told || isBusy(sessionId)) return;
    const seen = observedStatus(sessionId, cache.session(sessionId));
    if (!seen || isSame(seen, told)) return;
    if (told.state === "running" && seen.state === "pending") {
      const tell = () => {
        this.#unready.delete(sessionId);
        if (!isBusy(sessionId)) this.tell(seen);
      };
      this.#unready.set(sessionId, setTimeout(tell, FLAP_MS));
      return;
    }
    this.tell(seen);
  }

  /** Stops listening. */
  [Symbol.dispose](): void {
    this.#stopListening();
    for (const timer of this.#unready.values()) clearTimeout(timer);
    this.#unready.clear();
  }

  #assume(status: SessionStatus): void {
    this.#options.reporter.assume(status);
  }

  /** Tells a session's state. What waits for a link is not remembered as told: the next process would keep silent about it. */
  tell(status: SessionStatus): void {
    if (this.#options.reporter.status(status)) void this.#options.remember(status);
  }
}

/**
 * What a session's objects amount to, or nothing while they are on their way out: "terminated" ends a session for the Control Plane, so it is
 * true only when nothing is left that a stop would have to remove.
 */
export function observedStatus(sessionId: string, objects: SessionObjects): SessionStatus | undefined {
  const { deployment, service, pods } = objects;
  if (deployment?.metadata?.deletionTimestamp || (!deployment && pods.length > 0)) return undefined;
  if (!deployment) return statusOf(sessionId, service ? "failed" : "terminated");
  if (deployment.spec?.replicas === 0) {
    const asleep = statusOf(sessionId, "hibernated");
    return isAsleepByMaxDuration(deployment) ? becauseOfMaxDuration(asleep, deployment) : asleep;
  }
  const verdict = judge(objects);
  return verdict.state === "ready"
    ? statusOf(sessionId, "running", verdict.pod)
    : statusOf(sessionId, "pending");
}

function isSame(one: SessionStatus, other: SessionStatus): boolean {
  return one.state === other.state && one.platformMetadata.podName === other.platformMetadata.podName;
}
