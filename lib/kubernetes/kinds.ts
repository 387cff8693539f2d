/**
 * The kinds of objects that a session consists of, and what is kept of an object in memory: only the fields that are read, which is a quarter of
 * what the API server sends. Pure.
 * @module
 */
import type {
  KubernetesObject,
  V1Container,
  V1Deployment,
  V1NetworkPolicy,
  V1ObjectMeta,
  V1PersistentVolumeClaim,
  V1Pod,
  V1PodSpec,
  V1Service,
} from "@kubernetes/client-node";
import type { Resource } from "./collection.ts";

/** Kind → type of its objects. */
export interface Kinds {
  deployment: V1Deployment;
  service: V1Service;
  claim: V1PersistentVolumeClaim;
  policy: V1NetworkPolicy;
  pod: V1Pod;
}

/** Kind of an object of a session. */
export type Kind = keyof Kinds;

/** All kinds. */
export const KINDS: readonly Kind[] = ["deployment", "service", "claim", "policy", "pod"];

/** Where the API serves the objects of each kind. */
export const COLLECTIONS: Readonly<Record<Kind, Resource>> = {
  deployment: { api: "/apis/apps/v1", resource: "deployments" },
  service: { api: "/api/v1", resource: "services" },
  claim: { api: "/api/v1", resource: "persistentvolumeclaims" },
  policy: { api: "/apis/networking.k8s.io/v1", resource: "networkpolicies" },
  pod: { api: "/api/v1", resource: "pods" },
};

/** Copies of the whole object that `kubectl apply` keeps. */
const LAST_APPLIED_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration";
const METADATA = [
  "name",
  "namespace",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "labels",
  "ownerReferences",
] as const;
const CONTAINER = ["name", "image", "ports", "resources", "restartPolicy"] as const;
const CONTAINER_STATUS = [
  "name",
  "image",
  "ready",
  "restartCount",
  "started",
  "state",
  "lastState",
] as const;

/** Returns an object with only the fields that are read of its kind. */
export function reduce<T extends KubernetesObject>(kind: Kind, object: T): T {
  const reduceFields: (object: T) => object = REDUCERS[kind];
  return { ...reduceMetadata(object), ...reduceFields(object) };
}

/** Returns an object without the parts of its metadata that are not read. */
export function reduceMetadata<T extends KubernetesObject>(object: T): T {
  const { metadata } = object;
  if (!metadata) return object;
  const { [LAST_APPLIED_ANNOTATION]: _, ...annotations } = metadata.annotations ?? {};
  const kept: V1ObjectMeta = pick(metadata, METADATA);
  return { ...object, metadata: { ...kept, ...(metadata.annotations ? { annotations } : {}) } };
}

/** The fields of each kind that replace those of the whole object. */
const REDUCERS: Readonly<Record<Kind, (object: KubernetesObject) => object>> = {
  deployment: ({ spec, status }: V1Deployment) => ({
    ...(spec
      ? {
        spec: {
          ...pick(spec, ["replicas", "paused", "selector"]),
          ...(spec.template
            ? {
              template: {
                metadata: pick(spec.template.metadata ?? {}, ["labels", "annotations"]),
                ...(spec.template.spec ? { spec: reducePodSpec(spec.template.spec) } : {}),
              },
            }
            : {}),
        },
      }
      : {}),
    ...(status ? { status: pick(status, ["observedGeneration", "replicas", "conditions"]) } : {}),
  }),
  service: ({ spec }: V1Service) => ({
    ...(spec ? { spec: pick(spec, ["selector", "type", "ports"]) } : {}),
    status: undefined,
  }),
  claim: ({ status }: V1PersistentVolumeClaim) => (status ? { status: pick(status, ["phase"]) } : {}),
  policy: () => ({}),
  pod: ({ spec, status }: V1Pod) => ({
    ...(spec ? { spec: reducePodSpec(spec) } : {}),
    ...(status
      ? {
        status: {
          ...pick(status, ["phase", "reason", "message", "podIP", "conditions"]),
          ...mapped(status, ["containerStatuses", "initContainerStatuses"], CONTAINER_STATUS),
        },
      }
      : {}),
  }),
};

function reducePodSpec(spec: V1PodSpec): V1PodSpec {
  const claims = spec.volumes?.filter((volume) => volume.persistentVolumeClaim)
    .map((volume) => pick(volume, ["name", "persistentVolumeClaim"]));
  return {
    ...pick(spec, ["nodeName", "schedulingGates"]),
    ...mapped(spec, ["containers", "initContainers"], CONTAINER) as { containers: V1Container[] },
    ...(claims ? { volumes: claims } : {}),
  };
}

/** The given lists of an object, each element with only the given fields. */
function mapped<T extends object, K extends keyof T>(
  object: T,
  lists: readonly K[],
  fields: readonly PropertyKey[],
): Partial<T> {
  const entries = lists.flatMap((key) => {
    const list: unknown = object[key];
    return Array.isArray(list) ? [[key, list.map((one: object) => pick(one, fields as never[]))]] : [];
  });
  return Object.fromEntries(entries) as Partial<T>;
}

function pick<T extends object, K extends keyof T>(object: T, keys: readonly K[]): Pick<T, K> {
  const picked: Partial<T> = {};
  for (const key of keys) if (object[key] !== undefined) picked[key] = object[key];
  return picked as Pick<T, K>;
}
