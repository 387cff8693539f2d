/**
 * Tables: the response format for clients that only print, such as `kubectl get`.
 * @module
 */
import type { ApiObject } from "./api_objects.ts";
import { columnsOf } from "./columns.ts";

/** Whether a client prefers a table. */
export function wantsTable(accept: string | null): boolean {
  return accept?.split(",").some((type) => type.includes("as=Table") && type.includes("v=v1;")) ?? false;
}

/** Table of objects of one kind. */
export function toTable(
  kind: string,
  objects: readonly ApiObject[],
  options: { resourceVersion?: string; includeObject?: string | null },
): unknown {
  const columns = columnsOf(kind);
  return {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    metadata: { resourceVersion: options.resourceVersion },
    columnDefinitions: columns.map(({ name, isWide }) => ({
      name,
      type: "string",
      format: name === "Name" ? "name" : "",
      description: "",
      priority: isWide ? 1 : 0,
    })),
    rows: objects.map((object) => ({
      cells: columns.map(({ cell }) => cell(object)),
      object: rowObject(object, options.includeObject),
    })),
  };
}

function rowObject(object: ApiObject, include = "Metadata" as string | null): unknown {
  if (include === "Object") return object;
  if (include === "None") return undefined;
  return { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: object.metadata };
}
