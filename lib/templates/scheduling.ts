/**
 * Where a template wants its sessions to run: node labels, tolerations and node affinity. Pure.
 * @module
 */
import type {
  V1NodeAffinity,
  V1NodeSelectorRequirement,
  V1NodeSelectorTerm,
  V1Toleration,
} from "@kubernetes/client-node";
import type { Template } from "../model/template.ts";
import { domainOf, type Field } from "../common/untrusted.ts";

const MOST_ENTRIES = 32;
const LABEL_VALUE = /^(?:[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?)?$/;
const KEY_PROBLEM = "must be the key of a label";
const VALUE_PROBLEM = "must be the value of a label";

/** Reads `nodeSelector`, `tolerations` and `affinity` of a template's spec. */
export function readScheduling(
  spec: Field,
): Pick<Template, "nodeSelector" | "tolerations" | "affinity"> {
  return spec.given<Pick<Template, "nodeSelector" | "tolerations" | "affinity">>({
    nodeSelector: readNodeSelector,
    tolerations: (list) => list.items(MOST_ENTRIES).map(readToleration),
    affinity: (affinity) => {
      for (const name of ["podAffinity", "podAntiAffinity"]) {
        const field = affinity.at(name);
        if (field.isSet) throw field.refused("must not be set: a template chooses nodes, not neighbours");
      }
      const nodeAffinity = affinity.at("nodeAffinity").maybe(readNodeAffinity);
      return nodeAffinity && { nodeAffinity };
    },
  });
}

function readNodeSelector(selector: Field): Record<string, string> {
  return Object.fromEntries(
    selector.entries(MOST_ENTRIES).map(([key, entry]) => {
      if (domainOf(key) === undefined) throw entry.refused(KEY_PROBLEM);
      return [key, labelValue(entry)];
    }),
  );
}

function readToleration(entry: Field): V1Toleration {
  const toleration = entry.given<V1Toleration>({
    key: labelKey,
    operator: (operator) => operator.oneOf("Exists", "Equal"),
    value: labelValue,
    effect: (effect) => effect.oneOf("NoSchedule", "PreferNoSchedule", "NoExecute"),
    tolerationSeconds: (seconds) => seconds.whole(0, 2 ** 31 - 1),
  });
  const { key, operator, value, effect, tolerationSeconds } = toleration;
  if (key === undefined && operator !== "Exists") throw entry.refused('must have a key, or "Exists"');
  if (operator === "Exists" && value !== undefined) throw entry.refused('must have no value with "Exists"');
  if (tolerationSeconds !== undefined && effect !== "NoExecute") {
    throw entry.refused('must have the effect "NoExecute" with "tolerationSeconds"');
  }
  return toleration;
}

function readNodeAffinity(affinity: Field): V1NodeAffinity {
  return affinity.given<V1NodeAffinity>({
    requiredDuringSchedulingIgnoredDuringExecution: (required) => {
      const list = required.at("nodeSelectorTerms");
      const nodeSelectorTerms = list.items(MOST_ENTRIES).map(readTerm);
      if (nodeSelectorTerms.length === 0) throw list.missing();
      return { nodeSelectorTerms };
    },
    preferredDuringSchedulingIgnoredDuringExecution: (preferred) =>
      preferred.items(MOST_ENTRIES).map((entry) => ({
        weight: entry.at("weight").whole(1, 100),
        preference: readTerm(entry.at("preference")),
      })),
  });
}

/** Fields of nodes are left out: the only one that Kubernetes knows is the name, and a template is for more than one cluster. */
function readTerm(term: Field): V1NodeSelectorTerm {
  const matchExpressions = term.at("matchExpressions").items(MOST_ENTRIES).map(readRequirement);
  if (matchExpressions.length === 0) throw term.at("matchExpressions").missing();
  return { matchExpressions };
}

function readRequirement(entry: Field): V1NodeSelectorRequirement {
  const operator = entry.at("operator").oneOf("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt");
  const list = entry.at("values");
  const values = list.items(MOST_ENTRIES).map(labelValue);
  const isCountRight = operator.endsWith("In")
    ? values.length > 0
    : operator.length > 2
    ? values.length === 0
    : values.length === 1;
  if (!isCountRight) throw list.refused(`must have other values for ${operator}`);
  return { key: labelKey(entry.at("key")), operator, ...(values.length > 0 ? { values } : {}) };
}

function labelKey(field: Field): string {
  const key = field.text(317);
  if (domainOf(key) === undefined) throw field.invalid(KEY_PROBLEM);
  return key;
}

/** Unlike other text, it may be empty. */
function labelValue(field: Field): string {
  const { value } = field;
  if (typeof value !== "string" || !LABEL_VALUE.test(value)) throw field.invalid(VALUE_PROBLEM);
  return value;
}
