/**
 * Checks whether another session could start: whether its template is usable, and whether the cluster accepts its objects in a dry run, which
 * runs all admission checks, such as quotas and policies, and stores nothing. The pod is not part of it: the Deployment creates it.
 * Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import type { Config } from "../cli/options.ts";
import { hasStatus, KubernetesError, messageOf } from "../common/errors.ts";
import { CUSTOM_API } from "../kubernetes/custom_collection.ts";
import type { Resource } from "../kubernetes/collection.ts";
import { nameOf } from "../kubernetes/objects.ts";
import { COLLECTIONS } from "../kubernetes/kinds.ts";
import { chooseHomeVolume } from "../manifests/home.ts";
import { buildManifests } from "../manifests/manifests.ts";
import type { StartRequest } from "../model/requests.ts";
import { BUILT_IN_TEMPLATES } from "../model/template.ts";
import { resolveTemplate, type TemplateSources } from "../templates/sources.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type Finding, Findings } from "./report.ts";

/** An object to create in a dry run. */
export interface TrialObject extends Resource {
  readonly object: KubernetesObject;
}

const NOT_TESTED = "No session was created in a dry run";

/** The findings of `session-objects`. */
export async function checkSessionObjects(view: ClusterView, config: Config): Promise<Finding[]> {
  const findings = new Findings("session-objects");
  const template = trialTemplate(config);
  if (template === undefined) return [findings.skip(NOT_TESTED, "no template is usable")];
  const results = await Promise.allSettled(
    trialObjects(template, config).map((object) => view.createDryRun(object)),
  );
  const errors = results.flatMap((result) => result.status === "rejected" ? [result.reason as unknown] : []);
  const unsupported = errors.find(isDryRunUnsupported);
  if (unsupported !== undefined) return [findings.skip(NOT_TESTED, messageOf(unsupported))];
  if (errors.some((error) => hasStatus(error, 404))) {
    return [findings.skip(NOT_TESTED, "the namespace does not exist")];
  }
  if (errors.length > 0) {
    const advice = "the message names the missing permission, the quota or the policy";
    return errors.map((error) => findings.fail(`Sessions cannot start: ${messageOf(error)}`, advice));
  }
  return [findings.ok(`The cluster accepts the ${results.length} objects of another session in a dry run`)];
}

/** The findings of `templates` and `custom-kinds`. */
export async function checkTemplates(view: ClusterView, config: Config): Promise<Finding[]> {
  const findings = new Findings("templates");
  const objects = await listTemplateObjects(view);
  const cluster = new Map((objects ?? []).map((object) => [nameOf(object), object]));
  const sources = { cluster, table: config.templates, rules: config };
  const names = [...new Set([...config.templates.keys(), ...cluster.keys()])];
  const problems = names.flatMap((name) => {
    const problem = templateProblem(name, sources);
    return problem === undefined ? [] : [{ name, problem }];
  });
  // Excluding built-in templates is a purpose of --allowed-images.
  const isIntended = (name: string) =>
    !cluster.has(name) && config.templates.get(name) === BUILT_IN_TEMPLATES.get(name);
  const unusable = problems.filter(({ name }) => !isIntended(name));
  return [
    ...unusable.map(({ problem }) =>
      findings.fail(`Sessions cannot use a template: ${problem}`, "fix the template, or the settings")
    ),
    countFinding(names.length - problems.length, names.length),
    customKindsFinding(objects),
  ];
}

/** The name of a usable template of the settings; `undefined` if there is none. */
export function trialTemplate(config: Config): string | undefined {
  const sources = { cluster: new Map(), table: config.templates, rules: config };
  return [...config.templates.keys()].find((name) => templateProblem(name, sources) === undefined);
}

/** The objects of another session with a usable template. */
export function trialObjects(templateName: string, config: Config): TrialObject[] {
  const request = trialRequest(templateName);
  const template = resolveTemplate(request, {
    cluster: new Map(),
    table: config.templates,
    rules: config,
  });
  const homeVolume = chooseHomeVolume(request, {
    settings: config,
    overrides: template.storage ?? {},
    hasOwn: false,
  });
  const { deployment, service, claim, policy } = buildManifests({
    request,
    template,
    settings: config,
    commandId: request.sessionId,
    homeVolume,
    startedAt: new Date(),
  });
  return [
    { ...COLLECTIONS.deployment, object: deployment },
    { ...COLLECTIONS.service, object: service },
    ...(claim ? [{ ...COLLECTIONS.claim, object: claim }] : []),
    ...(policy ? [{ ...COLLECTIONS.policy, object: policy }] : []),
  ];
}

/** Some admission webhooks do not support dry runs: the API server then rejects the request. */
function isDryRunUnsupported(error: unknown): boolean {
  return error instanceof KubernetesError && error.status === 400 && /dry run/i.test(error.message);
}

/** Why sessions cannot use a template; `undefined` if they can. */
function templateProblem(template: string, sources: TemplateSources): string | undefined {
  try {
    resolveTemplate(trialRequest(template), sources);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** Uses a random id, which no real session has. */
function trialRequest(template: string): StartRequest {
  const sessionId = `k8s-agent-doctor-${crypto.randomUUID().slice(0, 8)}`;
  return { action: "start_session", sessionId, user: sessionId, template, persistentHome: true };
}

/** Lists the Template objects; `undefined` if the CRD is not installed or the agent may not read them. */
async function listTemplateObjects(view: ClusterView): Promise<readonly KubernetesObject[] | undefined> {
  const [group = ""] = CUSTOM_API.split("/");
  if (!await view.may({ verb: "list", group, resource: "templates" })) return undefined;
  try {
    return await view.list(`/apis/${CUSTOM_API}/namespaces/${view.namespace}/templates`);
  } catch (error) {
    if (hasStatus(error, 404)) return undefined;
    throw error;
  }
}

function countFinding(usable: number, total: number): Finding {
  const findings = new Findings("templates");
  return usable > 0 ? findings.ok(`${usable} of ${total} templates are usable`) : findings.fail(
    "No template is usable",
    "check --templates (TEMPLATES) and --allowed-images (ALLOWED_IMAGES)",
  );
}

function customKindsFinding(objects: readonly KubernetesObject[] | undefined): Finding {
  const findings = new Findings("custom-kinds");
  return objects
    ? findings.ok(`The cluster has the custom resource Template, with ${objects.length} objects`)
    : findings.ok(
      "The cluster has no custom resources Template and Session: all templates are from the settings",
    );
}
