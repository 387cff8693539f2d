/**
 * How a session leaves the cluster: all of it but the home, which goes only when that is asked for.
 * @module
 */
import { isAlive, nameOf } from "../kubernetes/objects.ts";
import type { SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import type { Outcome } from "./outcome.ts";
import type { Provisioner } from "./provisioner.ts";
import type { StopRequest } from "./requests.ts";
import { statusOf } from "./status.ts";
import { waitUntil } from "./waiting.ts";

/** Longest time for a session's pods and volumes to go, in milliseconds. */
const STOP_TIMEOUT_MS = 120_000;

/** Stops sessions. */
export class StopOperation {
  readonly #cache: SessionCache;
  readonly #provisioner: Provisioner;

  constructor(cache: SessionCache, provisioner: Provisioner) {
    this.#cache = cache;
    this.#provisioner = provisioner;
  }

  /** Deletes a session and waits until nothing of it is left. */
  async stop(request: StopRequest, signal: AbortSignal): Promise<Outcome> {
    const { sessionId, deletePVC } = request;
    const { deployment, service, claim, policy } = this.#cache.session(sessionId);
    const home = deletePVC ? this.#provisioner.unshared(claim, sessionId) : undefined;
    const doomed = { deployment, service, policy, claim: home };
    await this.#provisioner.delete(doomed);
    const remaining = (objects: SessionObjects) =>
      [
        objects.deployment,
        objects.service,
        objects.policy,
        ...objects.pods,
        home && !this.#cache.isGone(home, sessionId) ? home : undefined,
      ].flatMap((object) => object ? [`"${nameOf(object)}"`] : []);
    await waitUntil(this.#cache, sessionId, {
      signal,
      isDone: (objects) => remaining(objects).length === 0,
      timeoutMs: STOP_TIMEOUT_MS,
      left: (objects) => `${remaining(objects).join(", ")} is still being deleted`,
    });
    const deleted = Object.entries(doomed)
      .flatMap(([kind, object]) => isAlive(object) ? [`${kind}/${nameOf(object)}`] : []);
    // The status is told even when there was nothing: the Control Plane ends a session only on it.
    const result = { sessionId, state: "terminated", deleted };
    return { result, status: statusOf(sessionId, "terminated"), isRecorded: false };
  }
}
