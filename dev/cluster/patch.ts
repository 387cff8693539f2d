/**
 * Patches of an object: merge patch (RFC 7386), strategic merge patch, and JSON patch (RFC 6902).
 * Each function takes a document and a patch and returns the new document; it does not change its arguments.
 * @module
 */
import { isDeepStrictEqual } from "node:util";
import { ApiError, badRequest } from "./api_error.ts";
import { isObject, type JsonObject, listOf, objectOf } from "./api_objects.ts";

/** Applies a merge patch: null removes, objects are merged, other values are replaced. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const result: JsonObject = { ...objectOf(target) };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = mergePatch(result[key], value);
  }
  return result;
}

/** Merge keys by the name of a list; lists without a merge key are replaced as a whole. */
const MERGE_KEYS: Readonly<Record<string, readonly string[]>> = {
  conditions: ["type"],
  containers: ["name"],
  env: ["name"],
  imagePullSecrets: ["name"],
  initContainers: ["name"],
  ownerReferences: ["uid"],
  ports: ["containerPort", "port"],
  secrets: ["name"],
  volumeDevices: ["devicePath"],
  volumeMounts: ["mountPath"],
  volumes: ["name"],
};

/** Applies a strategic merge patch: like a merge patch, but lists with a merge key are merged entry by entry. */
export function strategicMergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  if (patch.$patch === "delete") return undefined;
  const result: JsonObject = patch.$patch === "replace" ? {} : { ...objectOf(target) };
  for (const [key, value] of Object.entries(patch)) {
    if (key === "$retainKeys") retainKeys(result, listOf(value));
    else if (key.startsWith("$deleteFromPrimitiveList/")) deleteFromList(result, key, listOf(value));
    else if (key.startsWith("$")) continue;
    else if (value === null) delete result[key];
    else if (Array.isArray(value)) result[key] = mergeList(key, listOf(result[key]), value);
    else result[key] = strategicMergePatch(result[key], value);
    if (result[key] === undefined) delete result[key];
  }
  return result;
}

function retainKeys(object: JsonObject, keys: readonly unknown[]): void {
  for (const key of Object.keys(object)) if (!keys.includes(key)) delete object[key];
}

function deleteFromList(object: JsonObject, directive: string, gone: readonly unknown[]): void {
  const key = directive.slice(directive.indexOf("/") + 1);
  object[key] = listOf(object[key]).filter((value) => !gone.includes(value));
}

function mergeList(name: string, current: readonly unknown[], patch: readonly unknown[]): unknown[] {
  if (name === "finalizers") return [...new Set([...current, ...patch])];
  const keys = MERGE_KEYS[name];
  if (!keys || patch.some((entry) => objectOf(entry).$patch === "replace")) {
    return patch.filter((entry) => objectOf(entry).$patch !== "replace").map((entry) => strip(entry));
  }
  const merged = new Map<unknown, unknown>(current.map((entry) => [identity(entry, keys), entry]));
  const order = [...merged.keys()];
  for (const entry of patch) {
    const id = identity(entry, keys);
    if (id === undefined) {
      throw badRequest(`map: ${JSON.stringify(entry)} does not contain declared merge key: ${keys[0]}`);
    }
    const next = strategicMergePatch(merged.get(id), entry);
    if (next === undefined) merged.delete(id);
    else merged.set(id, next);
  }
  const patched = patch.map((entry) => identity(entry, keys));
  return interleave(patched, order).filter((id) => merged.has(id)).map((id) => merged.get(id));
}

function identity(entry: unknown, keys: readonly string[]): unknown {
  const fields = objectOf(entry);
  return keys.map((key) => fields[key]).find((value) => value !== undefined);
}

/** Patched entries and other entries keep their order; a new entry is inserted before the other entries that follow it. */
function interleave(patched: readonly unknown[], order: readonly unknown[]): unknown[] {
  const others = order.filter((id) => !patched.includes(id));
  const result: unknown[] = [];
  for (const id of patched) {
    const place = order.indexOf(id);
    while (others.length > 0 && order.indexOf(others[0]) < place) result.push(others.shift());
    result.push(id);
  }
  return [...result, ...others];
}

/** A new entry is its patch without directives. */
function strip(entry: unknown): unknown {
  return isObject(entry) ? strategicMergePatch({}, entry) : entry;
}

/**
 * Applies a JSON patch.
 * @throws {ApiError} 422 when an operation does not fit the document, 400 when the patch is malformed
 */
export function jsonPatch(target: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw badRequest("a JSON patch must be an array of operations");
  return patch.reduce<unknown>(
    (document, step) => applyStep(document, objectOf(step)),
    structuredClone(target),
  );
}

function applyStep(document: unknown, step: JsonObject): unknown {
  const path = pointer(step.path);
  switch (step.op) {
    case "add":
      return edit(document, path, { value: step.value, isNew: true });
    case "replace":
      read(document, path);
      return edit(document, path, { value: step.value });
    case "remove":
      read(document, path);
      return edit(document, path, {});
    case "copy":
      return edit(document, path, {
        value: structuredClone(read(document, pointer(step.from))),
        isNew: true,
      });
    case "move": {
      const value = read(document, pointer(step.from));
      return edit(edit(document, pointer(step.from), {}), path, { value, isNew: true });
    }
    case "test":
      if (!isDeepStrictEqual(read(document, path), step.value)) throw doesNotFit();
      return document;
    default:
      throw badRequest(`unexpected kind: ${step.op}`);
  }
}

function pointer(text: unknown): string[] {
  if (typeof text !== "string" || (text !== "" && !text.startsWith("/"))) throw doesNotFit();
  return text.split("/").slice(1).map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function read(document: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((at, key) => {
    const container = Array.isArray(at) ? at : objectOf(at);
    if (!Object.hasOwn(container, key)) throw doesNotFit();
    return Reflect.get(container, key);
  }, document);
}

/** Sets (with `value`) or removes the value at a path; in a list, a new value is inserted. */
function edit(
  document: unknown,
  path: readonly string[],
  change: { value?: unknown; isNew?: boolean },
): unknown {
  const key = path.at(-1);
  if (key === undefined) return change.value;
  const parent = read(document, path.slice(0, -1));
  if (Array.isArray(parent)) {
    const index = key === "-" ? parent.length : Number(key);
    if (!Number.isInteger(index) || index < 0 || index > parent.length) throw doesNotFit();
    parent.splice(index, change.isNew ? 0 : 1, ...("value" in change ? [change.value] : []));
  } else if (isObject(parent)) {
    if ("value" in change) parent[key] = change.value;
    else delete parent[key];
  } else {
    throw doesNotFit();
  }
  return document;
}

function doesNotFit(): ApiError {
  return new ApiError(422, "Invalid", {
    message: "the server rejected our request due to an error in our request",
  });
}
