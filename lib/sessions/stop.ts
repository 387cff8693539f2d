/**
 * How a session leaves the cluster: all of it but the home, which goes only when that is asked for.
 * @module
 */
import type { KubernetesObject, V1PersistentVolumeClaim } from "@kubernetes/client-node";
import { isAlive, nameOf } from "../kubernetes/objects.ts";
import type { SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import type { Outcome } from "../status/outcome.ts";
import type { Provisioner } from "./provisioner.ts";
import type { StopRequest } from "../model/requests.ts";
import { statusOf } from "../status/status.ts";
import { type WaitTime, waitUntil } from "./waiting.ts";

/** Stops sessions. */
export class StopOperation {
  readonly #cache: SessionCache;
  readonly #provisioner: Provisioner;

  readonly #timeoutMs: number;

  constructor(
    cache: SessionCache,
    { provisioner, timeoutMs }: { provisioner: Provisioner; timeoutMs: number },
  ) {
    this.#cache = cache;
    this.#provisioner = provisioner;
    this.#timeoutMs = timeoutMs;
  }

  /** Deletes a session and waits until nothing of it is left. */
  async stop(request: StopRequest, signal: AbortSignal): Promise<Outcome> {
    const { sessionId, deletePVC } = request;
    const { deployment, service, claim, policy } = this.#cache.session(sessionId);
    const patience = { signal, timeoutMs: this.#timeoutMs, startedAt: performance.now() };
    await this.#provisioner.delete({ deployment, service });
    const home = deletePVC ? await this.#home(claim, { sessionId, ...patience }) : undefined;
    await this.#provisioner.delete({ claim: home });
    await this.#untilGone(({ deployment, service, pods }) => [
      deployment,
      service,
      ...pods,
      home && !this.#cache.isGone(home, sessionId) ? home : undefined,
    ], { sessionId, ...patience });
    // Not before: as long as a pod lives, just those reach it who may.
    await this.#provisioner.delete({ policy });
    await this.#untilGone(({ policy }) => [policy], { sessionId, ...patience });
    const doomed = { deployment, service, policy, claim: home };
    const deleted = Object.entries(doomed)
      .flatMap(([kind, object]) => isAlive(object) ? [`${kind}/${nameOf(object)}`] : []);
    // The status is told even when there was nothing: the Control Plane ends a session only on it.
    const result = { sessionId, state: "terminated", deleted };
    return { result, status: statusOf(sessionId, "terminated"), isRecorded: false };
  }

  async #untilGone(
    of: (objects: SessionObjects) => ReadonlyArray<KubernetesObject | undefined>,
    { sessionId, ...patience }: { sessionId: string; signal: AbortSignal } & WaitTime,
  ): Promise<void> {
    const remaining = (objects: SessionObjects) =>
      of(objects).flatMap((object) => object ? [`"${nameOf(object)}"`] : []);
    await waitUntil(this.#cache, sessionId, {
      ...patience,
      isDone: (objects) => remaining(objects).length === 0,
      left: (objects) => `${remaining(objects).join(", ")} is still being deleted`,
    });
  }

  /**
   * The home that goes with the session. It is chosen once the cluster shows the session on its way out: of a user's last two that are stopped
   * at once, the later one then sees that it is the last.
   */
  async #home(
    claim: V1PersistentVolumeClaim | undefined,
    { sessionId, ...patience }: { sessionId: string; signal: AbortSignal } & WaitTime,
  ): Promise<V1PersistentVolumeClaim | undefined> {
    await waitUntil(this.#cache, sessionId, {
      ...patience,
      isDone: ({ deployment }) => !isAlive(deployment),
      left: ({ deployment }) => `"${deployment && nameOf(deployment)}" is not seen to be deleted`,
    });
    return this.#provisioner.unshared(claim, sessionId);
  }
}
