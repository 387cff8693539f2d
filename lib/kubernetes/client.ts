/**
 * Narrow APIs for the Kubernetes objects that the agent writes: a session's objects, the Lease of leader election, and custom objects. Each method
 * rejects with a {@linkcode KubernetesError}.
 * @module
 */
import type {
  KubernetesObject,
  V1Deployment,
  V1Lease,
  V1NetworkPolicy,
  V1PersistentVolumeClaim,
  V1Pod,
  V1ReplicaSet,
  V1Service,
} from "@kubernetes/client-node";
import { Collection, type MergePatch, orUndefined, type PatchOperation } from "./collection.ts";
import { CUSTOM_API } from "./custom_collection.ts";
import { COLLECTIONS } from "./kinds.ts";
import type { Transport } from "./transport.ts";

/** Operations on objects of one kind. */
export type ObjectApi<T extends KubernetesObject> = Pick<Collection<T>, "create" | "read" | "delete">;

/** Objects of one kind that other objects created, and that only need to be found and deleted. */
export type DependentApi<T extends KubernetesObject> = Pick<Collection<T>, "list" | "delete">;

/** Operations on Leases in one namespace. */
export type LeaseApi = Pick<Collection<V1Lease>, "read" | "create" | "replace">;

/** Annotations to set; `null` removes an annotation. */
type Annotations = Readonly<Record<string, string | null>>;

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

/** Operations on custom objects of one kind. */
export interface CustomObjectApi {
  create(object: KubernetesObject): Promise<KubernetesObject>;
  /** Changes an object, except its status, and returns the changed object. */
  patch(name: string, operations: readonly PatchOperation[]): Promise<KubernetesObject>;
  /** Changes the status of an object and returns the changed object. */
  patchStatus(name: string, operations: readonly PatchOperation[]): Promise<KubernetesObject>;
}

/** Creates the API for the objects of sessions. */
export function createSessionClient(transport: Transport, namespace: string): SessionClient {
  const deployments = new Collection<V1Deployment>(transport, COLLECTIONS.deployment, namespace);
  const services = new Collection<V1Service>(transport, COLLECTIONS.service, namespace);
  const claims = new Collection<V1PersistentVolumeClaim>(transport, COLLECTIONS.claim, namespace);
  return {
    deployments,
    services,
    claims,
    policies: new Collection<V1NetworkPolicy>(transport, COLLECTIONS.policy, namespace),
    replicaSets: new Collection<V1ReplicaSet>(
      transport,
      { api: "/apis/apps/v1", resource: "replicasets" },
      namespace,
    ),
    pods: new Collection<V1Pod>(transport, COLLECTIONS.pod, namespace),
    listDeployments: (labelSelector) => deployments.list(labelSelector),
    patchDeployment: (name, change) => deployments.mergePatch(name, change),
    patchService: (name, change) => services.mergePatch(name, change),
    scale: (name, { replicas, annotations }) =>
      deployments.mergePatch(name, { metadata: { annotations }, spec: { replicas } }),
    annotate: (name, annotations) => services.mergePatch(name, { metadata: { annotations } }),
    annotateClaim: (name, annotations) => orUndefined(claims.mergePatch(name, { metadata: { annotations } })),
  };
}

/** Creates the API for Leases. */
export function createLeaseApi(transport: Transport, namespace: string): LeaseApi {
  return new Collection<V1Lease>(
    transport,
    { api: "/apis/coordination.k8s.io/v1", resource: "leases" },
    namespace,
  );
}

/** Creates the API for custom objects of one kind; `resource` is its plural. */
export function createCustomObjectApi(
  transport: Transport,
  { namespace, resource }: { namespace: string; resource: string },
): CustomObjectApi {
  const objects = new Collection<KubernetesObject>(
    transport,
    { api: `/apis/${CUSTOM_API}`, resource },
    namespace,
  );
  return {
    create: (object) => objects.create(object),
    patch: (name, operations) => objects.jsonPatch(name, operations),
    patchStatus: (name, operations) => objects.jsonPatch(name, operations, "status"),
  };
}
