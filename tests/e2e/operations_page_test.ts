/**
 * The commands of the operator's guide, run one after the other on a real API server by kubectl and Helm, where there are any.
 * @module
 */
import { assertEquals } from "@std/assert";
import { leaseName } from "../../lib/model/names.ts";
import { OperatorShell, PROMETHEUS_KINDS } from "../support/operator_shell.ts";
import { REAL, type TestCluster } from "../support/clusters.ts";
import { COMMANDS, HELM_COMMANDS, isOfHelm } from "../support/operations_page.ts";
import { HELM } from "../support/rendering.ts";
import { onEachCluster } from "../support/stage.ts";

const HAS_KUBECTL = await new Deno.Command("kubectl", { args: ["version", "--client"] }).output()
  .then(({ success }) => success, () => false);

/** Kinds of all that the guide makes in the namespace. */
const KINDS = [
  ["apps/v1", "Deployment"],
  ["policy/v1", "PodDisruptionBudget"],
  ["networking.k8s.io/v1", "NetworkPolicy"],
  ["rbac.authorization.k8s.io/v1", "Role"],
  ["rbac.authorization.k8s.io/v1", "RoleBinding"],
  ["monitoring.coreos.com/v1", "PodMonitor"],
  ["monitoring.coreos.com/v1", "PrometheusRule"],
  ["v1", "Secret"],
  ["v1", "ConfigMap"],
  ["coordination.k8s.io/v1", "Lease"],
] as const;

/** What an agent makes of itself; the pods of the test's cluster run none. */
const LEASE = {
  apiVersion: "coordination.k8s.io/v1",
  kind: "Lease",
  metadata: { name: leaseName("k8s-prod-us-east-1") },
};

/** What every namespace has. */
const ALWAYS = "ConfigMap/kube-root-ca.crt";

onEachCluster(
  `every command of the operator's guide does what it says${
    HAS_KUBECTL ? "" : " (install kubectl to run this)"
  }`,
  async (cluster, context) => {
    await using shell = await OperatorShell.open(cluster);
    await using _kinds = await shell.install(PROMETHEUS_KINDS);
    await cluster.create(LEASE);
    for (const command of COMMANDS.filter((one) => !isOfHelm(one))) {
      await context.step(command, async () => void await shell.run(command));
    }
    assertEquals(await left(cluster, KINDS), [ALWAYS]);
  },
  [{ ...REAL, isMissing: REAL.isMissing || !HAS_KUBECTL }],
);

onEachCluster(
  `every command of the operator's guide for who installs by Helm does what it says${HELM.hint}`,
  async (cluster, context) => {
    await using shell = await OperatorShell.open(cluster);
    await cluster.create(LEASE);
    for (const command of HELM_COMMANDS) {
      await context.step(command, async () => void await shell.run(command));
    }
    assertEquals(await left(cluster, KINDS.filter(([version]) => !version.startsWith("monitoring."))), [
      ALWAYS,
    ]);
  },
  [{ ...REAL, isMissing: REAL.isMissing || !HAS_KUBECTL || HELM.isMissing }],
);

async function left(
  cluster: TestCluster,
  kinds: ReadonlyArray<readonly [string, string]>,
): Promise<string[]> {
  const lists = await Promise.all(kinds.map(async ([version, kind]) => {
    const objects = await cluster.list(version, kind);
    return objects.map(({ metadata }) => `${kind}/${metadata?.name}`);
  }));
  return lists.flat();
}
