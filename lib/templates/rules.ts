/**
 * What the operator allows templates: an administrator's may say otherwise than most settings, one that came with a command only what they
 * leave open. Pure.
 * @module
 */
import type { V1NodeSelectorTerm } from "@kubernetes/client-node";
import { CommandError } from "../common/errors.ts";
import type { Settings } from "../model/settings.ts";
import { domainOf, Field } from "../common/untrusted.ts";
import type { Template } from "../model/template.ts";

/** The settings that restrict images. */
export type ImageRules = Pick<Settings, "allowedImages">;

/** The settings that restrict templates. */
export type TemplateRules =
  & ImageRules
  & Pick<
    Settings,
    | "maxCpu"
    | "maxMemory"
    | "allowedSecrets"
    | "runtimeClass"
    | "priorityClass"
    | "nodeSelector"
    | "sessionSecurity"
  >;

/** A template, and how to judge it. */
export interface TemplateToCheck {
  readonly template: Template;
  /** Path of its spec. */
  readonly path: string;
  /** Whether whoever sends commands wrote it, and not an administrator of the cluster. */
  readonly isForeign: boolean;
}

/** Objects of the agent itself begin so: its key is not for sessions. */
const OWN_OBJECTS = "k8s-agent";
/** Domain of the labels and taints that set nodes apart for a purpose, such as the control plane. */
const NODE_ROLES = "node-role.kubernetes.io";
/** Domain of the taints by which Kubernetes keeps pods away from nodes in trouble, and from those that are drained. */
const NODE_STATES = "node.kubernetes.io";

/**
 * Checks a template against the rules.
 *
 * @throws {CommandError} naming what is not allowed
 */
export function checkRules(found: TemplateToCheck, rules: TemplateRules): void {
  const { template, path, isForeign } = found;
  checkImage(template.baseImage, rules);
  for (const name of objectNames(template, path)) {
    if (String(name.value).startsWith(OWN_OBJECTS)) throw name.invalid("must not be one of the agent's own");
    if (isForeign && !matchesAny(String(name.value), rules.allowedSecrets)) {
      throw name.invalid("must be allowed by --allowed-secrets");
    }
  }
  if (!isForeign) return;
  checkSettings(found, rules);
  checkTolerations(found);
  checkNodes(found);
}

/**
 * Checks an image, whoever chose it.
 *
 * @throws {CommandError} where the operator allows others only
 */
export function checkImage(image: string, { allowedImages }: ImageRules): void {
  if (allowedImages.length === 0 || matchesAny(image, allowedImages)) return;
  throw new CommandError(
    "invalid",
    `image ${JSON.stringify(image)} is not allowed here: see --allowed-images`,
  );
}

/** Names of the Secrets and ConfigMaps that a template refers to. */
function objectNames({ env = [], imagePullSecrets = [] }: Template, path: string): Field[] {
  const sources = ["secretKeyRef", "configMapKeyRef"] as const;
  return [
    ...env.flatMap(({ valueFrom }, index) =>
      sources.flatMap((source) => {
        const reference = valueFrom?.[source];
        return reference ? [new Field(reference.name, `${path}.env[${index}].valueFrom.${source}.name`)] : [];
      })
    ),
    ...imagePullSecrets.map(({ name }, index) => new Field(name, `${path}.imagePullSecrets[${index}].name`)),
  ];
}

/** A priority class is the operator's alone: with one of its own choice a session would push others off their nodes. */
function checkSettings({ template, path }: TemplateToCheck, rules: TemplateRules): void {
  const { runtimeClassName, priorityClassName, nodeSelector = {} } = template;
  const priority = new Field(priorityClassName, `${path}.priorityClassName`);
  const runtime = new Field(runtimeClassName, `${path}.runtimeClassName`);
  if (!rules.priorityClass && priority.isSet) throw priority.invalid("must be left to --priority-class");
  checkSetting(priority, rules.priorityClass, "--priority-class");
  if (rules.runtimeClass) checkSetting(runtime, rules.runtimeClass, "--runtime-class");
  for (const [key, value] of Object.entries(nodeSelector)) {
    const label = new Field(value, `${path}.nodeSelector[${key}]`);
    const setting = Object.hasOwn(rules.nodeSelector, key) ? rules.nodeSelector[key] : undefined;
    if (setting !== undefined) checkSetting(label, setting, "--node-selector");
    else if (domainOf(key) === NODE_ROLES) throw label.refused("must be left to --node-selector");
  }
}

function checkSetting(field: Field, setting: string, flag: string): void {
  if (field.isAbsent || field.value === setting) return;
  throw field.invalid(`must be ${JSON.stringify(setting)} as ${flag} says`);
}

/** A toleration without a key is one of every taint. */
function checkTolerations({ template, path }: TemplateToCheck): void {
  for (const [index, { key }] of (template.tolerations ?? []).entries()) {
    const field = new Field(key, `${path}.tolerations[${index}].key`);
    if (key === undefined) throw field.missing();
    if ([NODE_ROLES, NODE_STATES].includes(domainOf(key) ?? "")) {
      throw field.invalid("must be left to --tolerations");
    }
  }
}

/** To stay away from such nodes is everybody's right. */
function checkNodes({ template, path }: TemplateToCheck): void {
  const {
    requiredDuringSchedulingIgnoredDuringExecution: required,
    preferredDuringSchedulingIgnoredDuringExecution: preferred = [],
  } = template.affinity?.nodeAffinity ?? {};
  const terms: V1NodeSelectorTerm[] = [
    ...required?.nodeSelectorTerms ?? [],
    ...preferred.map(({ preference }) => preference),
  ];
  const wanted = terms.flatMap(({ matchExpressions = [] }) => matchExpressions)
    .find(({ key, operator }) => domainOf(key) === NODE_ROLES && operator !== "DoesNotExist");
  if (wanted) {
    throw new Field(wanted.key, `${path}.affinity.nodeAffinity`).invalid("must be left to --node-affinity");
  }
}

function matchesAny(text: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) =>
    new RegExp(`^${pattern.split("*").map(RegExp.escape).join(".*")}$`, "s").test(text)
  );
}
