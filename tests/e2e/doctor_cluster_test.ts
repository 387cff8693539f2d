import { assert, assertEquals, assertMatch } from "@std/assert";
import type {
  KubernetesObject,
  V1Container,
  V1Lease,
  V1Namespace,
  V1PersistentVolumeClaim,
  V1Pod,
} from "@kubernetes/client-node";
import { V1MicroTime } from "@kubernetes/client-node";
import { Cluster } from "@streamspace/memory-cluster";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import type { CheckName } from "../../lib/doctor/finding.ts";
import { PERMISSIONS } from "../../lib/doctor/permissions.ts";
import { temporaryFile, type TestCluster } from "../support/clusters.ts";
import { Diagnosis, PATIENT } from "../support/diagnosis.ts";
import { onEachCluster } from "../support/stage.ts";

/** Looks at a cluster, with a Control Plane that is well. */
async function examine(
  cluster: Pick<TestCluster, "kubeconfig" | "namespace">,
  ...args: string[]
): Promise<Diagnosis> {
  await using controlPlane = ControlPlane.start();
  return await Diagnosis.of({ cluster, controlPlaneUrl: controlPlane.url, args });
}

onEachCluster("doctor finds a cluster well, and leaves nothing in it", async (cluster) => {
  const { about, failures } = await examine(cluster);
  assertEquals(failures, []);
  const [api = "", clock] = about("kubernetes-api", "kubernetes-clock");
  assertMatch(api, /^ok {4}Kubernetes answers: v1\.\d+\.\d+ at https?:\/\/127\.0\.0\.1:\d+$/);
  assertEquals(clock, "ok    The API server's clock and this machine's agree");
  assertEquals(about("namespace"), [
    `ok    Namespace ${cluster.namespace} is there`,
    `warn  Sessions are in namespace ${cluster.namespace}: a Control Plane that proxies to sessions looks for them in streamspace, unless it is set up otherwise`,
  ]);
  assertMatch(
    about("permissions").join(),
    /^ok {4}The agent has all \d+ rights that it needs in namespace \S+$/,
  );
  assertMatch(about("storage-class").join(), /^ok {4}Homes are of the cluster's default storage class, \w+$/);
  assertEquals(about("quota", "pod-security", "templates", "second-agent"), [
    `ok    Namespace ${cluster.namespace} has no quota`,
    "ok    Sessions keep to Pod Security baseline, the namespace asks for privileged",
    "ok    6 of 6 templates can be used",
    `ok    No second agent of id ${PATIENT} is seen in namespace ${cluster.namespace}`,
  ]);
  assertEquals(await cluster.leftovers(), []);
});

onEachCluster("doctor tells of a namespace that is not there", async (cluster) => {
  const { about } = await examine({ ...cluster, kubeconfig: cluster.kubeconfig, namespace: "nowhere" });
  assertEquals(about("namespace"), [
    "FAIL  Namespace nowhere does not exist: kubectl apply -f k8s/namespace.yaml, or set --namespace (NAMESPACE) to one that does",
  ]);
});

onEachCluster("doctor tells of a namespace that is being deleted", async (cluster) => {
  const doomed = { kubeconfig: cluster.kubeconfig, namespace: `${cluster.namespace}-doomed` };
  await cluster.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: doomed.namespace } });
  const held = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "held", namespace: doomed.namespace },
  };
  await cluster.create({ ...held, metadata: { ...held.metadata, finalizers: ["example.com/held"] } });
  await cluster.objects.delete({ apiVersion: "v1", kind: "Namespace", metadata: { name: doomed.namespace } });
  const { about } = await examine(doomed);
  await cluster.setFinalizers(held, []);
  assertEquals(about("namespace"), [
    `FAIL  Namespace ${doomed.namespace} is being deleted: nothing can be created in it: wait until it is gone, and create it again`,
  ]);
});

onEachCluster("doctor tells of a Pod Security level that no session reaches", async (cluster) => {
  const name = `${cluster.namespace}-strict`;
  const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
  const namespace: V1Namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
  await cluster.create(namespace);
  const strict = { kubeconfig: cluster.kubeconfig, namespace: name };
  const baseline = await examine(strict);
  const restricted = await examine(strict, "--session-security=restricted");
  await cluster.objects.delete(namespace);
  assertEquals([baseline.about("pod-security"), restricted.about("pod-security")], [
    [
      "FAIL  Sessions keep to Pod Security baseline only, and the namespace asks for restricted: set --session-security=restricted (SESSION_SECURITY), or the namespace's label pod-security.kubernetes.io/enforce to baseline",
    ],
    ["ok    Sessions keep to Pod Security restricted, the namespace asks for restricted"],
  ]);
});

onEachCluster("doctor tells of a storage class that is not there, and of those that are", async (cluster) => {
  const { about } = await examine(cluster, "--storage-class=nope");
  assertMatch(
    about("storage-class").join(),
    /^FAIL {2}Storage class "nope" does not exist: set --storage-class \(STORAGE_CLASS\) to one of [\w.-]+(, [\w.-]+)*$/,
  );
  const none = await examine(cluster, "--storage-class=nope", "--home-strategy=none");
  assertEquals(none.about("storage-class"), ["ok    No storage class is needed: --home-strategy is none"]);
});

onEachCluster("doctor tells of a home that waits for a volume", async (cluster) => {
  const home: V1PersistentVolumeClaim = {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name: "s1-home", labels: { app: "streamspace-session" } },
    spec: {
      accessModes: ["ReadWriteOnce"],
      storageClassName: "nope",
      resources: { requests: { storage: "1Gi" } },
    },
  };
  await cluster.create(home);
  const { about } = await examine(cluster, "--storage-class=nope");
  assertEquals(
    about("storage-class").at(-1),
    `warn  Home s1-home waits for a volume: the cluster says why: kubectl -n ${cluster.namespace} describe pvc s1-home`,
  );
});

onEachCluster(
  "doctor tells of a quota that is used up, and what that keeps from starting",
  async (cluster, context) => {
    await cluster.limit("small", { "count/deployments.apps": "0" });
    const { about } = await examine(cluster);
    assertEquals(about("quota"), [
      "FAIL  Quota small leaves no room for one more session: count/deployments.apps 0 of 0: raise it, or stop sessions",
    ]);
    await context.step("in a dry run, where the API server has one", () => {
      const [trial = ""] = about("session-objects");
      if (trial.endsWith("dry runs are not simulated)")) return;
      assertMatch(
        trial,
        /^FAIL {2}No session can start: Kubernetes refused to create deployments: .* exceeded quota: small, .*: the cluster's words say whether it is a right, a quota or a policy$/,
      );
    });
  },
);

onEachCluster("doctor measures quotas by what one more session takes", async (cluster) => {
  await cluster.limit("cores", { "requests.cpu": "500m", "requests.memory": "4Gi" });
  await cluster.limit("gateways", { "services.loadbalancers": "0" });
  await cluster.limit("jobs", { pods: "0" }, { scopes: ["Terminating"] });
  await cluster.limit("roomy", { "limits.memory": "2Gi", pods: "1", "services.nodeports": "0" });
  const { about } = await examine(cluster);
  assertEquals(about("quota").sort(), [
    "FAIL  Quota cores leaves no room for one more session: requests.cpu 0 of 500m: raise it, or stop sessions",
    "ok    Quota gateways counts nothing of a session",
    "ok    Quota roomy leaves room for one more session: limits.memory 0 of 2Gi, pods 0 of 1",
    "skip  Whether quota jobs leaves room is not known (it counts only what its scopes select)",
  ]);
});

onEachCluster("doctor tells of templates that no session can have", async (cluster) => {
  const args = ["--templates={gimp: gimp:latest, ide: example.com/ide:1}", "--allowed-images=example.com/*"];
  const { about } = await examine(cluster, ...args);
  assertEquals(about("templates"), [
    'FAIL  No session can start of template "gimp": image "gimp:latest" is not allowed: see --allowed-images: mend the template, or the list',
    "ok    1 of 8 templates can be used",
  ]);
  const none = await examine(cluster, "--allowed-images=example.com/*");
  assertEquals(none.about("session-objects", "templates"), [
    "skip  A session was not tried (no template can be used)",
    "FAIL  No template can be used: check --templates (TEMPLATES) and --allowed-images (ALLOWED_IMAGES)",
  ]);
});

function agentPod(name: string, env: Record<string, string>, more: Partial<V1Container> = {}): V1Pod {
  const variables = Object.entries({ AGENT_ID: PATIENT, ...env }).map(([name, value]) => ({ name, value }));
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels: { component: "k8s-agent" } },
    spec: { containers: [{ name: "k8s-agent", image: "example.com/agent:1", env: variables, ...more }] },
  };
}

function heldLease(holderIdentity: string): V1Lease {
  const renewTime = new V1MicroTime(new Date());
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name: `k8s-agent-${PATIENT}` },
    spec: { holderIdentity, renewTime, leaseDurationSeconds: 15 },
  };
}

const ADVICE =
  "give each agent an --agent-id (AGENT_ID) of its own, or all of them --leader-election (LEADER_ELECTION)";
const SETTINGS = { envFrom: [{ configMapRef: { name: "k8s-agent", optional: true } }] };
const ELECTED = { LEADER_ELECTION: "true" };
const SECOND: ReadonlyArray<readonly [string, readonly KubernetesObject[], readonly string[], string]> = [
  [
    "two agents that elect no leader",
    [agentPod("one", {}), agentPod("two", {})],
    [],
    `FAIL  2 agents of id ${PATIENT} run without leader election: pods one, two: ${ADVICE}`,
  ],
  [
    "replicas that elect a leader",
    [agentPod("one", ELECTED), agentPod("two", ELECTED), heldLease("one")],
    ["--leader-election"],
    `ok    One replica of agent ${PATIENT} leads: one`,
  ],
  [
    "an agent beside replicas that elect a leader",
    [agentPod("one", ELECTED), agentPod("two", {}), heldLease("one")],
    ["--leader-election"],
    `FAIL  one leads as agent ${PATIENT}, and pod two runs without leader election: ${ADVICE}`,
  ],
  [
    "a leader where this agent is to elect none",
    [heldLease("elsewhere")],
    [],
    `warn  elsewhere leads as agent ${PATIENT}, and this one is to run without leader election: ${ADVICE}`,
  ],
  [
    "replicas that elect a leader by a flag",
    [
      agentPod("one", {}, { args: ["--leader-election"] }),
      agentPod("two", { LEADER_ELECTION: "1" }),
      heldLease("one"),
    ],
    ["--leader-election"],
    `ok    One replica of agent ${PATIENT} leads: one`,
  ],
  [
    "a leader whose settings are in a file",
    [agentPod("one", {}, { args: ["--config=/etc/agent.yaml"] }), agentPod("two", ELECTED), heldLease("one")],
    ["--leader-election"],
    `ok    One replica of agent ${PATIENT} leads: one`,
  ],
  [
    "a leader that its pod shows no election of",
    [agentPod("one", {}), heldLease("one")],
    ["--leader-election"],
    `ok    One replica of agent ${PATIENT} leads: one`,
  ],
  [
    "two agents whose settings are in a ConfigMap",
    [agentPod("one", {}, SETTINGS), agentPod("two", {}, SETTINGS)],
    ["--leader-election"],
    `skip  Whether the 2 agents of id ${PATIENT} elect a leader is not known (what their pods take from elsewhere is not read: one, two)`,
  ],
];
onEachCluster("doctor tells whether a second agent has the same id", async (cluster, context) => {
  for (const [name, objects, args, expected] of SECOND) {
    await context.step(name, async () => {
      for (const object of objects) await cluster.create(object);
      const { about } = await examine(cluster, ...args);
      for (const { apiVersion = "", kind = "", metadata } of objects) {
        await cluster.delete(apiVersion, kind, metadata?.name ?? "");
      }
      await cluster.until(async () => (await cluster.list("v1", "Pod")).length === 0);
      assertEquals(about("second-agent"), [expected]);
    });
  }
});

Deno.test("doctor tells of each right that is missing", async (context) => {
  let missing = { verb: "", group: "", resource: "" };
  await using cluster = Cluster.start({
    authorize: ({ verb, group, resource, subresource }) =>
      verb !== missing.verb || group !== missing.group ||
      (subresource ? `${resource}/${subresource}` : resource) !== missing.resource,
  });
  const kubeconfig = await temporaryFile(cluster.kubeconfig());
  await using _removal = { [Symbol.asyncDispose]: () => Deno.remove(kubeconfig) };
  for (const { group, resource, name, verbs, loss, isOptional } of PERMISSIONS) {
    const what = `${resource}${group === "" ? "" : `.${group}`}${name === "" ? "" : ` ${name}`}`;
    for (const verb of verbs) {
      await context.step(`${verb} ${what}`, async () => {
        missing = { verb, group, resource };
        const { about } = await examine({ kubeconfig, namespace: "streamspace" }, "--leader-election");
        assertEquals(about("permissions"), [
          `${isOptional ? "warn" : "FAIL"}  The agent may not ${verb} ${what} in namespace streamspace: ` +
          `apply k8s/rbac.yaml in it, and let the agent run as the account that it names; without this, ${loss}`,
        ]);
      });
    }
  }
});

const UNREAD: readonly CheckName[] = ["namespace", "quota", "pod-security", "storage-class"];

Deno.test("doctor says what it could not find out with no more rights than the agent has", async () => {
  const granted = ({ verb, group, resource, subresource }: Record<string, string>) =>
    resource?.startsWith("selfsubject") ||
    PERMISSIONS.some((permission) =>
      permission.group === group && permission.verbs.includes(verb ?? "") &&
      permission.resource === (subresource ? `${resource}/${subresource}` : resource)
    );
  await using cluster = Cluster.start({ authorize: (attributes) => Boolean(granted({ ...attributes })) });
  const kubeconfig = await temporaryFile(cluster.kubeconfig());
  await using _removal = { [Symbol.asyncDispose]: () => Deno.remove(kubeconfig) };
  const { about } = await examine({ kubeconfig, namespace: "streamspace" });
  assertEquals(about(...UNREAD, "journal"), [
    "skip  Whether namespace streamspace exists is not known (the agent may not read it: kubectl get namespace streamspace)",
    "FAIL  ConfigMap k8s-agent-journal is not there, and the agent may not create it: apply k8s/rbac.yaml",
    "skip  The default storage class is not known to exist (the agent may not read it: kubectl get storageclass)",
    "skip  What the namespace's quotas leave is not known (the agent may not read quotas: kubectl -n streamspace describe resourcequota)",
    "skip  The namespace's Pod Security level is not known (the agent may not read it: kubectl get namespace streamspace --show-labels)",
  ]);
});

function kubeconfigFor(server: string): Promise<string> {
  return temporaryFile(JSON.stringify({
    clusters: [{ name: "one", cluster: { server } }],
    users: [{ name: "one", user: {} }],
    contexts: [{ name: "one", context: { cluster: "one", user: "one" } }],
    "current-context": "one",
  }));
}

Deno.test("doctor tells of an API server's wrong clock", async () => {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => {
      const date = new Date(Date.now() + 20_000).toUTCString();
      return Response.json({ gitVersion: "v1.30.0", items: [] }, { headers: { date } });
    },
  );
  const kubeconfig = await kubeconfigFor(`http://127.0.0.1:${server.addr.port}`);
  const { about } = await examine({ kubeconfig, namespace: "streamspace" });
  await server.shutdown();
  await Deno.remove(kubeconfig);
  assertMatch(
    about("kubernetes-clock").join(),
    /^warn {2}The API server's clock is (1[89]|2[012])(\.\d)?s ahead of this machine's: set both by NTP: certificates, tokens and timestamps are judged by them$/,
  );
});

Deno.test("doctor tells of an API server that does not answer, and tries no further", async () => {
  const kubeconfig = await kubeconfigFor("https://127.0.0.1:1");
  await using _removal = { [Symbol.asyncDispose]: () => Deno.remove(kubeconfig) };
  const { failures, about } = await examine({ kubeconfig, namespace: "streamspace" });
  assertEquals(failures.length, 1);
  assertMatch(
    failures[0] ?? "",
    /^FAIL {2}Kubernetes does not answer at https:\/\/127\.0\.0\.1:1: .*: check the server that the kubeconfig names, /,
  );
  assert(
    about("namespace", "permissions", "quota").every((line) =>
      line.startsWith("skip") && line.endsWith("(Kubernetes was not asked)")
    ),
  );
});
