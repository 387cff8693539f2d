/**
 * Authorization: one function decides about each request and answers access reviews.
 * @module
 */
import { forbidden } from "./api_error.ts";
import type { ApiRequest } from "./api_request.ts";
import { type JsonObject, objectOf } from "./api_objects.ts";

/** Attributes of a request. */
export interface AccessAttributes {
  /** For example `list`. */
  readonly verb: string;
  /** Empty for the core group. */
  readonly group: string;
  /** For example `pods`. */
  readonly resource: string;
  /** Empty for the object itself. */
  readonly subresource: string;
  /** Empty for all namespaces. */
  readonly namespace: string;
  /** Empty for a collection. */
  readonly name: string;
}

/** Decides whether something is allowed. */
export type Authorize = (attributes: AccessAttributes) => boolean;

/**
 * Authorizes a request.
 * @throws {ApiError} 403 when the request is forbidden
 */
export function checkAccess(authorize: Authorize, request: ApiRequest): void {
  const { verb, type, subresource, namespace, name } = request;
  if (authorize({ verb, group: type.group, resource: type.plural, subresource, namespace, name })) return;
  const resource = subresource === "" ? type.plural : `${type.plural}/${subresource}`;
  const where = namespace === "" ? "at the cluster scope" : `in the namespace "${namespace}"`;
  const why = `User "developer" cannot ${verb} resource "${resource}" in API group "${type.group}" ${where}`;
  throw forbidden({ ...type, plural: resource }, name, why);
}

/** Answers an access review. */
export function review(authorize: Authorize, { type }: ApiRequest, body: unknown): JsonObject {
  const { spec } = objectOf(body);
  const answer = { kind: type.kind, apiVersion: "authorization.k8s.io/v1", metadata: {}, spec };
  if (type.kind === "SelfSubjectRulesReview") {
    const rule = { verbs: ["*"], apiGroups: ["*"], resources: ["*"] };
    return { ...answer, status: { resourceRules: [rule], nonResourceRules: [], incomplete: false } };
  }
  const wanted = objectOf(objectOf(spec).resourceAttributes);
  const text = (field: string) => typeof wanted[field] === "string" ? wanted[field] : "";
  const allowed = authorize({
    verb: text("verb"),
    group: text("group"),
    resource: text("resource"),
    subresource: text("subresource"),
    namespace: text("namespace"),
    name: text("name"),
  });
  return { ...answer, status: { allowed, ...(allowed ? {} : { reason: "not allowed by this cluster" }) } };
}
