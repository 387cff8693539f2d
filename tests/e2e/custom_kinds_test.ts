import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import {
  ApiException,
  CustomObjectsApi,
  type KubernetesObject,
  PatchStrategy,
  setHeaderOptions,
  type V1Pod,
} from "@kubernetes/client-node";
import { REAL, type TestCluster } from "../support/clusters.ts";
import { type CustomObject, installKinds, Onlooker } from "../support/custom_kinds.ts";
import { onEachCluster, Stage } from "../support/stage.ts";

const START = { user: "Alice B.", template: "firefox", persistentHome: true, memory: "512Mi", cpu: "250m" };
const API = { group: "stream.space", version: "v1alpha1" };
const SPEC = {
  sessionId: "s1",
  user: "Alice B.",
  template: "firefox",
  persistentHome: true,
  resources: { cpu: "250m", memory: "512Mi" },
};

/** Changes a Session object, or its status, as a person with the rights to may do. */
async function edit(
  cluster: TestCluster,
  name: string,
  change: { spec?: unknown; status?: unknown },
): Promise<void> {
  const api = cluster.config.makeApiClient(CustomObjectsApi);
  const merge = setHeaderOptions("Content-Type", PatchStrategy.MergePatch);
  const request = { ...API, namespace: cluster.namespace, plural: "sessions", name, body: change };
  if (change.status) await api.patchNamespacedCustomObjectStatus(request, merge);
  else await api.patchNamespacedCustomObject(request, merge);
}

function isIn(state: string): (object: CustomObject) => boolean {
  return ({ status, metadata }) =>
    status?.state === state && status.observedGeneration === metadata?.generation;
}

/** The conditions, and whether each has a time. */
function conditions({ status }: CustomObject): unknown {
  const all = status?.conditions as Array<Record<string, unknown>>;
  for (const { lastTransitionTime } of all) assertMatch(String(lastTransitionTime), /^\d{4}-.*T.*\dZ$/);
  return all.map(({ type, status, reason, observedGeneration }) =>
    `${type}=${status} ${reason} @${observedGeneration}`
  );
}

/** What `kubectl get sessions -o wide` prints: titles and one row an object, without ages. */
async function printed(cluster: TestCluster): Promise<Record<string, unknown>[]> {
  const { rows, columnDefinitions } = await cluster.config.makeApiClient(CustomObjectsApi)
    .listNamespacedCustomObject(
      { ...API, namespace: cluster.namespace, plural: "sessions" },
      setHeaderOptions("Accept", "application/json;as=Table;g=meta.k8s.io;v=v1"),
    );
  const titles = columnDefinitions.map(({ name, priority }: { name: string; priority: number }) =>
    priority > 0 ? `${name} (wide)` : name
  );
  return rows.map(({ cells }: { cells: unknown[] }) =>
    Object.fromEntries(cells.map((cell, i) => [titles[i], titles[i] === "Age" ? typeof cell : cell]))
  );
}

onEachCluster("a session is shown as an object through its life, and goes with it", async (cluster) => {
  await installKinds(cluster);
  await using stage = await Stage.set(cluster);
  await using sessions = new Onlooker(cluster, "sessions");
  const started = await stage.command("start_session", { sessionId: "s1", ...START });
  const { podName, podIP, nodeName, vncPort } = started.result as Record<string, unknown>;
  const running = await sessions.until("s1", isIn("running"));
  assertEquals(running.spec, { ...SPEC, state: "running" });
  assertEquals({ ...running.status, conditions: conditions(running) }, {
    ...{ state: "running", podName, podIP, nodeName, vncPort, message: "", observedGeneration: 1 },
    conditions: ["Ready=True PodReady @1", "Hibernated=False Awake @1"],
  });
  assertEquals(await printed(cluster), [{
    Name: "s1",
    User: "Alice B.",
    Template: "firefox",
    State: "running",
    Age: "string",
    "Pod (wide)": podName,
    "Node (wide)": nodeName,
    "Message (wide)": "",
  }]);
  const [deployment] = await cluster.list("apps/v1", "Deployment");
  assertEquals(running.metadata?.labels, deployment?.metadata?.labels);

  await stage.command("hibernate_session", { sessionId: "s1" });
  const hibernated = await sessions.until("s1", isIn("hibernated"));
  assertEquals(hibernated.spec, { ...SPEC, state: "hibernated" });
  assertEquals(hibernated.status?.podName, "");
  assertEquals(conditions(hibernated), ["Ready=False Hibernated @2", "Hibernated=True Hibernated @2"]);

  const woken = await stage.command("wake_session", { sessionId: "s1" });
  const awake = await sessions.until("s1", isIn("running"));
  assertEquals(awake.status?.podName, (woken.result as Record<string, unknown>).podName);
  assertEquals(conditions(awake), ["Ready=True PodReady @3", "Hibernated=False Awake @3"]);

  await stage.command("stop_session", { sessionId: "s1" });
  await sessions.untilGone("s1");
}, [REAL]);

onEachCluster("a session is shown under its object's name, by the id that it has", async (cluster) => {
  await installKinds(cluster);
  await using stage = await Stage.set(cluster);
  await using sessions = new Onlooker(cluster, "sessions");
  const { result } = await stage.command("start_session", { sessionId: "Alice's 1st", ...START });
  const { deployment } = result as { deployment: string };
  const { spec } = await sessions.until(deployment, isIn("running"));
  assertEquals(spec, { ...SPEC, sessionId: "Alice's 1st", state: "running" });
  await stage.command("stop_session", { sessionId: "Alice's 1st" });
  await sessions.untilGone(deployment);
}, [REAL]);

onEachCluster("a start that fails leaves no object", async (cluster) => {
  await installKinds(cluster);
  await using stage = await Stage.set(cluster, { args: ["--start-timeout=3s"] });
  await using sessions = new Onlooker(cluster, "sessions");
  const command = stage.give("start_session", { sessionId: "s1", ...START, template: "stuck" });
  const pending = await sessions.until("s1", isIn("pending"));
  assertEquals(conditions(pending)?.toString().split(" ")[0], "Ready=False");
  await stage.controlPlane.result(command);
  await sessions.untilGone("s1");
}, [REAL]);

onEachCluster("objects that people edit or delete are put right", async (cluster) => {
  await installKinds(cluster);
  await using stage = await Stage.set(cluster);
  await using sessions = new Onlooker(cluster, "sessions");
  await stage.command("start_session", { sessionId: "s1", ...START });
  const { metadata } = await sessions.until("s1", isIn("running"));
  await edit(cluster, "s1", { spec: { state: "hibernated", user: "mallory", idleTimeout: "1h" } });
  const generation = 3;
  const restored = await sessions.until("s1", (object) => object.metadata?.generation === generation);
  assertEquals(restored.spec, { ...SPEC, state: "running" });
  await edit(cluster, "s1", { status: { state: "failed" } });
  await sessions.until("s1", isIn("failed"));
  await sessions.until("s1", isIn("running"));
  await cluster.delete("stream.space/v1alpha1", "Session", "s1");
  await sessions.until("s1", (object) => object.metadata?.uid !== metadata?.uid && isIn("running")(object));
  // None of it was a command.
  assertEquals(stage.states("s1"), ["pending", "running"]);
}, [REAL]);

onEachCluster(
  "objects that a killed agent left missing or stale are put right by the next one",
  async (cluster) => {
    await installKinds(cluster);
    await using stage = await Stage.set(cluster);
    await using sessions = new Onlooker(cluster, "sessions");
    for (const sessionId of ["missing", "stale"]) {
      await stage.command("start_session", { sessionId, ...START });
      await sessions.until(sessionId, isIn("running"));
    }
    const stale = await sessions.until("stale", isIn("running"));
    stage.agent.kill("SIGKILL");
    await stage.agent.exit();
    await cluster.delete("stream.space/v1alpha1", "Session", "missing");
    await edit(cluster, "stale", { status: { state: "pending", podName: "gone" } });
    await sessions.untilGone("missing");
    await sessions.until("stale", isIn("pending"));
    await stage.relaunch();
    await sessions.until("missing", isIn("running"));
    // As it was, and since when: the times are kept.
    assertEquals((await sessions.until("stale", isIn("running"))).status, stale.status);
  },
  [REAL],
);

onEachCluster("another's object under a session's name is left alone", async (cluster) => {
  await installKinds(cluster);
  const foreign = { sessionId: "s1", user: "bob", template: "theirs", state: "running" };
  const object: KubernetesObject & { spec: unknown } = {
    apiVersion: "stream.space/v1alpha1",
    kind: "Session",
    metadata: { name: "s1" },
    spec: foreign,
  };
  await cluster.create(object);
  await using stage = await Stage.set(cluster);
  await using sessions = new Onlooker(cluster, "sessions");
  for (const sessionId of ["s1", "s2"]) {
    const { error } = await stage.command("start_session", { sessionId, ...START });
    assertEquals(error, undefined);
  }
  await sessions.until("s2", isIn("running"));
  const { spec, status } = await sessions.until("s1", () => true);
  assertEquals([spec, status], [foreign, undefined]);
}, [REAL]);

onEachCluster(
  "an agent whose Role is older than the kinds works without them, and says so once a kind",
  async (cluster) => {
    await installKinds(cluster);
    const kubeconfig = await cluster.kubeconfigWithoutRights();
    const everything = { verbs: ["*"], resources: ["*"] };
    const name = "all-but-the-kinds";
    const apiGroup = "rbac.authorization.k8s.io";
    const rules = [{ apiGroups: ["", "apps", "networking.k8s.io"], ...everything }];
    await cluster.create(
      { apiVersion: `${apiGroup}/v1`, kind: "Role", metadata: { name }, rules } as KubernetesObject,
    );
    await cluster.create({
      apiVersion: `${apiGroup}/v1`,
      kind: "RoleBinding",
      metadata: { name },
      roleRef: { apiGroup, kind: "Role", name },
      subjects: [{ kind: "ServiceAccount", name: "nobody", namespace: cluster.namespace }],
    } as KubernetesObject);
    await using stage = await Stage.set(cluster, { kubeconfig });
    const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
    assertEquals(error, undefined);
    const lines = ["templates", "sessions"].map((kind) =>
      stage.agent.line(new RegExp(`The agent works without ${kind} of stream.space/v1alpha1, .* forbidden`))
    );
    await Promise.all(lines);
  },
  [REAL],
);

const TEMPLATE = {
  apiVersion: "stream.space/v1alpha1",
  kind: "Template",
  spec: {
    displayName: "IDE",
    description: "An editor in the browser",
    category: "Development",
    icon: "https://example.com/ide.png",
    tags: ["code"],
    capabilities: ["Network", "Clipboard"],
    baseImage: "example.com/ide:1",
    command: ["/start"],
    args: ["--verbose"],
    ports: [{ name: "vnc", containerPort: 5900, protocol: "TCP" }, { name: "http", containerPort: 8443 }],
    vnc: { enabled: true, port: 5900, protocol: "rfb" },
    env: [{ name: "A", value: "1" }, { name: "B", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } }],
    defaultResources: {
      cpu: 1,
      memory: "2Gi",
      "nvidia.com/gpu": 1,
      limits: { cpu: "1500m", "nvidia.com/gpu": 1 },
    },
    storage: { size: "5Gi", storageClass: "fast", accessMode: "ReadWriteOnce" },
    volumeMounts: [{ name: "shm", mountPath: "/dev/shm" }],
    volumes: [{ name: "shm", emptyDir: { medium: "Memory", sizeLimit: "1Gi" } }],
    securityContext: { runAsUser: 1000, seccompProfile: { type: "RuntimeDefault" } },
    readinessProbe: { httpGet: { path: "/", port: 8443 } },
    livenessProbe: { tcpSocket: { port: "vnc" } },
    startupProbe: { exec: { command: ["true"] } },
    imagePullSecrets: [{ name: "registry" }],
    runtimeClassName: "gvisor",
    priorityClassName: "desktops",
    nodeSelector: { pool: "desktops" },
    tolerations: [{ key: "desktops", operator: "Exists" }],
    affinity: { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [] } },
  },
};

/** What the schema refuses, and the field that the server names. */
const REFUSED: Array<{ spec: Record<string, unknown>; field: string }> = [
  { spec: { baseImage: undefined }, field: "spec.baseImage" },
  { spec: { baseImage: "" }, field: "spec.baseImage" },
  { spec: { ports: [{ containerPort: 70000 }] }, field: "spec.ports[0].containerPort" },
  { spec: { ports: [{ name: "x".repeat(16), containerPort: 1 }] }, field: "spec.ports[0].name" },
  { spec: { ports: [{ containerPort: 1, protocol: "HTTP" }] }, field: "spec.ports[0].protocol" },
  { spec: { vnc: { port: 0 } }, field: "spec.vnc.port" },
  { spec: { env: [{ name: "A" }, { name: "A" }] }, field: "spec.env[1]" },
  { spec: { defaultResources: { memory: "2 GB" } }, field: "spec.defaultResources.memory" },
  { spec: { volumes: [{ name: "host", hostPath: { path: "/" } }] }, field: "spec.volumes[0].emptyDir" },
  { spec: { storage: { accessMode: "Shared" } }, field: "spec.storage.accessMode" },
];

onEachCluster(
  "a Template object may have every field, and its kind refuses what no session could run",
  async (cluster) => {
    await installKinds(cluster);
    await using templates = new Onlooker(cluster, "templates");
    await cluster.create({ ...TEMPLATE, metadata: { name: "ide" } } as KubernetesObject);
    // Nothing is pruned.
    const { spec } = await templates.until("ide", () => true);
    assertEquals(spec, TEMPLATE.spec);
    for (const { spec, field } of REFUSED) {
      const template = { ...TEMPLATE, metadata: { name: "bad" }, spec: { ...TEMPLATE.spec, ...spec } };
      const error = await assertRejects(() => cluster.create(template as KubernetesObject), ApiException);
      const { details } = JSON.parse(String(error.body)) as { details: { causes: Array<{ field: string }> } };
      assertEquals(details.causes.map((cause) => cause.field), [field]);
    }
  },
  [REAL],
);

/** A Template object with just this image and port. */
function templateOf(name: string, baseImage: string, containerPort: number): KubernetesObject {
  const spec = { baseImage, ports: [{ name: "web", containerPort }] };
  return { apiVersion: TEMPLATE.apiVersion, kind: "Template", metadata: { name }, spec } as KubernetesObject;
}

onEachCluster(
  "a Template object comes before the table, and a command's own template before both",
  async (cluster) => {
    await installKinds(cluster);
    await cluster.create(templateOf("firefox", "example.com/firefox:1", 6901));
    await cluster.create(templateOf("rogue", "example.org/rogue:1", 6901));
    await using stage = await Stage.set(cluster, { args: ["--allowed-images=example.com/*"] });
    const port = async (payload: Record<string, unknown>) => {
      const { result, error } = await stage.command("start_session", { ...START, ...payload });
      return (result as Record<string, unknown> | undefined)?.vncPort ?? error;
    };
    assertEquals(await port({ sessionId: "s1" }), 6901);
    const templateManifest = { spec: { baseImage: "example.com/own:1", ports: [{ containerPort: 8080 }] } };
    assertEquals(await port({ sessionId: "s2", templateManifest }), 8080);
    assertEquals(
      await port({ sessionId: "s3", template: "rogue" }),
      'Cannot start session "s3": Template "rogue": image "example.org/rogue:1" is not allowed here: see --allowed-images',
    );
    const pods = await cluster.list("v1", "Pod") as V1Pod[];
    assertEquals(pods.map(({ spec }) => spec?.containers[0]?.image).sort(), [
      "example.com/firefox:1",
      "example.com/own:1",
    ]);
  },
  [REAL],
);
