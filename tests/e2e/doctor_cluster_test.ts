import { assertEquals, assertMatch } from "@std/assert";
import type {
  KubernetesObject,
  V1Container,
  V1Lease,
  V1Namespace,
  V1PersistentVolumeClaim,
  V1Pod,
} from "@kubernetes/client-node";
import { V1MicroTime } from "@kubernetes/client-node";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import type { TestCluster } from "../support/clusters.ts";
import { AGENT_ID, Diagnosis } from "../support/diagnosis.ts";
import { onEachCluster } from "../support/stage.ts";

/** Runs the doctor on a cluster, with a working Control Plane. */
async function examine(
  cluster: Pick<TestCluster, "kubeconfig" | "namespace">,
  ...args: string[]
): Promise<Diagnosis> {
  await using controlPlane = ControlPlane.start();
  return await Diagnosis.run({ cluster, controlPlaneUrl: controlPlane.url, args });
}

onEachCluster("doctor reports a working cluster and leaves nothing in it", async (cluster) => {
  const { about, failures } = await examine(cluster);
  assertEquals(failures, []);
  const [api = "", clock] = about("kubernetes-api", "kubernetes-clock");
  assertMatch(api, /^ok {4}Kubernetes v\d+\.\d+\.\d+\S* responds at https?:\/\/127\.0\.0\.1:\d+$/);
  assertEquals(clock, "ok    The API server's clock agrees with this machine's");
  assertEquals(about("namespace"), [
    `ok    Namespace ${cluster.namespace} exists`,
    `warn  Sessions run in namespace ${cluster.namespace}: a Control Plane that proxies to sessions expects them in streamspace unless configured otherwise`,
  ]);
  assertMatch(
    about("permissions").join(),
    /^ok {4}The agent has all \d+ permissions that it needs in namespace \S+$/,
  );
  assertMatch(
    about("storage-class").join(),
    /^ok {4}Home volumes use the cluster's default storage class, \w+$/,
  );
  assertEquals(about("quota", "pod-security", "templates", "second-agent"), [
    `ok    Namespace ${cluster.namespace} has no quota`,
    "ok    Session pods meet Pod Security level baseline, the namespace enforces privileged",
    "ok    6 of 6 templates are usable",
    `ok    No second agent with id ${AGENT_ID} found in namespace ${cluster.namespace}`,
  ]);
  assertEquals(await cluster.leftovers(), []);
});

onEachCluster("doctor reports a missing namespace", async (cluster) => {
  const { about } = await examine({ ...cluster, kubeconfig: cluster.kubeconfig, namespace: "nowhere" });
  assertEquals(about("namespace"), [
    "FAIL  Namespace nowhere does not exist: run kubectl apply -f k8s/namespace.yaml, or set --namespace (NAMESPACE) to one that exists",
  ]);
});

onEachCluster("doctor reports a namespace that is being deleted", async (cluster) => {
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
    `FAIL  Namespace ${doomed.namespace} is being deleted: nothing can be created in it: wait until it is gone, then create it again`,
  ]);
});

onEachCluster("doctor reports a Pod Security level that session pods do not meet", async (cluster) => {
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
      "FAIL  Session pods meet only Pod Security level baseline, but the namespace enforces restricted: set --session-security=restricted (SESSION_SECURITY), or the namespace's label pod-security.kubernetes.io/enforce to baseline",
    ],
    ["ok    Session pods meet Pod Security level restricted, the namespace enforces restricted"],
  ]);
});

onEachCluster("doctor reports a missing storage class and lists the others", async (cluster) => {
  const { about } = await examine(cluster, "--storage-class=nope");
  assertMatch(
    about("storage-class").join(),
    /^FAIL {2}Storage class "nope" does not exist: set --storage-class \(STORAGE_CLASS\) to one of [\w.-]+(, [\w.-]+)*$/,
  );
  const none = await examine(cluster, "--storage-class=nope", "--home-strategy=none");
  assertEquals(none.about("storage-class"), ["ok    No storage class is needed: --home-strategy is none"]);
});

onEachCluster("doctor reports a pending PersistentVolumeClaim", async (cluster) => {
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
    `warn  PersistentVolumeClaim s1-home is pending: see the reason in kubectl -n ${cluster.namespace} describe pvc s1-home`,
  );
});

onEachCluster(
  "doctor reports an exhausted quota and what it prevents",
  async (cluster, context) => {
    await cluster.limit("small", { "count/deployments.apps": "0" });
    const { about } = await examine(cluster);
    assertEquals(about("quota"), [
      "FAIL  Quota small has no room for another session: count/deployments.apps 0 of 0: raise the quota, or stop sessions",
    ]);
    await context.step("in a dry run, if the API server supports it", () => {
      const [trial = ""] = about("session-objects");
      if (trial.endsWith("dry runs are not simulated)")) return;
      assertMatch(
        trial,
        /^FAIL {2}Sessions cannot start: Kubernetes refused to create deployments: .* exceeded quota: small, .*: the message names the missing permission, the quota or the policy$/,
      );
    });
  },
);

onEachCluster("doctor compares quotas with the usage of another session", async (cluster) => {
  await cluster.limit("cores", { "requests.cpu": "500m", "requests.memory": "4Gi" });
  await cluster.limit("gateways", { "services.loadbalancers": "0" });
  await cluster.limit("jobs", { pods: "0" }, { scopes: ["Terminating"] });
  await cluster.limit("roomy", { "limits.memory": "2Gi", pods: "1", "services.nodeports": "0" });
  const { about } = await examine(cluster);
  assertEquals(about("quota").sort(), [
    "FAIL  Quota cores has no room for another session: requests.cpu 0 of 500m: raise the quota, or stop sessions",
    "ok    Quota gateways does not apply to sessions",
    "ok    Quota roomy has room for another session: limits.memory 0 of 2Gi, pods 0 of 1",
    "skip  Quota jobs was not checked (it applies only to pods that its scopes select)",
  ]);
});

onEachCluster("doctor reports unusable templates", async (cluster) => {
  const args = ["--templates={gimp: gimp:latest, ide: example.com/ide:1}", "--allowed-images=example.com/*"];
  const { about } = await examine(cluster, ...args);
  assertEquals(about("templates"), [
    'FAIL  Sessions cannot use a template: template "gimp": image "gimp:latest" is not allowed: see --allowed-images: fix the template, or the settings',
    "ok    1 of 8 templates are usable",
  ]);
  const none = await examine(cluster, "--allowed-images=example.com/*");
  assertEquals(none.about("session-objects", "templates"), [
    "skip  No session was created in a dry run (no template is usable)",
    "FAIL  No template is usable: check --templates (TEMPLATES) and --allowed-images (ALLOWED_IMAGES)",
  ]);
});

function agentPod(name: string, env: Record<string, string>, more: Partial<V1Container> = {}): V1Pod {
  const variables = Object.entries({ AGENT_ID: AGENT_ID, ...env }).map(([name, value]) => ({ name, value }));
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
    metadata: { name: `k8s-agent-${AGENT_ID}` },
    spec: { holderIdentity, renewTime, leaseDurationSeconds: 15 },
  };
}

const ADVICE =
  "give each agent its own --agent-id (AGENT_ID), or enable --leader-election (LEADER_ELECTION) for all of them";
const SETTINGS = { envFrom: [{ configMapRef: { name: "k8s-agent", optional: true } }] };
const ELECTED = { LEADER_ELECTION: "true" };
const SECOND: ReadonlyArray<readonly [string, readonly KubernetesObject[], readonly string[], string]> = [
  [
    "two agents without leader election",
    [agentPod("one", {}), agentPod("two", {})],
    [],
    `FAIL  2 agents with id ${AGENT_ID} run without leader election: pods one, two: ${ADVICE}`,
  ],
  [
    "replicas with leader election",
    [agentPod("one", ELECTED), agentPod("two", ELECTED), heldLease("one_0a1b2c3d")],
    ["--leader-election"],
    `ok    Replica one is the leader of agent ${AGENT_ID}`,
  ],
  [
    "an agent without leader election beside replicas with it",
    [agentPod("one", ELECTED), agentPod("two", {}), heldLease("one")],
    ["--leader-election"],
    `FAIL  one is the leader of agent ${AGENT_ID}, but pod two runs without leader election: ${ADVICE}`,
  ],
  [
    "a leader while leader election is disabled",
    [heldLease("elsewhere")],
    [],
    `warn  elsewhere is the leader of agent ${AGENT_ID}, but these settings do not enable leader election: ${ADVICE}`,
  ],
  [
    "replicas with leader election by a flag",
    [
      agentPod("one", {}, { args: ["--leader-election"] }),
      agentPod("two", { LEADER_ELECTION: "1" }),
      heldLease("one"),
    ],
    ["--leader-election"],
    `ok    Replica one is the leader of agent ${AGENT_ID}`,
  ],
  [
    "a leader whose settings are in a file",
    [agentPod("one", {}, { args: ["--config=/etc/agent.yaml"] }), agentPod("two", ELECTED), heldLease("one")],
    ["--leader-election"],
    `ok    Replica one is the leader of agent ${AGENT_ID}`,
  ],
  [
    "a leader whose pod shows no leader election",
    [agentPod("one", {}), heldLease("one")],
    ["--leader-election"],
    `ok    Replica one is the leader of agent ${AGENT_ID}`,
  ],
  [
    "two agents whose settings are in a ConfigMap",
    [agentPod("one", {}, SETTINGS), agentPod("two", {}, SETTINGS)],
    ["--leader-election"],
    `skip  Leader election of the 2 agents with id ${AGENT_ID} was not checked (their settings are not in the manifests of pods one, two)`,
  ],
];
onEachCluster("doctor reports a second agent with the same id", async (cluster, context) => {
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
