/**
 * Converts schemas of templates to OpenAPI as Kubernetes wants it in a CustomResourceDefinition: a structural schema, in which every value has a
 * type. Checks that OpenAPI cannot express are left to the parser.
 *
 * There is a library for this, `@valibot/to-json-schema`, but it reads only the first or the last schema of a pipe and ignores the metadata that
 * describes quantities and opaque objects.
 * @module
 */
import type { GenericSchema } from "valibot";

/** A node of an OpenAPI schema. */
export interface OpenApi {
  readonly type?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, OpenApi>>;
  readonly required?: readonly string[];
  readonly items?: OpenApi;
  readonly additionalProperties?: OpenApi;
  readonly enum?: readonly string[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly "x-kubernetes-int-or-string"?: true;
  readonly "x-kubernetes-preserve-unknown-fields"?: true;
}

/** What the schemas and actions of valibot have in common with each other, as far as this module needs it. */
interface Item {
  readonly kind: string;
  readonly type: string;
  readonly pipe?: readonly Item[];
  readonly wrapped?: Item;
  readonly entries?: Readonly<Record<string, Item>>;
  readonly item?: Item;
  readonly value?: Item;
  readonly options?: readonly unknown[];
  readonly requirement?: unknown;
  readonly description?: string;
  readonly metadata?: { readonly openapi?: OpenApi; readonly extras?: OpenApi; readonly isHidden?: boolean };
}

const OPTIONAL: readonly string[] = ["optional", "nullish"];
const PRESERVE = "x-kubernetes-preserve-unknown-fields";

/**
 * Converts a schema.
 *
 * @param isDetailed whether objects that the CustomResourceDefinition leaves opaque are described, for the documentation
 */
export function toOpenApi(schema: GenericSchema, { isDetailed = false } = {}): OpenApi {
  return convert(schema as unknown as Item, isDetailed);
}

function convert(schema: Item, isDetailed: boolean): OpenApi {
  if (schema.pipe) return schema.pipe.reduce((node, item) => apply(node, item, isDetailed), {} as OpenApi);
  switch (schema.type) {
    case "optional":
    case "nullish":
      return allowEmpty(convert(schema.wrapped!, isDetailed), schema.type);
    case "object":
      return convertObject(schema.entries!, isDetailed);
    case "map":
      return { type: "object", additionalProperties: convert(schema.value!, isDetailed) };
    case "array":
      return { type: "array", items: convert(schema.item!, isDetailed) };
    case "intersect":
      return (schema.options as readonly Item[]).map((option) => convert(option, isDetailed)).reduce(merge);
    case "picklist":
      return { type: "string", enum: schema.options as readonly string[] };
    case "string":
    case "number":
    case "boolean":
      return { type: schema.type };
    case "unknown":
    case "lazy":
      return {};
    default:
      throw new TypeError(`Cannot convert a schema of the type "${schema.type}"`);
  }
}

/** Adds a step of a pipe to what the steps before it are. */
function apply(node: OpenApi, item: Item, isDetailed: boolean): OpenApi {
  const bound = item.requirement as number;
  switch (item.type) {
    case "description":
      return describe(node, item.description);
    case "metadata":
      return applyMetadata(node, item.metadata!, isDetailed);
    case "integer":
      return { ...node, type: "integer" };
    case "min_value":
      return { ...node, minimum: bound };
    case "max_value":
      return { ...node, maximum: bound };
    case "non_empty":
      return node.type === "string" ? { ...node, minLength: 1 } : node;
    case "max_length":
      if (!Number.isFinite(bound)) return node;
      return node.type === "array"
        ? { ...node, maxItems: bound }
        : { ...node, maxLength: Math.min(bound, node.maxLength ?? bound) };
    case "regex":
      return { ...node, pattern: (item.requirement as RegExp).source.replaceAll("\\/", "/") };
    default:
      return item.kind === "schema" ? { ...node, ...convert(item, isDetailed) } : node;
  }
}

function describe({ type, ...others }: OpenApi, description: string | undefined): OpenApi {
  return { ...(type ? { type } : {}), ...(description ? { description } : {}), ...others };
}

function applyMetadata(
  node: OpenApi,
  { openapi, extras }: NonNullable<Item["metadata"]>,
  isDetailed: boolean,
): OpenApi {
  const isReplaced = openapi && !(isDetailed && openapi[PRESERVE]);
  return { ...(isReplaced ? describe(openapi, node.description) : node), ...extras };
}

function convertObject(entries: Readonly<Record<string, Item>>, isDetailed: boolean): OpenApi {
  const shown = Object.entries(entries).filter(([, entry]) => !isHidden(entry));
  const required = shown.filter(([, { type }]) => !OPTIONAL.includes(type)).map(([name]) => name);
  return {
    type: "object",
    ...(required.length > 0 ? { required } : {}),
    properties: Object.fromEntries(shown.map(([name, entry]) => [name, convert(entry, isDetailed)])),
  };
}

function isHidden({ wrapped, pipe = [], metadata }: Item): boolean {
  return Boolean(metadata?.isHidden) || pipe.some(isHidden) || wrapped !== undefined && isHidden(wrapped);
}

/** An optional string may be empty, which is how Go marshals a string that is not set. */
function allowEmpty(node: OpenApi, type: string): OpenApi {
  if (type !== "optional" || node.type !== "string" && !node["x-kubernetes-int-or-string"]) return node;
  const { minLength: _minLength, pattern, ...others } = node;
  return {
    ...others,
    ...(node.enum ? { enum: ["", ...node.enum] } : {}),
    ...(pattern === undefined ? {} : { pattern: new RegExp(pattern).test("") ? pattern : `^$|${pattern}` }),
  };
}

/** An object cannot have both properties and additional ones in a structural schema: the latter become unknown fields. */
function merge(one: OpenApi, { additionalProperties: _additional, ...other }: OpenApi): OpenApi {
  return { ...one, ...other, properties: { ...one.properties, ...other.properties }, [PRESERVE]: true };
}
