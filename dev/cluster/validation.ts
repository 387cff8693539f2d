/**
 * Validation: an object in, its invalid fields out.
 * @module
 */
import { isDeepStrictEqual } from "node:util";
import { type Cause, required, wrong } from "./api_error.ts";
import type { ApiObject, Deployment, PersistentVolumeClaim, Service } from "./api_objects.ts";
import { objectOf } from "./api_objects.ts";
import {
  labelKeyProblem,
  labelProblem,
  labelValueProblem,
  serviceNameProblem,
  subdomainProblem,
} from "./names.ts";
import { podSpecCauses } from "./pod_validation.ts";
import { compareQuantities } from "./quantity.ts";
import { matchesSelector } from "./selectors.ts";

/** Problems of a new or changed object. */
export function validate(object: ApiObject): Cause[] {
  return [...metadataCauses(object), ...specCauses(object)];
}

function metadataCauses({ kind, metadata }: ApiObject): Cause[] {
  const nameProblem = kind === "Service"
    ? serviceNameProblem
    : kind === "Namespace"
    ? labelProblem
    : kind.startsWith("Role")
    ? pathSegmentProblem
    : subdomainProblem;
  const problem = nameProblem(metadata.name);
  return [
    ...(problem ? [wrong("metadata.name", metadata.name, problem)] : []),
    ...labelCauses(metadata.labels, "metadata.labels"),
    ...Object.keys(metadata.annotations ?? {}).flatMap((key) => {
      const keyProblem = labelKeyProblem(key.toLowerCase());
      return keyProblem ? [wrong("metadata.annotations", key, keyProblem)] : [];
    }),
  ];
}

/** Names of roles may contain anything that a path segment may. */
function pathSegmentProblem(name: string): string | undefined {
  if (name.includes("/") || name.includes("%") || name === "") return "may not contain '/' or '%'";
}

function labelCauses(labels: Record<string, string> | undefined, field: string): Cause[] {
  return Object.entries(labels ?? {}).flatMap(([key, value]) => {
    const keyProblem = labelKeyProblem(key);
    const valueProblem = labelValueProblem(value);
    return [
      ...(keyProblem ? [wrong(field, key, keyProblem)] : []),
      ...(valueProblem ? [wrong(field, value, valueProblem)] : []),
    ];
  });
}

function specCauses(object: ApiObject): Cause[] {
  switch (object.kind) {
    case "Pod":
      return podSpecCauses(objectOf(object.spec), "spec");
    case "Deployment":
    case "ReplicaSet":
      return workloadCauses(object as Deployment);
    case "Service":
      return serviceCauses(object as Service);
    case "PersistentVolumeClaim":
      return claimCauses(object as PersistentVolumeClaim);
    default:
      return [];
  }
}

function workloadCauses({ spec }: Deployment): Cause[] {
  const labels = spec.template.metadata?.labels ?? {};
  const hasSelector = Object.keys({ ...spec.selector?.matchLabels }).length > 0 ||
    (spec.selector?.matchExpressions ?? []).length > 0;
  const replicas = spec.replicas ?? 1;
  return [
    ...(replicas < 0 ? [wrong("spec.replicas", replicas, "must be greater than or equal to 0")] : []),
    ...(spec.selector ? [] : [required("spec.selector")]),
    ...(spec.selector && !hasSelector
      ? [wrong("spec.selector", spec.selector, "empty selector is invalid for deployment")]
      : []),
    ...labelCauses(labels, "spec.template.labels"),
    ...(hasSelector && matchesSelector(spec.selector)(labels)
      ? []
      : [wrong("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")]),
    ...podSpecCauses(objectOf(spec.template.spec), "spec.template.spec"),
  ];
}

function serviceCauses({ spec }: Service): Cause[] {
  const ports = spec.ports ?? [];
  const needsPorts = spec.type !== "ExternalName" && spec.clusterIP !== "None";
  return [
    ...(needsPorts && ports.length === 0 ? [required("spec.ports")] : []),
    ...ports.flatMap((port, index) => {
      const field = `spec.ports[${index}]`;
      const nameProblem = port.name === undefined ? undefined : labelProblem(port.name);
      const isPort = port.port >= 1 && port.port <= 65535;
      return [
        ...(port.name === undefined && ports.length > 1 ? [required(`${field}.name`)] : []),
        ...(nameProblem ? [wrong(`${field}.name`, port.name, nameProblem)] : []),
        ...(isPort ? [] : [wrong(`${field}.port`, port.port, "must be between 1 and 65535, inclusive")]),
      ];
    }),
    ...labelCauses(spec.selector, "spec.selector"),
  ];
}

const ACCESS_MODES = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

function claimCauses({ spec }: PersistentVolumeClaim): Cause[] {
  const field = "spec.accessModes";
  const modes = spec.accessModes ?? [];
  const storage = spec.resources?.requests?.storage;
  return [
    ...(modes.length === 0 ? [required(field, "at least 1 access mode is required")] : []),
    ...modes.filter((mode) => !ACCESS_MODES.includes(mode)).map((mode) => {
      const supported = ACCESS_MODES.map((name) => `"${name}"`).join(", ");
      const message = `Unsupported value: "${mode}": supported values: ${supported}`;
      return { reason: "FieldValueNotSupported", message, field };
    }),
    ...(storage === undefined ? [required("spec.resources[storage]")] : []),
    ...(storage !== undefined && compareQuantities(storage, "0") <= 0
      ? [wrong("spec.resources[storage]", storage, "must be greater than zero")]
      : []),
  ];
}

/** The immutable fields of a claim's spec. */
function withoutMutable({ resources: _, volumeName: __, ...spec }: Record<string, unknown>): object {
  return spec;
}

/** Problems of a change: some fields are immutable. */
export function validateUpdate(previous: ApiObject, next: ApiObject): Cause[] {
  const before = objectOf(previous.spec);
  const after = objectOf(next.spec);
  switch (next.kind) {
    case "Deployment":
    case "ReplicaSet":
      if (isDeepStrictEqual(before.selector, after.selector)) return [];
      return [wrong("spec.selector", after.selector, "field is immutable")];
    case "Service":
      if (before.clusterIP === after.clusterIP) return [];
      return [wrong("spec.clusterIPs[0]", [after.clusterIP], "may not change once set")];
    case "PersistentVolumeClaim":
      if (isDeepStrictEqual(withoutMutable(before), withoutMutable(after))) return [];
      return [{
        reason: "FieldValueForbidden",
        message: "Forbidden: spec is immutable after creation except resources.requests and " +
          "volumeAttributesClassName for bound claims",
        field: "spec",
      }];
    default:
      return [];
  }
}
