/**
 * Fields that the server sets: defaults of optional fields, initial statuses and addresses, and the canonical form of quantities.
 * @module
 */
import type {
  ApiObject,
  Container,
  Deployment,
  PersistentVolumeClaim,
  Pod,
  PodSpec,
  Service,
} from "./api_objects.ts";
import { type JsonObject, listOf, objectOf } from "./api_objects.ts";
import { canonicalQuantity } from "./quantity.ts";
import type { ResourceType } from "./resources.ts";

/** Storage class of a claim that names none. */
export const DEFAULT_STORAGE_CLASS = "standard";
/** Finalizer that keeps a claim until no pod uses it. */
export const CLAIM_PROTECTION = "kubernetes.io/pvc-protection";

/** Sets all defaults of the object's kind. */
export function withDefaults(object: ApiObject): ApiObject {
  switch (object.kind) {
    case "Pod":
      return podDefaults(object as Pod);
    case "Deployment":
      return deploymentDefaults(object as Deployment);
    case "Service":
      return serviceDefaults(object as Service);
    case "PersistentVolumeClaim":
      return claimDefaults(object as PersistentVolumeClaim);
    case "Namespace":
      return namespaceDefaults(object);
    case "Secret":
      return secretDefaults(object);
    default:
      return object;
  }
}

function deploymentDefaults(deployment: Deployment): Deployment {
  const { spec } = deployment;
  const rollingUpdate = { maxSurge: "25%", maxUnavailable: "25%", ...spec.strategy?.rollingUpdate };
  const type = spec.strategy?.type ?? "RollingUpdate";
  return {
    ...deployment,
    spec: {
      progressDeadlineSeconds: 600,
      replicas: 1,
      revisionHistoryLimit: 10,
      ...spec,
      strategy: type === "RollingUpdate" ? { rollingUpdate, type } : { type },
      template: { ...spec.template, spec: podSpecDefaults(spec.template.spec ?? { containers: [] }) },
    },
  };
}

function podDefaults(pod: Pod): Pod {
  const spec = podSpecDefaults(pod.spec);
  const serviceAccountName = spec.serviceAccountName ?? "default";
  return {
    ...pod,
    spec: {
      ...spec,
      containers: spec.containers.map(withRequests),
      enableServiceLinks: spec.enableServiceLinks ?? true,
      serviceAccount: serviceAccountName,
      serviceAccountName,
    },
  };
}

function podSpecDefaults(spec: PodSpec): PodSpec {
  return {
    dnsPolicy: "ClusterFirst",
    restartPolicy: "Always",
    schedulerName: "default-scheduler",
    securityContext: {},
    terminationGracePeriodSeconds: 30,
    ...spec,
    containers: spec.containers.map(containerDefaults),
    ...(spec.initContainers ? { initContainers: spec.initContainers.map(containerDefaults) } : {}),
  };
}

function containerDefaults(container: Container): Container {
  const isLatest = !/:[^/]+$/.test(container.image ?? "") || container.image?.endsWith(":latest");
  return {
    imagePullPolicy: isLatest ? "Always" : "IfNotPresent",
    terminationMessagePath: "/dev/termination-log",
    terminationMessagePolicy: "File",
    ...container,
    ...(container.ports ? { ports: container.ports.map((port) => ({ protocol: "TCP", ...port })) } : {}),
    resources: resourcesDefaults(container.resources),
  };
}

function resourcesDefaults(resources: Container["resources"]): Container["resources"] {
  const result = { ...resources };
  if (result.limits) result.limits = canonicalQuantities(result.limits);
  if (result.requests) result.requests = canonicalQuantities(result.requests);
  return result;
}

/** Requests of a pod default to its limits; pod templates are not changed. */
function withRequests(container: Container): Container {
  const { limits, requests } = container.resources ?? {};
  if (!limits) return container;
  return { ...container, resources: { ...container.resources, requests: { ...limits, ...requests } } };
}

function canonicalQuantities(quantities: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(quantities).map(([name, value]) => [name, canonicalQuantity(String(value))]),
  );
}

function serviceDefaults(service: Service): Service {
  const { spec } = service;
  return {
    ...service,
    spec: {
      internalTrafficPolicy: "Cluster",
      ipFamilies: ["IPv4"],
      ipFamilyPolicy: "SingleStack",
      sessionAffinity: "None",
      type: "ClusterIP",
      ...spec,
      ...(spec.ports
        ? { ports: spec.ports.map((port) => ({ protocol: "TCP", targetPort: port.port, ...port })) }
        : {}),
    },
    status: { loadBalancer: {}, ...objectOf(service.status) },
  };
}

function claimDefaults(claim: PersistentVolumeClaim): PersistentVolumeClaim {
  const { spec } = claim;
  const requests = canonicalQuantities(spec.resources?.requests ?? {});
  return {
    ...claim,
    spec: {
      storageClassName: DEFAULT_STORAGE_CLASS,
      volumeMode: "Filesystem",
      ...spec,
      resources: { ...spec.resources, requests },
    },
  };
}

function namespaceDefaults(namespace: ApiObject): ApiObject {
  const { metadata } = namespace;
  return {
    ...namespace,
    metadata: { ...metadata, labels: { ...metadata.labels, "kubernetes.io/metadata.name": metadata.name } },
    spec: { finalizers: ["kubernetes"], ...objectOf(namespace.spec) },
  };
}

function secretDefaults(secret: ApiObject): ApiObject {
  const { stringData, ...rest } = secret;
  const encoded = Object.entries(objectOf(stringData)).map((
    [key, value],
  ) => [key, encodeBase64(String(value))]);
  return {
    ...rest,
    type: secret.type ?? "Opaque",
    data: { ...objectOf(secret.data), ...Object.fromEntries(encoded) },
  };
}

function encodeBase64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

/** Status and other fields of a new object that the server sets. */
export function initialFields(type: ResourceType, input: JsonObject): JsonObject {
  switch (type.kind) {
    case "Pod":
      return { status: { phase: "Pending", qosClass: qosClass(objectOf(input.spec)) } };
    case "Deployment":
      return { status: {} };
    case "ReplicaSet":
      return { status: { replicas: 0 } };
    case "PersistentVolumeClaim":
      return { status: { phase: "Pending" } };
    case "Namespace":
      return { status: { phase: "Active" } };
    case "Service":
      return { status: { loadBalancer: {} }, spec: withAddress(objectOf(input.spec)) };
    default:
      return {};
  }
}

function withAddress(spec: JsonObject): JsonObject {
  if (spec.type === "ExternalName") return spec;
  const [third, fourth] = crypto.getRandomValues(new Uint8Array(2));
  const clusterIP = spec.clusterIP || `10.0.${third}.${Math.max(1, fourth ?? 1)}`;
  return { ...spec, clusterIP, clusterIPs: [clusterIP] };
}

function qosClass(spec: JsonObject): string {
  const resources = listOf(spec.containers).map((container) => objectOf(objectOf(container).resources));
  const isGuaranteed = resources.every(({ limits, requests }) => {
    const { cpu, memory } = objectOf(limits);
    const wanted = { cpu, memory, ...objectOf(requests) };
    return cpu !== undefined && memory !== undefined && wanted.cpu === cpu && wanted.memory === memory;
  });
  if (isGuaranteed) return "Guaranteed";
  return resources.some(({ limits, requests }) => limits || requests) ? "Burstable" : "BestEffort";
}
