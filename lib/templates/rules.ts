/**
 * The operator's rules for templates. A Template object and the setting `templates` come from an administrator and may override most
 * settings; the template of a command may only use what the settings leave open. Pure.
 * @module
 */
import { CommandError } from "../common/errors.ts";
import { domainOf, excerpt, invalid, REQUIRED } from "../common/schema.ts";
import type { Settings } from "../model/settings.ts";
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

/** A template and where it comes from. */
export interface TemplateToCheck {
  readonly template: Template;
  /** The path of its spec, for messages. */
  readonly path: string;
  /** Whether it comes with a command, not from an administrator of the cluster. */
  readonly isForeign: boolean;
}

/** Prefix of the agent's own Secrets and ConfigMaps, which sessions must not read. */
const OWN_OBJECTS = "k8s-agent";
/** Domain of the labels and taints that reserve nodes for a role, such as the control plane. */
const NODE_ROLES = "node-role.kubernetes.io";
/** Domain of the taints by which Kubernetes keeps pods off unhealthy nodes and off nodes that are drained. */
const NODE_CONDITIONS = "node.kubernetes.io";

/**
 * Checks a template against the rules.
 *
 * @throws {CommandError} naming what is not allowed
 */
export function checkRules(found: TemplateToCheck, rules: TemplateRules): void {
  checkImage(found.template.baseImage, rules);
  for (const { name, path } of objectReferences(found)) {
    if (name.startsWith(OWN_OBJECTS)) throw rejected(path, "must not be an object of the agent", name);
    if (found.isForeign && !matchesAny(name, rules.allowedSecrets)) {
      throw rejected(path, "must match --allowed-secrets", name);
    }
  }
  if (!found.isForeign) return;
  checkSettings(found, rules);
  checkTolerations(found);
  checkNodes(found);
}

/**
 * Checks an image.
 *
 * @throws {CommandError} where the operator does not allow it
 */
export function checkImage(image: string, { allowedImages }: ImageRules): void {
  if (allowedImages.length === 0 || matchesAny(image, allowedImages)) return;
  throw new CommandError("invalid", `image ${JSON.stringify(image)} is not allowed: see --allowed-images`);
}

/** The Secrets and ConfigMaps that a template refers to. */
function objectReferences({ template, path }: TemplateToCheck): Array<{ name: string; path: string }> {
  const { env = [], imagePullSecrets = [] } = template;
  const variables = env.flatMap(({ valueFrom }, index) =>
    (["secretKeyRef", "configMapKeyRef"] as const).flatMap((source) => {
      const name = valueFrom?.[source]?.name;
      return name === undefined ? [] : [{ name, path: `${path}.env[${index}].valueFrom.${source}.name` }];
    })
  );
  const secrets = imagePullSecrets.flatMap(({ name }, index) =>
    name === undefined ? [] : [{ name, path: `${path}.imagePullSecrets[${index}].name` }]
  );
  return [...variables, ...secrets];
}

/** Only the operator sets priority classes: with one of its choice, a session could preempt others. */
function checkSettings({ template, path }: TemplateToCheck, rules: TemplateRules): void {
  const { runtimeClassName: runtime, priorityClassName: priority, nodeSelector = {} } = template;
  if (priority !== undefined && !rules.priorityClass) {
    throw rejected(`${path}.priorityClassName`, "must not be set without --priority-class", priority);
  }
  checkSetting(`${path}.priorityClassName`, priority, ["--priority-class", rules.priorityClass]);
  if (rules.runtimeClass) {
    checkSetting(`${path}.runtimeClassName`, runtime, ["--runtime-class", rules.runtimeClass]);
  }
  for (const [key, value] of Object.entries(nodeSelector)) {
    const label = `${path}.nodeSelector[${key}]`;
    const setting = Object.hasOwn(rules.nodeSelector, key) ? rules.nodeSelector[key] : undefined;
    if (setting !== undefined) checkSetting(label, value, ["--node-selector", setting]);
    else if (domainOf(key) === NODE_ROLES) {
      throw invalid(label, "must not select nodes by role: only --node-selector may");
    }
  }
}

function checkSetting(path: string, value: string | undefined, [flag, setting]: [string, string]): void {
  if (value === undefined || value === setting) return;
  throw rejected(path, `must be ${JSON.stringify(setting)} as set by ${flag}`, value);
}

/** A toleration without a key tolerates every taint. */
function checkTolerations({ template, path }: TemplateToCheck): void {
  for (const [index, { key }] of (template.tolerations ?? []).entries()) {
    const keyPath = `${path}.tolerations[${index}].key`;
    if (key === undefined) throw invalid(keyPath, REQUIRED);
    if ([NODE_ROLES, NODE_CONDITIONS].includes(domainOf(key) ?? "")) {
      throw rejected(keyPath, "must not be a taint of Kubernetes: only --tolerations may tolerate it", key);
    }
  }
}

/** Every template may avoid nodes of a role. */
function checkNodes({ template, path }: TemplateToCheck): void {
  const {
    requiredDuringSchedulingIgnoredDuringExecution: required,
    preferredDuringSchedulingIgnoredDuringExecution: preferred = [],
  } = template.affinity?.nodeAffinity ?? {};
  const terms = [...required?.nodeSelectorTerms ?? [], ...preferred.map(({ preference }) => preference)];
  const role = terms.flatMap(({ matchExpressions = [] }) => matchExpressions)
    .find(({ key, operator }) => domainOf(key) === NODE_ROLES && operator !== "DoesNotExist");
  if (!role) return;
  const problem = "must not select nodes by role: only --node-affinity may";
  throw rejected(`${path}.affinity.nodeAffinity`, problem, role.key);
}

function rejected(path: string, problem: string, value: string): CommandError {
  return invalid(path, `${problem}, but is ${excerpt(value)}`);
}

function matchesAny(text: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) =>
    new RegExp(`^${pattern.split("*").map(RegExp.escape).join(".*")}$`, "s").test(text)
  );
}
