/**
 * Building blocks for schemas of untrusted input, on top of valibot: objects whose field names may be capitalised as Go writes them, bounded
 * text, lists, mappings and quantities. A schema never quotes a value in a message unless it says so with {@linkcode shown}, since the
 * value may be a secret. Pure.
 * @module
 */
import * as v from "valibot";
import { CommandError } from "./errors.ts";
import { asRecord } from "./json.ts";
import { parseQuantity } from "./quantities.ts";

const MAX_TEXT_LENGTH = 253;
const MAX_EXCERPT_LENGTH = 80;
const MAX_LABEL_KEY_LENGTH = 253 + 1 + 63;
const PLAIN_KEY = /^[\w./-]{1,63}$/;
/** Marks a field that is in no documentation and no OpenAPI schema, because it must not be set. */
export const HIDDEN = { isHidden: true };
const DNS_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
const DNS_SUBDOMAIN = `${DNS_LABEL}(\\.${DNS_LABEL})*`;
const OBJECT_NAME = new RegExp(`^${DNS_SUBDOMAIN}$`);
const LABEL_KEY = new RegExp(
  `^(?:(?<domain>${DNS_SUBDOMAIN})/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`,
);

/** A schema that accepts anything and returns `T`. */
export type Schema<T> = v.GenericSchema<unknown, T>;

/** Inclusive bounds of a quantity. Numbers are in the base unit: bytes, cores or pieces. */
export interface QuantityBounds {
  readonly min: number;
  readonly max: number;
  /** The minimum as messages show it, such as `16Mi`. */
  readonly minText: string;
  /** The maximum as messages show it, such as `8Gi`. */
  readonly maxText: string;
  /** A valid quantity for messages. */
  readonly example: string;
}

/**
 * Validates a value.
 *
 * @param path where the value stands, such as `templateManifest`; empty for a root, whose fields have no prefix
 * @param name what messages call the value itself, by default its path
 * @throws {CommandError} naming the path of the first problem
 */
export function parse<T>(schema: Schema<T>, value: unknown, path: string, name = path): T {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const fields = pathText(issue.path ?? []);
  const full = fields === "" ? name : `${path}${path === "" ? fields.replace(/^\./, "") : fields}`;
  const isMissing = issue.kind === "schema" && issue.path?.at(-1)?.origin === "key" &&
    issue.type === "object";
  throw invalid(full, isMissing ? REQUIRED : issue.message);
}

/** What the message about a missing value says. */
export const REQUIRED = "is required";

/** An error about the value at a path. */
export function invalid(path: string, problem: string): CommandError {
  return new CommandError("invalid", `"${path}" ${problem}`);
}

/** A message that also shows the rejected value; not for values that may be secret. */
export function shown(problem: string): (issue: { readonly input: unknown }) => string {
  return ({ input }) => `${problem}, but is ${excerpt(input)}`;
}

/** Enough of an untrusted value to recognise it; of objects and lists only the kind, because they may contain secrets. */
export function excerpt(value: unknown): string {
  if (value === undefined || typeof value === "object" && value !== null) return kindOf(value);
  const text = JSON.stringify(value);
  return text.length > MAX_EXCERPT_LENGTH ? `${text.slice(0, MAX_EXCERPT_LENGTH)}…` : text;
}

/** Whether a value differs from Go's zero values and from empty lists and objects. */
export function isSet(value: unknown): boolean {
  if (value === undefined || value === null || value === "" || value === false) return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

/**
 * An object with these fields; a missing object is an empty one. Field names match in any case, as in Go's `encoding/json`. `null` is absent,
 * and so is an empty string where the field is `v.optional()`; a `v.nullish()` field rejects it. The output has the fields that are set.
 *
 * @param others message for every other field that is set; by default other fields are ignored
 */
export function fields<const T extends v.ObjectEntries>(
  entries: T,
  others?: string,
): Schema<v.InferOutput<v.ObjectSchema<T, undefined>>> {
  return v.pipe(
    v.unknown(),
    v.rawTransform(({ dataset, addIssue }) => {
      const given = asRecord(dataset.value ?? {});
      if (!given) {
        addIssue({ message: `must be an object, but is ${kindOf(dataset.value)}` });
        return {};
      }
      const { known, unknown } = matchNames(given, entries);
      const extra = others === undefined ? undefined : unknown.find((key) => isSet(given[key]));
      if (extra !== undefined) addIssue({ message: others ?? "", path: [field(extra)] });
      return known;
    }),
    v.object(entries),
    v.transform((output) =>
      Object.fromEntries(Object.entries(output).filter(([, value]) => value !== undefined)) as typeof output
    ),
  );
}

/** The fields of an object by their canonical names, and the names of the others. */
function matchNames(
  given: Readonly<Record<string, unknown>>,
  entries: v.ObjectEntries,
): { known: Record<string, unknown>; unknown: string[] } {
  const known: Record<string, unknown> = {};
  const keys = Object.keys(given);
  const names = new Map(Object.keys(entries).map((name) => [name.toLowerCase(), name]));
  for (const [lower, name] of names) {
    const key = Object.hasOwn(given, name) ? name : keys.find((one) => one.toLowerCase() === lower);
    const value = key === undefined ? undefined : given[key];
    const isAbsent = value === undefined || value === null ||
      value === "" && entries[name]?.type === "optional";
    if (!isAbsent) known[name] = value;
  }
  return { known, unknown: keys.filter((key) => !names.has(key.toLowerCase())) };
}

/** A mapping whose keys are data; the output keeps keys such as `__proto__`. */
export function mapping<T>(
  key: Schema<string>,
  value: Schema<T>,
  max = Infinity,
): Schema<Record<string, T>> {
  const entries: v.GenericSchema<Map<unknown, unknown>, Map<string, T>> = v.map(key, value);
  return v.pipe(
    v.unknown(),
    v.rawTransform(({ dataset, addIssue }) => {
      const given = asRecord(dataset.value);
      const map = new Map<unknown, unknown>(Object.entries(given ?? {}));
      if (!given) addIssue({ message: `must be an object, but is ${kindOf(dataset.value)}` });
      else if (map.size > max) addIssue({ message: `must have at most ${max} entries` });
      return map;
    }),
    entries,
    v.transform((map) => Object.fromEntries(map)),
  );
}

/** A list with at most `max` entries. */
export function list<T>(item: Schema<T>, max: number): Schema<T[]> {
  return v.pipe(
    v.array(v.unknown(), ({ input }) => `must be a list, but is ${kindOf(input)}`),
    v.maxLength(max, `must have at most ${max} entries`),
    v.array(item),
  );
}

/** A list with 1 to `max` entries. */
export function nonEmptyList<T>(item: Schema<T>, max: number): Schema<T[]> {
  return v.pipe(list(item, max), v.nonEmpty("must not be empty"));
}

/** Rejects a list in which two entries have the same key; the message shows the value of the field `name`. */
export function unique<T extends object>(
  name: keyof T & string,
  keyOf = (item: T): unknown => item[name],
): v.RawCheckAction<T[]> {
  return v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const seen = new Set<unknown>();
    for (const [index, item] of dataset.value.entries()) {
      const key = keyOf(item);
      if (seen.has(key)) {
        const message = `must be unique, but ${excerpt(item[name])} appears twice`;
        return addIssue({ message, path: [listEntry(index), field(name)] });
      }
      seen.add(key);
    }
  });
}

/** A list as {@linkcode list} accepts it; empty where it is absent. Unlike an optional list, it must not be an empty string. */
export function listOrEmpty<T>(item: Schema<T>, max: number): v.NullishSchema<Schema<T[]>, []> {
  return v.nullish(list(item, max), []);
}

/** A string with at most `max` characters. */
export function text(max = MAX_TEXT_LENGTH): Schema<string> {
  return v.pipe(
    v.string(shown("must be a string")),
    v.nonEmpty("must not be empty"),
    v.check((value) => value.trim() !== "", "must not be empty"),
    v.maxLength(max, shown(`must have at most ${max} characters`)),
    // A NUL keeps a container from starting, and the other control characters are part of no name.
    v.check((value) => !/\p{Cc}/u.test(value), shown("must not contain control characters")),
    // Half of a surrogate pair would become another character on the way to Kubernetes.
    v.check((value) => value.isWellFormed(), shown("must be valid Unicode")),
  );
}

/** A string that a pattern matches. */
export function matching(pattern: RegExp, problem: string, max?: number): Schema<string> {
  return v.pipe(text(max), v.regex(pattern, shown(problem)));
}

/** The name of a Kubernetes object. */
export function objectName(): Schema<string> {
  return matching(OBJECT_NAME, "must be the name of an object: lower-case letters, digits, hyphens and dots");
}

/** One of these strings. */
export function oneOf<const T extends readonly string[]>(...choices: T): Schema<T[number]> {
  const wanted = choices.length > 1 ? `one of ${choices.join(", ")}` : choices[0];
  return v.picklist(choices, shown(`must be ${wanted}`));
}

/** True or false; false where it is absent. An empty string is rejected. */
export function flag(): v.NullishSchema<Schema<boolean>, false> {
  return v.nullish(v.boolean(shown("must be true or false")), false);
}

/** An object of the Kubernetes API that the OpenAPI schema does not describe in detail; the parser checks it. */
export const OPAQUE = { type: "object", "x-kubernetes-preserve-unknown-fields": true };

/**
 * Adds the description of a field to its schema, for the OpenAPI schema and the documentation.
 *
 * @param openapi replaces what the schema itself would become
 */
export function documented<T>(
  schema: Schema<T>,
  text: string,
  openapi?: Readonly<Record<string, unknown>>,
): Schema<T> {
  return v.pipe(schema, v.description(text), v.metadata(openapi ? { openapi } : {}));
}

/** A field that may only be there with a value that means "not set"; it is not part of the output. */
export function forbidden(
  problem: string,
  isAllowed = (value: unknown): boolean => !isSet(value),
): v.OptionalSchema<Schema<undefined>, undefined> {
  return v.optional(
    v.pipe(v.unknown(), v.check(isAllowed, problem), v.transform(() => undefined), v.metadata(HIDDEN)),
  );
}

/** A field that may only be there to say `false`; it is not part of the output. */
export function falseOnly(): v.NullishSchema<Schema<undefined>, undefined> {
  return v.nullish(v.pipe(
    v.boolean(shown("must be true or false")),
    v.check((value) => !value, "must not be true"),
    v.transform(() => undefined),
    v.metadata(HIDDEN),
  ));
}

/** An integer within inclusive bounds. */
export function integer(min: number, max: number): Schema<number> {
  const problem = shown(`must be an integer from ${min} to ${max}`);
  return v.pipe(
    v.number(problem),
    v.integer(problem),
    v.minValue(min, problem),
    v.maxValue(max, problem),
  );
}

/** A Kubernetes quantity, as a string. */
export function quantity({ min, max, minText, maxText, example }: QuantityBounds): Schema<string> {
  const problem = shown(`must be a Kubernetes quantity such as "${example}"`);
  return v.pipe(
    v.string(problem),
    v.check((value) => parseQuantity(value) !== undefined, problem),
    v.check((value) => (parseQuantity(value) ?? NaN) >= min, shown(`must be at least ${minText}`)),
    v.check((value) => (parseQuantity(value) ?? NaN) <= max, shown(`must be at most ${maxText}`)),
  );
}

/** The same with a number converted to a string: in YAML, `cpu: 2` is a number. */
export function orNumber(schema: Schema<string>): Schema<string> {
  return v.pipe(
    v.unknown(),
    v.transform((value) => typeof value === "number" ? String(value) : value),
    schema,
  );
}

/** The domain of a label key or resource name, which may be empty; `undefined` where the text is neither. */
export function domainOf(key: string): string | undefined {
  const match = key.length > MAX_LABEL_KEY_LENGTH ? null : LABEL_KEY.exec(key);
  return match ? match.groups?.domain ?? "" : undefined;
}

/** A step of an issue's path: a field of an object. */
export function field(key: string): v.ObjectPathItem {
  return { type: "object", origin: "value", input: {}, key, value: undefined };
}

/** A step of an issue's path: an entry of a mapping. */
export function mapEntry(key: string): v.MapPathItem {
  return { type: "map", origin: "value", input: new Map(), key, value: undefined };
}

/** A step of an issue's path: an entry of a list. */
export function listEntry(key: number): v.ArrayPathItem {
  return { type: "array", origin: "value", input: [], key, value: undefined };
}

function pathText(path: readonly v.IssuePathItem[]): string {
  return path.map(({ type, key }) =>
    type === "array" ? `[${key}]` : type === "map" ? `[${keyText(String(key))}]` : `.${keyText(String(key))}`
  ).join("");
}

function keyText(key: string): string {
  return PLAIN_KEY.test(key) ? key : excerpt(key);
}

function kindOf(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
