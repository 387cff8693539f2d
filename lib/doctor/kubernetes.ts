/**
 * Checks the cluster: first whether the API server responds, then, concurrently, everything that the agent needs from it. The checks of the API
 * server, the namespace and its Pod Security level are here; the others have files of their own.
 * @module
 */
import type { V1Namespace } from "@kubernetes/client-node";
import type { Config } from "../cli/options.ts";
import { connectionProblem, plainReason } from "../common/connection_problem.ts";
import { AnonymousError, hasStatus, KubeconfigError, KubernetesError, messageOf } from "../common/errors.ts";
import { JOURNAL } from "../kubernetes/stores.ts";
import type { ClusterView } from "./cluster_view.ts";
import { compareClocks, isTlsProblem } from "./connection.ts";
import { checkSecondAgent } from "./other_agents.ts";
import { checkPermissions } from "./permissions.ts";
import { checkQuota } from "./quota.ts";
import { type CheckName, type Finding, Findings, runCheck } from "./report.ts";
import { checkIssuedKey, checkJournal, checkStorageClass } from "./storage.ts";
import { checkSessionObjects, checkTemplates } from "./trial_session.ts";

/** A check of the cluster. */
interface Check {
  readonly name: CheckName;
  /** Starts the message of a check that fails to run. */
  readonly failure: string;
  readonly run: (view: ClusterView, config: Config) => Promise<Finding[]>;
  /** Whether a starting agent runs it, too: it takes few requests, and what it finds is worth a log line. */
  readonly runsAtStartup: boolean;
}

const CLUSTER_CHECKS: readonly Check[] = [
  { name: "namespace", failure: "Cannot check the namespace", run: checkNamespace, runsAtStartup: true },
  {
    name: "permissions",
    failure: "Cannot check the agent's permissions",
    run: checkPermissions,
    runsAtStartup: true,
  },
  { name: "journal", failure: "Cannot check the journal", run: checkJournal, runsAtStartup: true },
  {
    name: "issued-key",
    failure: "Cannot check the Secret of the issued key",
    run: checkIssuedKey,
    runsAtStartup: true,
  },
  {
    name: "storage-class",
    failure: "Cannot check the storage class",
    run: checkStorageClass,
    runsAtStartup: true,
  },
  {
    name: "session-objects",
    failure: "Cannot create a session in a dry run",
    run: checkSessionObjects,
    runsAtStartup: false,
  },
  { name: "templates", failure: "Cannot check the templates", run: checkTemplates, runsAtStartup: false },
  { name: "quota", failure: "Cannot check the quotas", run: checkQuota, runsAtStartup: false },
  {
    name: "second-agent",
    failure: "Cannot check for a second agent",
    run: checkSecondAgent,
    runsAtStartup: false,
  },
];

/** The namespace in which Control Planes expect the sessions' Services: `http://SESSION.streamspace.svc`. */
const DEFAULT_NAMESPACE = "streamspace";
const ENFORCE_LABEL = "pod-security.kubernetes.io/enforce";
/** Pod Security levels, from the least to the most restrictive. */
const LEVELS: readonly string[] = ["privileged", "baseline", "restricted"];

const GRANT_REVIEWS =
  "apply k8s/rbac.yaml, and bind the account to the ClusterRole system:basic-user, as clusters do by default";
const RENEW_CREDENTIALS =
  "renew the token or certificate in the kubeconfig, or check that the pod's service account exists";
const CHECK_PROGRAM = "correct the kubeconfig, or check the program that it runs for credentials";
const CHECK_ANONYMOUS =
  "check the user in the kubeconfig, and for a proxy in front of the API server that removes the credentials";
const CHECK_TRUST = "check certificate-authority in the kubeconfig, and the API server's certificate";
const CHECK_SCHEME = "check the port of the server in the kubeconfig, or use http:// if it has no TLS";
const CHECK_NETWORK = "check the server in the kubeconfig, and for a NetworkPolicy or firewall in between";
const CHECK_SERVER = "check the API server's health and log, and try again";

/** What the checks of the cluster run with. */
export interface KubernetesCheckOptions {
  readonly config: Config;
  /** Timeout of each check. */
  readonly timeoutMs: number;
}

/** Runs all checks of the cluster. */
export async function checkKubernetes(
  view: ClusterView,
  options: KubernetesCheckOptions,
): Promise<Finding[]> {
  const api = await checkApi(view, { ...options, check: checkVersionAndIdentity });
  const isOk = api[0]?.status === "ok";
  return [...api, ...isOk ? await runChecks(CLUSTER_CHECKS, { view, ...options }) : skippedChecks()];
}

/** Runs the checks of a starting agent. */
export async function checkKubernetesAtStartup(
  view: ClusterView,
  options: KubernetesCheckOptions,
): Promise<Finding[]> {
  const api = await checkApi(view, { ...options, check: checkVersion });
  const checks = CLUSTER_CHECKS.filter(({ runsAtStartup }) => runsAtStartup);
  return api[0]?.status === "ok" ? await runChecks(checks, { view, ...options }) : api;
}

/** The findings of all checks of a cluster to which there is no connection. */
export function skippedChecks(): Finding[] {
  return CLUSTER_CHECKS.map(({ name, failure }) =>
    new Findings(name).skip(failure, "no connection to Kubernetes")
  );
}

async function runChecks(
  checks: readonly Check[],
  { view, config, timeoutMs }: KubernetesCheckOptions & { view: ClusterView },
): Promise<Finding[]> {
  const findings = checks.map(({ name, run, failure }) =>
    runCheck(() => run(view, config), {
      timeoutMs,
      toFinding: (error) => checkFailure(name, { failure, error }),
    })
  );
  return (await Promise.all(findings)).flat();
}

async function checkApi(
  view: ClusterView,
  { timeoutMs, check }: KubernetesCheckOptions & { check: (view: ClusterView) => Promise<Finding[]> },
): Promise<Finding[]> {
  return await runCheck(() => check(view), {
    timeoutMs,
    toFinding: (error) => apiFailure(view.server, error),
  });
}

/** Anonymous users may read the version, but may not send access reviews. */
async function checkVersionAndIdentity(view: ClusterView): Promise<Finding[]> {
  const findings = await checkVersion(view);
  await view.may({ verb: "get", resource: "pods" }).catch((error) => {
    if (error instanceof AnonymousError) throw error;
  });
  return findings;
}

async function checkVersion(view: ClusterView): Promise<Finding[]> {
  const findings = new Findings("kubernetes-api");
  try {
    const { version, clock } = await view.version();
    return [
      findings.ok(`Kubernetes ${version} responds at ${view.server}`),
      compareClocks("kubernetes-clock", "The API server's clock", clock),
    ];
  } catch (error) {
    // An account may be valid and still not be allowed to read the version.
    if (!hasStatus(error, 403) || isUnauthenticated(error)) throw error;
    const clock = new Findings("kubernetes-clock");
    return [
      findings.ok(`Kubernetes responds at ${view.server}, without its version`),
      clock.skip("The API server's clock was not checked", "the agent may not read the version"),
    ];
  }
}

/** The finding of `kubernetes-api` when the version cannot be read. */
export function apiFailure(server: string, error: unknown): Finding {
  const cause = error instanceof KubernetesError && error.status === 0 ? error.cause ?? error : error;
  const findings = new Findings("kubernetes-api");
  if (cause instanceof KubeconfigError) return findings.fail(cause.message, CHECK_PROGRAM);
  const reason = plainReason(messageOf(cause));
  const advice = adviceFor(error);
  if (isUnauthenticated(error)) {
    return findings.fail(`Kubernetes at ${server} rejects the credentials: ${reason}`, advice);
  }
  return hasResponse(error)
    ? findings.fail(`Kubernetes at ${server} responds with an error: ${reason}`, advice)
    : findings.fail(`Kubernetes at ${server} does not respond: ${reason}`, advice);
}

/** The finding of any other check that fails to run; a missing permission to run it is no failure of what it checks. */
export function checkFailure(
  check: CheckName,
  { failure, error }: { failure: string; error: unknown },
): Finding {
  const findings = new Findings(check);
  const message = `${failure}: ${messageOf(error)}`;
  return hasStatus(error, 403)
    ? findings.skip(message, GRANT_REVIEWS)
    : findings.fail(message, adviceFor(error));
}

function adviceFor(error: unknown): string {
  if (error instanceof AnonymousError) return CHECK_ANONYMOUS;
  if (hasStatus(error, 401)) return RENEW_CREDENTIALS;
  if (hasResponse(error)) return CHECK_SERVER;
  const message = messageOf(error);
  if (connectionProblem(message) === "no-tls") return CHECK_SCHEME;
  return isTlsProblem(message) ? CHECK_TRUST : CHECK_NETWORK;
}

/** Whether the API server does not accept the credentials; without any, most requests are refused with 403. */
function isUnauthenticated(error: unknown): boolean {
  return hasStatus(error, 401) || error instanceof AnonymousError;
}

function hasResponse(error: unknown): boolean {
  return error instanceof KubernetesError && error.status > 0;
}

/** The findings of `namespace` and `pod-security`. The agent's Role does not allow reading namespaces; then the journal shows that it exists. */
async function checkNamespace(view: ClusterView, config: Config): Promise<Finding[]> {
  const { namespace } = view;
  const findings = new Findings("namespace");
  const unusual = namespace === DEFAULT_NAMESPACE ? [] : [findings.warn(
    `Sessions run in namespace ${namespace}`,
    `a Control Plane that proxies to sessions expects them in ${DEFAULT_NAMESPACE} unless configured otherwise`,
  )];
  if (!await view.may({ verb: "get", resource: "namespaces", name: namespace })) {
    return [await namespaceByJournal(view, findings), ...unusual, podSecurityUnknown(namespace)];
  }
  const object = await view.read<V1Namespace>(`/api/v1/namespaces/${namespace}`);
  if (!object) {
    const advice =
      "run kubectl apply -f k8s/namespace.yaml, or set --namespace (NAMESPACE) to one that exists";
    return [findings.fail(`Namespace ${namespace} does not exist`, advice)];
  }
  if (object.status?.phase === "Terminating") {
    const advice = "nothing can be created in it: wait until it is gone, then create it again";
    return [findings.fail(`Namespace ${namespace} is being deleted`, advice)];
  }
  return [findings.ok(`Namespace ${namespace} exists`), ...unusual, checkPodSecurity(object, config)];
}

async function namespaceByJournal(view: ClusterView, findings: Findings): Promise<Finding> {
  const { namespace } = view;
  const path = `/api/v1/namespaces/${namespace}/configmaps/${JOURNAL}`;
  const exists = await view.may({ verb: "get", resource: "configmaps", name: JOURNAL }) &&
    await view.read(path) !== undefined;
  return exists
    ? findings.ok(`Namespace ${namespace} exists: it contains the agent's journal`)
    : findings.skip(
      `Namespace ${namespace} was not checked`,
      `the agent may not read it: kubectl get namespace ${namespace}`,
    );
}

function podSecurityUnknown(namespace: string): Finding {
  return new Findings("pod-security").skip(
    "The namespace's Pod Security level was not checked",
    `the agent may not read it: kubectl get namespace ${namespace} --show-labels`,
  );
}

function checkPodSecurity(namespace: V1Namespace, { sessionSecurity }: Config): Finding {
  const findings = new Findings("pod-security");
  const enforced = namespace.metadata?.labels?.[ENFORCE_LABEL] ?? LEVELS[0] ?? "";
  return LEVELS.indexOf(sessionSecurity) >= LEVELS.indexOf(enforced)
    ? findings.ok(
      `Session pods meet Pod Security level ${sessionSecurity}, the namespace enforces ${enforced}`,
    )
    : findings.fail(
      `Session pods meet only Pod Security level ${sessionSecurity}, but the namespace enforces ${enforced}`,
      `set --session-security=${enforced} (SESSION_SECURITY), or the namespace's label ${ENFORCE_LABEL} to ${sessionSecurity}`,
    );
}
