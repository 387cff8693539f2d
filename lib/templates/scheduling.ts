/**
 * The scheduling of a template: node labels, tolerations and node affinity. Pure.
 * @module
 */
import type {
  V1NodeAffinity,
  V1NodeSelectorRequirement,
  V1NodeSelectorTerm,
  V1Toleration,
} from "@kubernetes/client-node";
import * as v from "valibot";
import * as s from "../common/schema.ts";

const MAX_ENTRIES = 32;
const LABEL_VALUE = /^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/;
const WRONG_KEY = "must be a label key";
const NO_PODS = s.forbidden("must not be set: a template selects nodes, not other pods");

const KEY = v.pipe(
  s.text(s.MAX_LABEL_KEY),
  v.check((key) => s.domainOf(key) !== undefined, s.shown(WRONG_KEY)),
);
const VALUE = s.pattern(LABEL_VALUE, s.shown("must be a label value"));

/** `nodeSelector`: the labels of the nodes on which sessions run. */
export const NODE_SELECTOR: s.Schema<Record<string, string>> = s.mapping(
  v.pipe(v.string(), v.check((key) => s.domainOf(key) !== undefined, WRONG_KEY)),
  VALUE,
  MAX_ENTRIES,
);

const TOLERATION = v.pipe(
  s.fields({
    key: s.optional(KEY),
    operator: s.optional(s.oneOf("Exists", "Equal")),
    value: s.optional(VALUE),
    effect: s.optional(s.oneOf("NoSchedule", "PreferNoSchedule", "NoExecute")),
    tolerationSeconds: s.optional(s.integer(0, 2 ** 31 - 1)),
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
  v.metadata({ openapi: s.OPAQUE }),
);

/** The tolerations of node taints. */
export const TOLERATIONS: s.Schema<V1Toleration[]> = s.list(TOLERATION, MAX_ENTRIES);

const REQUIREMENT: s.Schema<V1NodeSelectorRequirement> = v.pipe(
  s.fields({
    operator: s.oneOf("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"),
    values: s.listOrEmpty(VALUE, MAX_ENTRIES),
    key: KEY,
  }),
  v.rawCheck(({ dataset, addIssue }) => {
    const problem = dataset.typed && valuesProblem(dataset.value.operator, dataset.value.values.length);
    if (problem) addIssue({ message: problem, path: [s.field("values")] });
  }),
  v.transform(({ key, operator, values }) => ({ key, operator, ...(values.length > 0 ? { values } : {}) })),
);

function valuesProblem(operator: string, count: number): string | undefined {
  if (operator.endsWith("In")) {
    return count > 0 ? undefined : `must not be empty for the operator ${operator}`;
  }
  if (operator.endsWith("Exist") || operator === "Exists") {
    return count === 0 ? undefined : `must be empty for the operator ${operator}`;
  }
  return count === 1 ? undefined : `must have exactly one entry for the operator ${operator}`;
}

/** Without `matchFields`: Kubernetes supports only the name of a node there, and templates are not for one cluster. */
const TERM: s.Schema<V1NodeSelectorTerm> = s.fields({
  matchExpressions: s.nonEmptyList(REQUIREMENT, MAX_ENTRIES),
});

const NODE_AFFINITY: s.Schema<V1NodeAffinity> = s.fields({
  requiredDuringSchedulingIgnoredDuringExecution: s.optional(
    s.fields({ nodeSelectorTerms: s.nonEmptyList(TERM, MAX_ENTRIES) }),
  ),
  preferredDuringSchedulingIgnoredDuringExecution: s.optional(
    s.list(s.fields({ weight: s.integer(1, 100), preference: v.nullish(TERM, {}) }), MAX_ENTRIES),
  ),
});

/** `affinity`: node affinity only; `undefined` if there is none. */
export const AFFINITY: s.Schema<{ nodeAffinity: V1NodeAffinity } | undefined> = v.pipe(
  s.fields({ podAffinity: NO_PODS, podAntiAffinity: NO_PODS, nodeAffinity: s.optional(NODE_AFFINITY) }),
  v.transform(({ nodeAffinity }) => nodeAffinity && { nodeAffinity }),
);
