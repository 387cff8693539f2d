/**
 * Validates everything that an operator can apply against a real API server, by server-side apply in a dry run.
 * @module
 */
import { ApiException, type KubernetesObject, loadYaml, PatchStrategy } from "@kubernetes/client-node";
import { assertEquals } from "@std/assert";
import { shippedObjects } from "../k8s/shipped.ts";
import { REAL, type TestCluster } from "../support/clusters.ts";
import { EVERY_COMPONENT, HELM, KUSTOMIZE, renderChart, renderKustomization } from "../support/rendering.ts";

/** Custom resources of other projects, which the API server does not know. */
const FOREIGN = "monitoring.coreos.com/";

const EVERYTHING = {
  agentId: "k8s-e2e",
  controlPlaneUrl: "wss://control.example.com",
  ...EVERY_COMPONENT,
  env: [{ name: "NO_PROXY", value: ".svc" }],
  volumes: [{ name: "tls", secret: { secretName: "tls" } }],
  volumeMounts: [{ name: "tls", mountPath: "/tls", readOnly: true }],
  settings: { MAX_SESSIONS: 200, ALLOWED_IMAGES: ["example.com/*"] },
};

dryRunTest("every object of k8s/ can be applied", async () => {
  return (await shippedObjects()).map(({ object }) => object);
});

dryRunTest("every object of the chart can be applied", () => renderChart(EVERYTHING), HELM);

dryRunTest(
  "every object of the kustomization with all components can be applied",
  () => renderKustomization("examples/kustomize"),
  KUSTOMIZE,
);

function dryRunTest(
  name: string,
  objects: () => Promise<KubernetesObject[]>,
  renderer = { isMissing: false, hint: "" },
): void {
  Deno.test({
    name: `${name} (${REAL.name})${renderer.hint}`,
    ignore: REAL.isMissing || renderer.isMissing,
    fn: async () => {
      await using cluster = await REAL.open();
      const problems: string[] = [];
      for (const object of await objects()) {
        if (object.apiVersion?.startsWith(FOREIGN)) continue;
        problems.push(...await dryRun(cluster, object));
      }
      assertEquals(problems, []);
    },
  });
}

/** Applies an object to the test's namespace in a dry run; returns the API server's objections. */
async function dryRun(cluster: TestCluster, object: KubernetesObject): Promise<string[]> {
  const namespace = object.metadata?.namespace === undefined ? {} : { namespace: cluster.namespace };
  // The client renames some fields, which loadYaml() does.
  const moved = loadYaml<KubernetesObject>(
    JSON.stringify({ ...object, metadata: { ...object.metadata, ...namespace } }),
  );
  try {
    await cluster.objects.patch(moved, undefined, "All", "dry-run", true, PatchStrategy.ServerSideApply);
    return [];
  } catch (error) {
    if (!(error instanceof ApiException)) throw error;
    return [`${object.kind} ${object.metadata?.name}: ${error.body}`];
  }
}
