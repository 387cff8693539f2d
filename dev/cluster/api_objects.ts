/**
 * Types of Kubernetes objects as they are sent and stored here: plain JSON, in which dates are text.
 * @module
 */
import type {
  V1Container,
  V1DeploymentSpec,
  V1DeploymentStatus,
  V1ObjectMeta,
  V1PersistentVolumeClaimSpec,
  V1PersistentVolumeClaimStatus,
  V1PodSpec,
  V1PodStatus,
  V1ReplicaSetSpec,
  V1ReplicaSetStatus,
  V1ServiceSpec,
} from "@kubernetes/client-node";

/** `T` as JSON, in which dates are RFC 3339 text at any depth. */
export type Wire<T> = T extends Date ? string
  : T extends (infer E)[] ? Wire<E>[]
  : T extends object ? { [K in keyof T]: Wire<T[K]> }
  : T;

/** Metadata of a stored object, in which the server has set the optional fields. */
export type Metadata = Wire<V1ObjectMeta> & {
  name: string;
  uid: string;
  resourceVersion: string;
  creationTimestamp: string;
};

/** Any stored object. */
export interface ApiObject {
  apiVersion: string;
  kind: string;
  metadata: Metadata;
  [field: string]: unknown;
}

/** A container of a pod. */
export type Container = Wire<V1Container>;
/** Spec of a pod. */
export type PodSpec = Wire<V1PodSpec>;
/** Status of a pod. */
export type PodStatus = Wire<V1PodStatus>;
/** A stored pod. */
export type Pod = ApiObject & { spec: PodSpec; status: PodStatus };
/** A stored deployment. */
export type Deployment = ApiObject & { spec: Wire<V1DeploymentSpec>; status: Wire<V1DeploymentStatus> };
/** A stored replica set. */
export type ReplicaSet = ApiObject & {
  spec: Wire<V1ReplicaSetSpec> & { template: Wire<V1DeploymentSpec>["template"] };
  status: Wire<V1ReplicaSetStatus>;
};
/** A stored PersistentVolumeClaim. */
export type PersistentVolumeClaim = ApiObject & {
  spec: Wire<V1PersistentVolumeClaimSpec>;
  status: Wire<V1PersistentVolumeClaimStatus>;
};
/** A stored service. */
export type Service = ApiObject & { spec: Wire<V1ServiceSpec> };
/** A stored namespace. */
export type Namespace = ApiObject & { spec: { finalizers?: string[] }; status: { phase?: string } };

/** A JSON object of unknown content. */
export type JsonObject = Record<string, unknown>;

/** Whether `value` is a JSON object, not an array or null. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `value` if it is a JSON object, otherwise an empty object. */
export function objectOf(value: unknown): JsonObject {
  return isObject(value) ? value : {};
}

/** `value` if it is an array, otherwise an empty array. */
export function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

/** The time `offsetMs` from now in the format of the API: RFC 3339, UTC, whole seconds. */
export function timestamp(offsetMs = 0): string {
  return new Date(Date.now() + offsetMs).toISOString().replace(/\.\d+Z$/, "Z");
}
