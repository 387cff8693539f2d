/**
 * Which template a start gets, and whether it may have what it asks for: the command's own, then the cluster's Template object, then the
 * table. What is found and wrong is an error, and never another template. Pure.
 * @module
 */
import { CommandError } from "../common/errors.ts";
import { cpuBounds, DEFAULT_CPU, DEFAULT_MEMORY, memoryBounds } from "./amounts.ts";
import { sessionUser } from "../model/security.ts";
import type { StartRequest } from "../model/requests.ts";
import type { RequestLimits } from "../model/settings.ts";
import { verbatim } from "./env.ts";
import { readTemplate } from "./manifest.ts";
import { checkRules, type TemplateRules, type TemplateToCheck } from "./rules.ts";
import type { Template, TemplateTable } from "../model/template.ts";
import { Field } from "../common/untrusted.ts";

/** The Template objects of the cluster by name, as the API gave them; a `Map` is one. */
export interface ClusterTemplates {
  get(name: string): unknown;
  keys(): Iterable<string>;
  /** Whether there may be some that the agent may not list. @default false */
  readonly isRefused?: boolean;
}

/** Where templates are found. */
export interface TemplateSources {
  readonly cluster: ClusterTemplates;
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
interface Found extends TemplateToCheck {
  /** Begins an error, where the path does not say whose it is. */
  readonly prefix: string;
}

/** Most names of templates in one error. */
const MOST_NAMES = 50;

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

function findTemplate(request: StartRequest, { cluster, table }: TemplateSources): Found {
  const { template: name, templateManifest } = request;
  const shared = { path: "spec", isForeign: false };
  if (templateManifest) {
    return { template: templateManifest.spec, path: "templateManifest.spec", prefix: "", isForeign: true };
  }
  const object = cluster.get(name);
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
  throw new CommandError(
    "unknown_template",
    `template ${JSON.stringify(name)} is unknown, known are ${knownNames(cluster, table)}`,
  );
}

function knownNames(cluster: ClusterTemplates, table: TemplateTable): string {
  const names = [...new Set([...table.keys(), ...cluster.keys()])].sort();
  const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : "";
  const others = cluster.isRefused ? "; Template objects cannot be listed, see the agent's log" : "";
  return `${names.slice(0, MOST_NAMES).join(", ")}${more}${others}`;
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
