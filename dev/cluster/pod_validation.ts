/**
 * Validation of the spec of a pod or a pod template.
 * @module
 */
import { type Cause, required, wrong } from "./api_error.ts";
import { type JsonObject, listOf, objectOf } from "./api_objects.ts";
import { labelProblem } from "./names.ts";
import { compareQuantities } from "./quantity.ts";

/** Problems of the pod spec at `path`. */
export function podSpecCauses(spec: JsonObject, path: string): Cause[] {
  const containers = listOf(spec.containers).map(objectOf);
  const volumes = listOf(spec.volumes).map((volume) => objectOf(volume).name);
  const names = containers.map((container) => container.name);
  return [
    ...(containers.length === 0 ? [required(`${path}.containers`)] : []),
    ...containers.flatMap((container, index) => {
      const field = `${path}.containers[${index}]`;
      const isDuplicate = names.indexOf(container.name) < index;
      return [
        ...nameCauses(container, field),
        ...(isDuplicate ? [duplicate(`${field}.name`, container.name)] : []),
        ...(container.image ? [] : [required(`${field}.image`)]),
        ...portCauses(container, field),
        ...envCauses(container, field),
        ...mountCauses(container, { field, volumes }),
        ...resourceCauses(container, field),
      ];
    }),
  ];
}

function nameCauses(container: JsonObject, field: string): Cause[] {
  if (!container.name) return [required(`${field}.name`)];
  const problem = labelProblem(String(container.name));
  return problem ? [wrong(`${field}.name`, container.name, problem)] : [];
}

function duplicate(field: string, value: unknown): Cause {
  return { reason: "FieldValueDuplicate", message: `Duplicate value: ${JSON.stringify(value)}`, field };
}

function portCauses(container: JsonObject, field: string): Cause[] {
  return listOf(container.ports).flatMap((port, index) => {
    const at = `${field}.ports[${index}].containerPort`;
    const number = Number(objectOf(port).containerPort ?? 0);
    if (number === 0) return [required(at)];
    return number >= 1 && number <= 65535
      ? []
      : [wrong(at, number, "must be between 1 and 65535, inclusive")];
  });
}

function envCauses(container: JsonObject, field: string): Cause[] {
  return listOf(container.env).flatMap((entry, index) => {
    const at = `${field}.env[${index}].name`;
    const name = String(objectOf(entry).name ?? "");
    if (name === "") return [required(at)];
    if (/^[\x20-\x3c\x3e-\x7e]+$/.test(name)) return [];
    return [
      wrong(
        at,
        name,
        "a valid environment variable name must consist only of printable ASCII characters other than '='",
      ),
    ];
  });
}

function mountCauses(container: JsonObject, options: { field: string; volumes: unknown[] }): Cause[] {
  return listOf(container.volumeMounts).map(objectOf).flatMap((mount, index) => {
    const at = `${options.field}.volumeMounts[${index}]`;
    const isKnown = options.volumes.includes(mount.name);
    const missing = {
      reason: "FieldValueNotFound",
      message: `Not found: ${JSON.stringify(mount.name)}`,
      field: `${at}.name`,
    };
    return [...(isKnown ? [] : [missing]), ...(mount.mountPath ? [] : [required(`${at}.mountPath`)])];
  });
}

function resourceCauses(container: JsonObject, field: string): Cause[] {
  const { limits, requests } = objectOf(container.resources);
  return Object.entries(objectOf(requests)).flatMap(([name, request]) => {
    const limit = objectOf(limits)[name];
    if (limit === undefined || compareQuantities(String(request), String(limit)) <= 0) return [];
    return [
      wrong(
        `${field}.resources.requests`,
        request,
        `must be less than or equal to ${name} limit of ${limit}`,
      ),
    ];
  });
}
