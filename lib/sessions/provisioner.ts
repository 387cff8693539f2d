/**
 * Creates, scales and deletes a session's objects. An object that already exists is checked before it is used: objects that belong to others are
 * neither used nor changed.
 * @module
 */
import { isDeepStrictEqual } from "node:util";
import type {
  KubernetesObject,
  V1NetworkPolicy,
  V1PersistentVolumeClaim,
  V1Service,
} from "@kubernetes/client-node";
import { delay } from "@std/async";
import { CommandError, KubernetesError } from "../common/errors.ts";
import type { ObjectApi, SessionClient } from "../kubernetes/client.ts";
import { isAlive, nameOf } from "../kubernetes/objects.ts";
import { Semaphore } from "../kubernetes/semaphore.ts";
import type { SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import { isHomeVolumeOf } from "../manifests/home.ts";
import type { SessionManifests } from "../manifests/manifests.ts";
import { COMMAND_ANNOTATION, RUNNING_SINCE_ANNOTATION, SESSION_LABEL } from "../model/names.ts";
import { type OperationTimings, remainingMs, waitUntil } from "./waiting.ts";

/** Options for creating an object. */
export interface CreationOptions {
  readonly sessionId: string;
  readonly signal: AbortSignal;
  /** Longest wait for the objects of an earlier session with the same names to be deleted, in milliseconds. */
  readonly timeoutMs: number;
}

/** Options for creating a session. */
export interface SessionCreationOptions extends CreationOptions {
  readonly user: string;
  /** Called when the creation gets one of the limited slots. */
  readonly onAdmitted?: (() => void) | undefined;
}

/** What a provisioner needs. */
export interface ProvisionerOptions {
  readonly client: SessionClient;
  readonly cache: SessionCache;
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
  /** Limits concurrent requests of starts and wakes; waiting for the cluster is not limited. */
  readonly #slots: Semaphore;
  readonly #pollIntervalMs: number;

  constructor({ client, cache, maxConcurrentStarts, timings }: ProvisionerOptions) {
    this.#client = client;
    this.#cache = cache;
    this.#slots = new Semaphore(maxConcurrentStarts);
    this.#pollIntervalMs = timings.pollIntervalMs;
  }

  /** Creates the objects of a session. When it throws, no request is in progress any more. */
  async create(manifests: SessionManifests, options: SessionCreationOptions): Promise<void> {
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

  /** The home volume, unless other sessions of the user mount it, too. */
  unlessShared(
    claim: V1PersistentVolumeClaim | undefined,
    sessionId: string,
  ): V1PersistentVolumeClaim | undefined {
    return claim && this.#cache.isShared(nameOf(claim), sessionId) ? undefined : claim;
  }

  /** Creates objects, again after each deletion of an earlier object with the same name. */
  async #retryAfterDeletions(create: () => Promise<void>, options: CreationOptions): Promise<void> {
    const startedAt = performance.now();
    while (true) {
      try {
        return await create();
      } catch (error) {
        if (!(error instanceof BeingDeletedError)) throw error;
        await this.#waitUntilGone(error, { ...options, startedAt });
      }
    }
  }

  /** Creates the claim and the policy before the Deployment, because the pod needs both. The Service is independent. */
  async #createAll(manifests: SessionManifests, options: SessionCreationOptions): Promise<void> {
    options.onAdmitted?.();
    const { policy } = manifests;
    const createWorkload = async () => {
      await allSettled([
        this.#createClaim(manifests, options),
        ...(policy ? [this.#createPolicy(policy, options)] : []),
      ]);
      options.signal.throwIfAborted();
      await this.#createDeployment(manifests, options);
    };
    await allSettled([createWorkload(), this.#createService(manifests, options)]);
  }

  async #createDeployment({ deployment }: SessionManifests, options: CreationOptions): Promise<void> {
    const { deployments } = this.#client;
    const created = await this.#createObject(deployments, deployment, { ...options, isUsable: always });
    this.#cache.put("deployment", created);
  }

  async #createService({ service }: SessionManifests, options: CreationOptions): Promise<void> {
    // An interrupted start with another template may have left a Service with another port.
    const isUsable = (existing: V1Service) => isDeepStrictEqual(portsOf(existing), portsOf(service));
    const created = await this.#createObject(this.#client.services, service, { ...options, isUsable });
    this.#cache.put("service", created);
  }

  async #createClaim({ claim }: SessionManifests, options: SessionCreationOptions): Promise<void> {
    if (!claim) return;
    const { user, sessionId } = options;
    const isOurs = (existing: V1PersistentVolumeClaim) =>
      SESSION_LABEL in (claim.metadata?.labels ?? {})
        ? this.#cache.owns(existing, sessionId)
        : isHomeVolumeOf(existing, user);
    const { claims } = this.#client;
    this.#cache.put(
      "claim",
      await this.#createObject(claims, claim, { ...options, isUsable: always, isOurs }),
    );
  }

  async #createPolicy(policy: V1NetworkPolicy, options: CreationOptions): Promise<void> {
    // A policy from other settings allows the wrong clients.
    const isUsable = (existing: V1NetworkPolicy) => isSamePolicy(existing, policy);
    const created = await this.#createObject(this.#client.policies, policy, { ...options, isUsable });
    this.#cache.put("policy", created);
  }

  /**
   * Creates an object, or returns the session's existing one, such as the home volume of an earlier start.
   *
   * @throws {BeingDeletedError} if an object of the session with this name is being deleted
   */
  async #createObject<T extends KubernetesObject>(
    api: ObjectApi<T>,
    manifest: T,
    options: CreationOptions & {
      /** Whether an existing object can be used; otherwise it is replaced. */
      readonly isUsable: (existing: T) => boolean;
      readonly isOurs?: (existing: T) => boolean;
    },
  ): Promise<T> {
    const name = nameOf(manifest);
    const { isOurs = (existing: T) => this.#cache.owns(existing, options.sessionId) } = options;
    while (true) {
      options.signal.throwIfAborted();
      const { created, existing } = await createOrRead(api, manifest);
      if (created) return created;
      // Deleted since the request: try again.
      if (!existing) continue;
      if (!isOurs(existing)) {
        const problem = `"${name}" already exists in the cluster and does not belong to this session`;
        throw new CommandError("conflict", problem);
      }
      if (isAlive(existing)) {
        if (options.isUsable(existing)) return existing;
        await deleteObject(api, existing);
      }
      throw new BeingDeletedError(existing, () => api.read(name));
    }
  }

  async #waitUntilGone(
    { message, object, read }: BeingDeletedError,
    options: CreationOptions & { readonly startedAt: number },
  ): Promise<void> {
    const { sessionId, signal } = options;
    const isGone = () => this.#cache.isGone(object, sessionId);
    const pending = () => message;
    if (!isGone()) return await waitUntil(this.#cache, sessionId, { ...options, isDone: isGone, pending });
    // The watch does not cover every object, such as a home volume that another agent created.
    while ((await read())?.metadata?.uid === object.metadata?.uid) {
      await delay(Math.min(this.#pollIntervalMs, remainingMs(options, pending)), { signal });
    }
  }
}

/** An object of an earlier session that is being deleted has the name of a new object. */
class BeingDeletedError extends Error {
  override readonly name = "BeingDeletedError";
  readonly object: KubernetesObject;
  readonly read: () => Promise<KubernetesObject | undefined>;

  constructor(object: KubernetesObject, read: () => Promise<KubernetesObject | undefined>) {
    super(`"${object.metadata?.name}" of an earlier session is still being deleted`);
    this.object = object;
    this.read = read;
  }
}

/** Creates an object, or reads the one that has its name; neither if that was deleted in between. */
async function createOrRead<T extends KubernetesObject>(
  api: ObjectApi<T>,
  manifest: T,
): Promise<{ created?: T; existing?: T | undefined }> {
  const name = nameOf(manifest);
  try {
    return { created: await api.create(manifest) };
  } catch (error) {
    if (!(error instanceof KubernetesError)) throw error;
    if (error.reason === "AlreadyExists") return { existing: await api.read(name) };
    // The API server checks quotas before names, so the object may exist nevertheless.
    const existing = error.status === 403 ? await api.read(name).catch(() => undefined) : undefined;
    if (!existing) throw error;
    return { existing };
  }
}

/** Waits for all tasks before it throws the first error, so that the caller handles the error while nothing is in progress. */
async function allSettled(tasks: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(tasks);
  const failed = results.find((result) => result.status === "rejected");
  if (failed) throw failed.reason;
}

async function deleteObject<T extends KubernetesObject>(
  api: ObjectApi<T>,
  object: T | undefined,
): Promise<void> {
  const { name, uid, deletionTimestamp } = object?.metadata ?? {};
  if (name && uid && !deletionTimestamp) await api.delete(name, uid);
}

function isSamePolicy(one: V1NetworkPolicy, other: V1NetworkPolicy): boolean {
  return isDeepStrictEqual(plainObject(one.spec), plainObject(other.spec));
}

/** The value as a watch delivers it: without the classes of the typed client, which calls `from` `_from`. */
function plainObject(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value ?? null).replaceAll('"_from":', '"from":'));
}

function portsOf({ spec }: V1Service): unknown {
  return spec?.ports?.map(({ name, port, protocol }) => [name, port, protocol]);
}

function always(): boolean {
  return true;
}
