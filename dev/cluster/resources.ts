/**
 * The resource types of the cluster: their names, scopes and selectors.
 * @module
 */
import type {
  ApiObject,
  Deployment,
  Namespace,
  PersistentVolumeClaim,
  Pod,
  ReplicaSet,
  Service,
} from "./api_objects.ts";

/** One resource type, such as `deployments` in the group `apps`. */
export interface ResourceType<T extends ApiObject = ApiObject> {
  /** Empty for the core group. */
  readonly group: string;
  readonly plural: string;
  readonly kind: string;
  readonly shortNames: readonly string[];
  readonly isNamespaced: boolean;
  readonly subresources: readonly string[];
  /** Supported field selectors besides `metadata.name` and `metadata.namespace`. */
  readonly fields: readonly string[];
  /** Whether `metadata.generation` counts changes of the spec. */
  readonly hasGeneration: boolean;
  /** Whether a deletion returns the object instead of a `Status`. */
  readonly returnsDeleted: boolean;
  /** Never set; it carries the type of the objects. */
  readonly object?: T;
}

function define<T extends ApiObject = ApiObject>(
  definition: Partial<ResourceType<T>> & { plural: string; kind: string },
): ResourceType<T> {
  return {
    group: "",
    shortNames: [],
    isNamespaced: true,
    subresources: [],
    fields: [],
    hasGeneration: false,
    returnsDeleted: false,
    ...definition,
  };
}

/** Namespaces. */
export const NAMESPACES = define<Namespace>({
  plural: "namespaces",
  kind: "Namespace",
  shortNames: ["ns"],
  isNamespaced: false,
  subresources: ["status"],
  fields: ["status.phase"],
  returnsDeleted: true,
});
/** Pods. */
export const PODS = define<Pod>({
  plural: "pods",
  kind: "Pod",
  shortNames: ["po"],
  subresources: ["status", "log", "portforward"],
  fields: ["spec.nodeName", "spec.restartPolicy", "spec.serviceAccountName", "status.phase", "status.podIP"],
  returnsDeleted: true,
});
/** Services. */
const SERVICES = define<Service>({
  plural: "services",
  kind: "Service",
  shortNames: ["svc"],
  subresources: ["status"],
  fields: ["spec.clusterIP", "spec.type"],
  returnsDeleted: true,
});
/** PersistentVolumeClaims. */
export const CLAIMS = define<PersistentVolumeClaim>({
  plural: "persistentvolumeclaims",
  kind: "PersistentVolumeClaim",
  shortNames: ["pvc"],
  subresources: ["status"],
  returnsDeleted: true,
});
/** Events. */
export const EVENTS = define({
  plural: "events",
  kind: "Event",
  shortNames: ["ev"],
  fields: [
    ...["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"].map((field) =>
      `involvedObject.${field}`
    ),
    "reason",
    "type",
    "source",
    "reportingComponent",
  ],
});
/** Service accounts. */
export const SERVICE_ACCOUNTS = define({
  plural: "serviceaccounts",
  kind: "ServiceAccount",
  shortNames: ["sa"],
  returnsDeleted: true,
});
/** Nodes. */
export const NODES = define({
  plural: "nodes",
  kind: "Node",
  shortNames: ["no"],
  isNamespaced: false,
  subresources: ["status"],
});
/** Deployments. */
export const DEPLOYMENTS = define<Deployment>({
  group: "apps",
  plural: "deployments",
  kind: "Deployment",
  shortNames: ["deploy"],
  subresources: ["status", "scale"],
  hasGeneration: true,
});
/** ReplicaSets. */
export const REPLICA_SETS = define<ReplicaSet>({
  group: "apps",
  plural: "replicasets",
  kind: "ReplicaSet",
  shortNames: ["rs"],
  subresources: ["status"],
  fields: ["status.replicas"],
  hasGeneration: true,
});
/** Storage classes. */
export const STORAGE_CLASSES = define({
  group: "storage.k8s.io",
  plural: "storageclasses",
  kind: "StorageClass",
  shortNames: ["sc"],
  isNamespaced: false,
});

/** All stored resource types. */
export const RESOURCES: readonly ResourceType[] = [
  define({ plural: "configmaps", kind: "ConfigMap", shortNames: ["cm"] }),
  EVENTS,
  NAMESPACES,
  NODES,
  CLAIMS,
  PODS,
  define({ plural: "secrets", kind: "Secret", fields: ["type"] }),
  SERVICE_ACCOUNTS,
  SERVICES,
  DEPLOYMENTS,
  REPLICA_SETS,
  define({ group: "coordination.k8s.io", plural: "leases", kind: "Lease" }),
  // These two are not enforced.
  define({ plural: "resourcequotas", kind: "ResourceQuota", shortNames: ["quota"] }),
  define({
    group: "networking.k8s.io",
    plural: "networkpolicies",
    kind: "NetworkPolicy",
    shortNames: ["netpol"],
    hasGeneration: true,
  }),
  define({ group: "rbac.authorization.k8s.io", plural: "roles", kind: "Role" }),
  define({ group: "rbac.authorization.k8s.io", plural: "rolebindings", kind: "RoleBinding" }),
  STORAGE_CLASSES,
];

/** Access reviews, which are answered and not stored. */
export const REVIEWS: readonly ResourceType[] = [
  define({ plural: "selfsubjectaccessreviews", kind: "SelfSubjectAccessReview", isNamespaced: false }),
  define({ plural: "selfsubjectrulesreviews", kind: "SelfSubjectRulesReview", isNamespaced: false }),
  define({ plural: "subjectaccessreviews", kind: "SubjectAccessReview", isNamespaced: false }),
].map((review) => ({ ...review, group: "authorization.k8s.io" }));

/** Resource type by its group and plural, if it is served. */
export function findResource(group: string, plural: string): ResourceType | undefined {
  return [...RESOURCES, ...REVIEWS].find((type) => type.group === group && type.plural === plural);
}

/** API version of a type, such as `v1` or `apps/v1`. */
export function groupVersion(type: ResourceType): string {
  return type.group === "" ? "v1" : `${type.group}/v1`;
}

/** Name of a type in messages, such as `pods` or `deployments.apps`. */
export function qualifiedName(type: ResourceType): string {
  return type.group === "" ? type.plural : `${type.plural}.${type.group}`;
}
