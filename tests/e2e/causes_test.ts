import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  CoreV1Api,
  type KubernetesObject,
  type V1Deployment,
  type V1Pod,
  type V1PolicyRule,
} from "@kubernetes/client-node";
import { Actor } from "../support/actor.ts";
import { deny, mutate } from "../support/admission.ts";
import { MEMORY, REAL, temporaryFile, type TestCluster } from "../support/clusters.ts";
import { onEachCluster, SHORT_GRACE, Stage, START, START_WITH_HOME } from "../support/stage.ts";

const LABELS = { app: "probe" };
const POD_TEMPLATE = { metadata: { labels: LABELS }, spec: { containers: [{ name: "c", image: "x" }] } };
const DEPLOYMENT: KubernetesObject = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "probe" },
  spec: { selector: { matchLabels: LABELS }, template: POD_TEMPLATE },
} as KubernetesObject;

const REPLICAS =
  "its Deployment has 2 replicas instead of 1: a policy, a webhook, an autoscaler or a user changed it";

onEachCluster("a start fails immediately when something changes the number of replicas", async (cluster) => {
  await using stage = await Stage.start(cluster);
  const start = stage.command("start_session", { sessionId: "s1", ...START, template: "stuck" });
  await new Actor(cluster).begun("s1");
  await cluster.change({
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "s1" },
    spec: { replicas: 2 },
  });
  assertEquals((await start).error, `Cannot start session "s1": ${REPLICAS}`);
  await stage.untilState("s1", "failed");
  await cluster.untilEmpty();
});

onEachCluster("a start fails immediately when an admission policy sets two replicas", async (cluster) => {
  await using _policy = await mutate(cluster, {
    apiGroup: "apps",
    resource: "deployments",
    patch: '[JSONPatch{op: "replace", path: "/spec/replicas", value: 2}]',
    probe: DEPLOYMENT,
    hasEffect: (object) => (object as V1Deployment).spec?.replicas === 2,
  });
  await using stage = await Stage.start(cluster);
  const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
  assertEquals(error, `Cannot start session "s1": ${REPLICAS}`);
  await cluster.untilEmpty();
}, [REAL]);

const POD = {
  apiVersion: "v1",
  kind: "Pod",
  ...POD_TEMPLATE,
  metadata: { name: "probe" },
} as KubernetesObject;

onEachCluster(
  "a scheduling gate that an admission policy adds is named until it is removed",
  async (cluster) => {
    await using _policy = await mutate(cluster, {
      apiGroup: "",
      resource: "pods",
      patch: '[JSONPatch{op: "add", path: "/spec/schedulingGates", value: [' +
        'Object.spec.schedulingGates{name: "example.com/queue"}]}]',
      probe: POD,
      hasEffect: (object) => (object as V1Pod).spec?.schedulingGates !== undefined,
    });
    await using stage = await Stage.start(cluster, { timings: { progressIntervalMs: 100 } });
    const start = stage.command("start_session", { sessionId: "s1", ...START });
    const gated = 'its pod is not scheduled while it has the scheduling gate "example.com/queue"';
    await stage.untilMessage("s1", gated);
    const { metadata } = await new Actor(cluster).pod("s1");
    const name = metadata?.name ?? "";
    await cluster.change({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name },
      spec: { schedulingGates: null },
    });
    assertEquals((await start).error, undefined);
    assert(!stage.messages("s1").some((message) => message.includes("cannot be scheduled")));
  },
  [REAL],
);

onEachCluster("a sidecar container that an admission policy adds is named", async (cluster) => {
  await using _policy = await mutate(cluster, {
    apiGroup: "",
    resource: "pods",
    patch: '[JSONPatch{op: "add", path: "/spec/initContainers", value: [Object.spec.initContainers{' +
      'name: "istio-proxy", image: "example.com/proxy:1", restartPolicy: "Always"}]}]',
    probe: POD,
    hasEffect: (object) => (object as V1Pod).spec?.initContainers !== undefined,
  });
  await using stage = await Stage.start(cluster, { timings: { progressIntervalMs: 100 } });
  const start = stage.command("start_session", { sessionId: "s1", ...START, template: "stuck" });
  const actor = new Actor(cluster);
  const pod = await actor.begun("s1");
  const state = { running: {} };
  const status = { image: "x", imageID: "", ready: false, restartCount: 0, state };
  const proxy = { ...status, name: "istio-proxy" };
  await actor.report(pod, { initContainerStatuses: [{ ...proxy, started: false }] });
  await stage.untilMessage("s1", 'waiting for its sidecar container "istio-proxy" to start');
  await actor.report(pod, {
    initContainerStatuses: [{ ...proxy, started: true }],
    containerStatuses: [{ ...status, name: "session", ready: true }],
  });
  await stage.untilMessage("s1", 'waiting for its sidecar container "istio-proxy" to be ready');
  await actor.report(pod, { conditions: [{ type: "Ready", status: "True" }] });
  assertEquals((await start).error, undefined);
}, [REAL]);

onEachCluster("a start goes on once a new namespace has its default ServiceAccount", async (cluster) => {
  const account = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "default" } };
  await using policies = new AsyncDisposableStack();
  policies.use(
    await deny(cluster, {
      apiGroup: "",
      resource: "serviceaccounts",
      probe: { ...account, metadata: { name: "probe" } },
    }),
  );
  await cluster.delete("v1", "ServiceAccount", "default");

  await using stage = await Stage.start(cluster, { timings: { progressIntervalMs: 100 } });
  const start = stage.command("start_session", { sessionId: "s1", ...START });
  const missing = `error looking up service account ${cluster.namespace}/default`;
  await stage.untilMessage("s1", `its pod cannot be created: ${missing}: serviceaccount "default" not found`);
  await policies.disposeAsync();
  await cluster.until(() => cluster.create(account).then(() => true, ({ code }) => code === 409));
  assertEquals((await start).error, undefined);
}, [REAL]);

onEachCluster("a start goes on beyond the progress deadline of its Deployment", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: ["--start-timeout=11m"] });
  const start = stage.command("start_session", { sessionId: "s1", ...START, template: "stuck" });
  const actor = new Actor(cluster);
  const pod = await actor.begun("s1");
  const deployment = async () => (await cluster.list("apps/v1", "Deployment") as V1Deployment[])[0];
  assertEquals((await deployment())?.spec?.progressDeadlineSeconds, 1020);
  // As in a Deployment of an earlier version.
  const object = { apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "s1" } };
  await cluster.change({ ...object, spec: { progressDeadlineSeconds: 1 } });
  await cluster.until(async () => {
    const { conditions = [] } = (await deployment())?.status ?? {};
    return conditions.some(({ reason }) => reason === "ProgressDeadlineExceeded");
  });
  await stage.roundTrip();
  await actor.report(pod, { conditions: [{ type: "Ready", status: "True" }] });
  assertEquals((await start).error, undefined);
}, [REAL]);

onEachCluster("a CSI driver that is not installed is named", async (cluster) => {
  const provisioner = "csi.missing.example.com";
  const storageClass = {
    apiVersion: "storage.k8s.io/v1",
    kind: "StorageClass",
    metadata: { name: cluster.namespace },
  };
  await cluster.objects.create({ ...storageClass, provisioner } as KubernetesObject);
  await using _class = { [Symbol.asyncDispose]: async () => void await cluster.objects.delete(storageClass) };
  await using stage = await Stage.start(cluster, {
    args: ["--start-timeout=3s", `--storage-class=${cluster.namespace}`],
    timings: { progressIntervalMs: 100 },
  });
  const { error } = await stage.command("start_session", { sessionId: "s1", ...START_WITH_HOME });
  assertEquals(
    error,
    'Cannot start session "s1": it was not ready within 3s: volume "s1-home" is not provisioned: check that ' +
      `provisioner "${provisioner}" is installed and running`,
  );
  assert(stage.messages("s1").includes(`waiting for volume "s1-home" to be provisioned by "${provisioner}"`));
}, [REAL]);

onEachCluster(
  "a wake fails immediately without its home volume, and a new start creates one",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    await stage.command("start_session", { sessionId: "s1", ...START_WITH_HOME });
    await stage.command("hibernate_session", { sessionId: "s1" });
    await cluster.delete("v1", "PersistentVolumeClaim", "s1-home");
    await cluster.until(async () => (await cluster.list("v1", "PersistentVolumeClaim")).length === 0);
    for (const [action, payload] of [["wake_session", {}], ["start_session", START_WITH_HOME]] as const) {
      const { error } = await stage.command(action, { sessionId: "s1", ...payload });
      assertStringIncludes(
        String(error),
        'session "s1": volume "s1-home" is not available: it was deleted while the session was hibernated; restore ' +
          "the PersistentVolumeClaim with this name, or stop the session and start it again",
      );
    }
    await stage.untilState("s1", "hibernated");
    const { reason } = stage.lastStatus("s1").platformMetadata as { reason?: string };
    assertEquals(reason, "VolumeGone");
    assertEquals((await cluster.list("v1", "Pod")).length, 0);

    assertEquals((await stage.command("stop_session", { sessionId: "s1" })).error, undefined);
    const { error } = await stage.command("start_session", { sessionId: "s1", ...START_WITH_HOME });
    assertEquals(error, undefined);
  },
);

onEachCluster("a wake uses a home volume that was restored under its name", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await stage.command("start_session", { sessionId: "s1", ...START_WITH_HOME });
  await stage.command("hibernate_session", { sessionId: "s1" });
  await cluster.delete("v1", "PersistentVolumeClaim", "s1-home");
  await cluster.until(async () => (await cluster.list("v1", "PersistentVolumeClaim")).length === 0);
  // Without labels, so that the agent's watch does not deliver it.
  await cluster.create({
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name: "s1-home" },
    spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
  } as KubernetesObject);
  assertEquals((await stage.command("wake_session", { sessionId: "s1" })).error, undefined);
});

onEachCluster("a Role that does not allow to watch pods fails commands with that", async (cluster) => {
  const timings = { ...SHORT_GRACE, recoveryMs: 50, watchLifetimeMs: 1000 };
  await using stage = await Stage.start(cluster, { throughProxies: true, timings });
  stage.proxies.api.inject({ kind: "status", code: 403, verb: "watch", resource: "pods", times: Infinity });
  await stage.restart();
  const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
  assertStringIncludes(String(error), 'Cannot start session "s1": Kubernetes refused to read pods: ');

  // The administrator adds the right.
  stage.proxies.api.clearFaults();
  await stage.agent.line(/Watching pods again/);
  await cluster.untilEmpty();
  assertEquals((await stage.command("start_session", { sessionId: "s2", ...START })).error, undefined);
}, [MEMORY]);

/** A kubeconfig of an account with these rights in the test's namespace. */
async function kubeconfigWith(cluster: TestCluster, rules: V1PolicyRule[]): Promise<string> {
  const metadata = { name: "limited", namespace: cluster.namespace };
  const rbac = "rbac.authorization.k8s.io";
  await cluster.create({ apiVersion: "v1", kind: "ServiceAccount", metadata });
  await cluster.create({ apiVersion: `${rbac}/v1`, kind: "Role", metadata, rules } as KubernetesObject);
  await cluster.create({
    apiVersion: `${rbac}/v1`,
    kind: "RoleBinding",
    metadata,
    roleRef: { apiGroup: rbac, kind: "Role", name: "limited" },
    subjects: [{ kind: "ServiceAccount", ...metadata }],
  } as KubernetesObject);
  const core = cluster.config.makeApiClient(CoreV1Api);
  const { status } = await core.createNamespacedServiceAccountToken({
    ...metadata,
    body: { spec: { audiences: [] } },
  });
  const { server, caData, caFile } = cluster.config.getCurrentCluster() ?? {};
  return await temporaryFile(JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "c",
    clusters: [{
      name: "c",
      cluster: {
        server,
        ...(caData ? { "certificate-authority-data": caData } : { "certificate-authority": caFile }),
      },
    }],
    users: [{ name: "u", user: { token: status?.token } }],
    contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
  }));
}

/** All rights, except these verbs on one resource. */
function without(resource: string, ...missing: string[]): V1PolicyRule[] {
  const verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];
  const core = ["pods", "services", "persistentvolumeclaims", "events", "configmaps", "secrets"];
  const named: ReadonlyArray<[string, string[]]> = [
    ["", core],
    ["apps", ["deployments"]],
    ["networking.k8s.io", ["networkpolicies"]],
  ];
  return named.flatMap(([apiGroup, resources]) =>
    resources.map((one) => ({
      apiGroups: [apiGroup],
      resources: [one],
      verbs: one === resource ? verbs.filter((verb) => !missing.includes(verb)) : verbs,
    }))
  );
}

for (
  const [resource, verb] of [
    ["pods", "watch"],
    ["networkpolicies", "watch"],
    ["deployments", "create"],
    ["services", "create"],
    ["persistentvolumeclaims", "create"],
  ] as const
) {
  onEachCluster(`a Role without ${verb} of ${resource} is named by verb and resource`, async (cluster) => {
    const kubeconfig = await kubeconfigWith(cluster, without(resource, verb));
    await using _file = { [Symbol.asyncDispose]: () => Deno.remove(kubeconfig) };
    const timings = { ...SHORT_GRACE, recoveryMs: 50 };
    await using stage = await Stage.start(cluster, { kubeconfig, timings });
    const { error } = await stage.command("start_session", { sessionId: "s1", ...START_WITH_HOME });
    assertStringIncludes(String(error), `cannot ${verb} resource "${resource}"`);
    await cluster.until(async () => (await cluster.list("apps/v1", "Deployment")).length === 0);
  }, [REAL]);
}
