import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async";
import type { KubernetesObject, V1Deployment } from "@kubernetes/client-node";
import { REAL, type TestCluster } from "../support/clusters.ts";
import { AGENT_ID, type AnyStage, onEachCluster, Stage, START, START_WITH_HOME } from "../support/stage.ts";

const OTHER = "k8s-other";
const PER_USER = "--home-strategy=per-user";

/** Starts a session and fails if that fails. */
async function start(stage: AnyStage, sessionId: string, payload: Record<string, unknown> = START) {
  const { error } = await stage.command("start_session", { ...payload, sessionId });
  assertEquals(error, undefined);
}

async function uids(cluster: TestCluster): Promise<unknown> {
  const objects = [
    ...await cluster.list("apps/v1", "Deployment"),
    ...await cluster.list("v1", "Service"),
    ...await cluster.list("v1", "PersistentVolumeClaim"),
    ...await cluster.list("v1", "Pod"),
  ];
  return objects.map(({ metadata }) => [metadata?.name, metadata?.uid, metadata?.deletionTimestamp]);
}

async function deletePvc(stage: AnyStage, sessionId = "s1"): Promise<Record<string, unknown>> {
  const { result, error } = await stage.command("stop_session", { sessionId, deletePVC: true });
  assertEquals(error, undefined);
  return result as Record<string, unknown>;
}

/** A Deployment of somebody else that mounts the home of user alice. */
function stranger(labels: Record<string, string>): V1Deployment {
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "backup", labels },
    spec: {
      replicas: 0,
      selector: { matchLabels: { run: "backup" } },
      template: {
        metadata: { labels: { run: "backup" } },
        spec: {
          containers: [{ name: "main", image: "example.com/backup:1" }],
          volumes: [{ name: "home", persistentVolumeClaim: { claimName: "home-alice" } }],
        },
      },
    },
  };
}

onEachCluster("a stop keeps a home volume that a session of another agent mounts", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: [PER_USER] });
  await using other = await Stage.start(cluster, { args: [PER_USER], agentId: OTHER });
  await start(stage, "s1", START_WITH_HOME);
  await start(other, "s2", START_WITH_HOME);
  const kept = 'claim/home-alice: Deployment "s2" of agent "k8s-other" mounts it, too';
  assertEquals((await deletePvc(stage)).kept, [kept]);
  const [claim] = await cluster.list("v1", "PersistentVolumeClaim");
  assertEquals([claim?.metadata?.name, claim?.metadata?.deletionTimestamp], ["home-alice", undefined]);
});

for (const labels of [{}, { app: "streamspace-session" }, { app: "backup" }]) {
  onEachCluster(
    `a stop keeps a home volume that a Deployment with labels ${JSON.stringify(labels)} mounts`,
    async (cluster) => {
      await using stage = await Stage.start(cluster, { args: [PER_USER] });
      await start(stage, "s1", START_WITH_HOME);
      await cluster.create(stranger(labels as Record<string, string>));
      const kept = 'claim/home-alice: Deployment "backup" mounts it, too';
      assertEquals((await deletePvc(stage)).kept, [kept]);
    },
  );
}

onEachCluster("a stop deletes a home volume that an agent with another id created", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: [PER_USER], agentId: OTHER });
  await start(stage, "s1", START_WITH_HOME);
  await stage.command("stop_session", { sessionId: "s1" });
  await using renamed = await Stage.start(cluster, { args: [PER_USER] });
  await start(renamed, "s1", START_WITH_HOME);
  assertEquals((await deletePvc(renamed)).deleted, ["deployment/s1", "service/s1", "claim/home-alice"]);
  assertEquals(await cluster.leftovers(), []);
});

onEachCluster(
  "commands for a session of another agent are rejected, and nothing is reported",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    await start(stage, "s1", START_WITH_HOME);
    const before = await uids(cluster);
    await using renamed = await Stage.start(cluster, { agentId: OTHER });
    for (
      const [action, verb] of [
        ["start_session", "start"],
        ["hibernate_session", "hibernate"],
        ["wake_session", "wake"],
        ["stop_session", "stop"],
      ]
    ) {
      const payload = { ...START_WITH_HOME, sessionId: "s1", deletePVC: true };
      const id = renamed.controlPlane.command("k8s-other", {
        action: action ?? "",
        sessionId: "s1",
        payload,
      });
      const { error } = (await renamed.controlPlane.result(id)).payload;
      assertEquals(
        error,
        `Cannot ${verb} session "s1": it belongs to agent "${AGENT_ID}"; see --adopt-sessions-of`,
      );
    }
    assertEquals(renamed.states("s1"), []);
    assertEquals(await uids(cluster), before);
  },
);

async function deleteWithoutDependents(cluster: TestCluster, kind: KubernetesObject): Promise<void> {
  const metadata = { namespace: cluster.namespace, ...kind.metadata };
  const none = undefined;
  await cluster.objects.delete({ ...kind, metadata }, none, none, none, none, "Orphan");
}

onEachCluster(
  "a stop removes what a Deployment left that was deleted without its dependents",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    await start(stage, "s1");
    await start(stage, "s2");
    await stage.command("hibernate_session", { sessionId: "s2" });
    for (const name of ["s1", "s2"]) {
      await deleteWithoutDependents(cluster, {
        apiVersion: "apps/v1",
        kind: "Deployment",
        metadata: { name },
      });
    }
    await stage.untilState("s1", "failed");
    assertEquals(stage.messages("s1").at(-1), "its Deployment was deleted");
    for (const sessionId of ["s1", "s2"]) {
      assertEquals((await stage.command("stop_session", { sessionId })).error, undefined);
    }
    await cluster.until(async () => (await cluster.list("apps/v1", "ReplicaSet")).length === 0);
    assertEquals(await cluster.leftovers(), []);
  },
);

for (const label of ["app", "session", "stream.space/agent"]) {
  for (const value of [null, "other"]) {
    onEachCluster(
      `a session stops after its Deployment's label ${label} became ${value}`,
      async (cluster) => {
        await using stage = await Stage.start(cluster);
        await start(stage, "s1");
        await cluster.change({
          apiVersion: "apps/v1",
          kind: "Deployment",
          metadata: { name: "s1", labels: { [label]: value as unknown as string } },
        });
        const { error } = await stage.command("stop_session", { sessionId: "s1" });
        // The label of another agent hands the session over.
        const isHandedOver = label === "stream.space/agent" && value !== null;
        const foreign = 'Cannot stop session "s1": it belongs to agent "other"; see --adopt-sessions-of';
        assertEquals(error, isHandedOver ? foreign : undefined);
        if (isHandedOver) return;
        assertEquals(await cluster.leftovers(), []);
        assertEquals(await cluster.list("apps/v1", "ReplicaSet"), []);
      },
    );
  }
}

onEachCluster(
  "a start of a session with changed labels restores them and starts nothing",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    await start(stage, "s1");
    const before = await uids(cluster);
    await stage.agent[Symbol.asyncDispose]();
    await cluster.change({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "s1", labels: { app: "mine" } },
    });
    await stage.startNext();
    await start(stage, "s1");
    assertEquals(await uids(cluster), before);
    const [deployment] = await cluster.list("apps/v1", "Deployment");
    assert(deployment?.metadata?.labels?.app === "streamspace-session");
  },
);

onEachCluster(
  "a renamed agent warns of its earlier sessions, and adopts them on request",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { args: ["--leader-election"] });
    await start(stage, "s1", START_WITH_HOME);
    await start(stage, "s2");
    await using renamed = await Stage.start(cluster, { agentId: OTHER, args: ["--leader-election"] });
    await renamed.agent.line(
      new RegExp(
        `2 sessions of agent ${AGENT_ID} are in this namespace and not managed by this agent: s1, s2`,
      ),
    );
    renamed.agent.stop();
    await renamed.agent.ended();
    const adopting = renamed.startNext({ args: ["--leader-election", `--adopt-sessions-of=${AGENT_ID}`] });
    // The Lease of the former id is still held.
    await delay(200);
    assertEquals(renamed.states("s1"), []);
    stage.agent.stop();
    await stage.agent.ended();
    await adopting;
    const before = await uids(cluster);
    assertEquals((await renamed.command("start_session", { ...START, sessionId: "s2" })).error, undefined);
    assertEquals(await uids(cluster), before);
    for (const action of ["hibernate_session", "wake_session", "stop_session"]) {
      assertEquals((await renamed.command(action, { sessionId: "s1", deletePVC: true })).error, undefined);
    }
    assertEquals((await renamed.command("stop_session", { sessionId: "s2" })).error, undefined);
    assertEquals(await cluster.leftovers(), []);
  },
);

onEachCluster("a start goes on after somebody removes the label app of its Deployment", async (cluster) => {
  await using stage = await Stage.start(cluster);
  const commandId = stage.send("start_session", { ...START, template: "stuck", sessionId: "s1" });
  const labels = async () => {
    const [deployment] = await cluster.list("apps/v1", "Deployment");
    return deployment?.metadata?.labels?.app;
  };
  await cluster.until(async () => await labels() !== undefined);
  const none = { app: null as unknown as string };
  await cluster.change({ apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "s1", labels: none } });
  await cluster.until(async () => await labels() === "streamspace-session");
  await stage.roundTrip();
  assertEquals(stage.results(commandId), []);
  assertEquals((await stage.command("stop_session", { sessionId: "s1" })).error, undefined);
  assertEquals(await cluster.leftovers(), []);
});

onEachCluster("the last two sessions of a user, of two agents, are stopped at once", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: [PER_USER] });
  await using other = await Stage.start(cluster, { args: [PER_USER], agentId: OTHER });
  await start(stage, "s1", START_WITH_HOME);
  await start(other, "s2", START_WITH_HOME);
  const otherStop = other.controlPlane.command(OTHER, {
    action: "stop_session",
    sessionId: "s2",
    payload: { sessionId: "s2", deletePVC: true },
  });
  await Promise.all([deletePvc(stage), other.controlPlane.result(otherStop)]);
  assertEquals(await cluster.leftovers(), []);
});

onEachCluster("a stop keeps a home volume that a pod with changed labels still mounts", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await start(stage, "s1", START_WITH_HOME);
  const name = (await cluster.list("v1", "Pod"))[0]?.metadata?.name ?? "";
  const labels = { app: null as unknown as string };
  await cluster.change({ apiVersion: "v1", kind: "Pod", metadata: { name, labels } });
  const kept = `claim/s1-home: Pod "${name}" of agent "${AGENT_ID}" mounts it, too`;
  assertEquals((await deletePvc(stage)).kept, [kept]);
}, [REAL]);

onEachCluster("a home volume whose labels were changed is used and deleted", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await start(stage, "s1", START_WITH_HOME);
  await stage.command("stop_session", { sessionId: "s1" });
  const labels = { app: null as unknown as string };
  await cluster.change({
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name: "s1-home", labels },
  });
  await start(stage, "s1", START_WITH_HOME);
  await stage.command("stop_session", { sessionId: "s1" });
  assertEquals((await deletePvc(stage)).deleted, ["claim/s1-home"]);
});

onEachCluster("a stop says that a home volume belongs to another agent", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await start(stage, "s1", START_WITH_HOME);
  await stage.command("stop_session", { sessionId: "s1" });
  await using renamed = await Stage.start(cluster, { agentId: OTHER });
  assertEquals(await deletePvc(renamed), {
    sessionId: "s1",
    state: "terminated",
    deleted: [],
    kept: [`claim/s1-home: it belongs to agent "${AGENT_ID}"`],
  });
});

onEachCluster("a start does not use the pod that a deleted Deployment left", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await start(stage, "s1");
  const [before] = await cluster.list("v1", "Pod");
  await deleteWithoutDependents(cluster, {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "s1" },
  });
  await stage.untilState("s1", "failed");
  const { result } = await stage.command("start_session", { ...START, sessionId: "s1", memory: "1Gi" });
  assert((result as { podName: string }).podName !== before?.metadata?.name);
  assertEquals((await stage.command("stop_session", { sessionId: "s1" })).error, undefined);
  assertEquals(await cluster.leftovers(), []);
});

for (const withAnnotations of [true, false]) {
  onEachCluster(
    `a stop deletes objects that lost their labels${
      withAnnotations ? "" : " and annotations"
    } while no agent was running`,
    async (cluster) => {
      await using stage = await Stage.start(cluster, { args: ["--ingress-namespaces=edge"] });
      await start(stage, "s1");
      await stage.agent[Symbol.asyncDispose]();
      const none = (names: object = {}) =>
        Object.fromEntries(Object.keys(names).map((name) => [name, null as unknown as string]));
      const kinds = { Deployment: "apps/v1", Service: "v1", NetworkPolicy: "networking.k8s.io/v1" };
      for (const [kind, apiVersion] of Object.entries(kinds)) {
        const [object] = await cluster.list(apiVersion, kind);
        const { labels, annotations } = object?.metadata ?? {};
        const metadata = {
          name: "s1",
          labels: none(labels),
          ...(withAnnotations ? {} : { annotations: none(annotations) }),
        };
        await cluster.change({ apiVersion, kind, metadata });
      }
      await stage.startNext();
      assertEquals((await stage.command("stop_session", { sessionId: "s1" })).error, undefined);
      assertEquals(await cluster.leftovers(), []);
    },
  );
}

onEachCluster("a stop deletes an orphaned ReplicaSet whose labels were changed", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await start(stage, "s1");
  await deleteWithoutDependents(cluster, {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name: "s1" },
  });
  await stage.untilState("s1", "failed");
  const name = (await cluster.list("apps/v1", "ReplicaSet"))[0]?.metadata?.name ?? "";
  const labels = { app: null as unknown as string };
  await cluster.change({ apiVersion: "apps/v1", kind: "ReplicaSet", metadata: { name, labels } });
  assertEquals((await stage.command("stop_session", { sessionId: "s1" })).error, undefined);
  await cluster.until(async () => (await cluster.list("apps/v1", "ReplicaSet")).length === 0);
  assertEquals(await cluster.leftovers(), []);
});
