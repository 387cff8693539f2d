/**
 * Label and field selectors: text or object in, a predicate out.
 * @module
 */
import type { V1LabelSelector } from "@kubernetes/client-node";
import { badRequest } from "./api_error.ts";
import { type ApiObject, objectOf } from "./api_objects.ts";
import type { ResourceType } from "./resources.ts";

/** Labels of an object. */
export type Labels = Readonly<Record<string, string>>;
/** Decides whether an object matches. */
export type Predicate<T> = (candidate: T) => boolean;

/**
 * Parses a label selector of a query, such as `app=a,tier in (x,y),!z`.
 * @throws {ApiError} 400 when it is malformed
 */
export function parseLabelSelector(text: string): Predicate<Labels> {
  const terms = text.split(/,(?![^(]*\))/).map((term) => term.trim()).filter((term) => term !== "");
  const requirements = terms.map(parseRequirement);
  return (labels) => requirements.every((holds) => holds(labels));
}

function parseRequirement(term: string): Predicate<Labels> {
  const set = /^(\S+)\s+(in|notin)\s*\(([^)]*)\)$/.exec(term);
  if (set) {
    const [, key = "", operator, list = ""] = set;
    return requirement(key, operator === "in" ? "In" : "NotIn", list.split(",").map((value) => value.trim()));
  }
  const equality = /^([^\s=!]+)\s*(==|=|!=)\s*([^\s=!]*)$/.exec(term);
  if (equality) {
    const [, key = "", operator, value = ""] = equality;
    return requirement(key, operator === "!=" ? "NotIn" : "In", [value]);
  }
  const [, not, key] = /^(!?)\s*([^\s=!()]+)$/.exec(term) ?? [];
  if (key) return requirement(key, not ? "DoesNotExist" : "Exists", []);
  const found = term.split(/\s+/)[1] ?? term;
  throw badRequest(`unable to parse requirement: found '${found}', expected: in, notin, =, ==, !=, gt, lt`);
}

function requirement(key: string, operator: string, values: readonly string[]): Predicate<Labels> {
  switch (operator) {
    case "In":
      return (labels) => labels[key] !== undefined && values.includes(labels[key]);
    case "NotIn":
      return (labels) => labels[key] === undefined || !values.includes(labels[key]);
    case "Exists":
      return (labels) => labels[key] !== undefined;
    case "DoesNotExist":
      return (labels) => labels[key] === undefined;
    default:
      throw badRequest(`"${operator}" is not a valid label selector operator`);
  }
}

/** Predicate of a selector in an object; an empty selector matches everything. */
export function matchesSelector(selector: V1LabelSelector | undefined): Predicate<Labels> {
  const requirements = [
    ...Object.entries(selector?.matchLabels ?? {}).map(([key, value]) => requirement(key, "In", [value])),
    ...(selector?.matchExpressions ?? []).map(({ key, operator, values }) =>
      requirement(key, operator, values ?? [])
    ),
  ];
  return (labels) => requirements.every((holds) => holds(labels));
}

/** Text form of a selector in an object. */
export function formatSelector(selector: V1LabelSelector | undefined): string {
  const labels = Object.entries(selector?.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  const expressions = (selector?.matchExpressions ?? []).map(({ key, operator, values }) => {
    if (operator === "Exists") return key;
    if (operator === "DoesNotExist") return `!${key}`;
    return `${key} ${operator.toLowerCase()} (${(values ?? []).join(",")})`;
  });
  return [...labels, ...expressions].join(",");
}

/**
 * Parses a field selector such as `metadata.name=a,status.phase!=Running`.
 * @throws {ApiError} 400 when it is malformed or the type does not support the field
 */
export function parseFieldSelector(type: ResourceType, text: string): Predicate<ApiObject> {
  const terms = text.split(",").filter((term) => term !== "");
  const requirements = terms.map((term): Predicate<ApiObject> => {
    const [, field = "", operator, value] = /^([^=!]+)(==|=|!=)(.*)$/.exec(term) ?? [];
    if (operator === undefined) throw badRequest(`invalid selector: '${term}'; can't understand '${term}'`);
    if (!["metadata.name", "metadata.namespace", ...type.fields].includes(field)) {
      throw badRequest(`field label not supported: ${field}`);
    }
    return (object) => (readField(object, field) === value) === (operator !== "!=");
  });
  return (object) => requirements.every((holds) => holds(object));
}

function readField(object: ApiObject, field: string): string {
  const path = field === "source" ? ["source", "component"] : field.split(".");
  const value = path.reduce<unknown>((at, key) => objectOf(at)[key], object);
  return value === undefined || value === null ? "" : String(value);
}
