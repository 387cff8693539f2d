/**
 * The objects of the kind Session that the agent writes, through client-node's API for custom objects.
 * @module
 */
import {
  CustomObjectsApi,
  type KubernetesObject,
  PatchStrategy,
  setHeaderOptions,
} from "@kubernetes/client-node";
import { configurationOf } from "./client.ts";
import { CUSTOM_API } from "./custom_collection.ts";
import type { Transport } from "./transport.ts";

/** One operation of a JSON Patch. Source: RFC 6902 */
export interface PatchOperation {
  readonly op: "add" | "test";
  readonly path: string;
  readonly value: unknown;
}

/** What the agent does with objects of one kind of its own. Every method rejects with a {@linkcode KubernetesError}. */
export interface CustomObjectApi {
  create(object: KubernetesObject): Promise<KubernetesObject>;
  /** Changes an object, but for its status, and gives what it is then. */
  patch(name: string, operations: readonly PatchOperation[]): Promise<KubernetesObject>;
  /** Changes an object's status alone. */
  patchStatus(name: string, operations: readonly PatchOperation[]): Promise<KubernetesObject>;
}

const JSON_PATCH = setHeaderOptions("Content-Type", PatchStrategy.JsonPatch);

/** Builds the API for one kind over a transport; `resource` is its plural. */
export function createCustomObjectApi(
  transport: Transport,
  { namespace, resource }: { namespace: string; resource: string },
): CustomObjectApi {
  const api = new CustomObjectsApi(configurationOf(transport));
  const [group = "", version = ""] = CUSTOM_API.split("/");
  const place = { group, version, namespace, plural: resource };
  return {
    create: (body) => api.createNamespacedCustomObject({ ...place, body }),
    patch: (name, body) => api.patchNamespacedCustomObject({ ...place, name, body }, JSON_PATCH),
    patchStatus: (name, body) => api.patchNamespacedCustomObjectStatus({ ...place, name, body }, JSON_PATCH),
  };
}
