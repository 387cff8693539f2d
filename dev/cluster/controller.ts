/**
 * What all control loops share: a loop hears of every change, names the objects to look at again, and brings each to
 * its desired state. The manager queues those names, one at a time each, and runs them apart from the writes.
 * @module
 */
import { ApiError } from "./api_error.ts";
import type { ApiObject } from "./api_objects.ts";
import type { Change, Store } from "./store.ts";

/** Names one object for a control loop. */
export interface ObjectKey {
  readonly namespace: string;
  readonly name: string;
}

/** A control loop. */
export interface Controller {
  /** The objects to look at again after a change. */
  affected(change: Change): Iterable<ObjectKey>;
  /** Brings one object, if it is still there, nearer to its desired state. */
  reconcile(key: ObjectKey): void;
}

/** The name of an object as a control loop's key. */
export function keyOf({ metadata }: ApiObject): ObjectKey {
  return { namespace: metadata.namespace ?? "", name: metadata.name };
}

/** Runs control loops over a store until it is disposed. */
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

/** What the rules refuse now is tried again at the next change. */
function attempt(reconcile: () => void): void {
  try {
    reconcile();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
  }
}
