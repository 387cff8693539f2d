/**
 * List and watch of one optional kind of `stream.space/v1alpha1`, by name. The kind need not be installed: it is looked up once a minute, so that it
 * can be installed and removed while the agent runs. Sessions work without it.
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { abortable, deadline } from "@std/async";
import { Backoff } from "../common/backoff.ts";
import { hasStatus, KubernetesError, messageOf } from "../common/errors.ts";
import { asRecord } from "../common/json.ts";
import { log, RepeatFilter } from "../common/log.ts";
import { DEFAULT_TIMINGS, type Timings } from "../model/timings.ts";
import { collectionPath } from "./collection.ts";
import { reduceMetadata } from "./kinds.ts";
import { nameOf } from "./objects.ts";
import type { Transport } from "./transport.ts";
import { watch, type WatchTimings } from "./watch.ts";

/** API group and version of the agent's custom kinds. */
export const CUSTOM_API = "stream.space/v1alpha1";

/** Durations of a {@linkcode CustomCollection}. */
export type CustomCollectionTimings = WatchTimings & Pick<Timings, "kindRecheckMs" | "kindSyncTimeoutMs">;

/** Options of a {@linkcode CustomCollection}. */
export interface CustomCollectionOptions {
  /** Plural of the kind, such as `templates`. */
  readonly resource: string;
  /** Called after each full list. */
  readonly onList?: () => void;
  /** Called after each object that was added, changed or deleted since. */
  readonly onChange?: (object: KubernetesObject) => void;
  /** @default {DEFAULT_TIMINGS} */
  readonly timings?: CustomCollectionTimings;
}

/** Cache of the objects of one custom kind, which may not be installed. */
export class CustomCollection {
  readonly #options: CustomCollectionOptions;
  readonly #timings: CustomCollectionTimings;
  readonly #synced = Promise.withResolvers<void>();
  /** Why the collection cannot be listed. */
  readonly #refusals = new RepeatFilter();
  readonly #backoff = new Backoff();
  #objects = new Map<string, KubernetesObject>();
  #isServed = false;
  #isSynced = false;

  constructor(options: CustomCollectionOptions) {
    this.#options = options;
    this.#timings = options.timings ?? DEFAULT_TIMINGS;
  }

  /** Whether the kind is installed and the agent may list it. */
  get isServed(): boolean {
    return this.#isServed;
  }

  /** Whether listing was refused, so that the cluster may have objects that the agent cannot see. */
  get isRefused(): boolean {
    return this.#refusals.isActive;
  }

  /** Names of the known objects. */
  keys(): Iterable<string> {
    return this.#objects.keys();
  }

  /** An object by its name, unvalidated as the API returned it; `undefined` if there is none. */
  get(name: string): KubernetesObject | undefined {
    return this.#objects.get(name);
  }

  /**
   * Resolves once the collection was listed or found to be unavailable, and after a timeout if the API server keeps failing. Rejects with the
   * signal's reason if it is aborted first.
   */
  async synced(signal: AbortSignal): Promise<void> {
    if (this.#isSynced) return;
    await deadline(this.#synced.promise, this.#timings.kindSyncTimeoutMs, { signal }).catch(() => {
      signal.throwIfAborted();
    });
  }

  /** Lists and watches the collection until the signal is aborted. */
  async follow(transport: Transport, options: { namespace: string; signal: AbortSignal }): Promise<void> {
    const { signal } = options;
    while (!signal.aborted) {
      let pauseMs = this.#timings.kindRecheckMs;
      try {
        if (await this.#isInstalled(transport, signal)) await this.#watch(transport, options);
        else this.#setUnavailable();
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof KubernetesError && error.isTransient()) pauseMs = this.#backoff.next();
        // 404: the kind was removed after it was looked up.
        else this.#setUnavailable(hasStatus(error, 404) ? undefined : messageOf(error));
      }
      await transport.pause(pauseMs, signal).catch(() => {});
    }
  }

  /** Looks the kind up before it is listed: a list by an account without permission is answered with 403, whether or not the kind exists. */
  async #isInstalled(transport: Transport, signal: AbortSignal): Promise<boolean> {
    try {
      const response = asRecord(await abortable(transport.getJson(`/apis/${CUSTOM_API}`), signal));
      const resources: unknown[] = Array.isArray(response?.resources) ? response.resources : [];
      return resources.some((resource) => asRecord(resource)?.name === this.#options.resource);
    } catch (error) {
      if (hasStatus(error, 404)) return false;
      throw error;
    }
  }

  async #watch(
    transport: Transport,
    { namespace, signal }: { namespace: string; signal: AbortSignal },
  ): Promise<void> {
    const { resource, onChange } = this.#options;
    await watch<KubernetesObject>(transport, {
      path: collectionPath({ api: `/apis/${CUSTOM_API}`, resource }, namespace),
      reduce: reduceMetadata,
      onList: (objects) => this.#replace(objects),
      onChange: (change, object) => {
        const name = nameOf(object);
        if (change === "put") this.#objects.set(name, object);
        else this.#objects.delete(name);
        onChange?.(object);
      },
      isPermanent: (error) => hasStatus(error, 403, 404),
      signal,
      timings: this.#timings,
    });
  }

  #replace(objects: readonly KubernetesObject[]): void {
    this.#objects = new Map(objects.map((object) => [nameOf(object), object]));
    this.#isServed = true;
    this.#refusals.reset();
    this.#backoff.reset();
    this.#setSynced();
    this.#options.onList?.();
  }

  /** Logs a reason once; a kind that is not installed is not logged. */
  #setUnavailable(reason?: string): void {
    this.#objects.clear();
    this.#isServed = false;
    if (reason === undefined) this.#refusals.reset();
    else if (this.#refusals.isNew(reason)) {
      log.warn("Continuing without {resource} of {api}, checking again every minute: {reason}", {
        resource: this.#options.resource,
        api: CUSTOM_API,
        reason,
      });
    }
    this.#backoff.reset();
    this.#setSynced();
  }

  #setSynced(): void {
    this.#isSynced = true;
    this.#synced.resolve();
  }
}
