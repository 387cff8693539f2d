/**
 * Narrow APIs for the Kubernetes objects that the agent writes, on top of client-node's generated clients: a session's objects, the Lease of
 * leader election, and custom objects. Each method rejects with a {@linkcode KubernetesError}.
 * @module
 */
import type {
  Configuration,
  KubernetesObject,
  V1DeleteOptions,
  V1Deployment,
  V1Lease,
  V1NetworkPolicy,
  V1PersistentVolumeClaim,
  V1Pod,
  V1ReplicaSet,
  V1Service,
} from "@kubernetes/client-node";
// The package's main module would also load what the agent does not use, which takes 15 MB of memory.
import { createConfiguration } from "@kubernetes/client-node/dist/gen/configuration.js";
import { wrapHttpLibrary } from "@kubernetes/client-node/dist/gen/http/http.js";
import { ServerConfiguration } from "@kubernetes/client-node/dist/gen/servers.js";
import {
  ObjectAppsV1Api,
  ObjectCoordinationV1Api,
  ObjectCoreV1Api,
  ObjectCustomObjectsApi,
  ObjectNetworkingV1Api,
} from "@kubernetes/client-node/dist/gen/types/ObjectParamAPI.js";
import { setHeaderOptions } from "@kubernetes/client-node/dist/middleware.js";
import { PatchStrategy } from "@kubernetes/client-node/dist/patch.js";
import { hasStatus } from "../common/errors.ts";
import { CUSTOM_API } from "./custom_collection.ts";
import type { Transport } from "./transport.ts";

/** Operations on objects of one kind. */
export interface ObjectApi<T> {
  create(object: T): Promise<T>;
  /** Returns `undefined` if there is no such object. */
  read(name: string): Promise<T | undefined>;
  /**
   * Requests foreground deletion of the object with this uid; succeeds if it no longer exists. With a resource version, the request is refused
   * with 409 if the object was changed since.
   */
  delete(name: string, uid: string, resourceVersion?: string): Promise<void>;
}

/** Annotations to set; `null` removes an annotation. */
type Annotations = Readonly<Record<string, string | null>>;

/** Fields of an object to set; `null` removes a field. Source: RFC 7396. */
export type MergePatch = Readonly<Record<string, unknown>>;

/** Objects of one kind that other objects created, and that only need to be found and deleted. */
export interface DependentApi<T> {
  list(labelSelector: string): Promise<readonly T[]>;
  /** Requests foreground deletion of the object with this uid; succeeds if it no longer exists. */
  delete(name: string, uid: string): Promise<void>;
}

/** Operations on the objects of sessions in one namespace. */
export interface SessionClient {
  readonly deployments: ObjectApi<V1Deployment>;
  readonly services: ObjectApi<V1Service>;
  readonly claims: ObjectApi<V1PersistentVolumeClaim>;
  readonly policies: ObjectApi<V1NetworkPolicy>;
  readonly replicaSets: DependentApi<V1ReplicaSet>;
  readonly pods: DependentApi<V1Pod>;
  listDeployments(labelSelector: string): Promise<readonly V1Deployment[]>;
  /** Changes fields of a Deployment and returns the changed object. */
  patchDeployment(name: string, change: MergePatch): Promise<V1Deployment>;
  /** Changes fields of a Service and returns the changed object. */
  patchService(name: string, change: MergePatch): Promise<V1Service>;
  /** Sets the replicas and annotations of a Deployment and returns the changed object. */
  scale(name: string, change: { replicas: 0 | 1; annotations: Annotations }): Promise<V1Deployment>;
  /** Sets annotations of a Service and returns the changed object. */
  annotate(serviceName: string, annotations: Annotations): Promise<V1Service>;
  /** Sets annotations of a claim and returns the changed object; `undefined` if there is no such object. */
  annotateClaim(name: string, annotations: Annotations): Promise<V1PersistentVolumeClaim | undefined>;
}

/** Operations on Leases in one namespace. */
export interface LeaseApi {
  /** Returns `undefined` if there is no such Lease. */
  read(name: string): Promise<V1Lease | undefined>;
  create(lease: V1Lease): Promise<V1Lease>;
  /** Replaces a Lease; refused with 409 if its resource version is not the current one. */
  replace(lease: V1Lease): Promise<V1Lease>;
}

/** One operation of a JSON Patch. Source: RFC 6902. */
export interface PatchOperation {
  readonly op: "add" | "test";
  readonly path: string;
  readonly value: unknown;
}

/** Operations on custom objects of one kind. */
export interface CustomObjectApi {
  create(object: KubernetesObject): Promise<KubernetesObject>;
  /** Changes an object, except its status, and returns the changed object. */
  patch(name: string, operations: readonly PatchOperation[]): Promise<KubernetesObject>;
  /** Changes the status of an object and returns the changed object. */
  patchStatus(name: string, operations: readonly PatchOperation[]): Promise<KubernetesObject>;
}

const MERGE_PATCH = setHeaderOptions("Content-Type", PatchStrategy.MergePatch);
const JSON_PATCH = setHeaderOptions("Content-Type", PatchStrategy.JsonPatch);

/** Creates the API for the objects of sessions. */
export function createSessionClient(transport: Transport, namespace: string): SessionClient {
  const configuration = configurationOf(transport);
  const apps = new ObjectAppsV1Api(configuration);
  const core = new ObjectCoreV1Api(configuration);
  const networking = new ObjectNetworkingV1Api(configuration);
  const patchDeployment = (name: string, body: MergePatch) =>
    apps.patchNamespacedDeployment({ name, namespace, body }, MERGE_PATCH);
  const patchService = (name: string, body: MergePatch) =>
    core.patchNamespacedService({ name, namespace, body }, MERGE_PATCH);
  return {
    deployments: objectApi(namespace, {
      create: (request) => apps.createNamespacedDeployment(request),
      read: (request) => apps.readNamespacedDeployment(request),
      delete: (request) => apps.deleteNamespacedDeployment(request),
    }),
    services: objectApi(namespace, {
      create: (request) => core.createNamespacedService(request),
      read: (request) => core.readNamespacedService(request),
      delete: (request) => core.deleteNamespacedService(request),
    }),
    claims: objectApi(namespace, {
      create: (request) => core.createNamespacedPersistentVolumeClaim(request),
      read: (request) => core.readNamespacedPersistentVolumeClaim(request),
      delete: (request) => core.deleteNamespacedPersistentVolumeClaim(request),
    }),
    policies: objectApi(namespace, {
      create: (request) => networking.createNamespacedNetworkPolicy(request),
      read: (request) => networking.readNamespacedNetworkPolicy(request),
      delete: (request) => networking.deleteNamespacedNetworkPolicy(request),
    }),
    replicaSets: {
      list: async (labelSelector) =>
        (await apps.listNamespacedReplicaSet({ namespace, labelSelector })).items,
      delete: (name, uid) =>
        orGone(apps.deleteNamespacedReplicaSet({ name, namespace, body: deleteOptions(uid) })),
    },
    pods: {
      list: async (labelSelector) => (await core.listNamespacedPod({ namespace, labelSelector })).items,
      delete: (name, uid) => orGone(core.deleteNamespacedPod({ name, namespace, body: deleteOptions(uid) })),
    },
    listDeployments: async (labelSelector) =>
      (await apps.listNamespacedDeployment({ namespace, labelSelector })).items,
    patchDeployment,
    patchService,
    scale: (name, { replicas, annotations }) =>
      patchDeployment(name, { metadata: { annotations }, spec: { replicas } }),
    annotate: (name, annotations) => patchService(name, { metadata: { annotations } }),
    annotateClaim: (name, annotations) =>
      orUndefined(core.patchNamespacedPersistentVolumeClaim({
        name,
        namespace,
        body: { metadata: { annotations } },
      }, MERGE_PATCH)),
  };
}

/** The requests of a generated client for one kind. */
interface KindRequests<T> {
  create(request: { namespace: string; body: T }): Promise<T>;
  read(request: { namespace: string; name: string }): Promise<T>;
  delete(request: { namespace: string; name: string; body: V1DeleteOptions }): Promise<unknown>;
}

function objectApi<T>(namespace: string, requests: KindRequests<T>): ObjectApi<T> {
  return {
    create: (body) => requests.create({ namespace, body }),
    read: (name) => orUndefined(requests.read({ namespace, name })),
    delete: async (name, uid, resourceVersion) => {
      const request = requests.delete({ namespace, name, body: deleteOptions(uid, resourceVersion) });
      await (resourceVersion === undefined ? orGone(request) : orUndefined(request));
    },
  };
}

/** Creates the API for Leases. */
export function createLeaseApi(transport: Transport, namespace: string): LeaseApi {
  const coordination = new ObjectCoordinationV1Api(configurationOf(transport));
  return {
    read: (name) => orUndefined(coordination.readNamespacedLease({ name, namespace })),
    create: (body) => coordination.createNamespacedLease({ namespace, body }),
    replace: (body) =>
      coordination.replaceNamespacedLease({ name: body.metadata?.name ?? "", namespace, body }),
  };
}

/** Creates the API for custom objects of one kind; `resource` is its plural. */
export function createCustomObjectApi(
  transport: Transport,
  { namespace, resource }: { namespace: string; resource: string },
): CustomObjectApi {
  const api = new ObjectCustomObjectsApi(configurationOf(transport));
  const [group = "", version = ""] = CUSTOM_API.split("/");
  const collection = { group, version, namespace, plural: resource };
  return {
    create: (body) => api.createNamespacedCustomObject({ ...collection, body }),
    patch: (name, body) => api.patchNamespacedCustomObject({ ...collection, name, body }, JSON_PATCH),
    patchStatus: (name, body) =>
      api.patchNamespacedCustomObjectStatus({ ...collection, name, body }, JSON_PATCH),
  };
}

/** Configuration of a generated client that sends its requests through a transport. */
export function configurationOf(transport: Transport): Configuration {
  return createConfiguration({
    baseServer: new ServerConfiguration(transport.server, {}),
    httpApi: wrapHttpLibrary(transport),
  });
}

/**
 * Foreground deletion removes the owner last, so that its removal means that all dependents are gone. The uid protects a later object with the
 * same name.
 * Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/
 */
function deleteOptions(uid: string, resourceVersion?: string): V1DeleteOptions {
  const preconditions = { uid, ...(resourceVersion === undefined ? {} : { resourceVersion }) };
  return { propagationPolicy: "Foreground", preconditions };
}

/** Converts a 404 to `undefined`. */
export async function orUndefined<T>(request: Promise<T>): Promise<T | undefined> {
  try {
    return await request;
  } catch (error) {
    if (hasStatus(error, 404)) return undefined;
    throw error;
  }
}

/** Ignores 404, and 409: a uid that does not match means that the object was deleted and another one has its name. */
async function orGone(request: Promise<unknown>): Promise<void> {
  try {
    await request;
  } catch (error) {
    if (!hasStatus(error, 404, 409)) throw error;
  }
}
