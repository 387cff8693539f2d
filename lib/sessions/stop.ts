/**
 * The operation `stop_session`: deletes a session's objects. The home volume is deleted only on request.
 * @module
 */
import type { KubernetesObject, V1PersistentVolumeClaim } from "@kubernetes/client-node";
import { isAlive, nameOf } from "../kubernetes/objects.ts";
import type { SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import type { StopRequest } from "../model/requests.ts";
import type { Outcome } from "../status/annotations.ts";
import { statusOf } from "../status/status.ts";
import type { Provisioner } from "./provisioner.ts";
import { type TimeLimit, waitUntil } from "./waiting.ts";

type WaitLimits = { readonly sessionId: string; readonly signal: AbortSignal } & TimeLimit;

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

  /** Deletes a session and waits until all of its objects are gone. */
  async stop(request: StopRequest, signal: AbortSignal): Promise<Outcome> {
    const { sessionId, deletePVC } = request;
    const { deployment, service, claim, policy } = this.#cache.session(sessionId);
    const limits = { sessionId, signal, timeoutMs: this.#timeoutMs, startedAt: performance.now() };
    await this.#provisioner.delete({ deployment, service });
    const homeVolume = deletePVC ? await this.#homeToDelete(claim, limits) : undefined;
    await this.#provisioner.delete({ claim: homeVolume });
    await this.#waitUntilGone(({ deployment, service, pods }) => [
      deployment,
      service,
      ...pods,
      homeVolume && !this.#cache.isGone(homeVolume, sessionId) ? homeVolume : undefined,
    ], limits);
    // The policy protects the pods, so it is deleted after them.
    await this.#provisioner.delete({ policy });
    await this.#waitUntilGone(({ policy }) => [policy], limits);
    const deleted = Object.entries({ deployment, service, policy, claim: homeVolume })
      .flatMap(([kind, object]) => isAlive(object) ? [`${kind}/${nameOf(object)}`] : []);
    // The status is reported even if no object existed: only the status ends a session for the Control Plane.
    const result = { sessionId, state: "terminated", deleted };
    return { result, status: statusOf(sessionId, "terminated"), isRecorded: false };
  }

  async #waitUntilGone(
    select: (objects: SessionObjects) => ReadonlyArray<KubernetesObject | undefined>,
    { sessionId, ...limits }: WaitLimits,
  ): Promise<void> {
    const remaining = (objects: SessionObjects) =>
      select(objects).flatMap((object) => object ? [`"${nameOf(object)}"`] : []);
    await waitUntil(this.#cache, sessionId, {
      ...limits,
      isDone: (objects) => remaining(objects).length === 0,
      pending: (objects) => `${remaining(objects).join(", ")} is still being deleted`,
    });
  }

  /**
   * The home volume to delete, unless another session uses it. It is chosen after the cache shows the Deployment's deletion: if the last two
   * sessions of a user are stopped at the same time, the later one sees that it is the last.
   */
  async #homeToDelete(
    claim: V1PersistentVolumeClaim | undefined,
    { sessionId, ...limits }: WaitLimits,
  ): Promise<V1PersistentVolumeClaim | undefined> {
    await waitUntil(this.#cache, sessionId, {
      ...limits,
      isDone: ({ deployment }) => !isAlive(deployment),
      pending: ({ deployment }) => `"${deployment && nameOf(deployment)}" is not being deleted yet`,
    });
    return this.#provisioner.unlessShared(claim, sessionId);
  }
}
