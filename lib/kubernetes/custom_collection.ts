/**
 * The objects of one optional kind of `stream.space/v1alpha1`, by name, kept up to date by a list+watch. A cluster need not have the kind: it is
 * looked for once a minute, so that it may be installed, and removed, while the agent runs. Nobody is kept from working by its absence.
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { abortable, deadline, delay } from "@std/async";
import { Backoff } from "../common/backoff.ts";
import { hasStatus, KubernetesError, messageOf } from "../common/errors.ts";
import { asRecord } from "../common/json.ts";
import { log, RepeatFilter } from "../common/log.ts";
import { nameOf } from "./objects.ts";
import type { Transport } from "./transport.ts";
import { watch } from "./watch.ts";

/** Group and version of the agent's own kinds. */
export const CUSTOM_API = "stream.space/v1alpha1";

/** How often a kind that cannot be followed is looked for, in milliseconds. */
const LOOK_AGAIN_MS = 60_000;
/** Longest wait for a collection that the API server is in trouble about, in milliseconds: whoever waits goes on without. */
const PATIENCE_MS = 5000;

/** What is followed. */
export interface CustomCollectionOptions {
  /** The kind's plural, such as `templates`. */
  readonly resource: string;
  /** Told when the collection came to be known as a whole. */
  readonly onList?: () => void;
  /** Told of each object that came, changed or went since. */
  readonly onChange?: (object: KubernetesObject) => void;
}

/** What the cluster holds of one kind that it may not know. */
export class CustomCollection {
  readonly #options: CustomCollectionOptions;
  #objects = new Map<string, KubernetesObject>();
  #isServed = false;
  #isKnown = false;
  readonly #known = Promise.withResolvers<void>();
  /** Why the collection cannot be watched. */
  readonly #refusals = new RepeatFilter();
  readonly #backoff = new Backoff();

  constructor(options: CustomCollectionOptions) {
    this.#options = options;
  }

  /** Whether the cluster has the kind, and lets it be followed. */
  get isServed(): boolean {
    return this.#isServed;
  }

  /** Whether the cluster may have objects of the kind that it does not let be followed. */
  get isRefused(): boolean {
    return this.#refusals.isActive;
  }

  /** The names of the objects that are known. */
  keys(): Iterable<string> {
    return this.#objects.keys();
  }

  /** The object of that name as the API gave it, untrusted; `undefined` where there is none. */
  get(name: string): KubernetesObject | undefined {
    return this.#objects.get(name);
  }

  /**
   * Resolves once it is known what the collection holds, or that it cannot be followed; after five seconds of troubles all the same. Rejects
   * with the signal's reason if that comes first.
   */
  async synced(signal: AbortSignal): Promise<void> {
    if (this.#isKnown) return;
    await deadline(this.#known.promise, PATIENCE_MS, { signal }).catch(() => signal.throwIfAborted());
  }

  /** Follows the collection until the signal is aborted. */
  async follow(transport: Transport, options: { namespace: string; signal: AbortSignal }): Promise<void> {
    const { signal } = options;
    while (!signal.aborted) {
      let waitMs = LOOK_AGAIN_MS;
      try {
        if (await this.#isInstalled(transport, signal)) await this.#watch(transport, options);
        else this.#isAbsent();
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof KubernetesError && error.isTransient()) waitMs = this.#backoff.next();
        // Not found: removed since it was found.
        else this.#isAbsent(hasStatus(error, 404) ? undefined : messageOf(error));
      }
      await delay(waitMs, { signal }).catch(() => {});
    }
  }

  /** Asked before the first list: where the kind is missing, an account that may not list it is refused in the same words as where it is not. */
  async #isInstalled(transport: Transport, signal: AbortSignal): Promise<boolean> {
    try {
      const answer = asRecord(await abortable(transport.getJson(`/apis/${CUSTOM_API}`), signal));
      const resources: unknown[] = Array.isArray(answer?.resources) ? answer.resources : [];
      return resources.some((one) => asRecord(one)?.name === this.#options.resource);
    } catch (error) {
      if (hasStatus(error, 404)) return false;
      throw error;
    }
  }

  async #watch(transport: Transport, options: { namespace: string; signal: AbortSignal }): Promise<void> {
    const { resource, onChange } = this.#options;
    await watch<KubernetesObject>(transport, {
      path: `/apis/${CUSTOM_API}/namespaces/${options.namespace}/${resource}`,
      onList: (objects) => this.#isListed(objects),
      onChange: (change, object) => {
        const name = nameOf(object);
        if (change === "put") this.#objects.set(name, object);
        else this.#objects.delete(name);
        onChange?.(object);
      },
      isPermanent: (error) => hasStatus(error, 403, 404),
      signal: options.signal,
    });
  }

  #isListed(objects: readonly KubernetesObject[]): void {
    this.#objects = new Map(objects.map((object) => [nameOf(object), object]));
    this.#isServed = true;
    this.#refusals.reset();
    this.#backoff.reset();
    this.#settle();
    this.#options.onList?.();
  }

  /** The sessions go on without; a reason is told once, a kind that is not installed needs no word. */
  #isAbsent(reason?: string): void {
    const { resource } = this.#options;
    this.#objects.clear();
    this.#isServed = false;
    if (reason === undefined) this.#refusals.reset();
    else if (this.#refusals.isNew(reason)) {
      log.warn("The agent works without {resource} of {api}, and looks again once a minute: {reason}", {
        resource,
        api: CUSTOM_API,
        reason,
      });
    }
    this.#backoff.reset();
    this.#settle();
  }

  #settle(): void {
    this.#isKnown = true;
    this.#known.resolve();
  }
}
