/**
 * Node labels, tolerations and node affinity of a template. Pure.
 * @module
 */
import type {
  V1NodeAffinity,
  V1NodeSelectorRequirement,
  V1NodeSelectorTerm,
  V1Toleration,
} from "@kubernetes/client-node";
import * as v from "valibot";
import {
  domainOf,
  field,
  fields,
  forbidden,
  integer,
  list,
  listOrEmpty,
  mapping,
  nonEmptyList,
  oneOf,
  OPAQUE,
  type Schema,
  shown,
  text,
} from "../common/schema.ts";

const MAX_ENTRIES = 32;
const MAX_KEY_LENGTH = 253 + 1 + 63;
const LABEL_VALUE = /^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/;
const WRONG_KEY = "must be a label key";
const WRONG_VALUE = shown("must be a label value");
const NO_PODS = forbidden("must not be set: a template selects nodes, not other pods");

const KEY: Schema<string> = v.pipe(
  text(MAX_KEY_LENGTH),
  v.check((key) => domainOf(key) !== undefined, shown(WRONG_KEY)),
);
/** Unlike other text, a label value may be empty. */
const VALUE: Schema<string> = v.pipe(v.string(WRONG_VALUE), v.regex(LABEL_VALUE, WRONG_VALUE));

/** `nodeSelector`: labels of the nodes on which sessions run. */
export const NODE_SELECTOR: Schema<Record<string, string>> = mapping(
  v.pipe(v.string(), v.check((key) => domainOf(key) !== undefined, WRONG_KEY)),
  VALUE,
  MAX_ENTRIES,
);

const TOLERATION: Schema<V1Toleration> = v.pipe(
  fields({
    key: v.optional(KEY),
    operator: v.optional(oneOf("Exists", "Equal")),
    value: v.optional(VALUE),
    effect: v.optional(oneOf("NoSchedule", "PreferNoSchedule", "NoExecute")),
    tolerationSeconds: v.optional(integer(0, 2 ** 31 - 1)),
  }),
  v.check(
    ({ key, operator }) => key !== undefined || operator === "Exists",
    'must have a key, or the operator "Exists"',
  ),
  v.check(
    ({ operator, value }) => operator !== "Exists" || value === undefined,
    'must not have a value with the operator "Exists"',
  ),
  v.check(
    ({ effect, tolerationSeconds }) => tolerationSeconds === undefined || effect === "NoExecute",
    'must have the effect "NoExecute" with "tolerationSeconds"',
  ),
  v.metadata({ openapi: OPAQUE }),
);

/** Tolerations of node taints. */
export const TOLERATIONS: Schema<V1Toleration[]> = list(TOLERATION, MAX_ENTRIES);

const REQUIREMENT: Schema<V1NodeSelectorRequirement> = v.pipe(
  fields({
    operator: oneOf("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"),
    values: listOrEmpty(VALUE, MAX_ENTRIES),
    key: KEY,
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    const problem = dataset.typed && valuesProblem(dataset.value.operator, dataset.value.values.length);
    if (problem) addIssue({ message: problem, path: [field("values")] });
  }),
  v.transform(({ key, operator, values }) => ({ key, operator, ...(values.length > 0 ? { values } : {}) })),
);

function valuesProblem(operator: string, count: number): string | undefined {
  if (operator.endsWith("In")) {
    return count > 0 ? undefined : `must not be empty for the operator ${operator}`;
  }
  if (operator.length > 2) return count === 0 ? undefined : `must be empty for the operator ${operator}`;
  return count === 1 ? undefined : `must have exactly one entry for the operator ${operator}`;
}

/** There are no `matchFields`: the only field that Kubernetes supports is the node's name, and a template is not for one cluster. */
const TERM: Schema<V1NodeSelectorTerm> = fields({ matchExpressions: nonEmptyList(REQUIREMENT, MAX_ENTRIES) });

const NODE_AFFINITY: Schema<V1NodeAffinity> = v.pipe(
  fields({
    requiredDuringSchedulingIgnoredDuringExecution: v.optional(
      fields({ nodeSelectorTerms: nonEmptyList(TERM, MAX_ENTRIES) }),
    ),
    preferredDuringSchedulingIgnoredDuringExecution: v.optional(
      list(fields({ weight: integer(1, 100), preference: v.nullish(TERM, {}) }), MAX_ENTRIES),
    ),
  }),
  v.transform((affinity): V1NodeAffinity => affinity),
);

/** `affinity`: node affinity only; `undefined` where there is none. */
export const AFFINITY: Schema<{ nodeAffinity: V1NodeAffinity } | undefined> = v.pipe(
  fields({ podAffinity: NO_PODS, podAntiAffinity: NO_PODS, nodeAffinity: v.optional(NODE_AFFINITY) }),
  v.transform(({ nodeAffinity }) => nodeAffinity && { nodeAffinity }),
);
