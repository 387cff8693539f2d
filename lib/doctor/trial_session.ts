/**
 * One more session, as a start would make it, to be tried and not to be: which templates it could have, and its objects. Pure.
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { messageOf } from "../common/errors.ts";
import { COLLECTIONS } from "../kubernetes/session_watch.ts";
import type { Config } from "../cli/options.ts";
import { chooseHome } from "../manifests/home.ts";
import { buildManifests } from "../manifests/manifests.ts";
import type { StartRequest } from "../model/requests.ts";
import { resolveTemplate, type TemplateSources } from "../templates/sources.ts";

/** An object, and the path of its API and its plural, such as `/apis/apps/v1` and `deployments`. */
export interface TrialObject {
  readonly api: string;
  readonly resource: string;
  readonly object: KubernetesObject;
}

/** Why no session of a template can start; `undefined` where one can. */
export function templateProblem(template: string, sources: TemplateSources): string | undefined {
  try {
    resolveTemplate(requestFor(template), sources);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** A template of the settings of which a session can start; `undefined` where there is none. */
export function trialTemplate(config: Config): string | undefined {
  const sources = { cluster: new Map(), table: config.templates, rules: config };
  return [...config.templates.keys()].find((name) => templateProblem(name, sources) === undefined);
}

/** The objects of one more session of a template that can be used. */
export function trialObjects(templateName: string, config: Config): TrialObject[] {
  const request = requestFor(templateName);
  const template = resolveTemplate(request, {
    cluster: new Map(),
    table: config.templates,
    rules: config,
  });
  const home = chooseHome(request, { settings: config, overrides: template.storage ?? {}, hasOwn: false });
  const commandId = request.sessionId;
  const manifests = buildManifests({
    request,
    template,
    settings: config,
    commandId,
    home,
    startedAt: new Date(),
  });
  const { deployment, service, claim, policy } = manifests;
  return [
    { ...COLLECTIONS.deployment, object: deployment },
    { ...COLLECTIONS.service, object: service },
    ...(claim ? [{ ...COLLECTIONS.claim, object: claim }] : []),
    ...(policy ? [{ ...COLLECTIONS.policy, object: policy }] : []),
  ];
}

/** No session has such an id. */
function requestFor(template: string): StartRequest {
  const sessionId = `k8s-agent-doctor-${crypto.randomUUID().slice(0, 8)}`;
  return { action: "start_session", sessionId, user: sessionId, template, persistentHome: true };
}
