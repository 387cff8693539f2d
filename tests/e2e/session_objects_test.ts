import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  CustomObjectsApi,
  type KubernetesObject,
  PatchStrategy,
  setHeaderOptions,
} from "@kubernetes/client-node";
import { REAL, type TestCluster } from "../support/clusters.ts";
import { type CustomObject, installKinds, ObjectWatcher } from "../support/custom_kinds.ts";
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

/** Changes a Session object or its status, as an administrator can. */
async function edit(
  cluster: TestCluster,
  name: string,
  change: { metadata?: unknown; spec?: unknown; status?: unknown },
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

/** The conditions; asserts that each has a time. */
function conditions({ status }: CustomObject): unknown {
  const all = status?.conditions as Array<Record<string, unknown>>;
  for (const { lastTransitionTime } of all) assertMatch(String(lastTransitionTime), /^\d{4}-.*T.*\dZ$/);
  return all.map(({ type, status, reason, observedGeneration }) =>
    `${type}=${status} ${reason} @${observedGeneration}`
  );
}

/** What `kubectl get sessions -o wide` prints: one row per object, without ages. */
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

onEachCluster("a session has a Session object until it is stopped", async (cluster) => {
  await installKinds(cluster);
  await using stage = await Stage.start(cluster);
  await using sessions = new ObjectWatcher(cluster, "sessions");
  const started = await stage.command("start_session", { sessionId: "s1", ...START });
  const { podName, podIP, nodeName, vncPort } = started.result as Record<string, unknown>;
  const running = await sessions.until("s1", isIn("running"));
  assertEquals(running.spec, { ...SPEC, state: "running" });
  assertEquals({ ...running.status, conditions: conditions(running) }, {
    ...{
      state: "running",
      phase: "Running",
      podName,
      podIP,
      nodeName,
      vncPort,
      message: "",
      observedGeneration: 1,
    },
    conditions: ["Ready=True PodReady @1", "Hibernated=False Awake @1"],
  });
  assertEquals(await printed(cluster), [{
    Name: "s1",
    User: "Alice B.",
    Template: "firefox",
    State: "running",
    Viewers: null,
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

onEachCluster("a Session object has the name of the other objects, and the session's id", async (cluster) => {
  await installKinds(cluster);
  await using stage = await Stage.start(cluster);
  await using sessions = new ObjectWatcher(cluster, "sessions");
  const { result } = await stage.command("start_session", { sessionId: "Alice's 1st", ...START });
  const { deployment } = result as { deployment: string };
  const { spec } = await sessions.until(deployment, isIn("running"));
  assertEquals(spec, { ...SPEC, sessionId: "Alice's 1st", state: "running" });
  await stage.command("stop_session", { sessionId: "Alice's 1st" });
  await sessions.untilGone(deployment);
}, [REAL]);

onEachCluster("a failed start leaves no Session object", async (cluster) => {
  await installKinds(cluster);
  await using stage = await Stage.start(cluster, { args: ["--start-timeout=6s"] });
  await using sessions = new ObjectWatcher(cluster, "sessions");
  const command = stage.send("start_session", { sessionId: "s1", ...START, template: "stuck" });
  const pending = await sessions.until("s1", isIn("pending"));
  assertEquals(conditions(pending), ["Ready=False Starting @1", "Hibernated=False Awake @1"]);
  const { status } = await sessions.until("s1", (object) => object.status?.message !== "");
  // The message that the Control Plane received.
  const messages = stage.controlPlane.messages.map(({ message }) =>
    (message.payload.platformMetadata as Record<string, unknown> | undefined)?.message
  );
  assert(messages.includes(status?.message), String(status?.message));
  await stage.controlPlane.result(command);
  await sessions.untilGone("s1");
}, [REAL]);

onEachCluster("Session objects that are edited or deleted are restored", async (cluster) => {
  await installKinds(cluster);
  await using stage = await Stage.start(cluster);
  await using sessions = new ObjectWatcher(cluster, "sessions");
  await stage.command("start_session", { sessionId: "s1", ...START });
  const { metadata } = await sessions.until("s1", isIn("running"));
  await edit(cluster, "s1", { spec: { state: "hibernated", user: "mallory", idleTimeout: "1h" } });
  const restored = await sessions.until(
    "s1",
    (object) => object.metadata?.generation === 3 && isIn("running")(object),
  );
  // Fields that the agent does not write stay, and the state has no effect.
  assertEquals(restored.spec, { ...SPEC, state: "hibernated", idleTimeout: "1h" });
  await edit(cluster, "s1", { status: { state: "failed" } });
  await sessions.until("s1", isIn("failed"));
  await sessions.until("s1", isIn("running"));
  const labels = { app: null, "stream.space/agent": "another" };
  await edit(cluster, "s1", { metadata: { labels }, spec: { user: "mallory" } });
  const ours = await sessions.until("s1", (object) => object.metadata?.generation === 5);
  assertEquals([ours.spec, ours.metadata?.labels], [restored.spec, metadata?.labels]);
  await cluster.delete("stream.space/v1alpha1", "Session", "s1");
  await sessions.until("s1", (object) => object.metadata?.uid !== metadata?.uid && isIn("running")(object));
  // None of these changes is a command.
  assertEquals(stage.states("s1"), ["pending", "running"]);
}, [REAL]);

onEachCluster("--session-objects=control carries out the states that others request", async (cluster) => {
  await installKinds(cluster);
  await using stage = await Stage.start(cluster, { args: ["--session-objects=control", "--max-sessions=2"] });
  await using sessions = new ObjectWatcher(cluster, "sessions");
  await stage.command("start_session", { sessionId: "s1", ...START });
  await sessions.until("s1", isIn("running"));
  await edit(cluster, "s1", { spec: { state: "hibernated" } });
  await stage.untilState("s1", "hibernated");
  await sessions.until("s1", isIn("hibernated"));
  // While no agent runs.
  await stage.agent[Symbol.asyncDispose]();
  await edit(cluster, "s1", { spec: { state: "running" } });
  await stage.startNext();
  await stage.untilState("s1", "running");
  await sessions.until("s1", isIn("running"));

  await stage.command("hibernate_session", { sessionId: "s1" });
  const { spec } = await sessions.until("s1", isIn("hibernated"));
  assertEquals(spec.state, "hibernated");
  for (const sessionId of ["s2", "s3"]) {
    assertEquals((await stage.command("start_session", { sessionId, ...START })).error, undefined);
  }
  await edit(cluster, "s1", { spec: { state: "running" } });
  await stage.agent.line(/Cannot do what the Session object of s1 requests: .*at capacity: 2 of 2 sessions/);
  await sessions.until("s1", ({ spec }) => spec.state === "hibernated");

  await edit(cluster, "s1", { spec: { state: "terminated" } });
  await stage.untilState("s1", "terminated");
  await sessions.untilGone("s1");
  assertEquals([...stage.controlPlane.problems], []);
}, [REAL]);

onEachCluster(
  "Session objects that are missing or outdated are restored by the next process",
  async (cluster) => {
    await installKinds(cluster);
    await using stage = await Stage.startProcess(cluster);
    await using sessions = new ObjectWatcher(cluster, "sessions");
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
    await stage.startNext();
    await sessions.until("missing", isIn("running"));
    // The status is as before, including its times.
    assertEquals((await sessions.until("stale", isIn("running"))).status, stale.status);
  },
  [REAL],
);

onEachCluster("a Session object of another owner is left alone", async (cluster) => {
  await installKinds(cluster);
  const foreign = { sessionId: "s1", user: "bob", template: "theirs", state: "running" };
  const object: KubernetesObject & { spec: unknown } = {
    apiVersion: "stream.space/v1alpha1",
    kind: "Session",
    metadata: { name: "s1" },
    spec: foreign,
  };
  await cluster.create(object);
  await using stage = await Stage.start(cluster);
  await using sessions = new ObjectWatcher(cluster, "sessions");
  for (const sessionId of ["s1", "s2"]) {
    const { error } = await stage.command("start_session", { sessionId, ...START });
    assertEquals(error, undefined);
  }
  await sessions.until("s2", isIn("running"));
  const { spec, status } = await sessions.until("s1", () => true);
  assertEquals([spec, status], [foreign, undefined]);
}, [REAL]);

onEachCluster(
  "an agent without permissions for the custom kinds works without them, and logs it once per kind",
  async (cluster) => {
    await installKinds(cluster);
    const kubeconfig = await cluster.kubeconfigWithoutPermissions();
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
    await using stage = await Stage.start(cluster, { kubeconfig });
    const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
    assertEquals(error, undefined);
    const lines = ["templates", "sessions"].map((kind) =>
      stage.agent.line(new RegExp(`Continuing without ${kind} of stream.space/v1alpha1, .* forbidden`))
    );
    await Promise.all(lines);
  },
  [REAL],
);
