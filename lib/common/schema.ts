/**
 * Building blocks for schemas of untrusted input, on top of valibot (imported as `s`, next to valibot's `v`). Field names may be capitalised, as
 * Go programs marshal them. A message shows the rejected value only where the schema uses {@linkcode shown}, as it may be a secret. Pure.
 * @module
 */
import * as v from "valibot";
import { CommandError } from "./errors.ts";
import { asRecord } from "./json.ts";
import { parseQuantity } from "./quantities.ts";

const MAX_TEXT = 253;
const MAX_EXCERPT = 80;
const PLAIN_KEY = /^[\w./-]{1,63}$/;
const DNS_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
const DNS_SUBDOMAIN = `${DNS_LABEL}(\\.${DNS_LABEL})*`;
const OBJECT_NAME = new RegExp(`^${DNS_SUBDOMAIN}$`);
const LABEL_KEY = new RegExp(
  `^(?:(?<domain>${DNS_SUBDOMAIN})/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`,
);

/** Most characters of a label key: a domain, a slash and a name. */
export const MAX_LABEL_KEY = 253 + 1 + 63;
/** Message about a missing value. */
export const REQUIRED = "is required";
/** OpenAPI of an object that only the parser checks in detail. */
export const OPAQUE = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
/** Metadata of a field that must not be set, and so is in no documentation. */
const HIDDEN = { isHidden: true };

/** A schema that accepts anything and returns `T`. */
export type Schema<T> = v.GenericSchema<unknown, T>;

/** Inclusive bounds of a quantity in its base unit (bytes, cores or pieces), and how messages show them. */
export interface QuantityBounds {
  readonly min: number;
  readonly minText: string;
  readonly max: number;
  readonly maxText: string;
  /** A valid quantity. */
  readonly example: string;
}

/**
 * Validates a value.
 *
 * @param path where the value is, such as `templateManifest`; empty for a root, whose fields have no prefix
 * @param name what messages call the value itself, by default its path
 * @throws {CommandError} naming the path of the first problem
 */
export function parse<T>(schema: Schema<T>, value: unknown, path: string, name = path): T {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [{ kind, message, path: steps = [] }] = result.issues;
  const below = steps.map(stepText).join("");
  const isMissing = kind === "schema" && steps.at(-1)?.origin === "key" && steps.at(-1)?.type === "object";
  const full = below === "" ? name : `${path}${below}`.replace(/^\./, "");
  throw invalid(full, isMissing ? REQUIRED : message);
}

/** An error about the value at a path. */
export function invalid(path: string, problem: string): CommandError {
  return new CommandError("invalid", `"${path}" ${problem}`);
}

/** A message that shows the rejected value; not for values that may be secret. */
export function shown(problem: string): (issue: { readonly input: unknown }) => string {
  return ({ input }) => `${problem}, but is ${excerpt(input)}`;
}

/** Enough of a value to recognise it; only the kind of objects and lists, which may contain secrets. */
export function excerpt(value: unknown): string {
  if (value === undefined || typeof value === "object" && value !== null) return kindOf(value);
  const text = JSON.stringify(value);
  return text.length > MAX_EXCERPT ? `${text.slice(0, MAX_EXCERPT)}…` : text;
}

/** Whether a value is neither one of Go's zero values (but 0) nor an empty list or object. */
export function isSet(value: unknown): boolean {
  if (value === undefined || value === null || value === "" || value === false) return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

/**
 * An object with these fields; an absent object has none. Names match in any case, as in Go's `encoding/json`. `null` is absent, and an empty
 * string is, too, for an {@linkcode optional} field. The output has the fields that are set.
 *
 * @param others message about any other field that is set; by default, other fields are ignored
 */
export function fields<const T extends v.ObjectEntries>(
  entries: T,
  others?: string,
): Schema<v.InferOutput<v.ObjectSchema<T, undefined>>> {
  const names = new Map(Object.keys(entries).map((name) => [name.toLowerCase(), name]));
  return v.pipe(
    v.unknown(),
    v.rawTransform(({ dataset: { value }, addIssue, NEVER }) => {
      const given = asRecord(value ?? {});
      if (!given) {
        addIssue({ message: `must be an object, but is ${kindOf(value)}` });
        return NEVER;
      }
      const extra = others &&
        Object.keys(given).find((key) => !names.has(key.toLowerCase()) && isSet(given[key]));
      if (others && extra !== undefined) addIssue({ message: others, path: [field(extra)] });
      const known = [...names].map(([lower, name]) => {
        const key = Object.hasOwn(given, name)
          ? name
          : Object.keys(given).find((one) => one.toLowerCase() === lower);
        const found = key === undefined ? undefined : given[key];
        return [name, found === "" && entries[name]?.type === "optional" ? undefined : found] as const;
      });
      return Object.fromEntries(known.filter(([, found]) => found !== undefined && found !== null));
    }),
    v.object(entries),
    v.transform((output) =>
      Object.fromEntries(Object.entries(output).filter(([, value]) => value !== undefined)) as typeof output
    ),
  );
}

/** Adds a description to a schema; `openapi` replaces what the schema itself would be in OpenAPI. */
export function documented<T>(schema: Schema<T>, description: string, openapi?: object): Schema<T> {
  return v.pipe(schema, v.description(description), v.metadata(openapi ? { openapi } : {}));
}

/** A field that may be absent, or an empty string, which is how Go marshals a string that is not set. */
export function optional<T>(
  schema: Schema<T>,
  description?: string,
  openapi?: object,
): v.OptionalSchema<Schema<T>, undefined> {
  return v.optional(description === undefined ? schema : documented(schema, description, openapi));
}

/** A field that may be absent, but not an empty string. */
export function nullish<T>(
  schema: Schema<T>,
  description?: string,
  openapi?: object,
): v.NullishSchema<Schema<T>, undefined> {
  return v.nullish(description === undefined ? schema : documented(schema, description, openapi));
}

/** A field that must not be set; it is not part of the output. */
export function forbidden(
  problem: string,
  isAllowed = (value: unknown): boolean => !isSet(value),
): v.OptionalSchema<Schema<undefined>, undefined> {
  return v.optional(dropped(v.pipe(v.unknown(), v.check(isAllowed, problem))));
}

/** A field that may only be `false`; it is not part of the output. */
export function falseOnly(): v.NullishSchema<Schema<undefined>, undefined> {
  return v.nullish(dropped(v.pipe(BOOLEAN, v.check((value) => !value, "must not be true"))));
}

/** A field that is checked, but neither part of the output nor documented. */
export function dropped(schema: Schema<unknown>): Schema<undefined> {
  return v.pipe(schema, v.transform(() => undefined), v.metadata(HIDDEN));
}

/** A mapping whose keys are data, even `__proto__`. */
export function mapping<T>(key: Schema<string>, value: Schema<T>, max = Infinity): Schema<Record<string, T>> {
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

/** A list with at most `max` entries, which may be absent. */
export function listOrEmpty<T>(item: Schema<T>, max: number): v.NullishSchema<Schema<T[]>, []> {
  return v.nullish(list(item, max), []);
}

/** Rejects a list with two entries of the same key; the message shows the field `name`. */
export function unique<T extends object>(
  name: keyof T & string,
  keyOf = (item: T): unknown => item[name],
): v.RawCheckAction<T[]> {
  return v.rawCheck(({ dataset, addIssue }) => {
    const keys = dataset.typed ? dataset.value.map(keyOf) : [];
    const index = keys.findIndex((key, position) => keys.indexOf(key) < position);
    const item = dataset.typed ? dataset.value[index] : undefined;
    if (!item) return;
    const message = `must be unique, but ${excerpt(item[name])} appears twice`;
    addIssue({ message, path: [listEntry(index), field(name)] });
  });
}

/** True or false. */
export const BOOLEAN: Schema<boolean> = v.boolean(shown("must be true or false"));

/** A switch, which is false if it is absent. */
export function flag(): v.NullishSchema<Schema<boolean>, false> {
  return v.nullish(BOOLEAN, false);
}

/** A string of 1 to `max` characters that are not all white space. */
export function text(max = MAX_TEXT): Schema<string> {
  return v.pipe(
    v.string(shown("must be a string")),
    v.nonEmpty("must not be empty"),
    v.check((value) => value.trim() !== "", "must not be empty"),
    v.maxLength(max, shown(`must have at most ${max} characters`)),
    // A NUL keeps a container from starting, and names have no control characters.
    v.check((value) => !/\p{Cc}/u.test(value), shown("must not contain control characters")),
    // JSON encoders replace half of a surrogate pair by another character.
    v.check((value) => value.isWellFormed(), shown("must be valid Unicode")),
  );
}

/** {@linkcode text} that a pattern matches. */
export function matching(pattern: RegExp, problem: string, max?: number): Schema<string> {
  return v.pipe(text(max), v.regex(pattern, shown(problem)));
}

/** A string, even an empty one, that a pattern matches. */
export function pattern(regex: RegExp, problem: v.ErrorMessage<v.BaseIssue<unknown>>): Schema<string> {
  return v.pipe(v.string(problem), v.regex(regex, problem));
}

/** The name of a Kubernetes object. */
export function objectName(): Schema<string> {
  return matching(OBJECT_NAME, "must be the name of an object: lower-case letters, digits, hyphens and dots");
}

/** One of these strings. */
export function oneOf<const T extends readonly string[]>(...choices: T): Schema<T[number]> {
  return v.picklist(
    choices,
    shown(`must be ${choices.length > 1 ? `one of ${choices.join(", ")}` : choices[0]}`),
  );
}

/** An integer within inclusive bounds. */
export function integer(min: number, max: number): Schema<number> {
  const problem = shown(`must be an integer from ${min} to ${max}`);
  return v.pipe(v.number(problem), v.integer(problem), v.minValue(min, problem), v.maxValue(max, problem));
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

/** The same, but numbers are converted to strings: `cpu: 2` in YAML is a number. */
export function orNumber(schema: Schema<string>): Schema<string> {
  return v.pipe(
    v.unknown(),
    v.transform((value) => typeof value === "number" ? String(value) : value),
    schema,
  );
}

/** The domain of a label key or resource name, which may be empty; `undefined` if the key is invalid. */
export function domainOf(key: string): string | undefined {
  const match = key.length > MAX_LABEL_KEY ? null : LABEL_KEY.exec(key);
  return match ? match.groups?.domain ?? "" : undefined;
}

/** A step in the path of an issue: a field of an object. */
export function field(key: string): v.ObjectPathItem {
  return { type: "object", origin: "value", input: {}, key, value: undefined };
}

/** A step in the path of an issue: an entry of a mapping. */
export function mapEntry(key: string): v.MapPathItem {
  return { type: "map", origin: "value", input: new Map(), key, value: undefined };
}

/** A step in the path of an issue: an entry of a list. */
export function listEntry(key: number): v.ArrayPathItem {
  return { type: "array", origin: "value", input: [], key, value: undefined };
}

function stepText({ type, key }: v.IssuePathItem): string {
  const name = PLAIN_KEY.test(String(key)) ? String(key) : excerpt(key);
  return type === "array" || type === "map" ? `[${name}]` : `.${name}`;
}

function kindOf(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
