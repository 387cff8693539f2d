/**
 * The commands of every page that need a cluster, run in their order on a real API server by kubectl and Helm, where they are installed.
 * @module
 */
import { assertEquals } from "@std/assert";
import { leaseName } from "../../lib/model/names.ts";
import { REAL, type TestCluster } from "../support/clusters.ts";
import { commandsOf, pageOf, PAGES, placeOf, sectionOf } from "../support/doc_pages.ts";
import { DocShell } from "../support/doc_shell.ts";
import { HELM } from "../support/rendering.ts";
import { onEachCluster } from "../support/stage.ts";

const HAS_KUBECTL = await new Deno.Command("kubectl", { args: ["version", "--client"] }).output()
  .then(({ success }) => success, () => false);
const WITH_KUBECTL = { ...REAL, isMissing: REAL.isMissing || !HAS_KUBECTL };
const HINT = HAS_KUBECTL ? "" : " (install kubectl to run this)";
const OPERATIONS = pageOf("docs/operations.md");

/** Kinds of all objects that the pages create in the namespace. */
const KINDS = [
  ["apps/v1", "Deployment"],
  ["policy/v1", "PodDisruptionBudget"],
  ["networking.k8s.io/v1", "NetworkPolicy"],
  ["rbac.authorization.k8s.io/v1", "Role"],
  ["rbac.authorization.k8s.io/v1", "RoleBinding"],
  ["v1", "Secret"],
  ["v1", "ConfigMap"],
  ["coordination.k8s.io/v1", "Lease"],
] as const;

/** Kinds of the Prometheus operator. */
const MONITORING_KINDS = [
  ["monitoring.coreos.com/v1", "PodMonitor"],
  ["monitoring.coreos.com/v1", "PrometheusRule"],
] as const;

/** Definitions of these kinds, as a bare API server does not know them. */
const MONITORING_DEFINITIONS = MONITORING_KINDS.map(([, kind]) => {
  const [group, singular] = ["monitoring.coreos.com", kind.toLowerCase()];
  const schema = { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${singular}s.${group}` },
    spec: {
      group,
      scope: "Namespaced",
      names: { kind, singular, plural: `${singular}s` },
      versions: [{ name: "v1", served: true, storage: true, schema }],
    },
  };
});

/** What an agent creates for itself; the pods of the test's cluster run none. */
const LEASE = {
  apiVersion: "coordination.k8s.io/v1",
  kind: "Lease",
  metadata: { name: leaseName("k8s-prod-us-east-1") },
};

/** Exists in every namespace. */
const ALWAYS = "ConfigMap/kube-root-ca.crt";

for (const page of PAGES) {
  const commands = commandsOf(page).filter((command) => placeOf(command) === "cluster" && !isOfHelm(command));
  if (commands.length === 0) continue;
  onEachCluster(`${page.path} has commands that work on a cluster${HINT}`, async (cluster, context) => {
    await using shell = await DocShell.open(cluster, page);
    await using _kinds = await shell.install(MONITORING_DEFINITIONS);
    if (page === OPERATIONS) await cluster.create(LEASE);
    else await shell.run("kubectl apply -k k8s/");
    for (const command of commands) await context.step(command, async () => void await shell.run(command));
    if (page === OPERATIONS) assertEquals(await left(cluster, [...KINDS, ...MONITORING_KINDS]), [ALWAYS]);
  }, [WITH_KUBECTL]);
}

onEachCluster(
  `docs/operations.md has commands that work with Helm${HELM.hint}`,
  async (cluster, context) => {
    await using shell = await DocShell.open(cluster, OPERATIONS);
    await cluster.create(LEASE);
    for (const command of helmCommands()) {
      await context.step(command, async () => void await shell.run(command));
    }
    assertEquals(await left(cluster, KINDS), [ALWAYS]);
  },
  [{ ...WITH_KUBECTL, isMissing: WITH_KUBECTL.isMissing || HELM.isMissing }],
);

/** The commands of a reader who installs with Helm: "Install" without kustomize, Helm's of "Upgrade", and "Uninstall" from Helm's on. */
function helmCommands(): string[] {
  const [install, upgrade, uninstall] = ["Install", "Upgrade", "Uninstall"].map((title) =>
    commandsOf(sectionOf(OPERATIONS, title))
  ) as [string[], string[], string[]];
  return [
    ...install.filter((command) => !command.includes("examples/")),
    ...upgrade.filter(isOfHelm),
    ...uninstall.slice(uninstall.findIndex(isOfHelm)),
  ];
}

function isOfHelm(command: string): boolean {
  return command.startsWith("helm ");
}

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
