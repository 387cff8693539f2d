/**
 * Environment variables of templates and payloads. No message shows the value of a variable, because it may be a secret. Pure.
 * @module
 */
import type { V1EnvVar } from "@kubernetes/client-node";
import * as v from "valibot";
import {
  documented,
  field,
  fields,
  list,
  mapEntry,
  mapping,
  matching,
  objectName,
  OPAQUE,
  REQUIRED,
  type Schema,
  shown,
  text,
  unique,
} from "../common/schema.ts";

const MAX_VARIABLES = 128;
const MAX_VALUE_LENGTH = 32 * 1024;
const MAX_BYTES = 64 * 1024;
/** What API servers before Kubernetes 1.30 accept; newer ones accept more. */
const NAME = /^[-._a-zA-Z][-._a-zA-Z0-9]*$/;
/** Variables that the agent sets for every session. */
const RESERVED: readonly string[] = ["USER", "SESSION_ID"];
/** Variables that name a user or group, from which the pod's own user follows. */
const IDS: readonly string[] = ["PUID", "PGID"];
const MAX_ID = 2 ** 31 - 1;
/** https://kubernetes.io/docs/concepts/workloads/pods/downward-api/ */
const POD_FIELD =
  /^(?:metadata\.(?:name|namespace|uid|(?:labels|annotations)\['[\w./-]+'\])|spec\.(?:nodeName|serviceAccountName)|status\.(?:hostIPs?|podIPs?))$/;
const RESOURCE = /^(?:limits|requests)\.(?:cpu|memory|ephemeral-storage|hugepages-\w+)$/;
const CPU_DIVISOR = /^1m?$/;
const DIVISOR = /^1(?:[kMGTPE]|[KMGTPE]i)?$/;
const KEY = /^(?!\.{1,2}$)[-._a-zA-Z0-9]+$/;
const SOURCES = "fieldRef, resourceFieldRef, secretKeyRef, configMapKeyRef";

const VARIABLE_NAME: Schema<string> = v.pipe(
  v.string(shown("must be a string")),
  v.maxLength(253, "must have at most 253 characters"),
  v.regex(NAME, "must consist of letters, digits, underscores, hyphens and dots, and not start with a digit"),
  v.check((name) => !RESERVED.includes(name), ({ input }) => `must not be ${input}, which the agent sets`),
);

const VARIABLE_VALUE: Schema<string> = v.pipe(
  v.string("must be a string"),
  v.maxLength(MAX_VALUE_LENGTH, `must have at most ${MAX_VALUE_LENGTH} characters`),
  v.check((value) => !value.includes("\0"), "must not contain NUL"),
);

const KEY_REFERENCE = v.optional(fields({
  name: objectName(),
  key: matching(KEY, "must be a key of letters, digits, underscores, hyphens and dots"),
  optional: v.optional(v.boolean(shown("must be true or false"))),
}));

const RESOURCE_REFERENCE = v.pipe(
  fields({
    resource: matching(RESOURCE, 'must be a resource such as "limits.memory"'),
    divisor: v.optional(text()),
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const { resource, divisor } = dataset.value;
    const units = resource.endsWith(".cpu") ? CPU_DIVISOR : DIVISOR;
    if (divisor === undefined || units.test(divisor)) return;
    const problem = shown(`must be one unit of ${resource}, such as "1"`);
    addIssue({ message: problem({ input: divisor }), path: [field("divisor")] });
  }),
);

const VALUE_SOURCE = v.pipe(
  fields({
    fieldRef: v.optional(fields({ fieldPath: matching(POD_FIELD, "must be a supported field of a pod") })),
    resourceFieldRef: v.optional(RESOURCE_REFERENCE),
    secretKeyRef: KEY_REFERENCE,
    configMapKeyRef: KEY_REFERENCE,
  }),
  v.check((source) => Object.keys(source).length === 1, `must have exactly one of ${SOURCES}`),
);

const VARIABLE = v.pipe(
  fields({
    name: documented(VARIABLE_NAME, "The name; not `USER` or `SESSION_ID`."),
    value: v.nullish(documented(VARIABLE_VALUE, "The value. Kubernetes expands `$(NAME)` in it.")),
    valueFrom: v.nullish(
      documented(VALUE_SOURCE, "The source of the value, as in a pod: exactly one.", OPAQUE),
    ),
  }),
  v.rawTransform(({ dataset, addIssue }): V1EnvVar => {
    const { name, value, valueFrom } = dataset.value;
    const problem = valueFrom ? sourceProblem(name, value) : valueProblem(name, value);
    if (problem) addIssue({ message: problem, path: [field(valueFrom ? "valueFrom" : "value")] });
    return valueFrom ? { name, valueFrom } : { name, value: value ?? "" };
  }),
);

/** The variables of a template: a list, as in a container. */
export const ENVIRONMENT: Schema<V1EnvVar[]> = v.pipe(
  list(documented(VARIABLE, "A variable."), MAX_VARIABLES),
  unique("name"),
);

const PAYLOAD_LIST = v.pipe(
  list(
    v.pipe(
      fields({ name: VARIABLE_NAME, value: VARIABLE_VALUE }),
      v.rawCheck(({ dataset, addIssue }) => {
        const problem = dataset.typed && valueProblem(dataset.value.name, dataset.value.value);
        if (problem) addIssue({ message: problem, path: [field("value")] });
      }),
    ),
    MAX_VARIABLES,
  ),
  unique("name"),
  v.transform((variables) => Object.fromEntries(variables.map(({ name, value }) => [name, value]))),
);

const PAYLOAD_MAPPING = v.pipe(
  mapping(
    VARIABLE_NAME,
    v.pipe(v.unknown(), v.check((value) => value !== null, REQUIRED), VARIABLE_VALUE),
    MAX_VARIABLES,
  ),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    for (const [name, value] of Object.entries(dataset.value)) {
      const problem = valueProblem(name, value);
      if (problem) return addIssue({ message: problem, path: [mapEntry(name)] });
    }
  }),
);

/** The variables of a payload: a mapping of names to values, or a list of both; `undefined` where there are none. */
export const VARIABLES: Schema<Record<string, string> | undefined> = v.pipe(
  v.lazy((input): Schema<Record<string, string>> => Array.isArray(input) ? PAYLOAD_LIST : PAYLOAD_MAPPING),
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
