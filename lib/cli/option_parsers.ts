/**
 * Parsers of settings, which are text from flags and environment variables or values from the YAML of a settings file. Pure.
 * @module
 */
import type { V1NodeAffinity } from "@kubernetes/client-node";
import { CORE_SCHEMA, load } from "js-yaml";
import * as v from "valibot";
import { messageOf } from "../common/errors.ts";
import { asRecord } from "../common/json.ts";
import { formatDuration, parseDuration, parseQuantity } from "../common/quantities.ts";
import * as s from "../common/schema.ts";
import { controlPlaneAddresses } from "../control_plane/addresses.ts";
import type { ListenAddress } from "../model/settings.ts";
import { BUILT_IN_TEMPLATES, type TemplateTable } from "../model/template.ts";
import { parseListenAddress } from "../telemetry/health.ts";
import { TEMPLATE_ENTRY } from "../templates/template.ts";

/** The value of a setting, or the problem with it, which completes a sentence such as `--region …`. */
export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problem: string };

/** Parses what a flag, a variable or a file contains. */
export type Parser<T> = (value: unknown) => Parsed<T>;

/** A quantity of storage below this lacks its unit: "10" is ten bytes. */
const MIN_STORAGE_BYTES = 2 ** 20;

/** @param problem the message about every invalid value; by default, the schema's own message */
function parser<T>(schema: s.Schema<T>, problem?: string): Parser<T> {
  return (value) => {
    const result = v.safeParse(schema, value, { abortEarly: true });
    return result.success
      ? { ok: true, value: result.output }
      : { ok: false, problem: problem ?? result.issues[0].message };
  };
}

/** Text, which is a number in YAML if it consists of digits. */
const TEXT: s.Schema<string> = v.pipe(
  v.unknown(),
  v.check((value) => typeof value === "string" || typeof value === "number", "must be text"),
  v.transform(String),
);

/** Text that a pattern matches. */
function matching(pattern: RegExp, problem: string): Parser<string> {
  return parser(v.pipe(TEXT, v.regex(pattern, problem)));
}

/** Text that a function converts; `undefined` is invalid. */
function converted<T>(convert: (text: string) => T | undefined, problem: string): s.Schema<T> {
  return v.pipe(
    v.unknown(),
    v.check((value) => typeof value === "string" || typeof value === "number", problem),
    v.transform((value) => convert(String(value))),
    v.check((value): value is T => value !== undefined, problem),
    v.transform((value) => value as T),
  );
}

/** Any text. */
export const text = parser(TEXT);

/** Short printable text for log lines, labels and JSON. */
export const label = matching(/^[\x20-\x7e]{0,253}$/, "must be at most 253 printable characters");

/** An ID for URLs and labels. */
export const agentId = matching(
  /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/,
  "must be 1 to 63 letters, digits, dots, hyphens or underscores, with a letter or digit at both ends",
);

/** The name of a namespace. */
export const namespace = matching(
  /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/,
  "must be a Kubernetes namespace: lower-case letters, digits and hyphens",
);

/** The name of a Kubernetes object, or an empty string. */
export const objectName = matching(
  /^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)?$/,
  "must be the name of a Kubernetes object: lower-case letters, digits, hyphens and dots",
);

/** A pattern in which `*` matches any text. */
export const pattern = matching(
  /^[\x21-\x7e]{1,512}$/,
  "must be text without spaces, in which * matches any text",
);

/** The URL of the Control Plane. */
export function url(value: unknown): Parsed<string> {
  const problem = typeof value === "string" ? controlPlaneAddresses(value).problem : "must be text";
  return problem ? { ok: false, problem } : { ok: true, value: String(value) };
}

/** An amount of cores or memory from 1 to 1,000,000; `kind` names it in messages, with an example. */
export function amount(convert: (text: string) => number | undefined, kind: string): Parser<number> {
  const range = "must be between 1 and 1000000";
  return parser(
    v.pipe(
      converted(convert, `must be an amount of ${kind}`),
      v.minValue(1, range),
      v.maxValue(1_000_000, range),
    ),
  );
}

/** An integer within inclusive bounds. */
export function integer(min: number, max: number): Parser<number> {
  const schema = v.pipe(TEXT, v.regex(/^\d+$/), v.transform(Number), v.minValue(min), v.maxValue(max));
  return parser(schema, `must be an integer from ${min} to ${max}`);
}

/** A duration within inclusive bounds, in milliseconds. */
export function duration(min: number, max: number): Parser<number> {
  const range = `must be between ${formatDuration(min)} and ${formatDuration(max)}`;
  return parser(v.pipe(
    converted(parseDuration, "must be a duration such as 10s or 2m"),
    v.minValue(min, range),
    v.maxValue(max, range),
  ));
}

/** A duration within inclusive bounds, in milliseconds, or a word. */
export function durationOr<const W extends string>(word: W, min: number, max: number): Parser<number | W> {
  const parse = duration(min, max);
  return (value) => {
    if (value === word) return { ok: true, value: word };
    const parsed = parse(value);
    return parsed.ok ? parsed : { ok: false, problem: `${parsed.problem}, or ${word}` };
  };
}

/** A Kubernetes quantity of storage. */
export const quantity = parser(
  s.orNumber(v.pipe(v.string(), v.check((value) => (parseQuantity(value) ?? NaN) >= MIN_STORAGE_BYTES))),
  "must be a Kubernetes quantity such as 10Gi, and at least 1Mi",
);

/** One of these strings. */
export function oneOf<const T extends string>(...choices: T[]): Parser<T> {
  return parser(v.picklist(choices), `must be one of ${choices.join(", ")}`);
}

/** An address to listen on, or `off`. */
export const listenAddress: Parser<ListenAddress | "off"> = parser(
  v.pipe(
    v.unknown(),
    v.transform((value) => value === "off" ? value : parseListenAddress(String(value))),
    v.check((address) => address !== undefined),
    v.transform((address) => address as ListenAddress | "off"),
  ),
  "must be an address such as :8080 or 127.0.0.1:8080, or off",
);

/** True or false. */
export const switchValue = parser(
  v.pipe(
    v.unknown(),
    v.transform((value) => typeof value === "object" ? "" : String(value).toLowerCase()),
    v.picklist(["true", "1", "false", "0"]),
    v.transform((value) => value === "true" || value === "1"),
  ),
  "must be true or false",
);

/** A structured setting: the YAML of a flag or variable, or a value from the YAML of a file. */
function structure(value: unknown): unknown {
  if (typeof value !== "string") return value;
  try {
    return load(value, { schema: CORE_SCHEMA });
  } catch {
    return undefined;
  }
}

function structured<T>(schema: s.Schema<T>, problem: string): Parser<T> {
  return parser(v.pipe(v.unknown(), v.transform(structure), schema), problem);
}

/** A list in YAML, or text with commas between its entries. */
export function list<T>(parse: Parser<T>): Parser<readonly T[]> {
  return (value) => {
    const isPlain = typeof value === "string" && !value.trimStart().startsWith("[");
    const entries = isPlain ? value.split(",").map((entry) => entry.trim()) : structure(value);
    if (!Array.isArray(entries)) return { ok: false, problem: "must be a list, such as [a, b] or a,b" };
    const parsed = entries.map(parse);
    const failed = parsed.find((one) => !one.ok);
    if (failed?.ok === false) {
      return { ok: false, problem: `must be a list in which each entry ${failed.problem}` };
    }
    return { ok: true, value: parsed.flatMap((one) => one.ok ? [one.value] : []) };
  };
}

const SCALAR = v.pipe(
  v.unknown(),
  v.check((value) => typeof value !== "object" || value === null),
  v.transform((value) => String(value ?? "")),
);

/** Node labels and their values. */
export const labels = structured(
  s.mapping(v.string(), SCALAR),
  "must be a mapping of node labels to values, such as {pool: desktops}",
);

/** Amounts of extended resources, such as GPUs, by the resource name with its domain. */
export const resourceAmounts = structured(
  s.mapping(
    v.pipe(v.string(), v.regex(/^[a-z0-9.-]{1,253}\/[A-Za-z0-9._-]{1,63}$/)),
    v.pipe(v.unknown(), v.transform(String), v.regex(/^[1-9]\d{0,5}$/)),
  ),
  "must be a mapping of resources to integers, such as {nvidia.com/gpu: 1}",
);

const NODE_AFFINITY_FIELDS = [
  "requiredDuringSchedulingIgnoredDuringExecution",
  "preferredDuringSchedulingIgnoredDuringExecution",
] as const;

/** A node affinity; the API server validates its terms. */
export const nodeAffinity: Parser<V1NodeAffinity> = structured(
  s.mapping(s.oneOf(...NODE_AFFINITY_FIELDS), v.unknown()),
  `must be a mapping with ${NODE_AFFINITY_FIELDS.join(" or ")}`,
);

/** A list of tolerations; the API server validates their values. */
export const tolerations = structured(
  s.list(
    v.pipe(
      // Unlike a strict object of valibot, a mapping also rejects fields such as "constructor".
      s.mapping(s.oneOf("key", "operator", "value", "effect", "tolerationSeconds"), v.unknown()),
      v.object({
        key: v.optional(v.string()),
        operator: v.optional(v.string()),
        value: v.optional(v.string()),
        effect: v.optional(v.string()),
        tolerationSeconds: v.optional(v.number()),
      }),
    ),
    Infinity,
  ),
  "must be a list of tolerations, such as [{key: desktops, operator: Exists, effect: NoSchedule}]",
);

/** The built-in templates and those that the operator adds. */
export function templates(value: unknown): Parsed<TemplateTable> {
  const entries = asRecord(structure(value));
  if (!entries) {
    const problem =
      "must be a mapping of names to images, such as {gimp: lscr.io/linuxserver/gimp:latest}, or to {image, port}";
    return { ok: false, problem };
  }
  const table = new Map(BUILT_IN_TEMPLATES);
  try {
    for (const [name, entry] of Object.entries(entries)) {
      table.set(name, s.parse(TEMPLATE_ENTRY, entry, name));
    }
  } catch (error) {
    return { ok: false, problem: `must be valid templates: ${messageOf(error)}` };
  }
  return { ok: true, value: table };
}
