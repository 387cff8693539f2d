/**
 * Fields that the server sets in a new object, by kind: initial statuses and addresses.
 * @module
 */
import { type JsonObject, listOf, objectOf } from "./api_objects.ts";
import type { ResourceType } from "./resources.ts";

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
