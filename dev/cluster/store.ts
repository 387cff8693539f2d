/**
 * The store: objects by type and name, one revision counter, and the history for watches.
 * It passes every change to its listeners in order. It does not validate: see registry.ts.
 * @module
 */
import { isDeepStrictEqual } from "node:util";
import type { ApiObject } from "./api_objects.ts";
import { expired } from "./api_error.ts";
import { RESOURCES, type ResourceType } from "./resources.ts";

/** One write, for watches and controllers. */
export interface Change {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly resource: ResourceType;
  readonly object: ApiObject;
  /** The object before the write, if it existed. */
  readonly previous?: ApiObject;
  readonly revision: number;
}

/** Number of changes that are kept for watches from an earlier revision. */
const HISTORY_LIMIT = 10_000;

/** Objects and their history; returned objects are shared and must not be changed. */
export class Store {
  readonly #objects = new Map<ResourceType, Map<string, ApiObject>>(
    RESOURCES.map((type) => [type, new Map()]),
  );
  readonly #listeners = new Set<(change: Change) => void>();
  #history: Change[] = [];
  #revision = 1;
  #oldest = 0;

  /** Revision of the latest write. */
  get revision(): number {
    return this.#revision;
  }

  /** Object by its name; the namespace is "" for cluster-scoped objects. */
  get<T extends ApiObject>(type: ResourceType<T>, namespace: string, name: string): T | undefined {
    return this.#of(type).get(`${namespace}/${name}`) as T | undefined;
  }

  /** Objects of a type in one namespace, or in all if it is "", ordered by namespace and name. */
  list<T extends ApiObject>(type: ResourceType<T>, namespace = ""): T[] {
    const entries = [...this.#of(type)].filter(([key]) =>
      namespace === "" || key.startsWith(`${namespace}/`)
    );
    return entries.sort(([a], [b]) => a < b ? -1 : 1).map(([, object]) => object as T);
  }

  /** Writes an object and returns it with its new revision; an identical object changes nothing. */
  put<T extends ApiObject>(type: ResourceType<T>, object: T): T {
    const { namespace = "", name } = object.metadata;
    const previous = this.get(type, namespace, name);
    const revised = this.#revise(object);
    if (previous && isDeepStrictEqual(withRevision(revised, previous.metadata.resourceVersion), previous)) {
      return previous;
    }
    this.#of(type).set(`${namespace}/${name}`, revised);
    this.#publish({ type: previous ? "MODIFIED" : "ADDED", resource: type, object: revised, previous });
    return revised;
  }

  /** Removes an object and returns its last state. */
  remove<T extends ApiObject>(type: ResourceType<T>, object: T): T {
    const { namespace = "", name } = object.metadata;
    const last = this.#revise(object);
    if (this.#of(type).delete(`${namespace}/${name}`)) {
      this.#publish({ type: "DELETED", resource: type, object: last, previous: object });
    }
    return last;
  }

  /**
   * Changes of a type after a revision.
   * @throws {ApiError} 410 when the revision is too old
   */
  since(type: ResourceType, revision: number): Change[] {
    if (revision < this.#oldest) throw expired(revision, this.#oldest);
    return this.#history.filter((change) => change.resource === type && change.revision > revision);
  }

  /** Calls `listener` for each later change; returns a function that removes it. */
  subscribe(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Drops the history: no watch can start from an earlier revision. */
  compact(): void {
    this.#history = [];
    this.#oldest = ++this.#revision;
  }

  #of(type: ResourceType): Map<string, ApiObject> {
    const objects = this.#objects.get(type);
    if (!objects) throw new TypeError(`Cannot store objects of type "${type.plural}"`);
    return objects;
  }

  #revise<T extends ApiObject>(object: T): T {
    return withRevision(structuredClone(object), String(this.#revision + 1));
  }

  #publish(event: Omit<Change, "revision">): void {
    const change = { ...event, revision: ++this.#revision };
    this.#history.push(change);
    if (this.#history.length > HISTORY_LIMIT) {
      const dropped = this.#history.splice(0, HISTORY_LIMIT / 2);
      this.#oldest = dropped.at(-1)?.revision ?? this.#oldest;
    }
    for (const listener of [...this.#listeners]) listener(change);
  }
}

function withRevision<T extends ApiObject>(object: T, resourceVersion: string): T {
  return { ...object, metadata: { ...object.metadata, resourceVersion } };
}
