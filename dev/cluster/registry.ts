/**
 * The registry: validates, completes and stores the writes of clients and controllers.
 * Every write to the store goes through here.
 * @module
 */
import { isDeepStrictEqual } from "node:util";
import { type ApiObject, isObject, type JsonObject, objectOf, timestamp } from "./api_objects.ts";
import {
  alreadyExists,
  badRequest,
  conflict,
  deletedStatus,
  forbidden,
  invalid,
  notFound,
  required,
  staleVersion,
  type Status,
} from "./api_error.ts";
import { decodeObject } from "./decoding.ts";
import { CLAIM_PROTECTION, initialFields, withDefaults } from "./defaults.ts";
import { type DeleteOptions, planDeletion } from "./deletion.ts";
import { NAMESPACES, type ResourceType } from "./resources.ts";
import type { Store } from "./store.ts";
import { validate, validateUpdate } from "./validation.ts";

/** Part that an update changes: the object without its status, or only the status. */
export type UpdateScope = "object" | "status";

/** Identifies one object and a part of it. */
export interface Target {
  /** Empty for cluster-scoped objects. */
  readonly namespace: string;
  readonly name: string;
  /** @default {"object"} */
  readonly scope?: UpdateScope;
}

/** Writes objects. */
export class Registry {
  readonly store: Store;

  constructor(store: Store) {
    this.store = store;
  }

  /**
   * Reads an object.
   * @throws {ApiError} 404
   */
  get<T extends ApiObject>(type: ResourceType<T>, { namespace, name }: Target): T {
    const object = this.store.get(type, namespace, name);
    if (!object) throw notFound(type, name);
    return object;
  }

  /** Creates an object from a client's body in `namespace`, which is "" for cluster-scoped objects. */
  create(type: ResourceType, body: unknown, namespace: string): ApiObject {
    const input = decodeObject(type, body);
    this.#checkNamespace(type, input, namespace);
    const object = withDefaults({
      ...input,
      ...initialFields(type, input),
      metadata: newMetadata(type, input, namespace),
    } as ApiObject);
    const causes = validate(object);
    if (causes.length > 0) throw invalid(type, object.metadata.name, causes);
    if (this.store.get(type, namespace, object.metadata.name)) {
      throw alreadyExists(type, object.metadata.name);
    }
    return this.store.put(type, object);
  }

  /** Replaces an object; a resource version in `body` must be current. */
  update(type: ResourceType, body: unknown, target: Target): ApiObject {
    const current = this.get(type, target);
    const input = decodeObject(type, body);
    const { name } = current.metadata;
    checkIdentity(type, current, input.metadata);
    const isStatus = target.scope === "status";
    const next = isStatus ? { ...current, status: input.status } : replaced(type, current, input);
    const causes = isStatus ? [] : [...validate(next), ...validateUpdate(current, next)];
    if (causes.length > 0) throw invalid(type, name, causes);
    return this.#write(type, next);
  }

  /** Changes an object by a function of its current state. */
  patch(type: ResourceType, change: (current: ApiObject) => unknown, target: Target): ApiObject {
    return this.update(type, change(this.get(type, target)), target);
  }

  /** Writes a status, if the object still exists. */
  setStatus<T extends ApiObject>(type: ResourceType<T>, object: T, status: T["status"]): void {
    const { namespace = "", name, uid } = object.metadata;
    const current = this.store.get(type, namespace, name);
    if (current?.metadata.uid === uid) this.store.put(type, { ...current, status });
  }

  /** Writes an object that a controller changed; removes it if it is being deleted and has no finalizers left. */
  replace(type: ResourceType, object: ApiObject): void {
    this.#write(type, object);
  }

  /** Deletes an object, immediately or after its finalizers and grace period. */
  delete(type: ResourceType, target: Target, options: DeleteOptions = {}): ApiObject | Status {
    const current = this.get(type, target);
    const { name, uid, resourceVersion } = current.metadata;
    const { uid: wantedUid = uid, resourceVersion: wantedVersion = resourceVersion } =
      options.preconditions ?? {};
    if (wantedUid !== uid) {
      const why = `the UID in the precondition (${wantedUid}) does not match the UID in record (${uid}). ` +
        "The object might have been deleted and then recreated";
      throw conflict(type, name, why);
    }
    if (wantedVersion !== resourceVersion) throw staleVersion(type, name);
    if (type === NAMESPACES && name === "default") {
      throw forbidden(type, name, "this namespace may not be deleted");
    }
    const plan = planDeletion(type, current, options);
    if (!plan.isFinal) return this.store.put(type, plan.object);
    const last = this.store.remove(type, plan.object);
    return type.returnsDeleted ? last : deletedStatus(type, { name, uid });
  }

  #write(type: ResourceType, next: ApiObject): ApiObject {
    const { metadata } = next;
    const isWaiting = metadata.deletionTimestamp !== undefined &&
      (metadata.deletionGracePeriodSeconds ?? 0) === 0;
    const isFinal = isWaiting && (metadata.finalizers ?? []).length === 0 && type !== NAMESPACES;
    return isFinal ? this.store.remove(type, next) : this.store.put(type, next);
  }

  #checkNamespace(type: ResourceType, input: JsonObject & { metadata: JsonObject }, namespace: string): void {
    if (!type.isNamespaced) return;
    if ((input.metadata.namespace ?? namespace) !== namespace) {
      throw badRequest(
        "the namespace of the provided object does not match the namespace sent on the request",
      );
    }
    const owner = this.get(NAMESPACES, { namespace: "", name: namespace });
    if (owner.metadata.deletionTimestamp) {
      const why = `unable to create new content in namespace ${namespace} because it is being terminated`;
      throw forbidden(type, String(input.metadata.name ?? ""), why);
    }
  }
}

/** Letters that form no words. */
const SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789";

/** Five random letters, as the server appends to a `generateName`. */
function randomSuffix(): string {
  const random = crypto.getRandomValues(new Uint8Array(5));
  return [...random].map((byte) => SUFFIX_LETTERS[byte % SUFFIX_LETTERS.length]).join("");
}

function newMetadata(
  type: ResourceType,
  input: { metadata: JsonObject },
  namespace: string,
): ApiObject["metadata"] {
  const { generateName, finalizers, ...given } = input.metadata;
  const name = given.name || (generateName ? `${generateName}${randomSuffix()}` : "");
  if (!name) throw invalid(type, "", [required("metadata.name", "name or generateName is required")]);
  const ownFinalizers = type.kind === "PersistentVolumeClaim" ? [CLAIM_PROTECTION] : [];
  const allFinalizers = [...new Set([...(Array.isArray(finalizers) ? finalizers : []), ...ownFinalizers])];
  delete given.deletionTimestamp;
  return {
    ...given,
    name: String(name),
    ...(generateName ? { generateName: String(generateName) } : {}),
    ...(type.isNamespaced ? { namespace } : {}),
    uid: crypto.randomUUID(),
    resourceVersion: "",
    ...(type.hasGeneration ? { generation: 1 } : {}),
    creationTimestamp: timestamp(),
    ...(allFinalizers.length > 0 ? { finalizers: allFinalizers } : {}),
  };
}

function checkIdentity(type: ResourceType, current: ApiObject, given: JsonObject): void {
  const { name, uid, resourceVersion } = current.metadata;
  if ((given.name ?? name) !== name) {
    throw badRequest(`the name of the object (${given.name}) does not match the name on the URL (${name})`);
  }
  if (given.resourceVersion && given.resourceVersion !== resourceVersion) throw staleVersion(type, name);
  if (given.uid && given.uid !== uid) {
    const why = `Precondition failed: UID in precondition: ${given.uid}, UID in object meta: ${uid}`;
    throw conflict(type, name, why);
  }
}

/** Result of an update; fields that the server owns are kept. */
function replaced(
  type: ResourceType,
  current: ApiObject,
  input: JsonObject & { metadata: JsonObject },
): ApiObject {
  const { creationTimestamp, uid, name, namespace, generation, resourceVersion } = current.metadata;
  const { deletionTimestamp, deletionGracePeriodSeconds, generateName } = current.metadata;
  const owned = {
    creationTimestamp,
    uid,
    name,
    namespace,
    generation,
    resourceVersion,
    generateName,
  } as const;
  const deletion = { deletionTimestamp, deletionGracePeriodSeconds };
  const kept = type.subresources.includes("status") ? { status: current.status } : {};
  const spec = isObject(input.spec) ? { spec: { ...serverFields(current), ...input.spec } } : {};
  const metadata = { ...input.metadata, ...withoutUndefined(owned), ...withoutUndefined(deletion) };
  const next = withDefaults({ ...input, ...spec, ...kept, metadata } as ApiObject);
  if (!type.hasGeneration || isDeepStrictEqual(next.spec, current.spec)) return next;
  return { ...next, metadata: { ...next.metadata, generation: (generation ?? 0) + 1 } };
}

/** Fields of a spec that the server set and that an update may omit. */
function serverFields(current: ApiObject): JsonObject {
  const { clusterIP, clusterIPs, volumeName, nodeName } = objectOf(current.spec);
  return withoutUndefined({ clusterIP, clusterIPs, volumeName, nodeName });
}

function withoutUndefined<T extends object>(object: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(object).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> };
}
