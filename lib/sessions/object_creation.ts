/**
 * Creates one object of a session, or uses the existing one. Objects that belong to others are neither used nor changed, and the answer of the
 * API server is checked, because webhooks can change what is created.
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { CommandError, KubernetesError } from "../common/errors.ts";
import type { ObjectApi } from "../kubernetes/client.ts";
import { isAlive, nameOf } from "../kubernetes/objects.ts";
import { agentOf, isSessionObject } from "../kubernetes/ownership.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { SESSION_LABEL } from "../model/names.ts";
import { ForeignSessionError, type SessionFinder } from "./session_finder.ts";

/** Options for creating an object. */
export interface CreationOptions {
  readonly sessionId: string;
  readonly signal: AbortSignal;
  /** Longest wait for the objects of an earlier session with the same names to be deleted, in milliseconds. */
  readonly timeoutMs: number;
}

/** How one object is created. */
export interface ObjectOptions<T> extends CreationOptions {
  readonly kind: string;
  /** Whether an existing object can be used; otherwise it is replaced. */
  readonly isUsable: (existing: T) => boolean;
  /** Whether an object belongs to the session. @default {labels, or evidence if they were changed} */
  readonly isOurs?: (object: T) => boolean;
  /** Restores the labels of an existing object. @default {the object is replaced} */
  readonly restoreLabels?: (existing: T) => Promise<T>;
}

/** Creates objects. */
export class ObjectCreator {
  readonly #cache: SessionCache;
  readonly #finder: SessionFinder;

  constructor(cache: SessionCache, finder: SessionFinder) {
    this.#cache = cache;
    this.#finder = finder;
  }

  /**
   * Creates an object, or returns the session's existing one, such as the home volume of an earlier start.
   *
   * @throws {BeingDeletedError} if an object of the session with this name is being deleted
   */
  async create<T extends KubernetesObject>(
    api: ObjectApi<T>,
    manifest: T,
    options: ObjectOptions<T>,
  ): Promise<T> {
    const { sessionId, kind } = options;
    const name = nameOf(manifest);
    const { isOurs = (existing: T) => this.#finder.isOurs(existing, sessionId) } = options;
    while (true) {
      options.signal.throwIfAborted();
      const { created, existing } = await createOrRead(api, manifest);
      if (created) return await this.#checkLabels(api, { manifest, created, options });
      // Deleted since the request: try again.
      if (!existing) continue;
      if (!isOurs(existing)) throw this.#conflict(kind, existing);
      if (isAlive(existing)) {
        const usable = await this.#usable(existing, options);
        if (usable) return usable;
        await deleteObject(api, existing);
      }
      throw new BeingDeletedError(existing, () => api.read(name));
    }
  }

  /** An existing object with its labels restored, if it can be used. */
  async #usable<T extends KubernetesObject>(existing: T, options: ObjectOptions<T>): Promise<T | undefined> {
    if (!options.isUsable(existing)) return undefined;
    if (options.isOurs || this.#cache.owns(existing, options.sessionId)) return existing;
    return await options.restoreLabels?.(existing);
  }

  /** Deletes a new object that the cluster created with other labels: the agent could neither observe nor find it. */
  async #checkLabels<T extends KubernetesObject>(
    api: ObjectApi<T>,
    { manifest, created, options }: { manifest: T; created: T; options: ObjectOptions<T> },
  ): Promise<T> {
    const hasSession = SESSION_LABEL in (manifest.metadata?.labels ?? {});
    const isOurs = hasSession || !options.isOurs
      ? this.#cache.owns(created, options.sessionId)
      : options.isOurs(created);
    if (isOurs) return created;
    await deleteObject(api, created);
    const [label, value] =
      Object.entries(manifest.metadata?.labels ?? {}).find(([label, value]) =>
        created.metadata?.labels?.[label] !== value
      ) ?? [];
    const actual = JSON.stringify(label && created.metadata?.labels?.[label]) ?? "nothing";
    throw new CommandError(
      "cluster",
      `the cluster changed the label "${label}" of its ${options.kind} from "${value}" to ${actual}, most likely by a mutating webhook`,
    );
  }

  #conflict(kind: string, existing: KubernetesObject): CommandError {
    const agent = agentOf(existing);
    const isOtherAgents = isSessionObject(existing) && agent !== undefined && !this.#cache.isOwnAgent(agent);
    if (isOtherAgents && kind !== "PersistentVolumeClaim") return new ForeignSessionError(agent);
    const problem = isOtherAgents
      ? `"${nameOf(existing)}" already exists in the cluster and belongs to agent "${agent}"`
      : `"${nameOf(existing)}" already exists in the cluster and does not belong to this session`;
    return new CommandError("conflict", problem);
  }
}

/** The session to start already existed, hidden by changed labels, which are restored now. */
export class HiddenSessionError extends Error {
  override readonly name = "HiddenSessionError";
}

/** An object of an earlier session that is being deleted has the name of a new object. */
export class BeingDeletedError extends Error {
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

/** Requests the deletion of an object, unless it does not exist or is being deleted. */
export async function deleteObject<T extends KubernetesObject>(
  api: ObjectApi<T>,
  object: T | undefined,
): Promise<void> {
  const { name, uid, deletionTimestamp } = object?.metadata ?? {};
  if (name && uid && !deletionTimestamp) await api.delete(name, uid);
}
