/**
 * Decides whether a stop with `deletePVC` may delete a home volume. The volume of a user is shared, and not only by sessions of this agent, so
 * that the decision is made with fresh lists: a wrong one destroys data.
 * @module
 */
import type { KubernetesObject, V1PersistentVolumeClaim } from "@kubernetes/client-node";
import type { SessionClient } from "../kubernetes/client.ts";
import { isAlive, mountedClaim, nameOf } from "../kubernetes/objects.ts";
import { agentOf, describe, isPartOf, mountedClaims } from "../kubernetes/ownership.ts";
import type { SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import { isHomeVolumeOf } from "../manifests/home.ts";
import {
  APP,
  APP_LABEL,
  HOME_ANNOTATION,
  homeClaimName,
  SESSION_LABEL,
  USER_ANNOTATION,
  USER_LABEL,
} from "../model/names.ts";
import { hasEnded } from "../status/readiness.ts";

/** The home volume of a stopped session. */
export type HomeDecision =
  | { readonly kind: "none" }
  | { readonly kind: "delete"; readonly claim: V1PersistentVolumeClaim }
  /** `reason` continues "home volume X is kept: ". */
  | { readonly kind: "keep"; readonly name: string; readonly reason: string };

/** Finds the home volumes of sessions and their users. */
export class HomeDeletion {
  readonly #client: SessionClient;
  readonly #cache: SessionCache;

  constructor(client: SessionClient, cache: SessionCache) {
    this.#client = client;
    this.#cache = cache;
  }

  /**
   * Decides about the home volume of a session that is being stopped.
   *
   * @param objects the session's objects before the stop
   * @throws {KubernetesError} if the volume's users cannot be listed
   */
  async decide(sessionId: string, objects: Partial<SessionObjects>): Promise<HomeDecision> {
    const { deployment, service } = objects;
    const name = objects.claim ? nameOf(objects.claim) : mountedClaim(deployment) ??
      service?.metadata?.annotations?.[HOME_ANNOTATION] ?? homeClaimName(sessionId);
    // The watch does not cover every volume, such as one of an earlier version of StreamSpace.
    const claim = objects.claim ?? await this.#readUnlessAbsent(name, objects);
    if (!claim) return { kind: "none" };
    const user = (deployment ?? service)?.metadata?.annotations?.[USER_ANNOTATION] ??
      (deployment ?? service)?.metadata?.labels?.[USER_LABEL];
    if (!this.#isHomeOf(claim, sessionId, user)) {
      const agent = agentOf(claim);
      if (agent !== undefined && !this.#cache.isOwnAgent(agent)) {
        return { kind: "keep", name, reason: `it belongs to agent "${agent}"` };
      }
      return { kind: "keep", name, reason: "it does not belong to the session or its user" };
    }
    const [mounting] = await this.mounting(claim, sessionId);
    if (mounting !== undefined) return { kind: "keep", name, reason: `${mounting} mounts it, too` };
    return { kind: "delete", claim };
  }

  /** What mounts a claim besides a session, as descriptions: Deployments, also those without replicas, and pods of any kind. */
  async mounting(claim: V1PersistentVolumeClaim, sessionId: string): Promise<string[]> {
    const name = nameOf(claim);
    const cached = [...this.#ownMounting(name, sessionId), ...this.#cache.foreign.mounting(name)];
    if (cached.length > 0) return cached;
    const user = claim.metadata?.labels?.[USER_LABEL];
    const isOther = (object: KubernetesObject) =>
      isAlive(object) && mountedClaims(object).includes(name) && !this.#cache.owns(object, sessionId);
    const strangers = `${APP_LABEL}!=${APP}`;
    // A watch can be late. Sessions that share the volume carry the label of its user.
    const [deployments, siblings, pods] = await Promise.all([
      this.#client.listDeployments(strangers),
      user === undefined ? [] : this.#client.listDeployments(`${APP_LABEL}=${APP},${USER_LABEL}=${user}`),
      this.#client.pods.list(strangers),
    ]);
    return [
      ...[...deployments, ...siblings].filter((one) => isOther(one) && !isPartOf(one, sessionId))
        .map((one) => describe("Deployment", one)),
      // Also a pod of the session whose labels were changed: nobody deletes it, so that the volume could not be deleted either.
      ...pods.filter((pod) => isOther(pod) && !hasEnded(pod)).map((one) => describe("Pod", one)),
    ];
  }

  #ownMounting(claimName: string, sessionId: string): string[] {
    return this.#cache.sessionsMounting(claimName).filter((id) => id !== sessionId).flatMap((id) => {
      const { deployment, pods } = this.#cache.session(id);
      const mounts = (object: KubernetesObject | undefined) =>
        isAlive(object) && mountedClaims(object).includes(claimName);
      const isOrphan = deployment === undefined && pods.some((pod) => mounts(pod) && !hasEnded(pod));
      return mounts(deployment) || isOrphan ? [`session "${id}"`] : [];
    });
  }

  /** A session without a Deployment may have left its home volume, which the cache lacks if it is another agent's or its labels were changed. */
  async #readUnlessAbsent(
    name: string,
    { deployment }: Partial<SessionObjects>,
  ): Promise<V1PersistentVolumeClaim | undefined> {
    if (deployment && mountedClaim(deployment) === undefined) return undefined;
    return await this.#client.claims.read(name);
  }

  #isHomeOf(claim: V1PersistentVolumeClaim, sessionId: string, user: string | undefined): boolean {
    if (this.#cache.owns(claim, sessionId)) return true;
    const agent = agentOf(claim);
    const isOurs = agent === undefined || this.#cache.isOwnAgent(agent);
    // Its labels may have been changed.
    if (nameOf(claim) === homeClaimName(sessionId)) return isOurs && isPartOf(claim, sessionId);
    if (SESSION_LABEL in (claim.metadata?.labels ?? {})) return false;
    return user !== undefined && isHomeVolumeOf(claim, user);
  }
}
