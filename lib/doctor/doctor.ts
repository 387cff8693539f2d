/**
 * Runs all checks, those of the Control Plane and those of the cluster side by side.
 * @module
 */
import { Credentials } from "../control_plane/credentials.ts";
import { ConfigError, messageOf } from "../common/errors.ts";
import { loadKubeConfig } from "../kubernetes/kubeconfig.ts";
import { createIssuedKeyStore } from "../kubernetes/stores.ts";
import { Transport } from "../kubernetes/transport.ts";
import type { Config } from "../cli/options.ts";
import { labelValue } from "../model/names.ts";
import { isNoneSeen } from "./agents_seen.ts";
import { ClusterView } from "./cluster_view.ts";
import { checkControlPlane } from "./control_plane_checks.ts";
import { type Finding, Findings } from "./finding.ts";
import { checkKubernetes, untriedInKubernetes } from "./kubernetes_checks.ts";

/** A store of keys where there is no way to the cluster. */
const NO_KEYS = { read: () => Promise.resolve(undefined), write: () => Promise.resolve() };

/** Makes every check; settings that are not valid are all that is found then. */
export async function diagnose(config: Config | ConfigError): Promise<Finding[]> {
  const findings = new Findings("configuration");
  if (config instanceof ConfigError) {
    return config.problems.map((problem) => findings.fail(problem, ""));
  }
  const valid = findings.ok(`The settings of agent ${config.agentId} are valid`);
  return [valid, ...await diagnoseBoth(config)];
}

async function diagnoseBoth(config: Config): Promise<Finding[]> {
  const { namespace, agentId } = config;
  let transport: Transport;
  try {
    transport = new Transport(() => loadKubeConfig(config.kubeconfig));
  } catch (error) {
    return await diagnoseControlPlane(config, error);
  }
  using _connections = transport;
  const view = new ClusterView(transport, namespace);
  const keys = createIssuedKeyStore(transport, { namespace, agent: labelValue(agentId) });
  const [controlPlane, kubernetes] = await Promise.all([
    checkControlPlane(config, {
      credentials: new Credentials(config, keys),
      // Where it cannot be found out, there may be one.
      isAlone: () => isNoneSeen(view, agentId).catch(() => false),
    }),
    checkKubernetes(view, config),
  ]);
  return [...controlPlane, ...kubernetes];
}

/** All that can be done without credentials for Kubernetes. */
async function diagnoseControlPlane(config: Config, error: unknown): Promise<Finding[]> {
  const advice = "run the doctor in the agent's pod, or with a kubeconfig that can be used";
  const cannot = new Findings("kubernetes-api").fail(messageOf(error), advice);
  const help = { credentials: new Credentials(config, NO_KEYS), isAlone: () => Promise.resolve(false) };
  return [cannot, ...untriedInKubernetes(), ...await checkControlPlane(config, help)];
}
