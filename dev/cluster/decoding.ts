/**
 * Decodes an object that a client sends: checks that its JSON has the types of its kind.
 * @module
 */
import { badRequest } from "./api_error.ts";
import { isObject, type JsonObject, listOf, objectOf } from "./api_objects.ts";
import { isQuantity } from "./quantity.ts";
import { groupVersion, type ResourceType } from "./resources.ts";

/** RFC 3339 with microseconds, the only format that the API accepts for `MicroTime`. */
const MICRO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$/;

/**
 * Checks the fields of a body that are likely to be wrong, as the API server's decoder does.
 * @throws {ApiError} 400 with the decoder's message
 */
export function decodeObject(type: ResourceType, body: unknown): JsonObject & { metadata: JsonObject } {
  if (!isObject(body)) {
    throw badRequest(
      `the object provided is unrecognized (must be of type ${type.kind}): ${JSON.stringify(body)}`,
    );
  }
  const version = groupVersion(type);
  const { kind = type.kind, apiVersion = version, metadata } = body;
  if (kind !== type.kind || apiVersion !== version) {
    throw badRequest(
      `${kind} in version "${apiVersion}" cannot be handled as a ${type.kind}: unknown conversion`,
    );
  }
  const problem = findProblem(type, body);
  if (problem) throw badRequest(`${kind} in version "v1" cannot be handled as a ${kind}: ${problem}`);
  return { ...body, ...shapedSpec(type, body.spec), kind, apiVersion, metadata: objectOf(metadata) };
}

/** The fields of a spec that the rest of the server requires, empty if the client did not set them. */
function shapedSpec(type: ResourceType, given: unknown): { spec?: JsonObject } {
  const spec = objectOf(given);
  switch (type.kind) {
    case "Pod":
      return { spec: { ...spec, containers: listOf(spec.containers) } };
    case "Deployment":
    case "ReplicaSet": {
      const template = objectOf(spec.template);
      const podSpec = objectOf(template.spec);
      const containers = listOf(podSpec.containers);
      return { spec: { ...spec, template: { ...template, spec: { ...podSpec, containers } } } };
    }
    case "Service":
    case "PersistentVolumeClaim":
      return { spec };
    default:
      return {};
  }
}

function findProblem(type: ResourceType, body: JsonObject): string | undefined {
  const metadata = objectOf(body.metadata);
  const spec = objectOf(body.spec);
  const texts = ["labels", "annotations"].map((field) =>
    textsOnly(metadata[field], `ObjectMeta.metadata.${field}`)
  );
  return texts.find((problem) => problem !== undefined) ?? specProblem(type, spec);
}

function specProblem(type: ResourceType, spec: JsonObject): string | undefined {
  switch (type.kind) {
    case "Pod":
      return podProblem(spec, "spec");
    case "Deployment":
    case "ReplicaSet": {
      const template = objectOf(spec.template);
      return numberOnly(spec.replicas, `${type.kind}Spec.spec.replicas`) ??
        textsOnly(objectOf(template.metadata).labels, "ObjectMeta.spec.template.metadata.labels") ??
        podProblem(objectOf(template.spec), "spec.template.spec");
    }
    case "PersistentVolumeClaim":
      return quantitiesOnly(objectOf(spec.resources).requests);
    case "Service":
      return textsOnly(spec.selector, "ServiceSpec.spec.selector") ??
        firstOf(listOf(spec.ports), (port) => numberOnly(objectOf(port).port, "ServicePort.spec.ports.port"));
    case "Lease":
      return firstOf([spec.renewTime, spec.acquireTime], microTimeOnly);
    default:
      return undefined;
  }
}

function podProblem(spec: JsonObject, path: string): string | undefined {
  return firstOf(listOf(spec.containers).map(objectOf), (container) => {
    const resources = objectOf(container.resources);
    return quantitiesOnly(resources.limits) ?? quantitiesOnly(resources.requests) ??
      firstOf(
        listOf(container.env),
        (entry) => textOnly(objectOf(entry).value, `EnvVar.${path}.containers.env.value`),
      ) ??
      firstOf(listOf(container.ports), (port) => {
        const field = `ContainerPort.${path}.containers.ports.containerPort`;
        return numberOnly(objectOf(port).containerPort, field);
      });
  });
}

function firstOf<T>(values: readonly T[], check: (value: T) => string | undefined): string | undefined {
  for (const value of values) {
    const problem = check(value);
    if (problem) return problem;
  }
}

function textsOnly(map: unknown, field: string): string | undefined {
  return firstOf(Object.values(objectOf(map)), (value) => textOnly(value, field));
}

function textOnly(value: unknown, field: string): string | undefined {
  if (value === undefined || value === null || typeof value === "string") return undefined;
  return `json: cannot unmarshal ${jsonType(value)} into Go struct field ${field} of type string`;
}

function numberOnly(value: unknown, field: string): string | undefined {
  if (value === undefined || value === null || Number.isInteger(value)) return undefined;
  return `json: cannot unmarshal ${jsonType(value)} into Go struct field ${field} of type int32`;
}

function jsonType(value: unknown): string {
  return Array.isArray(value) ? "array" : typeof value === "boolean" ? "bool" : typeof value;
}

function quantitiesOnly(map: unknown): string | undefined {
  const isWrong = Object.values(objectOf(map)).some((value) => !isQuantity(String(value)));
  return isWrong
    ? "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    : undefined;
}

function microTimeOnly(value: unknown): string | undefined {
  if (value === undefined || value === null || MICRO_TIME.test(String(value))) return undefined;
  return `parsing time "${value}" as "2006-01-02T15:04:05.000000Z07:00": cannot parse`;
}
