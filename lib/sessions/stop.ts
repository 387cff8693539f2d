/**
 * The operation `stop_session`: deletes a session's objects. The home volume is deleted only on request.
 * @module
 */
import type { KubernetesObject, V1Deployment, V1NetworkPolicy } from "@kubernetes/client-node";
import { log } from "../common/log.ts";
import type { ObjectApi, SessionClient } from "../kubernetes/client.ts";
import { isAlive, nameOf } from "../kubernetes/objects.ts";
import type { SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import { buildPolicy, type IngressSettings } from "../manifests/manifests.ts";
import type { StopRequest } from "../model/requests.ts";
import type { Outcome } from "../status/annotations.ts";
import { statusOf } from "../status/status.ts";
import type { HomeDecision, HomeDeletion } from "./home_deletion.ts";
import type { Provisioner } from "./provisioner.ts";
import type { SessionFinder } from "./session_finder.ts";
import { type OperationTimings, type TimeLimit, waitUntil, waitUntilDeleted } from "./waiting.ts";

type WaitLimits = { readonly sessionId: string; readonly signal: AbortSignal } & TimeLimit;

/** What a stop needs. */
export interface StopOptions {
  readonly client: SessionClient;
  readonly cache: SessionCache;
  readonly finder: SessionFinder;
  readonly provisioner: Provisioner;
  readonly homes: HomeDeletion;
  readonly settings: IngressSettings;
  readonly timings: Pick<OperationTimings, "terminationTimeoutMs" | "pollIntervalMs">;
}

/** Stops sessions. */
export class StopOperation {
  readonly #options: StopOptions;
  readonly #cache: SessionCache;

  constructor(options: StopOptions) {
    this.#options = options;
    this.#cache = options.cache;
  }

  /** Deletes a session and waits until all of its objects are gone. */
  async stop(request: StopRequest, signal: AbortSignal): Promise<Outcome> {
    const { sessionId, deletePVC } = request;
    const { provisioner, finder, timings } = this.#options;
    const deployment = await finder.deployment(sessionId);
    const service = await finder.service(sessionId);
    const { claim } = this.#cache.session(sessionId);
    const policy = await this.#policy(sessionId, deployment);
    const timeoutMs = timings.terminationTimeoutMs;
    const limits = { sessionId, signal, timeoutMs, startedAt: performance.now() };
    await provisioner.delete({ deployment, service });
    const home = deletePVC
      ? await this.#decideAboutHome({ deployment, service, claim }, limits)
      : { kind: "none" as const };
    const homeVolume = home.kind === "delete" ? home.claim : undefined;
    await provisioner.delete({ claim: homeVolume });
    await this.#waitUntilAllGone({ deployment, service, claim: homeVolume }, limits);
    // The policy protects the pods, so it is deleted after them.
    await provisioner.delete({ policy });
    await this.#waitUntilGone(({ policy }) => [policy], limits);
    const deleted = Object.entries({ deployment, service, policy, claim: homeVolume })
      .flatMap(([kind, object]) => isAlive(object) ? [`${kind}/${nameOf(object)}`] : []);
    // The status is reported even if no object existed: only the status ends a session for the Control Plane.
    const result = { sessionId, state: "terminated", deleted, ...keptHome(home) };
    return { result, status: statusOf(sessionId, "terminated"), isEvident: false };
  }

  /** A policy that should exist and is not in the cache may have lost its labels. */
  async #policy(
    sessionId: string,
    deployment: V1Deployment | undefined,
  ): Promise<V1NetworkPolicy | undefined> {
    const { policy } = this.#cache.session(sessionId);
    const { finder, settings } = this.#options;
    const isExpected = deployment !== undefined && buildPolicy(settings, deployment) !== undefined;
    return policy ?? (isExpected ? await finder.policy(sessionId) : undefined);
  }

  async #waitUntilAllGone(
    { deployment, service, claim }: Partial<SessionObjects>,
    limits: WaitLimits,
  ): Promise<void> {
    const { deployments, services, claims } = this.#options.client;
    await this.#waitUntilDeleted(deployment, deployments, limits);
    // A Deployment that is deleted with its dependents is the last to go.
    if (!deployment || this.#cache.session(limits.sessionId).pods.some(isAlive)) {
      await this.#options.finder.deleteOrphans(limits.sessionId);
    }
    await this.#waitUntilGone(({ pods }) => pods, limits);
    await this.#waitUntilDeleted(service, services, limits);
    await this.#waitUntilDeleted(claim, claims, limits);
  }

  async #waitUntilDeleted(
    object: KubernetesObject | undefined,
    api: Pick<ObjectApi<KubernetesObject>, "read">,
    { sessionId, ...limits }: WaitLimits,
  ): Promise<void> {
    if (!object) return;
    await waitUntilDeleted(this.#cache, sessionId, {
      ...limits,
      object,
      read: () => api.read(nameOf(object)),
      pending: () => `${this.#remaining(sessionId, object)} is still being deleted`,
      pollIntervalMs: this.#options.timings.pollIntervalMs,
    });
  }

  /** A Deployment that is being deleted waits for its pods, so that both are named. */
  #remaining(sessionId: string, object: KubernetesObject): string {
    const { pods } = this.#cache.session(sessionId);
    return [object, ...pods.filter((pod) => pod !== object)].map((one) => `"${nameOf(one)}"`).join(", ");
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
   * Decides about the home volume after the cache shows the Deployment's deletion: if the last two sessions of a user are stopped at the same
   * time, the later one sees that it is the last.
   */
  async #decideAboutHome(
    objects: Partial<SessionObjects>,
    { sessionId, ...limits }: WaitLimits,
  ): Promise<HomeDecision> {
    await waitUntil(this.#cache, sessionId, {
      ...limits,
      isDone: ({ deployment }) => !isAlive(deployment),
      pending: ({ deployment }) => `"${deployment && nameOf(deployment)}" is not being deleted yet`,
    });
    const home = await this.#options.homes.decide(sessionId, objects);
    if (home.kind === "keep") {
      const { name, reason } = home;
      log.info("Home volume {name} of session {sessionId} is kept: {reason}", { name, sessionId, reason });
    }
    return home;
  }
}

/** The part of the result that says why the home volume is left although its deletion was requested. */
function keptHome(home: HomeDecision): { kept?: readonly string[] } {
  return home.kind === "keep" ? { kept: [`claim/${home.name}: ${home.reason}`] } : {};
}
