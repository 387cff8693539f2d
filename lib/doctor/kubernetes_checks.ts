/**
 * Everything about the cluster: whether the API server answers, and, side by side, what the agent needs of it.
 * @module
 */
import { hasStatus, isPermanent } from "../common/errors.ts";
import type { Config } from "../cli/options.ts";
import { judgeClock } from "./clock.ts";
import { apiTrouble, checkTrouble } from "./cluster_trouble.ts";
import type { ClusterView } from "./cluster_view.ts";
import { type CheckName, type Finding, Findings } from "./finding.ts";
import { inTime } from "./in_time.ts";
import { checkNamespace } from "./namespace_check.ts";
import { checkPermissions } from "./permission_check.ts";
import { checkQuota } from "./quota_check.ts";
import { checkSecondAgent } from "./second_agent_check.ts";
import { checkStorage } from "./storage_check.ts";
import { checkIssuedKey, checkJournal } from "./store_checks.ts";
import { checkTemplates } from "./template_check.ts";
import { checkTrial } from "./trial_check.ts";

/** A check, and how its finding begins where there is no answer. */
interface Check {
  readonly name: CheckName;
  readonly about: string;
  readonly run: (view: ClusterView, config: Config) => Promise<Finding[]>;
  /** Whether it is cheap, and what it finds is worth a line in the agent's log. */
  readonly isForStart: boolean;
}

const CHECKS: readonly Check[] = [
  { name: "namespace", about: "Cannot look at the namespace", run: checkNamespace, isForStart: true },
  { name: "permissions", about: "Cannot ask what the agent may do", run: checkPermissions, isForStart: true },
  { name: "journal", about: "Cannot look for the journal", run: checkJournal, isForStart: true },
  {
    name: "issued-key",
    about: "Cannot look for the issued key's Secret",
    run: checkIssuedKey,
    isForStart: true,
  },
  { name: "storage-class", about: "Cannot look at the storage class", run: checkStorage, isForStart: true },
  { name: "session-objects", about: "Cannot try a session", run: checkTrial, isForStart: false },
  { name: "templates", about: "Cannot look at the templates", run: checkTemplates, isForStart: false },
  { name: "quota", about: "Cannot look at the quotas", run: checkQuota, isForStart: false },
  { name: "second-agent", about: "Cannot look for a second agent", run: checkSecondAgent, isForStart: false },
];

/** The findings of everything about the cluster. */
export async function checkKubernetes(view: ClusterView, config: Config): Promise<Finding[]> {
  const { answers, isAnswered } = await ask(view);
  const rest = isAnswered ? await runChecks(CHECKS, { view, config }) : untriedInKubernetes();
  return [...answers, ...rest];
}

/** Those of the cheap checks: of a cluster that does not answer there is nothing else to say. */
export async function checkAtStart(view: ClusterView, config: Config): Promise<Finding[]> {
  const { answers, isAnswered } = await ask(view);
  const cheap = CHECKS.filter(({ isForStart }) => isForStart);
  return isAnswered ? await runChecks(cheap, { view, config }) : answers;
}

/** What is not known of a cluster that was not asked. */
export function untriedInKubernetes(): Finding[] {
  return CHECKS.map(({ name, about }) => new Findings(name).skip(about, "Kubernetes was not asked"));
}

async function ask(view: ClusterView): Promise<{ answers: Finding[]; isAnswered: boolean }> {
  const answers = await inTime(() => checkApi(view), (error) => apiTrouble(view.server, error));
  return { answers, isAnswered: answers[0]?.status === "ok" };
}

async function runChecks(
  checks: readonly Check[],
  { view, config }: { view: ClusterView; config: Config },
): Promise<Finding[]> {
  const findings = checks.map(({ name, run, about }) =>
    inTime(() => run(view, config), (error) => checkTrouble(name, { about, error }))
  );
  return (await Promise.all(findings)).flat();
}

async function checkApi(view: ClusterView): Promise<Finding[]> {
  const findings = new Findings("kubernetes-api");
  try {
    const { version, clock } = await view.version();
    return [
      findings.ok(`Kubernetes answers: ${version} at ${view.server}`),
      judgeClock("kubernetes-clock", "The API server's clock", clock),
    ];
  } catch (error) {
    // Whom it knows it may tell nothing of itself, and the rest all the same.
    if (!isPermanent(error) || hasStatus(error, 401)) throw error;
    const clock = new Findings("kubernetes-clock");
    return [
      findings.ok(`Kubernetes answers at ${view.server}, and does not tell its version`),
      clock.skip("The API server's clock is not known", "it does not tell its version"),
    ];
  }
}
