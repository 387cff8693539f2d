/**
 * Whether the cluster would take a session's objects: it is asked to create them in a dry run, which passes all of admission, such as quotas and
 * policies, and leaves nothing. The pod is its Deployment's to create, and is not tried.
 * Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run
 * @module
 */
import { hasStatus, KubernetesError, messageOf } from "../common/errors.ts";
import type { Config } from "../cli/options.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type Finding, Findings } from "./finding.ts";
import { trialObjects, trialTemplate } from "./trial_session.ts";

const findings = new Findings("session-objects");
const ADVICE = "the cluster's words say whether it is a right, a quota or a policy";

/** The findings of `session-objects`. */
export async function checkTrial(view: ClusterView, config: Config): Promise<Finding[]> {
  const template = trialTemplate(config);
  if (template === undefined) {
    return [findings.skip("A session was not tried", "no template can be used")];
  }
  const answers = await Promise.allSettled(
    trialObjects(template, config).map((object) => view.tryToCreate(object)),
  );
  const refusals = answers.flatMap((answer) =>
    answer.status === "rejected" ? [answer.reason as unknown] : []
  );
  const unable = refusals.find(isWithoutDryRun);
  if (unable !== undefined) return [findings.skip("A session was not tried", messageOf(unable))];
  if (refusals.some((error) => hasStatus(error, 404))) {
    return [findings.skip("A session was not tried", "its namespace does not exist")];
  }
  if (refusals.length > 0) {
    return refusals.map((error) => findings.fail(`No session can start: ${messageOf(error)}`, ADVICE));
  }
  return [findings.ok(`The cluster would take the ${answers.length} objects of one more session`)];
}

/** An admission webhook may know none: then nothing of its kind can be tried. */
function isWithoutDryRun(error: unknown): boolean {
  return error instanceof KubernetesError && error.status === 400 && /dry run/i.test(error.message);
}
