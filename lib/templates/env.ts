/**
 * Environment variables of templates and payloads. No message shows the value of a variable, because it may be a secret. Pure.
 * @module
 */
import type { V1EnvVar } from "@kubernetes/client-node";
import * as v from "valibot";
import * as s from "../common/schema.ts";

const MAX_VARIABLES = 128;
const MAX_VALUE = 32 * 1024;
const MAX_BYTES = 64 * 1024;
const MAX_ID = 2 ** 31 - 1;
/** What API servers before Kubernetes 1.30 accept; newer ones accept more. */
const NAME = /^[-._a-zA-Z][-._a-zA-Z0-9]*$/;
/** Variables that the agent sets for every session. */
const RESERVED: readonly string[] = ["USER", "SESSION_ID"];
/** Variables with a user or group ID, which also decide the user of the pod. */
const IDS: readonly string[] = ["PUID", "PGID"];
/** https://kubernetes.io/docs/concepts/workloads/pods/downward-api/ */
const POD_FIELD =
  /^(?:metadata\.(?:name|namespace|uid|(?:labels|annotations)\['[\w./-]+'\])|spec\.(?:nodeName|serviceAccountName)|status\.(?:hostIPs?|podIPs?))$/;
const RESOURCE = /^(?:limits|requests)\.(?:cpu|memory|ephemeral-storage|hugepages-\w+)$/;
const CPU_DIVISOR = /^1m?$/;
const DIVISOR = /^1(?:[kMGTPE]|[KMGTPE]i)?$/;
const KEY = /^(?!\.{1,2}$)[-._a-zA-Z0-9]+$/;

const VARIABLE_NAME: s.Schema<string> = v.pipe(
  v.string(s.shown("must be a string")),
  v.maxLength(253, "must have at most 253 characters"),
  v.regex(NAME, "must consist of letters, digits, underscores, hyphens and dots, and not start with a digit"),
  v.check((name) => !RESERVED.includes(name), ({ input }) => `must not be ${input}, which the agent sets`),
);

const VARIABLE_VALUE: s.Schema<string> = v.pipe(
  v.string("must be a string"),
  v.maxLength(MAX_VALUE, `must have at most ${MAX_VALUE} characters`),
  v.check((value) => !value.includes("\0"), "must not contain NUL"),
);

const KEY_REFERENCE = s.fields({
  name: s.objectName(),
  key: s.matching(KEY, "must be a key of letters, digits, underscores, hyphens and dots"),
  optional: s.optional(s.BOOLEAN),
});

const RESOURCE_REFERENCE = v.pipe(
  s.fields({
    resource: s.matching(RESOURCE, 'must be a resource such as "limits.memory"'),
    divisor: s.optional(s.orNumber(s.text())),
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const { resource, divisor } = dataset.value;
    const units = resource.endsWith(".cpu") ? CPU_DIVISOR : DIVISOR;
    if (divisor === undefined || units.test(divisor)) return;
    const message = `must be one unit of ${resource}, such as "1", but is ${s.excerpt(divisor)}`;
    addIssue({ message, path: [s.field("divisor")] });
  }),
);

const VALUE_SOURCE = v.pipe(
  s.fields({
    fieldRef: s.optional(
      s.fields({ fieldPath: s.matching(POD_FIELD, "must be a supported field of a pod") }),
    ),
    resourceFieldRef: s.optional(RESOURCE_REFERENCE),
    secretKeyRef: s.optional(KEY_REFERENCE),
    configMapKeyRef: s.optional(KEY_REFERENCE),
  }),
  v.check(
    (source) => Object.keys(source).length === 1,
    "must have exactly one of fieldRef, resourceFieldRef, secretKeyRef, configMapKeyRef",
  ),
);

const VARIABLE = v.pipe(
  s.fields({
    name: s.documented(VARIABLE_NAME, "The name; not `USER` or `SESSION_ID`."),
    value: s.nullish(VARIABLE_VALUE, "The value. Kubernetes expands `$(NAME)` in it."),
    valueFrom: s.nullish(VALUE_SOURCE, "The source of the value, as in a pod: exactly one.", s.OPAQUE),
  }),
  v.rawTransform(({ dataset, addIssue }): V1EnvVar => {
    const { name, value, valueFrom } = dataset.value;
    const problem = valueFrom ? sourceProblem(name, value) : valueProblem(name, value);
    if (problem) addIssue({ message: problem, path: [s.field(valueFrom ? "valueFrom" : "value")] });
    return valueFrom ? { name, valueFrom } : { name, value: value ?? "" };
  }),
);

/** The variables of a template: a list, as in a container. */
export const ENVIRONMENT: s.Schema<V1EnvVar[]> = v.pipe(
  s.list(s.documented(VARIABLE, "A variable."), MAX_VARIABLES),
  s.unique("name"),
);

const PAYLOAD_VARIABLE = v.pipe(
  s.fields({ name: VARIABLE_NAME, value: VARIABLE_VALUE }),
  v.rawCheck(({ dataset, addIssue }) => {
    const problem = dataset.typed && valueProblem(dataset.value.name, dataset.value.value);
    if (problem) addIssue({ message: problem, path: [s.field("value")] });
  }),
);

const PAYLOAD_LIST = v.pipe(
  s.list(PAYLOAD_VARIABLE, MAX_VARIABLES),
  s.unique("name"),
  v.transform((variables) => Object.fromEntries(variables.map(({ name, value }) => [name, value]))),
);

const PAYLOAD_MAPPING = v.pipe(
  s.mapping(
    VARIABLE_NAME,
    v.pipe(v.unknown(), v.check((value) => value !== null, s.REQUIRED), VARIABLE_VALUE),
    MAX_VARIABLES,
  ),
  v.rawCheck(({ dataset, addIssue }) => {
    for (const [name, value] of Object.entries(dataset.typed ? dataset.value : {})) {
      const problem = valueProblem(name, value);
      if (problem) addIssue({ message: problem, path: [s.mapEntry(name)] });
    }
  }),
);

/** The variables of a payload: a mapping of names to values, or a list of both; `undefined` if there are none. */
export const VARIABLES: s.Schema<Record<string, string> | undefined> = v.pipe(
  v.lazy((input): s.Schema<Record<string, string>> => Array.isArray(input) ? PAYLOAD_LIST : PAYLOAD_MAPPING),
  v.check(
    (variables) => new TextEncoder().encode(JSON.stringify(variables)).length <= MAX_BYTES,
    `must have at most ${MAX_BYTES} bytes of JSON`,
  ),
  v.transform((variables) => Object.keys(variables).length > 0 ? variables : undefined),
);

/** Text as the value of a variable: Kubernetes would expand `$(NAME)` in it, and reads `$$` as `$`. */
export function verbatim(text: string): string {
  return text.replaceAll("$", "$$$$");
}

function valueProblem(name: string, value: string | null | undefined): string | undefined {
  if (!IDS.includes(name) || typeof value !== "string") return undefined;
  const isId = /^\d{1,10}$/.test(value) && Number(value) <= MAX_ID;
  return isId ? undefined : `must be a user or group ID from 0 to ${MAX_ID}`;
}

function sourceProblem(name: string, value: string | null | undefined): string | undefined {
  if (value) return 'must not be set together with "value"';
  return IDS.includes(name) ? `must not be set: ${name} needs a "value"` : undefined;
}
