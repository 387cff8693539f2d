/**
 * Base of all controllers: a controller receives every change, returns the objects to reconcile, and brings each to its
 * desired state. The manager queues their keys, reconciles each key once at a time, and does so outside of the writes.
 * @module
 */
import { ApiError } from "./api_error.ts";
import type { ApiObject } from "./api_objects.ts";
import type { Change, Store } from "./store.ts";

/** Key of an object in a queue. */
export interface ObjectKey {
  readonly namespace: string;
  readonly name: string;
}

/** A controller. */
export interface Controller {
  /** Keys of the objects to reconcile after a change. */
  affected(change: Change): Iterable<ObjectKey>;
  /** Brings an object closer to its desired state; does nothing if it no longer exists. */
  reconcile(key: ObjectKey): void;
}

/** Key of an object. */
export function keyOf({ metadata }: ApiObject): ObjectKey {
  return { namespace: metadata.namespace ?? "", name: metadata.name };
}

/** Runs controllers on a store until it is disposed. */
export class ControllerManager implements Disposable {
  readonly #controllers: readonly Controller[];
  readonly #queue = new Map<string, () => void>();
  readonly #unsubscribe: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(store: Store, controllers: readonly Controller[]) {
    this.#controllers = controllers;
    this.#unsubscribe = store.subscribe((change) => this.#enqueue(change));
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
    clearTimeout(this.#timer);
    this.#queue.clear();
  }

  #enqueue(change: Change): void {
    for (const [index, controller] of this.#controllers.entries()) {
      for (const key of controller.affected(change)) {
        this.#queue.set(`${index} ${key.namespace}/${key.name}`, () => controller.reconcile(key));
      }
    }
    if (this.#queue.size > 0) this.#timer ??= setTimeout(() => this.#run(), 0);
  }

  #run(): void {
    this.#timer = undefined;
    const batch = [...this.#queue.values()];
    this.#queue.clear();
    for (const reconcile of batch) attempt(reconcile);
  }
}

/** A write that is rejected now is retried at the next change. */
function attempt(reconcile: () => void): void {
  try {
    reconcile();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
  }
}
