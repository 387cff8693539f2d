/**
 * The controllers that complete deletions: of dependents without an owner, of owners that wait for their dependents, and
 * of the contents of a namespace.
 * @module
 */
import type { ApiObject } from "./api_objects.ts";
import type { Controller, ObjectKey } from "./controller.ts";
import { FOREGROUND, ORPHAN } from "./deletion.ts";
import { dependentsOf } from "./owners.ts";
import type { Registry } from "./registry.ts";
import { NAMESPACES, RESOURCES, type ResourceType, SERVICE_ACCOUNTS } from "./resources.ts";
import type { Change, Store } from "./store.ts";

/** Deletes objects without a remaining owner, and completes the deletion of owners. Keys are uids. */
export class GarbageCollector implements Controller {
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  *affected({ type, object }: Change): Iterable<ObjectKey> {
    const { uid, ownerReferences = [], finalizers = [] } = object.metadata;
    const waits = finalizers.includes(FOREGROUND) || finalizers.includes(ORPHAN);
    if (type === "DELETED" || waits) yield { namespace: "", name: uid };
    // A new object may name an owner that no longer exists; a removed one may be what its owner waits for.
    if (type !== "MODIFIED") yield* ownerReferences.map((owner) => ({ namespace: "", name: owner.uid }));
  }

  reconcile({ name: uid }: ObjectKey): void {
    const owner = findByUid(this.#registry.store, uid);
    const dependents = dependentsOf(this.#registry.store, uid);
    if (!owner) {
      for (const { type, object } of dependents) this.#collect(type, object, "Background");
      return;
    }
    const { deletionTimestamp, finalizers = [] } = owner.object.metadata;
    if (!deletionTimestamp) return;
    if (finalizers.includes(ORPHAN)) {
      for (const { type, object } of dependents) this.#registry.replace(type, withoutOwner(object, uid));
      this.#release(owner, ORPHAN);
    } else if (finalizers.includes(FOREGROUND)) {
      for (const { type, object } of dependents) this.#collect(type, object, "Foreground");
      if (dependents.length === 0) this.#release(owner, FOREGROUND);
    }
  }

  /** Deletes a dependent, unless it has another owner or is already being deleted. */
  #collect(type: ResourceType, object: ApiObject, propagationPolicy: string): void {
    const { metadata } = object;
    const owners = (metadata.ownerReferences ?? []).map(({ uid }) => findByUid(this.#registry.store, uid));
    const isKept = owners.some((owner) => owner && !owner.object.metadata.deletionTimestamp);
    if (isKept || metadata.deletionTimestamp) return;
    const hasDependents = dependentsOf(this.#registry.store, metadata.uid).length > 0;
    const policy = hasDependents ? propagationPolicy : "Background";
    this.#registry.delete(type, { namespace: metadata.namespace ?? "", name: metadata.name }, {
      propagationPolicy: policy,
    });
  }

  #release({ type, object }: { type: ResourceType; object: ApiObject }, finalizer: string): void {
    this.#registry.replace(type, withoutFinalizer(object, finalizer));
  }
}

/** Creates the service account of namespaces; empties and removes namespaces that are being deleted. */
export class NamespaceController implements Controller {
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  *affected({ type, resource, object }: Change): Iterable<ObjectKey> {
    const name = resource === NAMESPACES ? object.metadata.name : object.metadata.namespace;
    if (name && (resource === NAMESPACES || type === "DELETED")) yield { namespace: "", name };
  }

  reconcile({ name }: ObjectKey): void {
    const { store } = this.#registry;
    const namespace = store.get(NAMESPACES, "", name);
    if (!namespace) return;
    if (!namespace.metadata.deletionTimestamp) return this.#furnish(name);
    const content = RESOURCES.filter((type) => type.isNamespaced).flatMap((type) =>
      store.list(type, name).map((object) => ({ type, object }))
    );
    for (const { type, object } of content) {
      if (!object.metadata.deletionTimestamp) {
        this.#registry.delete(type, { namespace: name, name: object.metadata.name });
      }
    }
    if (content.length === 0) store.remove(NAMESPACES, namespace);
  }

  #furnish(name: string): void {
    if (this.#registry.store.get(SERVICE_ACCOUNTS, name, "default")) return;
    this.#registry.create(SERVICE_ACCOUNTS, { metadata: { name: "default" } }, name);
  }
}

/** The object without one of its finalizers. */
export function withoutFinalizer<T extends ApiObject>(object: T, finalizer: string): T {
  const finalizers = (object.metadata.finalizers ?? []).filter((name) => name !== finalizer);
  return { ...object, metadata: { ...object.metadata, finalizers } };
}

function withoutOwner(object: ApiObject, uid: string): ApiObject {
  const ownerReferences = (object.metadata.ownerReferences ?? []).filter((owner) => owner.uid !== uid);
  return { ...object, metadata: { ...object.metadata, ownerReferences } };
}

function findByUid(store: Store, uid: string): { type: ResourceType; object: ApiObject } | undefined {
  for (const type of RESOURCES) {
    const object = store.list(type).find(({ metadata }) => metadata.uid === uid);
    if (object) return { type, object };
  }
}
