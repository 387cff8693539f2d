import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { Cluster } from "@streamspace/memory-cluster";
import { type Answer, call, claim, deployment, typedClients, waitFor } from "./cluster_client.ts";

const FAST = { podStartMs: 5, podStopMs: 5 };
const APPS = "/apis/apps/v1/namespaces/default/deployments";
const CORE = "/api/v1/namespaces/default";

function isReady({ object }: Answer): boolean {
  return object.status.readyReplicas === object.spec.replicas;
}

function waitingReason({ object }: Answer): string | undefined {
  return object.status.containerStatuses?.[0].state.waiting?.reason;
}

Deno.test("a Deployment creates a ReplicaSet and a pod that becomes ready", async () => {
  await using cluster = Cluster.start(FAST);
  const { apps, core } = typedClients(cluster);
  const body = deployment("desk", "desk:1", { replicas: 1 });
  const created = await apps.createNamespacedDeployment({ namespace: "default", body });
  assertEquals(created.metadata?.generation, 1);
  await waitFor(cluster, APPS, isReady);
  const { items } = await core.listNamespacedPod({ namespace: "default", labelSelector: "app=desk" });
  assertEquals(items.map((pod) => pod.status?.phase), ["Running"]);
  assertEquals(items[0]?.metadata?.ownerReferences?.[0]?.kind, "ReplicaSet");
  assertMatch(items[0]?.status?.podIP ?? "", /^127\.\d+\.\d+\.\d+$/);
});

Deno.test("scaling a Deployment to zero deletes its pods, and scaling it up creates new ones", async () => {
  await using cluster = Cluster.start(FAST);
  const { apps } = typedClients(cluster);
  await call(cluster, APPS, { body: deployment("desk") });
  await waitFor(cluster, APPS, isReady);
  const target = { name: "desk", namespace: "default" };
  const scale = await apps.readNamespacedDeploymentScale(target);
  assertEquals(scale.status?.selector, "app=desk");
  await apps.replaceNamespacedDeploymentScale({ ...target, body: { ...scale, spec: { replicas: 0 } } });
  await waitFor(cluster, `${CORE}/pods`, ({ type }) => type === "DELETED");
  await call(cluster, `${APPS}/desk/scale`, {
    method: "PATCH",
    body: { spec: { replicas: 2 } },
    headers: { "content-type": "application/merge-patch+json" },
  });
  const { object } = await waitFor(cluster, APPS, (event) => event.object.status.readyReplicas === 2);
  assertEquals(object.status.observedGeneration, 3);
});

Deno.test("the strategy Recreate removes old pods before it creates new ones", async () => {
  await using cluster = Cluster.start(FAST);
  const strategy = { type: "Recreate" };
  await call(cluster, APPS, { body: deployment("desk", "desk:1", { strategy }) });
  const first = await waitFor(cluster, APPS, isReady);
  const body = { ...first.object, spec: deployment("desk", "desk:2", { strategy, replicas: 1 }).spec };
  delete body.metadata.resourceVersion;
  const { metadata: { resourceVersion } } = await call(cluster, `${CORE}/pods`);
  await call(cluster, `${APPS}/desk`, { method: "PUT", body });
  const seen: string[] = [];
  await waitFor(cluster, `${CORE}/pods?resourceVersion=${resourceVersion}`, ({ type }) => {
    if (type !== "MODIFIED") seen.push(type);
    return type === "ADDED";
  });
  assertEquals(seen, ["DELETED", "ADDED"]);
});

for (const propagationPolicy of ["Background", "Foreground"]) {
  Deno.test(`deleting a Deployment with policy ${propagationPolicy} deletes its pods`, async () => {
    await using cluster = Cluster.start(FAST);
    await call(cluster, APPS, { body: deployment("desk") });
    const { object } = await waitFor(cluster, APPS, isReady);
    const from = `resourceVersion=${object.metadata.resourceVersion}`;
    await call(cluster, `${APPS}/desk`, { method: "DELETE", body: { propagationPolicy } });
    await waitFor(cluster, `${CORE}/pods?${from}`, ({ type }) => type === "DELETED");
    await waitFor(cluster, `${APPS}?${from}`, ({ type }) => type === "DELETED");
    const { items } = await call(cluster, "/apis/apps/v1/replicasets");
    assertEquals(items, []);
  });
}

Deno.test("deleting a Deployment with policy Orphan keeps its pods", async () => {
  await using cluster = Cluster.start(FAST);
  await call(cluster, APPS, { body: deployment("desk") });
  const { object } = await waitFor(cluster, APPS, isReady);
  const from = `resourceVersion=${object.metadata.resourceVersion}`;
  await call(cluster, `${APPS}/desk?propagationPolicy=Orphan`, { method: "DELETE" });
  await waitFor(cluster, `${APPS}?${from}`, ({ type }) => type === "DELETED");
  const sets = await call(cluster, "/apis/apps/v1/replicasets");
  assertEquals(sets.items[0].metadata.ownerReferences, []);
  const pods = await call(cluster, `${CORE}/pods`);
  assertEquals(pods.items.length, 1);
});

for (
  const { image, reason } of [
    { image: "missing:1", reason: "ImagePullBackOff" },
    { image: "registry.example/crashing", reason: "CrashLoopBackOff" },
    { image: "stuck", reason: "ContainerCreating" },
  ]
) {
  Deno.test(`a pod with image ${image} waits with reason ${reason}`, async () => {
    await using cluster = Cluster.start(FAST);
    await call(cluster, APPS, { body: deployment("desk", image) });
    const { object } = await waitFor(cluster, `${CORE}/pods`, (event) => waitingReason(event) === reason);
    assertEquals(object.status.containerStatuses[0].ready, false);
  });
}

Deno.test("a pod with image slow runs before it is ready", async () => {
  await using cluster = Cluster.start(FAST);
  await call(cluster, APPS, { body: deployment("desk", "slow") });
  const { object } = await waitFor(
    cluster,
    `${CORE}/pods`,
    (event) => event.object.status.phase === "Running",
  );
  assertEquals(object.status.containerStatuses[0].ready, false);
});

Deno.test("a failed image pull is recorded as an event of the pod", async () => {
  await using cluster = Cluster.start(FAST);
  await call(cluster, APPS, { body: deployment("desk", "missing") });
  const { object } = await waitFor(
    cluster,
    `${CORE}/events?fieldSelector=involvedObject.kind=Pod`,
    (event) => {
      return event.object.reason === "Failed";
    },
  );
  assertEquals(object.message, 'Failed to pull image "missing": not found');
});

Deno.test("a claim is bound, and is kept until no pod uses it", async () => {
  await using cluster = Cluster.start(FAST);
  await call(cluster, `${CORE}/persistentvolumeclaims`, { body: claim("home") });
  const body = deployment("desk");
  body.spec.template.spec.volumes = [{ name: "home", persistentVolumeClaim: { claimName: "home" } }];
  await call(cluster, APPS, { body });
  await waitFor(cluster, APPS, isReady);
  const deleted = await call(cluster, `${CORE}/persistentvolumeclaims/home`, { method: "DELETE" });
  assertEquals(deleted.status.phase, "Bound");
  assert(deleted.metadata.deletionTimestamp);
  await call(cluster, `${APPS}/desk`, { method: "DELETE" });
  const from = `resourceVersion=${deleted.metadata.resourceVersion}`;
  const gone = await waitFor(
    cluster,
    `${CORE}/persistentvolumeclaims?${from}`,
    ({ type }) => type === "DELETED",
  );
  const pods = await call(cluster, `${CORE}/pods`);
  assertEquals([gone.object.metadata.name, pods.items], ["home", []]);
});

Deno.test("a pod whose claim cannot be bound stays pending with an event", async () => {
  await using cluster = Cluster.start(FAST);
  await call(cluster, `${CORE}/persistentvolumeclaims`, { body: claim("home", "unknown") });
  const body = deployment("desk");
  body.spec.template.spec.volumes = [{ name: "home", persistentVolumeClaim: { claimName: "home" } }];
  await call(cluster, APPS, { body });
  await waitFor(cluster, `${CORE}/events`, ({ object }) => object.reason === "ProvisioningFailed");
  const event = await waitFor(
    cluster,
    `${CORE}/events`,
    ({ object }) => object.reason === "FailedScheduling",
  );
  assertEquals(
    event.object.message,
    "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
  );
  const { items } = await call(cluster, `${CORE}/pods`);
  assertEquals(items[0].status.phase, "Pending");
});

Deno.test("deleting a namespace deletes its objects first", async () => {
  await using cluster = Cluster.start(FAST);
  await call(cluster, "/api/v1/namespaces/streamspace/configmaps", {
    body: { metadata: { name: "settings" } },
  });
  const deleted = await call(cluster, "/api/v1/namespaces/streamspace", { method: "DELETE" });
  assertEquals(deleted.status.phase, "Terminating");
  const from = `resourceVersion=${deleted.metadata.resourceVersion}`;
  await waitFor(cluster, `/api/v1/namespaces?${from}`, ({ type }) => type === "DELETED");
  assertEquals((await call(cluster, "/api/v1/configmaps")).items, []);
});

Deno.test("failNext() makes the given number of matching requests fail", async () => {
  await using cluster = Cluster.start(FAST);
  const { core } = typedClients(cluster);
  cluster.failNext({
    verb: "list",
    resource: "pods",
    status: 503,
    times: 2,
    headers: { "retry-after": "1" },
  });
  for (let n = 0; n < 2; n++) {
    const error = await assertRejects(() => core.listNamespacedPod({ namespace: "default" })) as Answer;
    assertEquals([error.code, error.headers["retry-after"]], [503, "1"]);
  }
  assertEquals((await core.listNamespacedPod({ namespace: "default" })).items, []);
  assertEquals(cluster.requests.map(({ status }) => status), [503, 503, 200]);
});

Deno.test("requests are recorded with their RBAC verbs and resources", async () => {
  await using cluster = Cluster.start(FAST);
  await call(cluster, APPS, { body: deployment("desk", "desk", { replicas: 0 }) });
  await call(cluster, `${APPS}/desk/scale`);
  await call(cluster, "/version");
  assertEquals(cluster.requests, [
    { method: "POST", path: APPS, verb: "create", resource: "deployments", status: 201 },
    {
      method: "GET",
      path: `${APPS}/desk/scale`,
      verb: "get",
      resource: "deployments/scale",
      name: "desk",
      status: 200,
    },
    { method: "GET", path: "/version", verb: "get", resource: "", status: 200 },
  ]);
});

Deno.test("authorize() decides about requests and access reviews", async () => {
  await using cluster = Cluster.start({ ...FAST, authorize: ({ resource }) => resource !== "secrets" });
  const denied = await call(cluster, `${CORE}/secrets`);
  assertEquals([denied.code, denied.reason], [403, "Forbidden"]);
  const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
  for (const resource of ["secrets", "pods"]) {
    const spec = { resourceAttributes: { verb: "list", resource, namespace: "default" } };
    const answer = await call(cluster, path, { body: { spec } });
    assertEquals(answer.status.allowed, resource === "pods");
  }
});

Deno.test("cluster task rejects invalid flags with exit code 2", async () => {
  const main = new URL("../../dev/cluster/main.ts", import.meta.url).pathname;
  for (
    const [flag, problem] of [
      ["--help", "--help is unknown"],
      ["--port=x", '--port must be a number: current value is "x"'],
      ["--kubeconfig=/nonexistent/file", "Cannot write --kubeconfig: "],
    ] as const
  ) {
    const command = new Deno.Command(Deno.execPath(), { args: ["run", "-A", "--no-check", main, flag] });
    const { code, stderr } = await command.output();
    assertEquals(code, 2);
    assertStringIncludes(new TextDecoder().decode(stderr), problem);
  }
});
