/**
 * Runs the checks: all of them for the command `doctor`, with the Control Plane and the cluster checked concurrently, and those that take few
 * requests when an agent starts.
 * @module
 */
import { abortable, delay } from "@std/async";
import type { Config } from "../cli/options.ts";
import { ConfigError, messageOf } from "../common/errors.ts";
import { log } from "../common/log.ts";
import { Credentials } from "../control_plane/credentials.ts";
import { loadAccess } from "../kubernetes/kubeconfig.ts";
import { createIssuedKeyStore } from "../kubernetes/stores.ts";
import { Transport } from "../kubernetes/transport.ts";
import { labelValue } from "../model/names.ts";
import { ClusterView } from "./cluster_view.ts";
import { checkControlPlane } from "./control_plane.ts";
import { checkKubernetes, checkKubernetesAtStartup, skippedChecks } from "./kubernetes.ts";
import { hasNoAgent } from "./other_agents.ts";
import { CHECK_TIMEOUT_MS, type Finding, Findings, formatFinding } from "./report.ts";

/** What callers can set. */
export interface DoctorOptions {
  /** Timeout of each check. @default {4000} */
  readonly timeoutMs?: number;
}

/** What a starting agent can set. */
export interface StartupCheckOptions {
  /** Ends the checks. */
  readonly signal: AbortSignal;
  /** Delay before the checks, so that the agent's own requests come first. */
  readonly delayMs: number;
}

/** Stores no issued key; for when there is no connection to the cluster. */
const NO_KEY_STORE = { read: () => Promise.resolve(undefined), write: () => Promise.resolve() };

/** Runs all checks; the problems of an invalid configuration are the only findings. */
export async function diagnose(
  config: Config | ConfigError,
  { timeoutMs = CHECK_TIMEOUT_MS }: DoctorOptions = {},
): Promise<Finding[]> {
  const findings = new Findings("configuration");
  if (config instanceof ConfigError) {
    return config.problems.map((problem) => findings.fail(problem, ""));
  }
  const valid = findings.ok(`The settings of agent ${config.agentId} are valid`);
  return [valid, ...await checkConnections(config, timeoutMs)];
}

/** Runs the checks of a starting agent in the background, and logs a warning for each that fails. Never rejects. */
export async function checkAtStartup(
  transport: Transport,
  config: Config,
  { signal, delayMs }: StartupCheckOptions,
): Promise<void> {
  const view = new ClusterView(transport, config.namespace);
  const options = { config, timeoutMs: CHECK_TIMEOUT_MS };
  const findings = await delay(delayMs, { signal })
    .then(() => abortable(checkKubernetesAtStartup(view, options), signal))
    // Aborted: the agent is stopping.
    .catch(() => []);
  for (const finding of findings.filter(({ status }) => status === "fail")) {
    log.warn("{finding} (run k8s-agent doctor for details)", { finding: formatFinding(finding) });
  }
}

async function checkConnections(config: Config, timeoutMs: number): Promise<Finding[]> {
  const { namespace, agentId } = config;
  let transport: Transport;
  try {
    transport = new Transport(() => loadAccess(config.kubeconfig));
  } catch (error) {
    return await checkControlPlaneOnly(config, { error, timeoutMs });
  }
  using _connections = transport;
  const view = new ClusterView(transport, namespace);
  const keys = createIssuedKeyStore(transport, { namespace, agent: labelValue(agentId) });
  const [controlPlane, kubernetes] = await Promise.all([
    checkControlPlane(config, {
      credentials: new Credentials(config, keys),
      // If the check fails, there may be another agent.
      isAlone: () => hasNoAgent(view, agentId).catch(() => false),
      timeoutMs,
    }),
    checkKubernetes(view, { config, timeoutMs }),
  ]);
  return [...controlPlane, ...kubernetes];
}

/** Runs the checks that need no credentials for Kubernetes. */
async function checkControlPlaneOnly(
  config: Config,
  { error, timeoutMs }: { error: unknown; timeoutMs: number },
): Promise<Finding[]> {
  const advice = "run the doctor in the agent's pod, or with a valid kubeconfig";
  const api = new Findings("kubernetes-api").fail(messageOf(error), advice);
  const controlPlane = await checkControlPlane(config, {
    credentials: new Credentials(config, NO_KEY_STORE),
    isAlone: () => Promise.resolve(false),
    timeoutMs,
  });
  return [api, ...skippedChecks(), ...controlPlane];
}
