/**
 * Creates, scales and deletes a session's objects. An object that already exists is checked before it is used: objects that belong to others are
 * neither used nor changed.
 * @module
 */
import { isDeepStrictEqual } from "node:util";
import type {
  V1Deployment,
  V1NetworkPolicy,
  V1PersistentVolumeClaim,
  V1Service,
} from "@kubernetes/client-node";
import type { SessionClient } from "../kubernetes/client.ts";
import { isAlive, nameOf } from "../kubernetes/objects.ts";
import { isPartOf } from "../kubernetes/ownership.ts";
import { Semaphore } from "../kubernetes/semaphore.ts";
import type { SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import { isHomeVolumeOf } from "../manifests/home.ts";
import type { SessionManifests } from "../manifests/manifests.ts";
import {
  COMMAND_ANNOTATION,
  RUNNING_SINCE_ANNOTATION,
  SESSION_LABEL,
  UNUSED_SINCE_ANNOTATION,
  USER_ANNOTATION,
  USER_LABEL,
} from "../model/names.ts";
import {
  BeingDeletedError,
  type CreationOptions,
  deleteObject,
  HiddenSessionError,
  ObjectCreator,
} from "./object_creation.ts";
import type { SessionFinder } from "./session_finder.ts";
import { type OperationTimings, waitUntil, waitUntilDeleted } from "./waiting.ts";

/** Options for creating a session. */
export interface SessionCreationOptions extends CreationOptions {
  /** Called when the creation gets one of the limited slots. */
  readonly onAdmitted?: (() => void) | undefined;
}

/** What a provisioner needs. */
export interface ProvisionerOptions {
  readonly client: SessionClient;
  readonly cache: SessionCache;
  readonly finder: SessionFinder;
  /** How many sessions may be created or scaled up at the same time. */
  readonly maxConcurrentStarts: number;
  readonly timings: Pick<OperationTimings, "pollIntervalMs">;
}

/** A change of a Deployment's scale. */
export interface ScaleChange {
  readonly replicas: 0 | 1;
  readonly commandId: string;
  readonly signal?: AbortSignal;
  /** Called when scaling up gets one of the limited slots. */
  readonly onAdmitted?: (() => void) | undefined;
}

/** Writes the objects of sessions. */
export class Provisioner {
  readonly #client: SessionClient;
  readonly #cache: SessionCache;
  readonly #finder: SessionFinder;
  readonly #creator: ObjectCreator;
  /** Limits concurrent requests of starts and wakes; waiting for the cluster is not limited. */
  readonly #slots: Semaphore;
  readonly #pollIntervalMs: number;

  constructor({ client, cache, finder, maxConcurrentStarts, timings }: ProvisionerOptions) {
    this.#client = client;
    this.#cache = cache;
    this.#finder = finder;
    this.#creator = new ObjectCreator(cache, finder);
    this.#slots = new Semaphore(maxConcurrentStarts);
    this.#pollIntervalMs = timings.pollIntervalMs;
  }

  /** Creates the objects of a session. When it throws, no request is in progress any more. */
  async create(manifests: SessionManifests, options: SessionCreationOptions): Promise<void> {
    await this.#removeOrphans(options);
    // The slot is released before each wait for a deletion.
    const create = () => this.#slots.run(() => this.#createAll(manifests, options), options.signal);
    await this.#retryAfterDeletions(create, options);
  }

  /** Makes the NetworkPolicy of a session match the desired one, or deletes it if none is desired. */
  async reconcilePolicy(desired: V1NetworkPolicy | undefined, options: CreationOptions): Promise<void> {
    const { policy: actual } = this.#cache.session(options.sessionId);
    if (!desired) await this.delete({ policy: actual });
    else if (!isAlive(actual) || !isSamePolicy(actual, desired)) {
      await this.#retryAfterDeletions(() => this.#createPolicy(desired, options), options);
    }
  }

  /** Sets the replicas of a Deployment, and records the command that did it. */
  async scale(
    deploymentName: string,
    { replicas, commandId, signal, onAdmitted }: ScaleChange,
  ): Promise<void> {
    const annotations = {
      [COMMAND_ANNOTATION]: commandId,
      // Removed, so that a session that is scaled up by hand does not exceed its maximum duration immediately.
      [RUNNING_SINCE_ANNOTATION]: replicas === 1 ? new Date().toISOString() : null,
    };
    const scale = () => {
      onAdmitted?.();
      return this.#client.scale(deploymentName, { replicas, annotations });
    };
    this.#cache.put("deployment", await (replicas === 1 ? this.#slots.run(scale, signal) : scale()));
  }

  /** Requests the deletion of the given objects, unless they are being deleted already. */
  async delete({ deployment, service, claim, policy }: Partial<SessionObjects>): Promise<void> {
    const { deployments, services, claims, policies } = this.#client;
    await allSettled([
      deleteObject(deployments, deployment),
      deleteObject(services, service),
      deleteObject(claims, claim),
      deleteObject(policies, policy),
    ]);
  }

  /** Reads a claim that the cache may not have, such as the home volume that another agent created. */
  async readClaim(name: string): Promise<V1PersistentVolumeClaim | undefined> {
    return await this.#client.claims.read(name);
  }

  /** Removes pods of a Deployment that was deleted without its dependents: the new one would adopt them and then replace them. */
  async #removeOrphans({ sessionId, signal, timeoutMs }: CreationOptions): Promise<void> {
    const { deployment, pods } = this.#cache.session(sessionId);
    // If the Deployment only lost its labels, the creation finds it.
    if (deployment || !pods.some(isAlive) || await this.#finder.deployment(sessionId)) return;
    await this.#finder.deleteOrphans(sessionId);
    await waitUntil(this.#cache, sessionId, {
      signal,
      timeoutMs,
      isDone: ({ pods }) => !pods.some(isAlive),
      pending: ({ pods }) =>
        `pod "${pods.filter(isAlive).map(nameOf).join('", "')}" of an earlier run still exists`,
    });
  }

  /** Creates objects, again after each deletion of an earlier object with the same name. */
  async #retryAfterDeletions(create: () => Promise<void>, options: CreationOptions): Promise<void> {
    const startedAt = performance.now();
    while (true) {
      try {
        return await create();
      } catch (error) {
        if (!(error instanceof BeingDeletedError)) throw error;
        const { object, read, message } = error;
        await waitUntilDeleted(this.#cache, options.sessionId, {
          ...options,
          object,
          read,
          startedAt,
          pending: () => message,
          pollIntervalMs: this.#pollIntervalMs,
        });
      }
    }
  }

  /** Creates the claim and the policy before the Deployment, because the pod needs both. The Service is independent. */
  async #createAll(manifests: SessionManifests, options: SessionCreationOptions): Promise<void> {
    options.onAdmitted?.();
    const { claim, policy, service } = manifests;
    const createWorkload = async () => {
      await allSettled([
        ...(claim ? [this.#createClaim(claim, options)] : []),
        ...(policy ? [this.#createPolicy(policy, options)] : []),
      ]);
      options.signal.throwIfAborted();
      await this.#createDeployment(manifests, options);
    };
    await allSettled([createWorkload(), this.#createNamedService(service, options)]);
  }

  /** Creates the Service. One that an earlier session left names the command that created that session, and has to name this one. */
  async #createNamedService(service: V1Service, options: CreationOptions): Promise<void> {
    const created = await this.#createService(service, options);
    const commandId = service.metadata?.annotations?.[COMMAND_ANNOTATION];
    if (created.metadata?.annotations?.[COMMAND_ANNOTATION] === commandId) return;
    const change = { metadata: { annotations: { [COMMAND_ANNOTATION]: commandId } } };
    this.#cache.put("service", await this.#client.patchService(nameOf(created), change));
  }

  async #createDeployment({ deployment }: SessionManifests, options: CreationOptions): Promise<void> {
    const restoreLabels = async (existing: V1Deployment) => {
      await this.#finder.restoreLabels(existing, options.sessionId);
      throw new HiddenSessionError();
    };
    const created = await this.#creator.create(this.#client.deployments, deployment, {
      ...options,
      kind: "Deployment",
      isUsable: always,
      restoreLabels,
    });
    this.#cache.put("deployment", created);
  }

  /** Creates the Service of a session, or uses its existing one. */
  async createService(service: V1Service, options: CreationOptions): Promise<void> {
    const create = async () => void await this.#createService(service, options);
    await this.#retryAfterDeletions(create, options);
  }

  async #createService(service: V1Service, options: CreationOptions): Promise<V1Service> {
    // An interrupted start with another template may have left a Service with another port.
    const isUsable = (existing: V1Service) =>
      isDeepStrictEqual(portsOf(existing), portsOf(service)) &&
      isDeepStrictEqual({ ...existing.spec?.selector }, service.spec?.selector);
    const restoreLabels = (existing: V1Service) =>
      this.#client.patchService(nameOf(existing), { metadata: { labels: service.metadata?.labels } });
    const created = await this.#creator.create(this.#client.services, service, {
      ...options,
      kind: "Service",
      isUsable,
      restoreLabels,
    });
    this.#cache.put("service", created);
    return created;
  }

  async #createClaim(claim: V1PersistentVolumeClaim, options: CreationOptions): Promise<void> {
    const { sessionId } = options;
    const user = claim.metadata?.annotations?.[USER_ANNOTATION] ?? claim.metadata?.labels?.[USER_LABEL] ?? "";
    const isOurs = (existing: V1PersistentVolumeClaim) =>
      SESSION_LABEL in (existing.metadata?.labels ?? {})
        ? this.#finder.isOurs(existing, sessionId)
        : isHomeVolumeOf(existing, user) || isPartOf(existing, sessionId);
    const created = await this.#creator.create(this.#client.claims, claim, {
      ...options,
      kind: "PersistentVolumeClaim",
      isUsable: always,
      isOurs,
    });
    this.#cache.put("claim", await this.#markUsed(created));
  }

  /** Removes the annotation with which the home volume would be deleted some time after its last use. */
  async #markUsed(claim: V1PersistentVolumeClaim): Promise<V1PersistentVolumeClaim> {
    if (claim.metadata?.annotations?.[UNUSED_SINCE_ANNOTATION] === undefined) return claim;
    const name = nameOf(claim);
    const used = await this.#client.annotateClaim(name, { [UNUSED_SINCE_ANNOTATION]: null });
    if (isAlive(used)) return used;
    // Deleted in between.
    throw new BeingDeletedError(claim, () => this.#client.claims.read(name));
  }

  async #createPolicy(policy: V1NetworkPolicy, options: CreationOptions): Promise<void> {
    // A policy from other settings allows the wrong clients.
    const isUsable = (existing: V1NetworkPolicy) => isSamePolicy(existing, policy);
    const created = await this.#creator.create(this.#client.policies, policy, {
      ...options,
      kind: "NetworkPolicy",
      isUsable,
    });
    this.#cache.put("policy", created);
  }
}

/** Waits for all tasks before it throws the first error, so that the caller handles the error while nothing is in progress. */
async function allSettled(tasks: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(tasks);
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
}

/** Whether two policies allow the same. */
export function isSamePolicy(one: V1NetworkPolicy, other: V1NetworkPolicy): boolean {
  return isDeepStrictEqual(one.spec, other.spec);
}

function portsOf({ spec }: V1Service): unknown {
  return spec?.ports?.map(({ name, port, protocol }) => [name, port, protocol]);
}

function always(): boolean {
  return true;
}
