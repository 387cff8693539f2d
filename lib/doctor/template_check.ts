/**
 * Which templates can be used, those of the settings and those of the cluster, judged as a start judges them.
 * @module
 */
import type { KubernetesObject } from "@kubernetes/client-node";
import { hasStatus } from "../common/errors.ts";
import { CUSTOM_API } from "../kubernetes/custom_collection.ts";
import { nameOf } from "../kubernetes/objects.ts";
import type { Config } from "../cli/options.ts";
import { BUILT_IN_TEMPLATES } from "../model/template.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type Finding, Findings } from "./finding.ts";
import { templateProblem } from "./trial_session.ts";

const findings = new Findings("templates");

/** The findings of `templates` and `custom-kinds`. */
export async function checkTemplates(view: ClusterView, config: Config): Promise<Finding[]> {
  const objects = await templateObjects(view);
  const cluster = new Map((objects ?? []).map((object) => [nameOf(object), object]));
  const sources = { cluster, table: config.templates, rules: config };
  const names = [...new Set([...config.templates.keys(), ...cluster.keys()])];
  const problems = names.flatMap((name) => {
    const problem = templateProblem(name, sources);
    return problem === undefined ? [] : [{ name, problem }];
  });
  // That those which come along are not allowed is what --allowed-images is for.
  const isMeant = (name: string) =>
    !cluster.has(name) && config.templates.get(name) === BUILT_IN_TEMPLATES.get(name);
  const faults = problems.filter(({ name }) => !isMeant(name));
  return [
    ...faults.map(({ problem }) =>
      findings.fail(`No session can start of ${problem}`, "mend the template, or the list")
    ),
    judgeCount(names.length - problems.length, names.length),
    judgeKinds(objects),
  ];
}

function judgeCount(usable: number, all: number): Finding {
  return usable > 0 ? findings.ok(`${usable} of ${all} templates can be used`) : findings.fail(
    "No template can be used",
    "check --templates (TEMPLATES) and --allowed-images (ALLOWED_IMAGES)",
  );
}

/** `undefined` where the cluster does not know the kind, or does not let it be read. */
async function templateObjects(view: ClusterView): Promise<readonly KubernetesObject[] | undefined> {
  const [group = ""] = CUSTOM_API.split("/");
  if (!await view.may({ verb: "list", group, resource: "templates" })) return undefined;
  try {
    return await view.list(`/apis/${CUSTOM_API}/namespaces/${view.namespace}/templates`);
  } catch (error) {
    if (hasStatus(error, 404)) return undefined;
    throw error;
  }
}

function judgeKinds(objects: readonly KubernetesObject[] | undefined): Finding {
  const kinds = new Findings("custom-kinds");
  return objects
    ? kinds.ok(`The cluster has the kind Template, and ${objects.length} of them`)
    : kinds.ok("The cluster has no kinds Template and Session: templates are those of the settings");
}
