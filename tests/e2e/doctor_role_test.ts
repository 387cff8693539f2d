/**
 * The doctor as the account of k8s/rbac.yaml, on a real API server.
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";
import type { KubernetesObject, V1Role } from "@kubernetes/client-node";
import { loadAll } from "js-yaml";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { REAL, type TestCluster } from "../support/clusters.ts";
import { installKinds } from "../support/custom_kinds.ts";
import { Diagnosis, PATIENT } from "../support/diagnosis.ts";
import { onEachCluster, Stage } from "../support/stage.ts";

const TLS = new URL("../fixtures/tls/", import.meta.url);

/** The objects of k8s/rbac.yaml in the test's namespace, with a Role that `change` may change. */
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
  const patient = { kubeconfig, namespace: cluster.namespace };
  return await Diagnosis.of({ cluster: patient, controlPlaneUrl: controlPlane.url, args });
}

onEachCluster(
  "doctor finds all that the agent needs with the shipped Role, and says what it cannot see",
  async (cluster) => {
    await applyRole(cluster);
    const { namespace } = cluster;
    const { failures, about } = await examine(cluster, "--leader-election");
    assertEquals(failures, []);
    assertEquals(about("journal", "issued-key", "session-objects", "second-agent"), [
      "ok    ConfigMap k8s-agent-journal is there",
      "ok    Secret k8s-agent-issued-key is there",
      "ok    The cluster would take the 3 objects of one more session",
      `ok    No second agent of id ${PATIENT} is seen in namespace ${namespace}`,
    ]);
    assertEquals(
      about("namespace", "storage-class", "quota", "pod-security").filter((line) =>
        line.startsWith("skip") || line.startsWith("ok")
      ),
      [
        `ok    Namespace ${namespace} is there: the agent's journal is in it`,
        "skip  The default storage class is not known to exist (the agent may not read it: kubectl get storageclass)",
        `skip  What the namespace's quotas leave is not known (the agent may not read quotas: kubectl -n ${namespace} describe resourcequota)`,
        `skip  The namespace's Pod Security level is not known (the agent may not read it: kubectl get namespace ${namespace} --show-labels)`,
      ],
    );
  },
  [REAL],
);

onEachCluster(
  "doctor names the verb that a Role lacks, and what does not work without it",
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
      `FAIL  The agent may not patch deployments.apps in namespace ${cluster.namespace}: apply k8s/rbac.yaml in it, and let the agent run as the account that it names; without this, no session starts, hibernates, wakes or stops`,
    ]);
  },
  [REAL],
);

onEachCluster("doctor tells of an account without any right", async (cluster) => {
  const kubeconfig = await cluster.kubeconfigWithoutRights();
  await using _removal = { [Symbol.asyncDispose]: () => Deno.remove(kubeconfig) };
  await using controlPlane = ControlPlane.start();
  const patient = { kubeconfig, namespace: cluster.namespace };
  const { about } = await Diagnosis.of({ cluster: patient, controlPlaneUrl: controlPlane.url });
  assertEquals(about("permissions"), [
    `FAIL  The agent may do nothing of what it needs in namespace ${cluster.namespace}: apply k8s/rbac.yaml in it, and let the agent run as the account that it names`,
  ]);
  assertEquals(about("journal"), [
    "skip  Whether ConfigMap k8s-agent-journal is there is not known (the agent may not read it)",
  ]);
}, [REAL]);

onEachCluster("doctor tells of Template objects, and of one that no session can have", async (cluster) => {
  await installKinds(cluster);
  for (const [name, baseImage] of [["good", "example.com/good:1"], ["bad", "Not An Image"]]) {
    const template = {
      apiVersion: "stream.space/v1alpha1",
      kind: "Template",
      metadata: { name },
      spec: { baseImage },
    };
    await cluster.create(template);
  }
  await applyRole(cluster);
  const { about } = await examine(cluster);
  const [fault = "", count, kinds] = about("templates", "custom-kinds");
  assertEquals(
    fault,
    'FAIL  No session can start of Template "bad": "spec.baseImage" must be an image reference such as "example.com/desktop:1", but is "Not An Image": mend the template, or the list',
  );
  assertEquals([count, kinds], [
    "ok    7 of 8 templates can be used",
    "ok    The cluster has the kind Template, and 2 of them",
  ]);
}, [REAL]);

/** A Control Plane behind TLS that knows the agent, which has no link. */
function encryptedControlPlane(): Deno.HttpServer<Deno.NetAddr> {
  const cert = Deno.readTextFileSync(new URL("server.pem", TLS));
  const key = Deno.readTextFileSync(new URL("server.key", TLS));
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {}, cert, key }, (request) => {
    if (request.headers.get("upgrade") === "websocket") return Deno.upgradeWebSocket(request).response;
    return new URL(request.url).pathname.endsWith("/connect")
      ? new Response(null, { status: 426 })
      : Response.json({ agentId: PATIENT, status: "offline" });
  });
}

/** A report without what differs from one place to the other, and from one version to the next. */
function withoutNames(lines: readonly string[], names: { agentId: string; namespace: string }): string[] {
  return lines.map((line) =>
    line
      .replace(/https:\/\/\S+|\S+:\d+(?= )/g, "ADDRESS")
      .replaceAll(names.agentId, "ID")
      .replaceAll(names.namespace, "NAMESPACE")
      .replace(/\bv\d+\.\d+\.\d+/, "VERSION")
      .replace(/\d{4}-\d\d-\d\d/, "DAY")
      .replace(/\d+(?= rights| of them)/, "N")
  );
}

onEachCluster("the report on the page of troubleshooting is one that the doctor gives", async (cluster) => {
  const page = await Deno.readTextFile(new URL("../../docs/troubleshooting.md", import.meta.url));
  const [, sample = ""] = /\n```\n(ok {4}The settings of agent [^`]+)\n```\n/.exec(page) ?? [];
  await installKinds(cluster);
  await applyRole(cluster);
  const server = encryptedControlPlane();
  const kubeconfig = await cluster.kubeconfigOf("k8s-agent");
  await using _removal = { [Symbol.asyncDispose]: () => Deno.remove(kubeconfig) };
  const { lines } = await Diagnosis.of({
    cluster: { kubeconfig, namespace: cluster.namespace },
    controlPlaneUrl: `wss://localhost:${server.addr.port}`,
    args: [`--ca-file=${new URL("ca.pem", TLS).pathname}`, "--leader-election"],
    env: { AGENT_API_KEY: "k1" },
  });
  await server.shutdown();
  // In the page's own namespace there is nothing to look at.
  const expected = lines.filter((line) => !line.startsWith("warn"))
    .map((line) => line.replace("1 to look at, ", ""));
  assertEquals(
    withoutNames(sample.split("\n"), { agentId: "k8s-prod-us-east-1", namespace: "streamspace" }),
    withoutNames(expected, { agentId: PATIENT, namespace: cluster.namespace }),
  );
}, [REAL]);

onEachCluster("the agent tells at its start what is missing, and works all the same", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: ["--storage-class=nope"] });
  const line = await stage.agent.line(/doctor tells more/);
  assertStringIncludes(
    line,
    '[K8sAgent] WARN: Storage class "nope" does not exist: set --storage-class (STORAGE_CLASS) to one of ',
  );
  const start = { sessionId: "s1", user: "alice", template: "firefox", memory: "512Mi", cpu: "250m" };
  assertEquals((await stage.command("start_session", start)).error, undefined);
});
