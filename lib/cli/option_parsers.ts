/**
 * Parsers of settings: raw values in, values or error messages out. Pure.
 * @module
 */
import type { V1NodeAffinity } from "@kubernetes/client-node";
import { CORE_SCHEMA, load } from "js-yaml";
import * as v from "valibot";
import { controlPlaneAddresses } from "../control_plane/addresses.ts";
import { messageOf } from "../common/errors.ts";
import { asRecord } from "../common/json.ts";
import { formatDuration, parseDuration, parseQuantity } from "../common/quantities.ts";
import type { ListenAddress } from "../model/settings.ts";
import { BUILT_IN_TEMPLATES, type TemplateTable } from "../model/template.ts";
import { list as listOf, mapping, oneOf as oneOfText, parse, type Schema } from "../common/schema.ts";
import { TEMPLATE_ENTRY } from "../templates/template.ts";
import { parseListenAddress } from "../telemetry/health.ts";

/** A parsed value, or why the raw value is invalid, as a phrase that starts with "must". */
export type Parsed<T> = { readonly ok: true; readonly value: T } | {
  readonly ok: false;
  readonly problem: string;
};

function ok<T>(value: T): Parsed<T> {
  return { ok: true, value };
}

function bad<T>(problem: string): Parsed<T> {
  return { ok: false, problem };
}

/** Any text. */
export function text(value: unknown): Parsed<string> {
  return typeof value === "string" || typeof value === "number" ? ok(String(value)) : bad("must be text");
}

/** Short printable text, for log lines, labels and JSON. */
export function label(value: unknown): Parsed<string> {
  const parsed = text(value);
  if (!parsed.ok) return parsed;
  return /^[\x20-\x7e]{0,253}$/.test(parsed.value) ? parsed : bad("must be at most 253 printable characters");
}

/** An agent id, for URLs and label values. */
export function agentId(value: unknown): Parsed<string> {
  const parsed = text(value);
  if (!parsed.ok) return parsed;
  return /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(parsed.value) ? parsed : bad(
    "must be 1 to 63 letters, digits, dots, hyphens or underscores, with a letter or digit at both ends",
  );
}

/** The name of a namespace. */
export function namespace(value: unknown): Parsed<string> {
  const parsed = text(value);
  if (!parsed.ok) return parsed;
  return /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(parsed.value)
    ? parsed
    : bad("must be a Kubernetes namespace: lower-case letters, digits and hyphens");
}

/** The URL of the Control Plane. */
export function url(value: unknown): Parsed<string> {
  const problem = typeof value === "string" ? controlPlaneAddresses(value).problem : "must be text";
  return problem ? bad(problem) : ok(String(value));
}

/** An amount of cores or memory, at least 1. */
export function amount(
  parse: (text: string) => number | undefined,
  unit: string,
): (value: unknown) => Parsed<number> {
  return (value) => {
    const parsed = typeof value === "string" || typeof value === "number" ? parse(String(value)) : undefined;
    if (parsed === undefined) return bad(`must be an amount of ${unit}`);
    return parsed >= 1 && parsed <= 1_000_000 ? ok(parsed) : bad("must be between 1 and 1000000");
  };
}

/** An integer in a range. */
export function whole(min: number, max: number): (value: unknown) => Parsed<number> {
  return (value) => {
    const digits = text(value);
    const parsed = digits.ok && /^\d+$/.test(digits.value) ? Number(digits.value) : NaN;
    return parsed >= min && parsed <= max ? ok(parsed) : bad(`must be a whole number from ${min} to ${max}`);
  };
}

/** A duration in a range; all in milliseconds. */
export function duration(min: number, max: number): (value: unknown) => Parsed<number> {
  return (value) => {
    const parsed = typeof value === "string" || typeof value === "number"
      ? parseDuration(String(value))
      : undefined;
    if (parsed === undefined) return bad("must be a duration such as 10s or 2m");
    return parsed >= min && parsed <= max
      ? ok(parsed)
      : bad(`must be between ${formatDuration(min)} and ${formatDuration(max)}`);
  };
}

/** Smaller sizes are usually a missing unit: "10" is ten bytes. */
const MIN_STORAGE_BYTES = 2 ** 20;

/** A storage size as a Kubernetes quantity. */
export function quantity(value: unknown): Parsed<string> {
  const parsed = typeof value === "string" ? parseQuantity(value) : undefined;
  return parsed !== undefined && parsed >= MIN_STORAGE_BYTES
    ? ok(String(value))
    : bad("must be a Kubernetes quantity such as 10Gi, and at least 1Mi");
}

/** One of several texts. */
export function oneOf<const T extends string>(...choices: T[]): (value: unknown) => Parsed<T> {
  return (value) => {
    const choice = choices.find((one) => one === value);
    return choice === undefined ? bad(`must be one of ${choices.join(", ")}`) : ok(choice);
  };
}

/** An address to listen on, or `off`. */
export function listenAddress(value: unknown): Parsed<ListenAddress | "off"> {
  const parsed = value === "off" ? value : parseListenAddress(String(value));
  return parsed ? ok(parsed) : bad("must be an address such as :8080 or 127.0.0.1:8080, or off");
}

/** A boolean: `true`, `false`, `1` or `0`. */
export function switchValue(value: unknown): Parsed<boolean> {
  const word = typeof value === "object" ? "" : String(value).toLowerCase();
  if (word === "true" || word === "1") return ok(true);
  return word === "false" || word === "0" ? ok(false) : bad("must be true or false");
}

/** A nested value: YAML from a flag or variable, or the parsed value of a settings file. */
function structure(value: unknown): unknown {
  if (typeof value !== "string") return value;
  try {
    return load(value, { schema: CORE_SCHEMA });
  } catch {
    return undefined;
  }
}

/** A list of entries that `parse` accepts: YAML, or text separated by commas. */
export function list<T>(parse: (value: unknown) => Parsed<T>): (value: unknown) => Parsed<readonly T[]> {
  return (value) => {
    const isPlain = typeof value === "string" && !value.trimStart().startsWith("[");
    const entries = isPlain ? value.split(",").map((entry) => entry.trim()) : structure(value);
    if (!Array.isArray(entries)) return bad("must be a list, such as [a, b] or a,b");
    const parsed = entries.map(parse);
    const problem = parsed.find((one) => !one.ok);
    if (problem && !problem.ok) return bad(`must be a list in which each entry ${problem.problem}`);
    return ok(parsed.flatMap((one) => one.ok ? [one.value] : []));
  };
}

/** The name of a Kubernetes object; may be empty. */
export function objectName(value: unknown): Parsed<string> {
  const parsed = text(value);
  if (!parsed.ok) return parsed;
  const isName = /^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)?$/.test(parsed.value);
  return isName
    ? parsed
    : bad("must be the name of a Kubernetes object: lower-case letters, digits, hyphens and dots");
}

/** A pattern in which `*` matches any text. */
export function pattern(value: unknown): Parsed<string> {
  const parsed = text(value);
  if (!parsed.ok) return parsed;
  return /^[\x21-\x7e]{1,512}$/.test(parsed.value)
    ? parsed
    : bad("must be text without spaces, in which * matches any text");
}

/** Parses a structured setting by a schema. */
function structured<T>(schema: Schema<T>, problem: string): (value: unknown) => Parsed<T> {
  return (value) => {
    const result = v.safeParse(schema, structure(value), { abortEarly: true });
    return result.success ? ok(result.output) : bad(problem);
  };
}

const SCALAR = v.pipe(
  v.unknown(),
  v.check((value) => typeof value !== "object" || value === null),
  v.transform((value) => String(value ?? "")),
);

/** Node labels and their values. */
export const labels = structured(
  mapping(v.string(), SCALAR),
  "must be a mapping of node labels to values, such as {pool: desktops}",
);

/** Amounts of extended resources, such as GPUs, by the resource name with its domain. */
export const resourceAmounts = structured(
  mapping(
    v.pipe(v.string(), v.regex(/^[a-z0-9.-]{1,253}\/[A-Za-z0-9._-]{1,63}$/)),
    v.pipe(v.unknown(), v.transform(String), v.regex(/^[1-9]\d{0,5}$/)),
  ),
  "must be a mapping of resources to whole numbers, such as {nvidia.com/gpu: 1}",
);

const NODE_AFFINITY_FIELDS = [
  "requiredDuringSchedulingIgnoredDuringExecution",
  "preferredDuringSchedulingIgnoredDuringExecution",
] as const;

/** A node affinity; the API server validates its terms. */
export const nodeAffinity = structured(
  v.pipe(
    mapping(oneOfText(...NODE_AFFINITY_FIELDS), v.unknown()),
    v.transform((affinity): V1NodeAffinity => affinity),
  ),
  `must be a mapping with ${NODE_AFFINITY_FIELDS.join(" or ")}`,
);

/** A list of tolerations; the API server validates their values. */
export const tolerations = structured(
  listOf(
    v.pipe(
      // Unlike a strict object of valibot, a mapping also rejects fields such as "constructor".
      mapping(oneOfText("key", "operator", "value", "effect", "tolerationSeconds"), v.unknown()),
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
    return bad(
      "must be a mapping of names to images, such as {gimp: lscr.io/linuxserver/gimp:latest}, or to {image, port}",
    );
  }
  const table = new Map(BUILT_IN_TEMPLATES);
  try {
    for (const [name, entry] of Object.entries(entries)) table.set(name, parse(TEMPLATE_ENTRY, entry, name));
  } catch (error) {
    return bad(`must be valid templates: ${messageOf(error)}`);
  }
  return ok(table);
}
