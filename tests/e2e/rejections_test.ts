import { assertEquals } from "@std/assert";
import type { KubernetesObject } from "@kubernetes/client-node";
import { delay } from "@std/async";
import { Actor } from "../support/actor.ts";
import { REAL, type TestCluster } from "../support/clusters.ts";
import { onEachCluster, Stage, START } from "../support/stage.ts";

/** Something that prevents the creation of pods or other objects. */
interface Obstacle {
  readonly name: string;
  /** Creates it; returns how to remove it if deleting the namespace does not. */
  readonly place: (cluster: TestCluster) => Promise<(() => Promise<unknown>) | void>;
  readonly reason: string;
  /** The error after `Cannot start session "s1": `. */
  readonly problem: string;
}

function create(object: KubernetesObject & Readonly<Record<string, unknown>>): Obstacle["place"] {
  return async (cluster) => void await cluster.create(object);
}

/** Enforces a Pod Security level for the namespace. */
async function secure(cluster: TestCluster): Promise<void> {
  const labels = { "pod-security.kubernetes.io/enforce": "restricted" };
  await cluster.change({
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: cluster.namespace, labels },
  });
}

const inNamespace = ({ namespace }: TestCluster) => ({
  matchLabels: { "kubernetes.io/metadata.name": namespace },
});

const PODS = { apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["pods"] };

/** Creates cluster-wide objects that apply to this namespace only, and waits until they reject pods. */
async function createAll(cluster: TestCluster, objects: KubernetesObject[]): Promise<() => Promise<unknown>> {
  for (const object of objects) await cluster.objects.create(object);
  const remove = () => Promise.all(objects.map((object) => cluster.objects.delete(object)));
  const metadata = { name: "probe", namespace: cluster.namespace };
  const pod = { apiVersion: "v1", kind: "Pod", metadata, spec: { containers: [{ name: "c", image: "x" }] } };
  const signal = AbortSignal.timeout(60_000);
  while (await cluster.objects.create(pod, undefined, "All").then(() => true, () => false)) {
    await delay(50, { signal });
  }
  return remove;
}

function policy(cluster: TestCluster): Promise<() => Promise<unknown>> {
  const name = cluster.namespace;
  const apiVersion = "admissionregistration.k8s.io/v1";
  const spec = {
    matchConstraints: { resourceRules: [PODS] },
    validations: [{ expression: "false", message: "no desktops today" }],
  };
  const binding = {
    policyName: name,
    validationActions: ["Deny"],
    matchResources: { namespaceSelector: inNamespace(cluster) },
  };
  return createAll(cluster, [
    { apiVersion, kind: "ValidatingAdmissionPolicy", metadata: { name }, spec } as KubernetesObject,
    {
      apiVersion,
      kind: "ValidatingAdmissionPolicyBinding",
      metadata: { name },
      spec: binding,
    } as KubernetesObject,
  ]);
}

/** A webhook without a server. */
function deadWebhook(cluster: TestCluster): Promise<() => Promise<unknown>> {
  const webhook = {
    name: "pods.example.com",
    clientConfig: { url: "https://127.0.0.1:9/" },
    rules: [PODS],
    namespaceSelector: inNamespace(cluster),
    admissionReviewVersions: ["v1"],
    sideEffects: "None",
    timeoutSeconds: 1,
  };
  return createAll(cluster, [{
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingWebhookConfiguration",
    metadata: { name: cluster.namespace },
    webhooks: [webhook],
  } as KubernetesObject]);
}

const REJECTED = "Kubernetes rejects its pod: ";

const OBSTACLES: readonly Obstacle[] = [
  {
    name: "a ResourceQuota for pods",
    place: (cluster) => cluster.limit("small", { pods: "0" }),
    reason: "Quota",
    problem: `${REJECTED}exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0`,
  },
  {
    name: "a ResourceQuota for Deployments",
    place: (cluster) => cluster.limit("none", { "count/deployments.apps": "0" }),
    reason: "Quota",
    problem:
      'Kubernetes refused to create deployments: deployments.apps "s1" is forbidden: exceeded quota: none, ' +
      "requested: count/deployments.apps=1, used: count/deployments.apps=0, limited: count/deployments.apps=0",
  },
  {
    name: "a ResourceQuota for ReplicaSets",
    place: (cluster) => cluster.limit("none", { "count/replicasets.apps": "0" }),
    reason: "Quota",
    problem:
      `${REJECTED}exceeded quota: none, requested: count/replicasets.apps=1, used: count/replicasets.apps=0, ` +
      "limited: count/replicasets.apps=0",
  },
  {
    name: "a LimitRange",
    place: create({
      apiVersion: "v1",
      kind: "LimitRange",
      metadata: { name: "small" },
      spec: { limits: [{ type: "Container", max: { memory: "256Mi" } }] },
    }),
    reason: "LimitRange",
    problem: `${REJECTED}maximum memory usage per Container is 256Mi, but limit is 512Mi`,
  },
  {
    name: "the Pod Security level restricted",
    place: secure,
    reason: "PodSecurity",
    problem: `${REJECTED}violates PodSecurity "restricted:latest": …`,
  },
  {
    name: "an admission policy",
    place: policy,
    reason: "Refused",
    problem:
      `${REJECTED}ValidatingAdmissionPolicy 'NAMESPACE' with binding 'NAMESPACE' denied request: no desktops today`,
  },
  {
    name: "a webhook that does not answer",
    place: deadWebhook,
    reason: "AdmissionDown",
    problem:
      'its pod cannot be created: Internal error occurred: failed calling webhook "pods.example.com": failed to ' +
      'call webhook: Post "https://127.0.0.1:9/?timeout=1s": dial tcp 127.0.0.1:9: connect: connection refused',
  },
];

for (const { name, place, reason, problem } of OBSTACLES) {
  onEachCluster(
    `${name} fails a start with the message of the cluster, and no objects are left`,
    async (cluster) => {
      const remove = await place(cluster);
      await using _removal = { [Symbol.asyncDispose]: async () => void await remove?.() };
      await using stage = await Stage.start(cluster);
      const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
      // The requirements of a level depend on the version of the cluster.
      const shortened = (text: unknown) => String(text).replace(/("restricted:latest": ).*/, "$1…");
      const message = `Cannot start session "s1": ${problem}`.replaceAll("NAMESPACE", cluster.namespace);
      assertEquals(shortened(error), message);
      await stage.untilState("s1", "failed");
      const noPod = { podName: "", podIP: "", nodeName: "" };
      assertEquals(stage.lastStatus("s1").platformMetadata, { ...noPod, reason, message: error });
      await cluster.untilEmpty();
      assertEquals([...stage.controlPlane.problems], []);
    },
    [REAL],
  );
}

onEachCluster(
  "a Deployment that exceeds its progress deadline fails a start, and no objects are left",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { args: ["--start-timeout=5s"] });
    const command = stage.command("start_session", { sessionId: "s1", ...START, template: "stuck" });
    await new Actor(cluster).begun("s1");
    const spec = { progressDeadlineSeconds: 1 };
    await cluster.change({ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "s1" }, spec });
    const { error } = await command;
    assertEquals(
      error,
      'Cannot start session "s1": it was not ready within 5s: its Deployment makes no progress: still creating its container',
    );
    await cluster.untilEmpty();
  },
  [REAL],
);
