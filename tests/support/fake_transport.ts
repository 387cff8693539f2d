/**
 * A transport to a fake cluster: a test defines the lists and writes to the watches.
 * @module
 */
import { delay } from "@std/async";
import { KubernetesError } from "../../lib/common/errors.ts";
import type { Transport } from "../../lib/kubernetes/transport.ts";
import { endOfList, watchLine } from "./list_watch_server.ts";

/** An object of a fake cluster. */
export interface FakeObject {
  metadata: {
    name: string;
    uid: string;
    resourceVersion: string;
    labels?: Record<string, string>;
    deletionTimestamp?: Date;
  };
  [field: string]: unknown;
}

type Resource =
  | "deployments"
  | "services"
  | "persistentvolumeclaims"
  | "networkpolicies"
  | "pods"
  | "events";

/** Serves lists and watches of the objects of sessions and of events. */
export class FakeTransport {
  /** Objects in the list of each kind. */
  readonly items: Record<Resource, FakeObject[]> = {
    deployments: [],
    services: [],
    persistentvolumeclaims: [],
    networkpolicies: [],
    pods: [],
    events: [],
  };
  /** Resource version of each list. */
  version = "100";
  /** Kind whose list is forbidden. */
  refuses: Resource | undefined;
  /** Paths of all lists, streamed or not. */
  readonly lists: string[] = [];
  readonly #watches = new Map<string, ReadableStreamDefaultController<Uint8Array>>();
  readonly #watchers = new Set<() => void>();

  /** This object as a transport. */
  get transport(): Transport {
    return this as unknown as Transport;
  }

  getJson(path: string): Promise<unknown> {
    try {
      return Promise.resolve({ metadata: { resourceVersion: this.version }, items: this.#list(path) });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  stream(path: string, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const resource = resourceOf(path);
    const events: string[] = [];
    try {
      if (path.includes("sendInitialEvents")) events.push(...this.#initialEvents(path));
    } catch (error) {
      return Promise.reject(error);
    }
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        controller.enqueue(new TextEncoder().encode(events.join("")));
        this.#watches.set(resource, controller);
        signal.addEventListener("abort", () => this.#watches.delete(resource), { once: true });
      },
    });
    for (const wake of this.#watchers) wake();
    this.#watchers.clear();
    return Promise.resolve(body);
  }

  async pause(ms: number, signal: AbortSignal): Promise<boolean> {
    await delay(ms, { signal });
    return false;
  }

  /** Sends an event on the watch of a kind; waits until that is open. */
  async emit(resource: Resource, type: string, object: unknown): Promise<void> {
    const watch = await this.#watch(resource);
    watch.enqueue(new TextEncoder().encode(watchLine(type, object)));
    await settled();
  }

  /** Expires the resource version of a watch, so that the kind is listed again. */
  async expire(resource: Resource): Promise<void> {
    const lists = this.lists.length;
    await this.emit(resource, "ERROR", { kind: "Status", code: 410, message: "too old resource version" });
    while (this.lists.length === lists) await settled();
    await this.#watch(resource);
    await settled();
  }

  #list(path: string): FakeObject[] {
    this.lists.push(path);
    const resource = resourceOf(path);
    if (resource === this.refuses) {
      throw new KubernetesError(`Kubernetes refused to read ${resource}`, { status: 403, reason: "" });
    }
    return structuredClone(this.items[resource]);
  }

  #initialEvents(path: string): string[] {
    return [...this.#list(path).map((object) => watchLine("ADDED", object)), endOfList(this.version)];
  }

  async #watch(resource: Resource): Promise<ReadableStreamDefaultController<Uint8Array>> {
    while (true) {
      const watch = this.#watches.get(resource);
      if (watch) return watch;
      await new Promise<void>((resolve) => this.#watchers.add(resolve));
    }
  }
}

function resourceOf(path: string): Resource {
  return path.replace(/\?.*$/, "").split("/").at(-1) as Resource;
}

/** Lets pending promises settle. */
async function settled(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 0));
}
