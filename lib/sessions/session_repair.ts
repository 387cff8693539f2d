/**
 * Restores what a session consists of: the labels of its Deployment, its Service and its NetworkPolicy, all derived from the Deployment, see
 * `lib/manifests/restoration.ts`. A lost home volume is only found to be lost. Runs as a part of a command, or alone in the lane of the session.
 * @module
 */
import type { V1Deployment, V1OwnerReference } from "@kubernetes/client-node";
import { log } from "../common/log.ts";
import type { SessionStatus } from "../control_plane/protocol.ts";
import type { SessionClient } from "../kubernetes/client.ts";
import { isAlive, mountedClaim, nameOf } from "../kubernetes/objects.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { buildPolicy, type IngressSettings } from "../manifests/manifests.ts";
import { buildService, serviceChange } from "../manifests/restoration.ts";
import { isEvident, statusAnnotation } from "../status/annotations.ts";
import type { CreationOptions } from "./object_creation.ts";
import { isSamePolicy, type Provisioner } from "./provisioner.ts";
import type { SessionFinder } from "./session_finder.ts";

/** A part of a session that is missing or was changed. */
export type Part = "Deployment" | "Service" | "NetworkPolicy" | "PersistentVolumeClaim";

/** Parts that can be restored in any case; without them, no start or wake succeeds. */
const RESTORABLE: readonly Part[] = ["Service", "NetworkPolicy"];

/** What a repair needs. */
export interface SessionRepairOptions {
  readonly client: SessionClient;
  readonly cache: SessionCache;
  readonly finder: SessionFinder;
  readonly provisioner: Provisioner;
  readonly settings: IngressSettings;
  /** What the Control Plane knows of each session; a new Service records it. */
  readonly reported: { get(sessionId: string): SessionStatus | undefined };
}

/** Restores the parts of sessions. */
export class SessionRepair {
  readonly #options: SessionRepairOptions;
  readonly #cache: SessionCache;

  constructor(options: SessionRepairOptions) {
    this.#options = options;
    this.#cache = options.cache;
  }

  /** The parts of a session that are missing or were changed, according to the cache. */
  damage(sessionId: string): Part[] {
    const { deployment, service, policy, claim, pods } = this.#cache.session(sessionId);
    if (!deployment) {
      const isHidden = (service !== undefined || pods.length > 0) &&
        this.#cache.foreign.agentOfSession(sessionId) === undefined;
      return isHidden ? ["Deployment"] : [];
    }
    if (!isAlive(deployment)) return [];
    const desiredPolicy = buildPolicy(this.#options.settings, deployment);
    const isClaimMissing = mountedClaim(deployment) !== undefined && claim === undefined;
    return [
      ...(!isAlive(service) || serviceChange(service, deployment) ? ["Service" as const] : []),
      ...(desiredPolicy && !(isAlive(policy) && isSamePolicy(policy, desiredPolicy))
        ? ["NetworkPolicy" as const]
        : []),
      ...(isClaimMissing ? ["PersistentVolumeClaim" as const] : []),
    ];
  }

  /** Restores the labels of a session's Deployment, if it exists without them. */
  async reveal(sessionId: string): Promise<void> {
    await this.#options.finder.reveal(sessionId);
  }

  /** Whether a session lacks a part that can be restored. */
  isIncomplete(sessionId: string): boolean {
    return this.damage(sessionId).some((part) => RESTORABLE.includes(part));
  }

  /**
   * Restores all parts of a session.
   *
   * @throws {CommandError | KubernetesError} if that is impossible
   */
  async repair(options: CreationOptions): Promise<void> {
    const { sessionId } = options;
    const parts = this.damage(sessionId);
    if (parts.includes("Deployment")) return await this.#options.finder.reveal(sessionId);
    for (const part of parts) {
      const { deployment } = this.#cache.session(sessionId);
      if (!isAlive(deployment)) return;
      await this.#restore(part, deployment, options);
    }
  }

  async #restore(part: Part, deployment: V1Deployment, options: CreationOptions): Promise<void> {
    const { provisioner, settings } = this.#options;
    switch (part) {
      case "Service":
        await this.#restoreService(deployment, options);
        break;
      case "NetworkPolicy":
        await provisioner.reconcilePolicy(buildPolicy(settings, deployment), options);
        break;
      case "PersistentVolumeClaim":
        return await this.#findHome(deployment, options.sessionId);
      case "Deployment":
        return;
    }
    log.warn("Restored the {resource} of session {sessionId}, which was deleted or changed", {
      resource: part,
      sessionId: options.sessionId,
    });
  }

  async #restoreService(deployment: V1Deployment, options: CreationOptions): Promise<void> {
    const { sessionId } = options;
    const { client, provisioner, reported } = this.#options;
    const { service: actual } = this.#cache.session(sessionId);
    if (isAlive(actual)) {
      const change = serviceChange(actual, deployment);
      if (change) this.#cache.put("service", await client.patchService(nameOf(actual), change));
      return;
    }
    const service = buildService(deployment);
    const lastReported = reported.get(sessionId);
    const annotations = {
      ...service.metadata?.annotations,
      // The previous Service recorded it for the next process.
      ...(lastReported && !isEvident(lastReported) ? statusAnnotation(lastReported) : {}),
    };
    const metadata = { ...service.metadata, annotations, ownerReferences: [ownerReference(deployment)] };
    await provisioner.createService({ ...service, metadata }, options);
  }

  /** A lost home volume is not replaced by an empty one: somebody may restore it, and the monitor reports that it is missing. */
  async #findHome(deployment: V1Deployment, sessionId: string): Promise<void> {
    const name = mountedClaim(deployment) ?? "";
    const claim = await this.#options.client.claims.read(name);
    if (claim) this.#cache.putUnwatchedClaim(claim);
    else log.warn("Home volume {name} of session {sessionId} was deleted", { name, sessionId });
  }
}

/** Kubernetes deletes a restored Service with its Deployment, so that none is left if somebody is deleting both, one after the other. */
function ownerReference({ metadata }: V1Deployment): V1OwnerReference {
  const { name = "", uid = "" } = metadata ?? {};
  return { apiVersion: "apps/v1", kind: "Deployment", name, uid };
}
