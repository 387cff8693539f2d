/**
 * Sees what happens to sessions behind the agent's back, such as a pod that is evicted or a Deployment that somebody deletes, and tells it.
 * While a command is at work on a session the command tells; the monitor looks again when it is done. What was told last is kept in memory:
 * a new process takes the sessions as it finds them and tells what changes from then on.
 * @module
 */
import type { Reporter } from "../control_plane/reporter.ts";
import type { SessionStatus } from "../control_plane/protocol.ts";
import type { SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import { judge } from "./readiness.ts";
import { statusOf } from "./status.ts";

/** A pod that is not ready for a moment is not worth a word, in milliseconds. */
const FLAP_MS = 2000;

/** What the monitor listens to and speaks through. */
export interface MonitorOptions {
  readonly cache: SessionCache;
  readonly reporter: Reporter;
  /** Whether a command is at work on the session, or waits for its turn. */
  readonly isBusy: (sessionId: string) => boolean;
}

/** Compares each session's state with the one that was told last. */
export class Monitor implements Disposable {
  readonly #options: MonitorOptions;
  readonly #unready = new Map<string, ReturnType<typeof setTimeout>>();
  #stopListening: () => void = () => {};

  constructor(options: MonitorOptions) {
    this.#options = options;
  }

  /** Takes the sessions that there are as known, and sees every change from now on. */
  begin(): void {
    const { cache, reporter } = this.#options;
    for (const sessionId of cache.sessionIds()) {
      const seen = observedStatus(sessionId, cache.session(sessionId));
      if (seen) reporter.assume(seen);
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
        if (!isBusy(sessionId)) reporter.status(seen);
      };
      this.#unready.set(sessionId, setTimeout(tell, FLAP_MS));
      return;
    }
    reporter.status(seen);
  }

  /** Stops listening. */
  [Symbol.dispose](): void {
    this.#stopListening();
    for (const timer of this.#unready.values()) clearTimeout(timer);
    this.#unready.clear();
  }
}

/**
 * What a session's objects amount to, or nothing while they are on their way out: "terminated" ends a session for the Control Plane, so it is
 * true only when nothing is left that a stop would have to remove.
 */
function observedStatus(sessionId: string, objects: SessionObjects): SessionStatus | undefined {
  const { deployment, service, pods } = objects;
  if (deployment?.metadata?.deletionTimestamp || (!deployment && pods.length > 0)) return undefined;
  if (!deployment) return statusOf(sessionId, service ? "failed" : "terminated");
  if (deployment.spec?.replicas === 0) return statusOf(sessionId, "hibernated");
  const verdict = judge(objects);
  return verdict.state === "ready"
    ? statusOf(sessionId, "running", verdict.pod)
    : statusOf(sessionId, "pending");
}

function isSame(one: SessionStatus, other: SessionStatus): boolean {
  return one.state === other.state && one.platformMetadata.podName === other.platformMetadata.podName;
}
