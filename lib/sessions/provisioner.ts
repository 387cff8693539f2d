/**
 * Brings a session's objects into the cluster and out of it again. Whatever exists already is looked at before it is used: objects of others
 * are neither used nor touched.
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
import { isHomeOfUser } from "../manifests/home.ts";
import type { SessionManifests } from "../manifests/manifests.ts";
import { COMMAND_ANNOTATION, RUNNING_SINCE_ANNOTATION, SESSION_LABEL } from "../model/names.ts";
import { type OperationTimings, timeLeft, waitUntil } from "./waiting.ts";

/** How the creation of an object may be ended. */
export interface CreationOptions {
  readonly sessionId: string;
  readonly signal: AbortSignal;
  /** Longest wait for all objects of an earlier session to go, in milliseconds. */
  readonly timeoutMs: number;
}

/** Whose session is created, and how that may be ended. */
export interface SessionCreationOptions extends CreationOptions {
  readonly user: string;
  /** Told when its turn has come. */
  readonly onTurn?: (() => void) | undefined;
}

/** What a provisioner needs. */
export interface ProvisionerOptions {
  readonly client: SessionClient;
  readonly cache: SessionCache;
  /** How many sessions' objects may be created, or scaled up, at once. */
  readonly maxConcurrentStarts: number;
  readonly timings: Pick<OperationTimings, "pollIntervalMs">;
}

/** Creates and deletes. */
export class Provisioner {
  readonly #client: SessionClient;
  readonly #cache: SessionCache;
  /** Bounds what starts and wakes ask of the API at once; what they wait for is not bounded. */
  readonly #starts: Semaphore;
  readonly #pollIntervalMs: number;

  constructor({ client, cache, maxConcurrentStarts, timings }: ProvisionerOptions) {
    this.#pollIntervalMs = timings.pollIntervalMs;
    this.#client = client;
    this.#cache = cache;
    this.#starts = new Semaphore(maxConcurrentStarts);
  }

  /**
   * Creates what a session needs. The claim comes before the Deployment, whose pod could not be scheduled without it; the Service waits for
   * neither. It takes its turn for that, and gives it back before it waits for anything. When it throws, nothing is being created any more.
   */
  async create(manifests: SessionManifests, options: SessionCreationOptions): Promise<void> {
    const create = () => this.#starts.run(() => this.#createAll(manifests, options), options.signal);
    await this.#untilNothingIsInTheWay(create, options);
  }

  /** Has a session be reached by whom a policy lets in, or by everybody where there is none. */
  async renewPolicy(policy: V1NetworkPolicy | undefined, options: CreationOptions): Promise<void> {
    const { policy: existing } = this.#cache.session(options.sessionId);
    if (!policy) await this.delete({ policy: existing });
    else if (!isAlive(existing) || !isSamePolicy(existing, policy)) {
      await this.#untilNothingIsInTheWay(() => this.#createPolicy(policy, options), options);
    }
  }

  async #untilNothingIsInTheWay(create: () => Promise<void>, options: CreationOptions): Promise<void> {
    const startedAt = performance.now();
    while (true) {
      try {
        return await create();
      } catch (error) {
        if (!(error instanceof InTheWay)) throw error;
        await this.#untilGone(error, { ...options, startedAt });
      }
    }
  }

  async #createAll(manifests: SessionManifests, options: SessionCreationOptions): Promise<void> {
    options.onTurn?.();
    const { deployments, services } = this.#client;
    const { deployment, service, policy } = manifests;
    const createFirstAndDeployment = async () => {
      await allDone([
        this.#createClaim(manifests, options),
        ...(policy ? [this.#createPolicy(policy, options)] : []),
      ]);
      options.signal.throwIfAborted();
      this.#cache.put(
        "deployment",
        await this.#createOne(deployments, deployment, { ...options, fits: always }),
      );
    };
    // A Service that an interrupted start of another template left would lead to the wrong port.
    const fits = (existing: V1Service) => isDeepStrictEqual(portsOf(existing), portsOf(service));
    const createService = async () => {
      this.#cache.put("service", await this.#createOne(services, service, { ...options, fits }));
    };
    await allDone([createFirstAndDeployment(), createService()]);
  }

  async #createClaim({ claim }: SessionManifests, options: SessionCreationOptions): Promise<void> {
    if (!claim) return;
    const { user, sessionId } = options;
    const isOurs = (existing: V1PersistentVolumeClaim) =>
      SESSION_LABEL in (claim.metadata?.labels ?? {})
        ? this.#cache.owns(existing, sessionId)
        : isHomeOfUser(existing, user);
    const home = await this.#createOne(this.#client.claims, claim, { ...options, fits: always, isOurs });
    this.#cache.put("claim", home);
  }

  async #createPolicy(policy: V1NetworkPolicy, options: CreationOptions): Promise<void> {
    const { policies } = this.#client;
    // One that was made under other settings would let others in, or nobody.
    const fits = (existing: V1NetworkPolicy) => isSamePolicy(existing, policy);
    this.#cache.put("policy", await this.#createOne(policies, policy, { ...options, fits }));
  }

  /** A home that may go with the session: not where other sessions of the user are at home in it, too. */
  unshared(
    claim: V1PersistentVolumeClaim | undefined,
    sessionId: string,
  ): V1PersistentVolumeClaim | undefined {
    return claim && this.#cache.isShared(nameOf(claim), sessionId) ? undefined : claim;
  }

  /** Asks for the deletion of those objects that are given and not on their way out yet. */
  async delete({ deployment, service, claim, policy }: Partial<SessionObjects>): Promise<void> {
    const { deployments, services, claims, policies } = this.#client;
    await allDone([
      deleteOne(deployments, deployment),
      deleteOne(services, service),
      deleteOne(claims, claim),
      deleteOne(policies, policy),
    ]);
  }

  /** Sets how many pods a session has, and by which command. */
  async scale(
    deploymentName: string,
    change: {
      replicas: 0 | 1;
      commandId: string;
      signal?: AbortSignal;
      onTurn?: (() => void) | undefined;
    },
  ): Promise<void> {
    const { replicas, commandId, signal, onTurn } = change;
    const annotations = {
      [COMMAND_ANNOTATION]: commandId,
      // Without it, a session that somebody scales up by hand is not past its time at once.
      [RUNNING_SINCE_ANNOTATION]: replicas === 1 ? new Date().toISOString() : null,
    };
    const scale = () => {
      onTurn?.();
      return this.#client.scale(deploymentName, { replicas, annotations });
    };
    this.#cache.put("deployment", await (replicas === 1 ? this.#starts.run(scale, signal) : scale()));
  }

  /**
   * Creates an object, or takes the session's own that exists already, such as the home of an earlier start.
   *
   * @throws {InTheWay} when one of its name is still on its way out
   */
  async #createOne<T extends KubernetesObject>(
    api: ObjectApi<T>,
    manifest: T,
    options: CreationOptions & {
      readonly fits: (existing: T) => boolean;
      readonly isOurs?: (existing: T) => boolean;
    },
  ): Promise<T> {
    const name = nameOf(manifest);
    const { isOurs = (existing: T) => this.#cache.owns(existing, options.sessionId) } = options;
    while (true) {
      options.signal.throwIfAborted();
      let existing: T | undefined;
      try {
        return await api.create(manifest);
      } catch (error) {
        if (!(error instanceof KubernetesError)) throw error;
        if (error.reason === "AlreadyExists") existing = await api.read(name);
        // A quota that is used up is told of before a name that is taken.
        else if (error.status === 403) existing = await api.read(name).catch(() => undefined);
        if (error.reason !== "AlreadyExists" && !existing) throw error;
      }
      if (existing && !isOurs(existing)) {
        const problem = `"${name}" exists already in the cluster, and is not part of this session`;
        throw new CommandError("conflict", problem);
      }
      if (isAlive(existing)) {
        if (options.fits(existing)) return existing;
        await deleteOne(api, existing);
      }
      if (existing) throw new InTheWay(existing, () => api.read(name));
    }
  }

  async #untilGone(
    { message, object, read }: InTheWay,
    options: CreationOptions & { readonly startedAt: number },
  ): Promise<void> {
    const { sessionId, signal } = options;
    const isGone = () => this.#cache.isGone(object, sessionId);
    const left = () => message;
    if (!isGone()) return await waitUntil(this.#cache, sessionId, { ...options, isDone: isGone, left });
    // Nothing tells the end of what the cache does not follow, such as a home that another agent made.
    while ((await read())?.metadata?.uid === object.metadata?.uid) {
      await delay(Math.min(this.#pollIntervalMs, timeLeft(options, left)), { signal });
    }
  }
}

/** An object of an earlier session has the name that a new one needs. */
class InTheWay extends Error {
  override readonly name = "InTheWay";
  readonly object: KubernetesObject;
  readonly read: () => Promise<KubernetesObject | undefined>;

  constructor(object: KubernetesObject, read: () => Promise<KubernetesObject | undefined>) {
    super(`"${object.metadata?.name}" of an earlier session is still being deleted`);
    this.object = object;
    this.read = read;
  }
}

/** Waits for all to end before it throws the first error: nothing goes on behind the back of whoever handles it. */
async function allDone(tasks: readonly Promise<unknown>[]): Promise<void> {
  const outcomes = await Promise.allSettled(tasks);
  const failed = outcomes.find((outcome) => outcome.status === "rejected");
  if (failed) throw failed.reason;
}

async function deleteOne<T extends KubernetesObject>(
  api: ObjectApi<T>,
  object: T | undefined,
): Promise<void> {
  const { name, uid, deletionTimestamp } = object?.metadata ?? {};
  if (name && uid && !deletionTimestamp) await api.delete(name, uid);
}

function isSamePolicy(one: V1NetworkPolicy, other: V1NetworkPolicy): boolean {
  return isDeepStrictEqual(plain(one.spec), plain(other.spec));
}

/** An object as a watch shows it: without the classes of the typed client, which also has another name for `from`. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value ?? null).replaceAll('"_from":', '"from":'));
}

function portsOf({ spec }: V1Service): unknown {
  return spec?.ports?.map(({ name, port, protocol }) => [name, port, protocol]);
}

function always(): boolean {
  return true;
}
