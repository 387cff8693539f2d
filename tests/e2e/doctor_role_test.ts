/**
 * The doctor with the service account of k8s/rbac.yaml, on a real API server.
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import type { KubernetesObject, V1Role } from "@kubernetes/client-node";
import { loadAll } from "js-yaml";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { REAL, type TestCluster } from "../support/clusters.ts";
import { installKinds } from "../support/custom_kinds.ts";
import { AGENT_ID, Diagnosis, kubeconfigFor } from "../support/diagnosis.ts";
import { onEachCluster, Stage } from "../support/stage.ts";

const TLS = new URL("../fixtures/tls/", import.meta.url);

/** Applies k8s/rbac.yaml in the test's namespace; `change` may change the Role. */
async function applyRole(
  cluster: TestCluster,
  change: (role: V1Role) => V1Role = (role) => role,
): Promise<void> {
  const text = await Deno.readTextFile(new URL("../../k8s/rbac.yaml", import.meta.url));
  const moved = text.replaceAll("namespace: streamspace", `namespace: ${cluster.namespace}`);
  for (const object of loadAll(moved) as KubernetesObject[]) {
    await cluster.create(object.kind === "Role" ? change(object as V1Role) : object);
  }
}

async function examine(cluster: TestCluster, ...args: string[]): Promise<Diagnosis> {
  await using controlPlane = ControlPlane.start();
  const kubeconfig = await cluster.kubeconfigOf("k8s-agent");
  await using _removal = { [Symbol.asyncDispose]: () => Deno.remove(kubeconfig) };
  const settings = { kubeconfig, namespace: cluster.namespace };
  return await Diagnosis.run({ cluster: settings, controlPlaneUrl: controlPlane.url, args });
}

onEachCluster(
  "doctor reports a working agent with the shipped Role and skips what it cannot read",
  async (cluster) => {
    await applyRole(cluster);
    const { namespace } = cluster;
    const { failures, about } = await examine(cluster, "--leader-election");
    assertEquals(failures, []);
    assertEquals(about("journal", "issued-key", "session-objects", "second-agent"), [
      "ok    ConfigMap k8s-agent-journal exists",
      "ok    Secret k8s-agent-issued-key exists",
      "ok    The cluster accepts the 3 objects of another session in a dry run",
      `ok    No second agent with id ${AGENT_ID} found in namespace ${namespace}`,
    ]);
    assertEquals(
      about("namespace", "storage-class", "quota", "pod-security").filter((line) =>
        line.startsWith("skip") || line.startsWith("ok")
      ),
      [
        `ok    Namespace ${namespace} exists: it contains the agent's journal`,
        "skip  The default storage class was not checked (the agent may not read it: kubectl get storageclass)",
        `skip  The namespace's quotas were not checked (the agent may not read them: kubectl -n ${namespace} describe resourcequota)`,
        `skip  The namespace's Pod Security level was not checked (the agent may not read it: kubectl get namespace ${namespace} --show-labels)`,
      ],
    );
  },
  [REAL],
);

onEachCluster(
  "doctor reports a verb that the Role lacks and its consequence",
  async (cluster) => {
    await applyRole(cluster, (role) => ({
      ...role,
      rules: role.rules?.map((rule) =>
        rule.resources?.includes("deployments")
          ? {
            ...rule,
            verbs: rule.verbs.filter((verb) => verb !== "patch"),
          }
          : rule
      ) ?? [],
    }));
    const { failures } = await examine(cluster);
    assertEquals(failures, [
      `FAIL  The agent may not patch deployments.apps in namespace ${cluster.namespace}: apply k8s/rbac.yaml in this namespace, and run the agent with its service account; without it, sessions cannot start, hibernate, wake or stop`,
    ]);
  },
  [REAL],
);

onEachCluster("doctor reports an account without permissions", async (cluster) => {
  const kubeconfig = await cluster.kubeconfigWithoutPermissions();
  await using _removal = { [Symbol.asyncDispose]: () => Deno.remove(kubeconfig) };
  await using controlPlane = ControlPlane.start();
  const settings = { kubeconfig, namespace: cluster.namespace };
  const { about } = await Diagnosis.run({ cluster: settings, controlPlaneUrl: controlPlane.url });
  assertEquals(about("permissions"), [
    `FAIL  The agent has none of the permissions that it needs in namespace ${cluster.namespace}: apply k8s/rbac.yaml in this namespace, and run the agent with its service account`,
  ]);
  assertEquals(about("journal"), [
    "skip  ConfigMap k8s-agent-journal was not checked (the agent may not read it)",
  ]);
}, [REAL]);

onEachCluster("doctor reports Template objects and an unusable one", async (cluster) => {
  await installKinds(cluster);
  // The CustomResourceDefinition cannot express that the agent's own Secrets are forbidden.
  const ownSecret = { name: "KEY", valueFrom: { secretKeyRef: { name: "k8s-agent", key: "api-key" } } };
  for (const [name, env] of [["good", []], ["bad", [ownSecret]]] as const) {
    const template = {
      apiVersion: "stream.space/v1alpha1",
      kind: "Template",
      metadata: { name },
      spec: { baseImage: "example.com/desktop:1", env },
    };
    await cluster.create(template);
  }
  await applyRole(cluster);
  const { about } = await examine(cluster);
  const [fault = "", count, kinds] = about("templates", "custom-kinds");
  assertEquals(
    fault,
    'FAIL  Sessions cannot use a template: Template "bad": "spec.env[0].valueFrom.secretKeyRef.name" must not be an object of the agent, but is "k8s-agent": fix the template, or the settings',
  );
  assertEquals([count, kinds], [
    "ok    7 of 8 templates are usable",
    "ok    The cluster has the custom resource Template, with 2 objects",
  ]);
}, [REAL]);

/** A Control Plane behind TLS that knows the agent, which is not connected. */
function encryptedControlPlane(): Deno.HttpServer<Deno.NetAddr> {
  const cert = Deno.readTextFileSync(new URL("server.pem", TLS));
  const key = Deno.readTextFileSync(new URL("server.key", TLS));
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {}, cert, key }, (request) => {
    if (request.headers.get("upgrade") === "websocket") return Deno.upgradeWebSocket(request).response;
    return new URL(request.url).pathname.endsWith("/connect")
      ? new Response(null, { status: 426 })
      : Response.json({ agentId: AGENT_ID, status: "offline" });
  });
}

/** Replaces what differs between clusters and versions. */
function withoutNames(lines: readonly string[], names: { agentId: string; namespace: string }): string[] {
  return lines.map((line) =>
    line
      .replace(/https:\/\/\S+|\S+:\d+(?= )/g, "ADDRESS")
      .replaceAll(names.agentId, "ID")
      .replaceAll(names.namespace, "NAMESPACE")
      .replace(/\bv\d+\.\d+\.\d+\S*/, "VERSION")
      .replace(/\d{4}-\d\d-\d\d/, "DAY")
      .replace(/\d+(?= permissions| objects)/, "N")
  );
}

onEachCluster("the report in docs/troubleshooting.md matches one of the doctor", async (cluster) => {
  const page = await Deno.readTextFile(new URL("../../docs/troubleshooting.md", import.meta.url));
  const [, sample = ""] = /\n```\n(ok {4}The settings of agent [^`]+)\n```\n/.exec(page) ?? [];
  await installKinds(cluster);
  await applyRole(cluster);
  const server = encryptedControlPlane();
  const kubeconfig = await cluster.kubeconfigOf("k8s-agent");
  await using _removal = { [Symbol.asyncDispose]: () => Deno.remove(kubeconfig) };
  const { lines } = await Diagnosis.run({
    cluster: { kubeconfig, namespace: cluster.namespace },
    controlPlaneUrl: `wss://localhost:${server.addr.port}`,
    args: [`--ca-file=${new URL("ca.pem", TLS).pathname}`, "--leader-election", "--stream-dial=direct"],
    env: { AGENT_API_KEY: "k1" },
  });
  await server.shutdown();
  // The page's namespace is the default one, which causes no warning.
  const expected = lines.filter((line) => !line.startsWith("warn"))
    .map((line) => line.replace("1 warning, ", ""));
  assertEquals(
    withoutNames(sample.split("\n"), { agentId: "k8s-prod-us-east-1", namespace: "streamspace" }),
    withoutNames(expected, { agentId: AGENT_ID, namespace: cluster.namespace }),
  );
}, [REAL]);

onEachCluster("a starting agent logs failed checks and runs sessions", async (cluster) => {
  await using stage = await Stage.start(cluster, {
    args: ["--storage-class=nope"],
    timings: { startupChecksDelayMs: 0 },
  });
  const line = await stage.agent.line(/run k8s-agent doctor for details/);
  assertStringIncludes(
    line,
    '[K8sAgent] WARN: Storage class "nope" does not exist: set --storage-class (STORAGE_CLASS) to one of ',
  );
  const start = { sessionId: "s1", user: "alice", template: "firefox", memory: "512Mi", cpu: "250m" };
  assertEquals((await stage.command("start_session", start)).error, undefined);
});

onEachCluster("doctor reports a rejected token", async (cluster) => {
  const { server = "", caData, caFile } = cluster.config.getCurrentCluster() ?? {};
  const authority = caData ? { "certificate-authority-data": caData } : { "certificate-authority": caFile };
  await using kubeconfig = await kubeconfigFor({ server, token: "expired", authority });
  await using controlPlane = ControlPlane.start();
  const settings = { kubeconfig: kubeconfig.path, namespace: cluster.namespace };
  const { failures, about } = await Diagnosis.run({ cluster: settings, controlPlaneUrl: controlPlane.url });
  assertEquals(failures, [
    `FAIL  Kubernetes at ${server} rejects the credentials: Kubernetes refused to read version: Unauthorized: renew the token or certificate in the kubeconfig, or check that the pod's service account exists`,
  ]);
  assertEquals(about("quota"), ["skip  Cannot check the quotas (no connection to Kubernetes)"]);
}, [REAL]);
