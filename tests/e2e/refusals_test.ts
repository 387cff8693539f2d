import { assertEquals } from "@std/assert";
import type { KubernetesObject } from "@kubernetes/client-node";
import { delay } from "@std/async";
import { Actor } from "../support/actor.ts";
import { REAL, type TestCluster } from "../support/clusters.ts";
import { onEachCluster, Stage, START } from "../support/stage.ts";

/** Something that keeps pods, or other objects, from being created. */
interface Obstacle {
  readonly name: string;
  /** Puts it in the way, and gives what takes it away where that is more than a namespace's end. */
  readonly place: (cluster: TestCluster) => Promise<(() => Promise<unknown>) | void>;
  readonly reason: string;
  /** What is told after `Cannot start session "s1": `. */
  readonly words: string;
}

function create(object: KubernetesObject & Readonly<Record<string, unknown>>): Obstacle["place"] {
  return async (cluster) => void await cluster.create(object);
}

/** Holds the namespace's pods to a Pod Security level. */
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

/** Creates objects of the whole cluster that concern this namespace alone, and waits until they refuse pods. */
async function admit(cluster: TestCluster, objects: KubernetesObject[]): Promise<() => Promise<unknown>> {
  for (const object of objects) await cluster.objects.create(object);
  const remove = () => Promise.all(objects.map((object) => cluster.objects.delete(object)));
  const metadata = { name: "probe", namespace: cluster.namespace };
  const pod = { apiVersion: "v1", kind: "Pod", metadata, spec: { containers: [{ name: "c", image: "x" }] } };
  const signal = AbortSignal.timeout(10_000);
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
  return admit(cluster, [
    { apiVersion, kind: "ValidatingAdmissionPolicy", metadata: { name }, spec } as KubernetesObject,
    {
      apiVersion,
      kind: "ValidatingAdmissionPolicyBinding",
      metadata: { name },
      spec: binding,
    } as KubernetesObject,
  ]);
}

/** A webhook that nobody answers for. */
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
  return admit(cluster, [{
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "ValidatingWebhookConfiguration",
    metadata: { name: cluster.namespace },
    webhooks: [webhook],
  } as KubernetesObject]);
}

const REFUSES = "Kubernetes rejects its pod: ";

const OBSTACLES: readonly Obstacle[] = [
  {
    name: "a ResourceQuota for pods",
    place: (cluster) => cluster.limit("small", { pods: "0" }),
    reason: "Quota",
    words: `${REFUSES}exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0`,
  },
  {
    name: "a ResourceQuota for Deployments",
    place: (cluster) => cluster.limit("none", { "count/deployments.apps": "0" }),
    reason: "Quota",
    words:
      'Kubernetes refused to create deployments: deployments.apps "s1" is forbidden: exceeded quota: none, ' +
      "requested: count/deployments.apps=1, used: count/deployments.apps=0, limited: count/deployments.apps=0",
  },
  {
    name: "a ResourceQuota for ReplicaSets",
    place: (cluster) => cluster.limit("none", { "count/replicasets.apps": "0" }),
    reason: "Quota",
    words:
      `${REFUSES}exceeded quota: none, requested: count/replicasets.apps=1, used: count/replicasets.apps=0, ` +
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
    words: `${REFUSES}maximum memory usage per Container is 256Mi, but limit is 512Mi`,
  },
  {
    name: "the Pod Security level restricted",
    place: secure,
    reason: "PodSecurity",
    words: `${REFUSES}violates PodSecurity "restricted:latest": …`,
  },
  {
    name: "an admission policy",
    place: policy,
    reason: "Refused",
    words:
      `${REFUSES}ValidatingAdmissionPolicy 'NAMESPACE' with binding 'NAMESPACE' denied request: no desktops today`,
  },
  {
    name: "a webhook that does not answer",
    place: deadWebhook,
    reason: "AdmissionDown",
    words:
      'its pod cannot be created: Internal error occurred: failed calling webhook "pods.example.com": failed to ' +
      'call webhook: Post "https://127.0.0.1:9/?timeout=1s": dial tcp 127.0.0.1:9: connect: connection refused',
  },
];

for (const { name, place, reason, words } of OBSTACLES) {
  onEachCluster(`K11 ${name} fails a start with its own words, and nothing is left`, async (cluster) => {
    const remove = await place(cluster);
    await using _removal = { [Symbol.asyncDispose]: async () => void await remove?.() };
    await using stage = await Stage.start(cluster);
    const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
    // What a level asks for is the cluster's to say, and grows with its version.
    const brief = (text: unknown) => String(text).replace(/("restricted:latest": ).*/, "$1…");
    const message = `Cannot start session "s1": ${words}`.replaceAll("NAMESPACE", cluster.namespace);
    assertEquals(brief(error), message);
    await stage.untilState("s1", "failed");
    const nowhere = { podName: "", podIP: "", nodeName: "" };
    assertEquals(stage.lastStatus("s1").platformMetadata, { ...nowhere, reason, message: error });
    await cluster.untilEmpty();
    assertEquals([...stage.controlPlane.problems], []);
  }, [REAL]);
}

onEachCluster("K12 a Deployment that gave up fails a start, and nothing is left", async (cluster) => {
  await using stage = await Stage.start(cluster);
  const command = stage.command("start_session", { sessionId: "s1", ...START, template: "stuck" });
  await new Actor(cluster).begun("s1");
  const spec = { progressDeadlineSeconds: 1 };
  await cluster.change({ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "s1" }, spec });
  const { error } = await command;
  assertEquals(
    String(error).replace(/s1-[0-9a-f]+/, "s1-HASH"),
    'Cannot start session "s1": its Deployment makes no progress: ReplicaSet "s1-HASH" has timed out progressing.',
  );
  await cluster.untilEmpty();
}, [REAL]);
