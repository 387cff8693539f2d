/**
 * Finds the objects of a session that the cache does not show, because somebody changed their labels or deleted the Deployment without its
 * dependents, and recognizes sessions of other agents. Costs requests only if the cache shows no Deployment.
 * @module
 */
import type {
  KubernetesObject,
  V1Deployment,
  V1NetworkPolicy,
  V1Pod,
  V1Service,
} from "@kubernetes/client-node";
import { CommandError } from "../common/errors.ts";
import { log } from "../common/log.ts";
import type { SessionClient } from "../kubernetes/client.ts";
import { isAlive, nameOf } from "../kubernetes/objects.ts";
import { agentOf, isPartOf } from "../kubernetes/ownership.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { APP, APP_LABEL, SESSION_LABEL, sessionName } from "../model/names.ts";

/** A session belongs to another agent. Nothing is reported of it, because the other agent reports it. */
export class ForeignSessionError extends CommandError {
  constructor(agent: string) {
    super("conflict", `it belongs to agent "${agent}"; see --adopt-sessions-of`);
  }
}

/** Finds objects by name, and removes what a deleted Deployment left. */
export class SessionFinder {
  readonly #client: SessionClient;
  readonly #cache: SessionCache;

  constructor(client: SessionClient, cache: SessionCache) {
    this.#client = client;
    this.#cache = cache;
  }

  /**
   * Rejects a session of another agent.
   *
   * @throws {ForeignSessionError}
   */
  rejectForeign(sessionId: string): void {
    const agent = this.#cache.foreign.agentOfSession(sessionId);
    if (agent !== undefined && !this.#cache.session(sessionId).deployment) {
      throw new ForeignSessionError(agent);
    }
  }

  /**
   * The Deployment of a session, also if its labels were changed.
   *
   * @throws {ForeignSessionError} if the session belongs to another agent
   */
  async deployment(sessionId: string): Promise<V1Deployment | undefined> {
    this.rejectForeign(sessionId);
    const cached = this.#cache.session(sessionId).deployment;
    if (cached) return cached;
    const found = await this.#client.deployments.read(sessionName(sessionId));
    if (!found || !isPartOf(found, sessionId)) return undefined;
    const agent = agentOf(found);
    if (agent !== undefined && !this.#cache.isOwnAgent(agent)) throw new ForeignSessionError(agent);
    return found;
  }

  /** Makes the Deployment of a session visible in the cache, if it exists. */
  async reveal(sessionId: string): Promise<void> {
    const deployment = await this.deployment(sessionId);
    if (isAlive(deployment)) await this.restoreLabels(deployment, sessionId);
  }

  /** The Service of a session, also if its labels were changed. */
  async service(sessionId: string): Promise<V1Service | undefined> {
    const cached = this.#cache.session(sessionId).service;
    if (cached) return cached;
    const found = await this.#client.services.read(sessionName(sessionId));
    return found && this.isOurs(found, sessionId) ? found : undefined;
  }

  /** The NetworkPolicy of a session, also if its labels were changed. */
  async policy(sessionId: string): Promise<V1NetworkPolicy | undefined> {
    const found = await this.#client.policies.read(sessionName(sessionId));
    return found && this.isOurs(found, sessionId) ? found : undefined;
  }

  /** Whether an object belongs to a session of this agent, even if its labels do not say so. The session belongs to the agent of its Deployment. */
  isOurs(object: KubernetesObject, sessionId: string): boolean {
    if (this.#cache.owns(object, sessionId)) return true;
    const agent = agentOf(object);
    const isOurSession = agent === undefined || this.#cache.isOwnAgent(agent) ||
      this.#cache.session(sessionId).deployment !== undefined;
    return isPartOf(object, sessionId) && isOurSession;
  }

  /** Restores the labels of a session's Deployment, unless they are intact; those of its pods are the same. */
  async restoreLabels(deployment: V1Deployment, sessionId: string): Promise<void> {
    if (this.#cache.owns(deployment, sessionId)) return;
    const labels = deployment.spec?.template.metadata?.labels ?? {};
    const restored = await this.#client.patchDeployment(nameOf(deployment), { metadata: { labels } });
    if (!this.#cache.owns(restored, sessionId)) {
      throw new CommandError("cluster", "the labels of its Deployment were changed and cannot be restored");
    }
    this.#cache.put("deployment", restored);
    log.warn("Restored the labels of the Deployment of session {sessionId}", { sessionId });
  }

  /** Deletes the ReplicaSets and pods that remain of a session without a Deployment, such as after `--cascade=orphan`. */
  async deleteOrphans(sessionId: string): Promise<void> {
    const { replicaSets, pods } = this.#client;
    const selector = `${APP_LABEL}=${APP},${SESSION_LABEL}=${sessionName(sessionId)}`;
    const sets = (await replicaSets.list(selector)).filter((set) => this.#cache.owns(set, sessionId));
    const listed = new Set(sets.map(({ metadata }) => metadata?.uid));
    const remaining = new Map(sets.filter(isAlive).map((set) => [set.metadata?.uid ?? "", nameOf(set)]));
    const bare: V1Pod[] = [];
    for (const pod of this.#cache.session(sessionId).pods.filter(isAlive)) {
      const owner = pod.metadata?.ownerReferences?.find(({ kind }) => kind === "ReplicaSet");
      if (!owner) bare.push(pod);
      // A ReplicaSet whose labels were changed would replace its pod.
      else if (!listed.has(owner.uid)) remaining.set(owner.uid, owner.name);
    }
    await Promise.all([
      ...[...remaining].map(([uid, name]) => replicaSets.delete(name, uid)),
      ...bare.map((pod) => pods.delete(nameOf(pod), pod.metadata?.uid ?? "")),
    ]);
  }
}
