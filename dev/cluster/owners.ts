/**
 * Owner references between objects.
 * @module
 */
import type { ApiObject, Metadata } from "./api_objects.ts";
import { EVENTS, RESOURCES, type ResourceType } from "./resources.ts";
import type { Store } from "./store.ts";

/** Owner reference that makes `owner` the controller of an object. */
export function controllerReference(owner: ApiObject): NonNullable<Metadata["ownerReferences"]>[number] {
  return {
    apiVersion: owner.apiVersion,
    kind: owner.kind,
    name: owner.metadata.name,
    uid: owner.metadata.uid,
    controller: true,
    blockOwnerDeletion: true,
  };
}

/** Objects of one type that `owner` controls. */
export function controlledBy<T extends ApiObject>(
  store: Store,
  owner: ApiObject,
  type: ResourceType<T>,
): T[] {
  return store.list(type, owner.metadata.namespace).filter((object) =>
    object.metadata.ownerReferences?.some(({ uid, controller }) => controller && uid === owner.metadata.uid)
  );
}

/** All objects with an owner reference to this uid. */
export function dependentsOf(store: Store, uid: string): { type: ResourceType; object: ApiObject }[] {
  return RESOURCES.filter((type) => type !== EVENTS).flatMap((type) =>
    store.list(type)
      .filter(({ metadata }) => metadata.ownerReferences?.some((reference) => reference.uid === uid))
      .map((object) => ({ type, object }))
  );
}
