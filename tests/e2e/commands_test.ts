import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { delay } from "@std/async";
import type { V1Deployment, V1Service } from "@kubernetes/client-node";
import { Actor } from "../support/actor.ts";
import { REAL } from "../support/clusters.ts";
import { onEachCluster, Stage, START_WITH_HOME as START } from "../support/stage.ts";

onEachCluster("a session is started, hibernated, woken and stopped", async (cluster) => {
  await using stage = await Stage.start(cluster);
  const started = await stage.command("start_session", { sessionId: "s1", ...START });
  const { podName, podIP, nodeName, ...names } = started.result as Record<string, unknown>;
  assertEquals(names, {
    sessionId: "s1",
    deployment: "s1",
    service: "s1",
    pvc: "s1-home",
    vncPort: 3000,
    state: "running",
  });
  assert(podName && podIP && nodeName);
  assertEquals(await cluster.leftovers(), [
    "Deployment/s1",
    "PersistentVolumeClaim/s1-home",
    `Pod/${podName}`,
    "Service/s1",
  ]);

  const hibernated = await stage.command("hibernate_session", { sessionId: "s1" });
  assertEquals((hibernated.result as Record<string, unknown>).state, "hibernated");
  assertEquals(await cluster.leftovers(), ["Deployment/s1", "PersistentVolumeClaim/s1-home", "Service/s1"]);

  const woken = await stage.command("wake_session", { sessionId: "s1" });
  assert((woken.result as Record<string, unknown>).podName !== podName);

  await stage.command("stop_session", { sessionId: "s1" });
  assertEquals(await cluster.leftovers(), ["PersistentVolumeClaim/s1-home"]);
  await stage.command("stop_session", { sessionId: "s1", deletePVC: true });
  assertEquals(await cluster.leftovers(), []);

  assertEquals(stage.states("s1"), [
    "pending",
    "running",
    "hibernated",
    "pending",
    "running",
    "terminated",
    "terminated",
  ]);
  assertEquals([...stage.controlPlane.problems], []);
});

onEachCluster(
  "a session is hibernated when its pod is deleted, not when it has ended",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    const { result } = await stage.command("start_session", { sessionId: "s1", ...START });
    const name = String((result as Record<string, unknown>).podName);
    const held = { apiVersion: "v1", kind: "Pod", metadata: { name } };
    await cluster.setFinalizers(held, ["example.com/hold"]);
    const commandId = stage.send("hibernate_session", { sessionId: "s1" });
    const actor = new Actor(cluster);
    const pod = await actor.pod("s1", {
      isTrue: ({ metadata }) => metadata?.deletionTimestamp !== undefined,
    });
    await actor.report(pod, { phase: "Succeeded" });
    // The agent has seen that status when it sees the pod of another session.
    await stage.command("start_session", { sessionId: "s2", ...START });
    assertEquals([stage.results(commandId), stage.states("s1")], [[], ["pending", "running"]]);
    await cluster.setFinalizers(held, []);
    assertEquals((await stage.controlPlane.result(commandId)).type, "complete");
    await stage.untilState("s1", "hibernated");
  },
);

onEachCluster("the objects of a session are as documented", async (cluster) => {
  await using stage = await Stage.start(cluster, {
    args: ["--node-selector={kubernetes.io/os: linux}", "--tolerations=[{key: desktops, operator: Exists}]"],
  });
  await stage.command("start_session", { sessionId: "s1", ...START, user: "Ann@corp.com" });
  const [deployment] = await cluster.list("apps/v1", "Deployment") as [V1Deployment];
  const labels = deployment.metadata?.labels ?? {};
  assertEquals([labels.app, labels.session, labels.template], ["streamspace-session", "s1", "firefox"]);
  assert(/^Ann-corp-com--[0-9a-f]{16}$/.test(labels.user ?? ""));
  assertEquals(deployment.metadata?.annotations?.["stream.space/user"], "Ann@corp.com");
  assertEquals(deployment.spec?.strategy?.type, "Recreate");
  const pod = deployment.spec?.template.spec;
  const [container] = pod?.containers ?? [];
  assertEquals(container?.name, "session");
  assertEquals(container?.image, "lscr.io/linuxserver/firefox:latest");
  assertEquals(container?.imagePullPolicy, "IfNotPresent");
  assertEquals(container?.ports?.map(({ name, containerPort }) => ({ name, containerPort })), [{
    name: "vnc",
    containerPort: 3000,
  }]);
  assertEquals(container?.env?.map(({ name, value }) => `${name}=${value}`), [
    "PUID=1000",
    "PGID=1000",
    "TZ=UTC",
    "USER=Ann@corp.com",
    "SESSION_ID=s1",
  ]);
  assertEquals(container?.volumeMounts?.map(({ mountPath }) => mountPath), ["/config", "/dev/shm"]);
  assertEquals(container?.resources?.limits, { cpu: "250m", memory: "512Mi" });
  assertEquals(pod?.nodeSelector, { "kubernetes.io/os": "linux" });
  assertEquals(pod?.automountServiceAccountToken, false);
  assertEquals(pod?.tolerations?.map(({ key, operator }) => ({ key, operator })), [{
    key: "desktops",
    operator: "Exists",
  }]);
  const [service] = await cluster.list("v1", "Service") as [V1Service];
  assertEquals(service.metadata?.name, "s1");
  assertEquals(service.spec?.ports?.map(({ name, port }) => ({ name, port })), [{ name: "vnc", port: 3000 }]);
  assertEquals(service.spec?.selector, { app: "streamspace-session", session: "s1" });
});

onEachCluster(
  "20 starts in one frame all complete, each acknowledged before its result",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    const ids = stage.controlPlane.commandFrame(
      "k8s-e2e",
      Array.from({ length: 20 }, (_, index) => ({
        action: "start_session",
        sessionId: `s${index}`,
        payload: { ...START, persistentHome: false },
      })),
    );
    const results = await Promise.all(ids.map((id) => stage.controlPlane.result(id)));
    assertEquals(results.filter((result) => result.type === "failed"), []);
    const beat = await stage.controlPlane.waitFor((message) =>
      message.type === "heartbeat" && message.payload.activeSessions === 20
    );
    assertEquals(beat.payload.status, "online");
    assertEquals([...stage.controlPlane.problems], []);
  },
);

onEachCluster("a stop cancels a running start and leaves no objects", async (cluster) => {
  await using stage = await Stage.start(cluster);
  const start = stage.send("start_session", { sessionId: "s1", ...START, template: "stuck" });
  await stage.controlPlane.waitFor((message) =>
    message.type === "status" && message.payload.state === "pending"
  );
  const stopped = await stage.command("stop_session", { sessionId: "s1", deletePVC: true });
  assertEquals((stopped.result as Record<string, unknown>).state, "terminated");
  const { payload } = await stage.controlPlane.result(start);
  assertEquals(payload.error, 'Cannot start session "s1": cancelled by stop');
  assertEquals(await cluster.leftovers(), []);
  assertEquals(stage.states("s1"), ["pending", "terminated"]);
});

onEachCluster(
  "stopping a session that does not exist succeeds, waking and hibernating it fails",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    const stopped = await stage.command("stop_session", { sessionId: "ghost" });
    assertEquals(stopped.result, { sessionId: "ghost", state: "terminated", deleted: [] });
    assertEquals(stage.states("ghost"), ["terminated"]);
    const woken = await stage.command("wake_session", { sessionId: "ghost" });
    assertEquals(woken.error, 'Cannot wake session "ghost": it does not exist');
    const hibernated = await stage.command("hibernate_session", { sessionId: "ghost" });
    assertEquals(hibernated.error, 'Cannot hibernate session "ghost": it does not exist');
  },
);

onEachCluster(
  "the same start again succeeds, a different one with the same id is rejected",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    const first = await stage.command("start_session", { sessionId: "s1", ...START });
    const again = await stage.command("start_session", { sessionId: "s1", ...START });
    assertEquals(again.result, first.result);
    const other = await stage.command("start_session", { sessionId: "s1", ...START, user: "bob" });
    assertEquals(
      other.error,
      'Cannot start session "s1": it already exists with other settings',
    );
    assertEquals((await cluster.leftovers()).length, 4);
  },
);

onEachCluster(
  "an existing object that is not part of the session is neither used nor changed",
  async (cluster) => {
    await cluster.create(
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "s1" },
        spec: { ports: [{ port: 1 }] },
      } as V1Service,
    );
    await using stage = await Stage.start(cluster);
    const { error } = await stage.command("start_session", {
      sessionId: "s1",
      ...START,
      persistentHome: false,
    });
    assertEquals(
      error,
      'Cannot start session "s1": "s1" already exists in the cluster and does not belong to this session',
    );
    await stage.command("stop_session", { sessionId: "s1" });
    assertEquals(await cluster.leftovers(), ["Service/s1"]);
  },
);

onEachCluster(
  "a rejected pod fails the start immediately and leaves no objects",
  async (cluster) => {
    await cluster.limit("small", { pods: "0" });
    await using stage = await Stage.start(cluster);
    const { error } = await stage.command("start_session", {
      sessionId: "s1",
      ...START,
      persistentHome: false,
    });
    assertStringIncludes(String(error), 'Cannot start session "s1": Kubernetes rejects its pod: ');
    assertStringIncludes(String(error), "exceeded quota: small");
    assertEquals(stage.states("s1"), ["pending", "failed"]);
    await cluster.untilEmpty();
  },
  [REAL],
);

onEachCluster("a session is found again after its label was different for a while", async (cluster) => {
  await using stage = await Stage.start(cluster);
  for (const sessionId of ["s1", "s2"]) await stage.command("start_session", { sessionId, ...START });
  for (const app of ["another", "streamspace-session"]) {
    const metadata = { name: "s1", labels: { app } };
    await cluster.change({ apiVersion: "apps/v1", kind: "Deployment", metadata });
  }
  // The agent has seen both changes when it sees the pod of another session deleted.
  await stage.command("hibernate_session", { sessionId: "s2" });
  const { error } = await stage.command("hibernate_session", { sessionId: "s1" });
  assertEquals(error, undefined);
  await stage.untilState("s1", "hibernated");
  assertEquals(stage.states("s1"), ["pending", "running", "hibernated"]);
});

onEachCluster("a deleted pod is replaced, and the new one is reported", async (cluster) => {
  await using stage = await Stage.start(cluster);
  const started = await stage.command("start_session", { sessionId: "s1", ...START });
  const { podName = "" } = started.result as Record<string, string>;
  await cluster.delete("v1", "Pod", podName);
  const replaced = await stage.controlPlane.waitFor(({ type, payload }) =>
    type === "status" && payload.state === "running" &&
    (payload.platformMetadata as Record<string, string>).podName !== podName
  );
  assertEquals(replaced.payload.vncReady, true);
  assertEquals(stage.states("s1"), ["pending", "running", "running"]);
});

onEachCluster("the deletion of a session's objects is reported", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await stage.command("start_session", { sessionId: "s1", ...START });
  await cluster.delete("apps/v1", "Deployment", "s1");
  // Service and home volume still exist, so the session has failed; only a stop terminates it.
  await stage.untilState("s1", "failed");
  await stage.command("stop_session", { sessionId: "s1", deletePVC: true });
  await stage.untilState("s1", "terminated");
  assertEquals(await cluster.leftovers(), []);
  assertEquals(stage.states("s1"), ["pending", "running", "failed", "terminated"]);
});

onEachCluster("a start that finds the Service of an earlier session makes it its own", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await stage.command("start_session", { sessionId: "s1", ...START });
  await cluster.delete("apps/v1", "Deployment", "s1");
  await stage.untilState("s1", "failed");
  const commandId = stage.send("start_session", { sessionId: "s1", ...START });
  await stage.controlPlane.result(commandId);
  // After a kill, the next process knows by it that the command created the session.
  const [service] = await cluster.list("v1", "Service");
  assertEquals(service?.metadata?.annotations?.["stream.space/command-id"], commandId);
});

onEachCluster(
  "changes to sessions while no agent ran are reported by the next one",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    for (const sessionId of ["gone", "broken", "hibernated"]) {
      await stage.command("start_session", { sessionId, ...START, persistentHome: false });
    }
    stage.agent.stop();
    await stage.agent.ended();
    await cluster.delete("apps/v1", "Deployment", "gone");
    await cluster.delete("v1", "Service", "gone");
    await cluster.delete("apps/v1", "Deployment", "broken");
    const metadata = { name: "hibernated", namespace: cluster.namespace };
    await cluster.objects.patch({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata,
      spec: { replicas: 0 },
    });
    while ((await cluster.list("v1", "Pod")).length > 0) await delay(50);
    await stage.startNext();
    await stage.untilState("gone", "terminated");
    await stage.untilState("broken", "failed");
    await stage.untilState("hibernated", "hibernated");
  },
);

onEachCluster(
  "a command fails in time when listing the cluster is forbidden",
  async (cluster) => {
    // An account without permissions.
    const kubeconfig = await cluster.kubeconfigWithoutPermissions();
    await using _removal = { [Symbol.asyncDispose]: () => Deno.remove(kubeconfig) };
    await using stage = await Stage.start(cluster, { kubeconfig, args: ["--start-timeout=2s"] });
    const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
    assertEquals(
      error,
      'Cannot start session "s1": the agent cannot list the sessions in the cluster, see its log',
    );
  },
  [REAL],
);

onEachCluster(
  "a home volume that was never provisioned is deleted with its failed start",
  async (cluster) => {
    await using stage = await Stage.start(cluster, {
      args: ["--storage-class=no-such-class", "--start-timeout=2s"],
    });
    const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
    assertEquals(
      error,
      'Cannot start session "s1": it was not ready within 2s: volume "s1-home" cannot be provisioned: ' +
        'storageclass.storage.k8s.io "no-such-class" not found',
    );
    await cluster.untilEmpty();
  },
);
