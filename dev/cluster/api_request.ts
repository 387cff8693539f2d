/**
 * Parses a request: method and URL in, verb, resource and name as RBAC names them out.
 * @module
 */
import { methodNotAllowed, unknownPath } from "./api_error.ts";
import { findResource, NAMESPACES, type ResourceType, REVIEWS } from "./resources.ts";

/** Verb of a request. */
export type Verb = "get" | "list" | "watch" | "create" | "update" | "patch" | "delete" | "deletecollection";

/** A request for a resource. */
export interface ApiRequest {
  readonly verb: Verb;
  readonly type: ResourceType;
  /** Empty for all namespaces and for cluster-scoped objects. */
  readonly namespace: string;
  /** Empty for a collection. */
  readonly name: string;
  /** Empty for the object itself. */
  readonly subresource: string;
  readonly query: URLSearchParams;
}

/**
 * Parses a request; returns undefined if it is not for a resource.
 * @throws {ApiError} 404 for an unknown resource, 405 for a method that it does not support
 */
export function parseApiRequest(method: string, url: URL): ApiRequest | undefined {
  const segments = url.pathname.split("/").filter((segment) => segment !== "").map(decodeURIComponent);
  const group = segments[0] === "api" ? "" : segments[1] ?? "";
  const rest = segments.slice(segments[0] === "api" ? 2 : 3);
  if ((segments[0] !== "api" && segments[0] !== "apis") || rest.length === 0) return undefined;
  const isScoped = rest[0] === "namespaces" && rest.length > 2 &&
    !NAMESPACES.subresources.includes(rest[2] ?? "");
  const namespace = isScoped ? rest[1] ?? "" : "";
  const [plural = "", name = "", subresource = ""] = isScoped ? rest.slice(2) : rest;
  const type = findResource(group, plural);
  const isKnown = type && (type.isNamespaced || !isScoped) &&
    (subresource === "" || type.subresources.includes(subresource));
  if (!isKnown) throw unknownPath();
  const request = { type, namespace, name, subresource, query: url.searchParams };
  return { ...request, verb: verbOf(method, request) };
}

function verbOf(method: string, { type, namespace, name, query }: Omit<ApiRequest, "verb">): Verb {
  const isReview = REVIEWS.includes(type);
  const isOneScope = namespace !== "" || !type.isNamespaced;
  const verbs: Record<string, Verb> = name !== ""
    ? isOneScope ? { GET: "get", PUT: "update", PATCH: "patch", DELETE: "delete" } : {}
    : isReview
    ? { POST: "create" }
    : { GET: isTrue(query.get("watch")) ? "watch" : "list", ...(isOneScope ? COLLECTION_WRITES : {}) };
  const verb = verbs[method];
  if (!verb) throw methodNotAllowed();
  return verb;
}

const COLLECTION_WRITES: Record<string, Verb> = { POST: "create", DELETE: "deletecollection" };

/** Whether a query parameter is true. */
export function isTrue(value: string | null): boolean {
  return value === "true" || value === "1";
}
