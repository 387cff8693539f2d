/**
 * Environment variables of templates and payloads. No value of one is ever part of an error: it may be a secret. Pure.
 * @module
 */
import type { V1EnvVar, V1EnvVarSource } from "@kubernetes/client-node";
import type { Field } from "../common/untrusted.ts";

const MOST_VARIABLES = 128;
const LONGEST_VALUE = 32 * 1024;
/** As Kubernetes checked names for its first ten years: what a newer server takes beyond that, an older one refuses. */
const NAME = /^[-._a-zA-Z][-._a-zA-Z0-9]*$/;
/** What the agent itself says about a session. */
const RESERVED: readonly string[] = ["USER", "SESSION_ID"];
/** Variables that name a user or a group, by which the pod's own user is chosen, too. */
const IDS: readonly string[] = ["PUID", "PGID"];
const HIGHEST_ID = 2 ** 31 - 1;
/** https://kubernetes.io/docs/concepts/workloads/pods/downward-api/ */
const POD_FIELD =
  /^(?:metadata\.(?:name|namespace|uid|(?:labels|annotations)\['[\w./-]+'\])|spec\.(?:nodeName|serviceAccountName)|status\.(?:hostIPs?|podIPs?))$/;
const RESOURCE = /^(?:limits|requests)\.(?:cpu|memory|ephemeral-storage|hugepages-\w+)$/;
const CPU_DIVISOR = /^1m?$/;
const DIVISOR = /^1(?:[kMGTPE]|[KMGTPE]i)?$/;
const KEY = /^(?!\.{1,2}$)[-._a-zA-Z0-9]+$/;

/** Reads the variables of a template: a list as in a container. */
export function readEnvironment(env: Field): V1EnvVar[] {
  const seen = new Set<string>();
  return env.items(MOST_VARIABLES).map((entry) => {
    const name = readName(entry.at("name"), entry.at("name").text(), seen);
    const valueFrom = entry.at("valueFrom");
    if (valueFrom.isAbsent) return { name, value: readValue(entry.at("value"), name) ?? "" };
    if (entry.at("value").maybe(() => true)) {
      throw valueFrom.refused('must not stand beside a "value"');
    }
    if (IDS.includes(name)) throw valueFrom.refused(`must be a "value" for ${name}`);
    return { name, valueFrom: readSource(valueFrom) };
  });
}

/** Reads the variables of a payload: a mapping of names to values, or a list of both. */
export function readVariables(env: Field): Record<string, string> {
  const seen = new Set<string>();
  const entries = Array.isArray(env.value)
    ? env.items(MOST_VARIABLES).map((entry) => {
      const field = entry.at("value");
      const name = readName(entry.at("name"), entry.at("name").text(), seen);
      return { name, field, value: readValue(field, name) };
    })
    : env.entries(MOST_VARIABLES).map(([key, field]) => {
      const name = readName(field, key, seen);
      return { name, field, value: readValue(field, name) };
    });
  const variables = Object.fromEntries(entries.map(({ name, field, value }) => {
    if (value === undefined) throw field.missing();
    return [name, value];
  }));
  env.checkLength(JSON.stringify(variables));
  return variables;
}

/** Text as the value of a variable: Kubernetes would replace "$(NAME)" in it, and reads "$$" as "$". */
export function verbatim(text: string): string {
  return text.replaceAll("$", "$$$$");
}

function readName(field: Field, name: string, seen: Set<string>): string {
  if (name.length > 253 || !NAME.test(name)) {
    throw field.refused("must be named with letters, digits, underscores, hyphens and dots");
  }
  if (RESERVED.includes(name)) throw field.refused(`must not be ${name}, which the agent sets`);
  if (seen.has(name)) throw field.refused(`must not name ${name} again`);
  seen.add(name);
  return name;
}

function readValue(field: Field, name: string): string | undefined {
  const { value } = field;
  if (field.isAbsent) return undefined;
  if (typeof value !== "string") throw field.refused("must be text");
  if (value.length > LONGEST_VALUE) {
    throw field.refused(`must not be longer than ${LONGEST_VALUE} characters`);
  }
  if (value.includes("\0")) throw field.refused("must not hold the character NUL");
  if (IDS.includes(name) && !(/^\d{1,10}$/.test(value) && Number(value) <= HIGHEST_ID)) {
    throw field.refused(`must be the number of a user or group, from 0 to ${HIGHEST_ID}`);
  }
  return value;
}

function readSource(field: Field): V1EnvVarSource {
  const source = field.given<V1EnvVarSource>({
    fieldRef: (ref) => ({
      fieldPath: ref.at("fieldPath").matching(POD_FIELD, "must be a field of a pod"),
    }),
    resourceFieldRef: readResourceRef,
    secretKeyRef: readKeyRef,
    configMapKeyRef: readKeyRef,
  });
  if (Object.keys(source).length !== 1) {
    throw field.refused("must have one of fieldRef, resourceFieldRef, secretKeyRef, configMapKeyRef");
  }
  return source;
}

function readResourceRef(ref: Field): { resource: string; divisor?: string } {
  const resource = ref.at("resource").matching(RESOURCE, 'must be a resource such as "limits.memory"');
  const units = resource.endsWith(".cpu") ? CPU_DIVISOR : DIVISOR;
  const readDivisor = (divisor: Field) =>
    divisor.matching(units, `must be one unit of ${resource}, such as "1"`);
  return { resource, ...ref.given({ divisor: readDivisor }) };
}

function readKeyRef(ref: Field): { name: string; key: string; optional?: boolean } {
  return {
    name: ref.at("name").objectName(),
    key: ref.at("key").matching(KEY, "must be a key of letters, digits, underscores, hyphens and dots"),
    ...ref.given({ optional: (optional) => optional.flag() }),
  };
}
