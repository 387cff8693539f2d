/**
 * Which template a start gets, and whether it may have what it asks for: the command's own, then the cluster's Template object, then the
 * table. What is found and wrong is an error, and never another template. Pure.
 * @module
 */
import { CommandError } from "../errors.ts";
import { cpuBounds, DEFAULT_CPU, DEFAULT_MEMORY, memoryBounds, type RequestLimits } from "./amounts.ts";
import { type SecurityLevel, sessionUser } from "../manifests/pod_security.ts";
import type { StartRequest } from "../sessions/requests.ts";
import type { Template, TemplateTable } from "./template.ts";
import { verbatim } from "./env.ts";
import { readTemplate } from "./manifest.ts";
import { Field } from "../untrusted.ts";

/** What the operator allows templates. */
export interface TemplateRules extends RequestLimits {
  /** Patterns in which `*` stands for any text; empty: every image. */
  readonly allowedImages: readonly string[];
  /** Patterns of the Secrets and ConfigMaps that a payload's template may refer to. */
  readonly allowedSecrets: readonly string[];
  readonly runtimeClass: string;
  readonly priorityClass: string;
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly sessionSecurity: SecurityLevel;
}

/** Where templates are found. */
export interface TemplateSources {
  /** A Template object of the cluster as the API gave it, `undefined` where there is none. */
  readonly inCluster: (name: string) => unknown;
  readonly table: TemplateTable;
  readonly rules: TemplateRules;
}

/** What one session runs: its template with what the request says otherwise. */
export interface SessionTemplate extends Template {
  readonly defaultResources: Readonly<Record<string, string>> & {
    readonly cpu: string;
    readonly memory: string;
  };
}

/** A template, and how to speak of it. */
interface Found {
  readonly template: Template;
  /** Path of its spec. */
  readonly path: string;
  /** Begins an error, where the path does not say whose it is. */
  readonly prefix: string;
  /** Whether whoever sends commands wrote it, and not an administrator of the cluster. */
  readonly isForeign: boolean;
}

/** Objects of the agent itself begin so: its key is not for sessions. */
const OWN_OBJECTS = "k8s-agent";

/**
 * Finds the template of a start and makes it what the session runs.
 *
 * @throws {CommandError} as the end of a sentence, naming the templates that there are or what is wrong with the one that was found
 */
export function resolveTemplate(request: StartRequest, sources: TemplateSources): SessionTemplate {
  const found = findTemplate(request, sources);
  return named(found.prefix, () => {
    checkRules(found, sources.rules);
    const template = adapt(found, request, sources.rules);
    if (sources.rules.sessionSecurity === "restricted" && sessionUser(template).runAsUser === 0) {
      throw new CommandError(
        "invalid",
        "its user is root, which --session-security=restricted does not allow",
      );
    }
    return template;
  });
}

function findTemplate(request: StartRequest, { inCluster, table }: TemplateSources): Found {
  const { template: name, templateManifest } = request;
  const shared = { path: "spec", isForeign: false };
  if (templateManifest) {
    return { template: templateManifest.spec, path: "templateManifest.spec", prefix: "", isForeign: true };
  }
  const object = inCluster(name);
  if (object !== undefined) {
    const prefix = `Template ${JSON.stringify(name)}: `;
    return {
      ...shared,
      prefix,
      template: named(prefix, () => readTemplate(new Field(object, "object", ""))),
    };
  }
  const template = table.get(name);
  if (template) return { ...shared, prefix: `template ${JSON.stringify(name)}: `, template };
  const known = [...table.keys()].sort().join(", ");
  throw new CommandError(
    "unknown_template",
    `template ${JSON.stringify(name)} is unknown, known are ${known}`,
  );
}

/** Says whose template an error is about, and makes it the end of a sentence. */
function named<T>(prefix: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const message = error.message.charAt(0).toLowerCase() + error.message.slice(1);
    throw new CommandError(error.failure, `${prefix}${message}`, { cause: error });
  }
}

function checkRules({ template, path, isForeign }: Found, rules: TemplateRules): void {
  const { baseImage } = template;
  if (rules.allowedImages.length > 0 && !matchesAny(baseImage, rules.allowedImages)) {
    throw new CommandError(
      "invalid",
      `image ${JSON.stringify(baseImage)} is not allowed here: see --allowed-images`,
    );
  }
  for (const name of objectNames(template, path)) {
    if (String(name.value).startsWith(OWN_OBJECTS)) throw name.invalid("must not be one of the agent's own");
    if (isForeign && !matchesAny(String(name.value), rules.allowedSecrets)) {
      throw name.invalid("must be allowed by --allowed-secrets");
    }
  }
  if (isForeign) checkSettings(template, { path, rules });
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

/** An administrator's template may say otherwise than the settings, a payload's only what they leave open. */
function checkSettings(template: Template, { path, rules }: { path: string; rules: TemplateRules }): void {
  const { runtimeClassName, priorityClassName, nodeSelector = {} } = template;
  const choices: Array<[name: string, value: string | undefined, setting: string | undefined, flag: string]> =
    [
      ["runtimeClassName", runtimeClassName, rules.runtimeClass, "--runtime-class"],
      ["priorityClassName", priorityClassName, rules.priorityClass, "--priority-class"],
      ...Object.entries(rules.nodeSelector).map((
        [key, setting],
      ): [string, string | undefined, string, string] => [
        `nodeSelector[${key}]`,
        Object.hasOwn(nodeSelector, key) ? nodeSelector[key] : undefined,
        setting,
        "--node-selector",
      ]),
    ];
  for (const [name, value, setting, flag] of choices) {
    if (value === undefined || !setting || value === setting) continue;
    throw new Field(value, `${path}.${name}`).invalid(`must be ${JSON.stringify(setting)} as ${flag} says`);
  }
}

function matchesAny(text: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) =>
    new RegExp(`^${pattern.split("*").map(RegExp.escape).join(".*")}$`, "s").test(text)
  );
}

/** What the request says comes before the template's, and that before the agent's own. */
function adapt(
  { template, path }: Found,
  request: StartRequest,
  { maxCpu, maxMemory }: RequestLimits,
): SessionTemplate {
  const resources = template.defaultResources ?? {};
  const memory = request.memory ?? resources.memory;
  const cpu = request.cpu ?? resources.cpu;
  const defaults = `${path}.defaultResources`;
  return {
    ...template,
    env: mergeVariables(template, request.env ?? {}),
    defaultResources: {
      ...resources,
      memory: new Field(memory ?? DEFAULT_MEMORY, memory === request.memory ? "memory" : `${defaults}.memory`)
        .quantity(memoryBounds(maxMemory)),
      cpu: new Field(cpu ?? DEFAULT_CPU, cpu === request.cpu ? "cpu" : `${defaults}.cpu`)
        .quantity(cpuBounds(maxCpu)),
    },
  };
}

/** A payload's values are text, and come in place of the template's. */
function mergeVariables(
  { env = [] }: Template,
  variables: Readonly<Record<string, string>>,
): Template["env"] {
  const kept = env.filter(({ name }) => !Object.hasOwn(variables, name));
  const added = Object.entries(variables).map(([name, value]) => ({ name, value: verbatim(value) }));
  return [...kept, ...added];
}
