/**
 * Finds the template of a start: the command's own, then the Template object of the cluster, then the setting `templates`. A template that is
 * found but invalid is an error; the next source is not tried. Pure.
 * @module
 */
import { CommandError } from "../common/errors.ts";
import { parse, quantity } from "../common/schema.ts";
import type { StartRequest } from "../model/requests.ts";
import type { RequestLimits } from "../model/settings.ts";
import { sessionUser, type Template, type TemplateTable } from "../model/template.ts";
import { verbatim } from "./env.ts";
import { cpuBounds, DEFAULT_CPU, DEFAULT_MEMORY, memoryBounds } from "./resources.ts";
import { checkRules, type TemplateRules, type TemplateToCheck } from "./rules.ts";
import { TEMPLATE } from "./template.ts";

/** The Template objects of the cluster by name, as the API returns them; a `Map` is one. */
export interface ClusterTemplates {
  get(name: string): unknown;
  keys(): Iterable<string>;
  /** Whether the agent may not list Template objects, so that there may be more. @default false */
  readonly isRefused?: boolean;
}

/** Where templates are found. */
export interface TemplateSources {
  readonly cluster: ClusterTemplates;
  readonly table: TemplateTable;
  readonly rules: TemplateRules;
}

/** What one session runs: its template with the overrides of the request. */
export interface SessionTemplate extends Template {
  readonly defaultResources: Readonly<Record<string, string>> & {
    readonly cpu: string;
    readonly memory: string;
  };
}

interface FoundTemplate extends TemplateToCheck {
  /** Begins an error message where the path does not say which template is meant. */
  readonly prefix: string;
}

/** Most template names in one error message. */
const MAX_NAMES = 50;

/**
 * Finds the template of a start and applies the request to it.
 *
 * @throws {CommandError} whose message follows `Cannot start session "s1": `; it lists the known templates, or says what is wrong with the one found
 */
export function resolveTemplate(request: StartRequest, sources: TemplateSources): SessionTemplate {
  const found = findTemplate(request, sources);
  return withPrefix(found.prefix, () => {
    checkRules(found, sources.rules);
    const template = applyRequest(found, request, sources.rules);
    if (sources.rules.sessionSecurity === "restricted" && sessionUser(template).runAsUser === 0) {
      throw new CommandError(
        "invalid",
        "it runs as root, which --session-security=restricted does not allow",
      );
    }
    return template;
  });
}

function findTemplate(request: StartRequest, { cluster, table }: TemplateSources): FoundTemplate {
  const { template: name, templateManifest } = request;
  const quoted = JSON.stringify(name);
  if (templateManifest) {
    return { template: templateManifest.spec, path: "templateManifest.spec", prefix: "", isForeign: true };
  }
  const administrators = { path: "spec", isForeign: false };
  const object = cluster.get(name);
  if (object !== undefined) {
    const prefix = `Template ${quoted}: `;
    const { spec: template } = withPrefix(prefix, () => parse(TEMPLATE, object, "", "object"));
    return { ...administrators, prefix, template };
  }
  const template = table.get(name);
  if (template) return { ...administrators, prefix: `template ${quoted}: `, template };
  throw new CommandError(
    "unknown_template",
    `template ${quoted} not found, available are ${availableNames(cluster, table)}`,
  );
}

function availableNames(cluster: ClusterTemplates, table: TemplateTable): string {
  const names = [...new Set([...table.keys(), ...cluster.keys()])].sort();
  const more = names.length > MAX_NAMES ? ` and ${names.length - MAX_NAMES} more` : "";
  const note = cluster.isRefused ? "; the agent cannot list Template objects, see its log" : "";
  return `${names.slice(0, MAX_NAMES).join(", ")}${more}${note}`;
}

function withPrefix<T>(prefix: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (prefix === "" || !(error instanceof CommandError)) throw error;
    throw new CommandError(error.failure, `${prefix}${error.message}`, { cause: error });
  }
}

/** The request overrides the template, which overrides the defaults. */
function applyRequest(
  { template, path }: FoundTemplate,
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
      memory: parse(
        quantity(memoryBounds(maxMemory)),
        memory ?? DEFAULT_MEMORY,
        memory === request.memory ? "memory" : `${defaults}.memory`,
      ),
      cpu: parse(
        quantity(cpuBounds(maxCpu)),
        cpu ?? DEFAULT_CPU,
        cpu === request.cpu ? "cpu" : `${defaults}.cpu`,
      ),
    },
  };
}

/** The variables of a payload are literal text and replace the template's. */
function mergeVariables(
  { env = [] }: Template,
  variables: Readonly<Record<string, string>>,
): Template["env"] {
  const kept = env.filter(({ name }) => !Object.hasOwn(variables, name));
  const added = Object.entries(variables).map(([name, value]) => ({ name, value: verbatim(value) }));
  return [...kept, ...added];
}
