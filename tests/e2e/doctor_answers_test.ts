/**
 * The doctor before API servers that do not answer as they should.
 * @module
 */
import { assertEquals } from "@std/assert";
import { Cluster } from "@streamspace/memory-cluster";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { loadConfig } from "../../lib/cli/config.ts";
import { diagnose } from "../../lib/doctor/doctor.ts";
import { CHECKS } from "../../lib/doctor/finding.ts";
import { REAL, temporaryFile } from "../support/clusters.ts";
import { Diagnosis, PATIENT } from "../support/diagnosis.ts";
import { onEachCluster } from "../support/stage.ts";

const BIND =
  "(apply k8s/rbac.yaml, and bind the account to the ClusterRole system:basic-user, as clusters do by themselves)";

/** An API server that answers each request as `answer` says, or as one that holds nothing and allows everything. */
class ScriptedServer implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor(answer: (request: Request, path: string) => Response | undefined) {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      const { pathname } = new URL(request.url);
      return answer(request, pathname) ??
        Response.json({ gitVersion: "v1.30.0", items: [], status: { allowed: true } });
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  /** Lets the doctor look at it. */
  async examine(): Promise<Diagnosis> {
    return await examine(JSON.stringify({
      clusters: [{ name: "one", cluster: { server: this.url } }],
      users: [{ name: "one", user: {} }],
      contexts: [{ name: "one", context: { cluster: "one", user: "one" } }],
      "current-context": "one",
    }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

async function examine(kubeconfigText: string): Promise<Diagnosis> {
  await using controlPlane = ControlPlane.start();
  const kubeconfig = await temporaryFile(kubeconfigText);
  await using _removal = { [Symbol.asyncDispose]: () => Deno.remove(kubeconfig) };
  const cluster = { kubeconfig, namespace: "streamspace" };
  return await Diagnosis.of({ cluster, controlPlaneUrl: controlPlane.url });
}

function refusal(code: number, message: string): Response {
  return Response.json({ kind: "Status", code, message }, { status: code });
}

Deno.test("doctor does not call a cluster broken that answers no access reviews", async () => {
  await using cluster = Cluster.start({
    authorize: ({ resource }) => !resource.startsWith("selfsubject"),
  });
  const { failures, about } = await examine(cluster.kubeconfig());
  assertEquals(failures, []);
  const [quota = ""] = about("quota");
  assertEquals(
    [
      quota.startsWith("skip  Cannot look at the quotas: Kubernetes refused to create "),
      quota.endsWith(BIND),
    ],
    [true, true],
    quota,
  );
});

Deno.test("doctor looks at a cluster that does not tell its version", async () => {
  await using server = new ScriptedServer((_, path) =>
    path === "/version" ? refusal(403, "forbidden") : undefined
  );
  const { about } = await server.examine();
  assertEquals(about("kubernetes-api", "kubernetes-clock", "quota"), [
    `ok    Kubernetes answers at ${server.url}, and does not tell its version`,
    "skip  The API server's clock is not known (it does not tell its version)",
    "ok    Namespace streamspace has no quota",
  ]);
});

onEachCluster("doctor tells of a token that is not accepted", async (cluster) => {
  const { name, server, caData, caFile } = cluster.config.getCurrentCluster() ?? {};
  const authority = caData ? { "certificate-authority-data": caData } : { "certificate-authority": caFile };
  const { failures, about } = await examine(JSON.stringify({
    clusters: [{ name, cluster: { server, ...authority } }],
    users: [{ name: "one", user: { token: "expired" } }],
    contexts: [{ name: "one", context: { cluster: name, user: "one" } }],
    "current-context": "one",
  }));
  assertEquals(failures, [
    `FAIL  Kubernetes does not accept the account at ${server}: Kubernetes refused to read version: Unauthorized: renew the token or certificate of the kubeconfig, or see that the pod's account exists`,
  ]);
  assertEquals(about("quota"), ["skip  Cannot look at the quotas (Kubernetes was not asked)"]);
}, [REAL]);

Deno.test("doctor tells which webhook keeps a session from being tried", async () => {
  const words = 'admission webhook "policy.example.com" does not support dry run';
  await using server = new ScriptedServer((request) =>
    new URL(request.url).searchParams.has("dryRun") ? refusal(400, words) : undefined
  );
  const { about } = await server.examine();
  assertEquals(about("session-objects"), [
    `skip  A session was not tried (Kubernetes refused to create deployments: ${words})`,
  ]);
});

Deno.test("doctor takes the default storage class by the older annotation, too", async () => {
  const annotations = { "storageclass.beta.kubernetes.io/is-default-class": "true" };
  await using server = new ScriptedServer((_, path) =>
    path.endsWith("/storageclasses")
      ? Response.json({ items: [{ metadata: { name: "old", annotations } }] })
      : undefined
  );
  const { about } = await server.examine();
  assertEquals(about("storage-class"), ["ok    Homes are of the cluster's default storage class, old"]);
});

Deno.test("doctor has a finding of each check where there are no credentials for Kubernetes", async () => {
  await using controlPlane = ControlPlane.start();
  const invocation = loadConfig({
    args: ["doctor", `--agent-id=${PATIENT}`, `--control-plane-url=${controlPlane.url}`],
    env: () => undefined,
    readFile: () => "",
  });
  if (invocation.kind !== "doctor") throw new Error(`This is no doctor: ${invocation.kind}`);
  const findings = await diagnose(invocation.config);
  const found = new Set(findings.map(({ check }) => check));
  assertEquals(CHECKS.filter((check) => !found.has(check)), [
    "client-certificate",
    "kubernetes-clock",
    "pod-security",
    "custom-kinds",
  ]);
  assertEquals(findings.find(({ check }) => check === "kubernetes-api"), {
    check: "kubernetes-api",
    status: "fail",
    message: "Cannot find the pod's service account: outside a cluster, set --kubeconfig (KUBECONFIG)",
    advice: "run the doctor in the agent's pod, or with a kubeconfig that can be used",
  });
});
