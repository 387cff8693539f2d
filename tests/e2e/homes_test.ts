import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  CoreV1Api,
  type KubernetesObject,
  PatchStrategy,
  setHeaderOptions,
  type V1PersistentVolumeClaim,
} from "@kubernetes/client-node";
import { REAL, type TestCluster } from "../support/clusters.ts";
import { onEachCluster, SHORT_GRACE, Stage, START_WITH_HOME as START } from "../support/stage.ts";

/** The home volume of session s1, created before its start. */
const HOME: V1PersistentVolumeClaim = {
  apiVersion: "v1",
  kind: "PersistentVolumeClaim",
  metadata: { name: "s1-home", labels: { app: "streamspace-session", session: "s1" } },
  spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "7Gi" } } },
};

onEachCluster("an existing home volume of another size is used unchanged", async (cluster) => {
  const { metadata } = await cluster.create(HOME);
  await using stage = await Stage.start(cluster);
  const { result } = await stage.command("start_session", {
    sessionId: "s1",
    ...START,
    persistentHome: true,
  });
  assertEquals((result as Record<string, unknown> | undefined)?.pvc, "s1-home");
  const claims = await cluster.list("v1", "PersistentVolumeClaim");
  assertEquals(claims.map((claim) => claim.metadata?.uid), [metadata?.uid]);
});

onEachCluster("an existing home volume is used when a quota allows no more", async (cluster) => {
  await cluster.create(HOME);
  await cluster.limit("full", { persistentvolumeclaims: "1" });
  await using stage = await Stage.start(cluster);
  const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
  assertEquals(error, undefined);
  const other = await stage.command("start_session", { sessionId: "s2", ...START });
  assertStringIncludes(String(other.error), "refused to create persistentvolumeclaims: ");
}, [REAL]);

onEachCluster(
  "a start waits until a terminating home volume is deleted, and creates a new one",
  async (cluster) => {
    const home = { ...HOME, metadata: { ...HOME.metadata, finalizers: ["example.com/hold"] } };
    const old = await cluster.create(home);
    await cluster.delete("v1", "PersistentVolumeClaim", "s1-home");
    await using stage = await Stage.start(cluster, { throughProxies: true });
    const requested = stage.proxies.next("get persistentvolumeclaims");
    const commandId = stage.send("start_session", { sessionId: "s1", ...START });
    await requested;
    await stage.roundTrip();
    assertEquals(stage.results(commandId), []);
    await cluster.setFinalizers(HOME, []);
    assertEquals((await stage.controlPlane.result(commandId)).type, "complete");
    const [claim] = await cluster.list("v1", "PersistentVolumeClaim");
    assert(claim && claim.metadata?.uid !== old.metadata?.uid);
  },
);

/** Starts a session; returns the name of its home volume. */
async function homeOf(stage: Stage, payload: Record<string, unknown>): Promise<unknown> {
  const { result, error } = await stage.command("start_session", { ...START, ...payload });
  assertEquals(error, undefined);
  return (result as Record<string, unknown>).pvc;
}

async function claimNames(cluster: TestCluster): Promise<string[]> {
  const claims = await cluster.list("v1", "PersistentVolumeClaim");
  return claims.map((claim) => claim.metadata?.name ?? "").sort();
}

onEachCluster(
  "the sessions of a user share a home volume, which is deleted with the last one if requested",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { args: ["--home-strategy=per-user"] });
    assertEquals(await homeOf(stage, { sessionId: "s1" }), "home-alice");
    assertEquals(await homeOf(stage, { sessionId: "s2" }), "home-alice");
    const bobs = await homeOf(stage, { sessionId: "s3", user: "Bob@example.com" });
    assertEquals(await claimNames(cluster), ["home-alice", String(bobs)]);
    const first = await stage.command("stop_session", { sessionId: "s1", deletePVC: true });
    assertEquals((first.result as Record<string, unknown>).deleted, ["deployment/s1", "service/s1"]);
    assertEquals(await claimNames(cluster), ["home-alice", String(bobs)]);
    const last = await stage.command("stop_session", { sessionId: "s2", deletePVC: true });
    assertEquals((last.result as Record<string, unknown>).deleted, [
      "deployment/s2",
      "service/s2",
      "claim/home-alice",
    ]);
    assertEquals(await claimNames(cluster), [String(bobs)]);
  },
);

onEachCluster(
  "the home volume of a user is deleted when the last two sessions are stopped at once",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { args: ["--home-strategy=per-user"] });
    for (const sessionId of ["s1", "s2", "s3"]) await homeOf(stage, { sessionId });
    const stop = (sessionId: string) => stage.command("stop_session", { sessionId, deletePVC: true });
    await stop("s3");
    assertEquals(await claimNames(cluster), ["home-alice"]);
    await Promise.all([stop("s1"), stop("s2")]);
    assertEquals(await claimNames(cluster), []);
  },
);

/** A home volume without its PersistentVolume, which may be restored. */
const LOST: V1PersistentVolumeClaim = {
  ...HOME,
  metadata: { ...HOME.metadata, annotations: { "pv.kubernetes.io/bind-completed": "yes" } },
  spec: { ...HOME.spec, volumeName: "gone" },
};

onEachCluster("a failed start keeps a home volume in phase Lost", async (cluster) => {
  const { metadata } = await cluster.create(LOST);
  const core = cluster.config.makeApiClient(CoreV1Api);
  const request = { name: "s1-home", namespace: cluster.namespace };
  const merge = setHeaderOptions("Content-Type", PatchStrategy.MergePatch);
  const body = { status: { phase: "Lost" } };
  await core.patchNamespacedPersistentVolumeClaimStatus({ ...request, body }, merge);
  await using stage = await Stage.start(cluster, { timings: SHORT_GRACE });
  const { error } = await stage.command("start_session", { ...START, sessionId: "s1", template: "stuck" });
  assertStringIncludes(String(error), 'Cannot start session "s1": ');
  const claims = await cluster.list("v1", "PersistentVolumeClaim") as V1PersistentVolumeClaim[];
  assertEquals(claims.map((claim) => [claim.metadata?.uid, claim.status?.phase]), [[metadata?.uid, "Lost"]]);
});

onEachCluster("a failed start keeps the home volume for the other sessions of its user", async (cluster) => {
  await using stage = await Stage.start(cluster, {
    args: ["--home-strategy=per-user"],
    timings: SHORT_GRACE,
  });
  await homeOf(stage, { sessionId: "s1" });
  const { error } = await stage.command("start_session", { ...START, sessionId: "s2", template: "crashing" });
  assertStringIncludes(String(error), 'Cannot start session "s2": its container crashed: ');
  assertEquals(await claimNames(cluster), ["home-alice"]);
});

onEachCluster("home volumes of earlier versions are used, but not those of another user", async (cluster) => {
  await cluster.create(HOME);
  const ofUser = (name: string, user: string) => ({
    ...HOME,
    metadata: { name, labels: { app: "streamspace", user } },
  });
  await cluster.create(ofUser("home-alice", "alice"));
  await cluster.create(ofUser("home-eve", "mallory"));
  await using stage = await Stage.start(cluster, { args: ["--home-strategy=per-user"] });
  assertEquals(await homeOf(stage, { sessionId: "s1" }), "s1-home");
  assertEquals(await homeOf(stage, { sessionId: "s2" }), "home-alice");
  const { error } = await stage.command("start_session", { ...START, sessionId: "s3", user: "eve" });
  assertEquals(
    error,
    'Cannot start session "s3": "home-eve" already exists in the cluster and does not belong to this session',
  );
});

/** Creates the home volume of user alice, which terminates but is held by a finalizer. */
async function createTerminatingHome(
  cluster: TestCluster,
  labels: Record<string, string>,
): Promise<KubernetesObject> {
  const metadata = { name: "home-alice", labels, finalizers: ["example.com/hold"] };
  const home = await cluster.create({ ...HOME, metadata });
  await cluster.delete("v1", "PersistentVolumeClaim", "home-alice");
  return home;
}

/** Labels of a home volume that the agent does not watch. */
const OF_EARLIER_STREAMSPACE = { app: "streamspace-user-home", user: "alice" };

for (
  const [name, labels] of [
    ["of this agent", { app: "streamspace-session", user: "alice" }],
    ["of an earlier StreamSpace", OF_EARLIER_STREAMSPACE],
  ] as const
) {
  onEachCluster(
    `a start waits until a terminating home volume of a user ${name} is deleted`,
    async (cluster) => {
      const old = await createTerminatingHome(cluster, labels);
      const args = ["--home-strategy=per-user"];
      await using stage = await Stage.start(cluster, { throughProxies: true, args });
      const requested = stage.proxies.next("get persistentvolumeclaims");
      const commandId = stage.send("start_session", { sessionId: "s1", ...START });
      await requested;
      await stage.roundTrip();
      assertEquals(stage.results(commandId), []);
      await cluster.setFinalizers({ ...HOME, metadata: { name: "home-alice" } }, []);
      assertEquals((await stage.controlPlane.result(commandId)).type, "complete");
      const [claim] = await cluster.list("v1", "PersistentVolumeClaim");
      assert(claim && claim.metadata?.uid !== old.metadata?.uid);
      assertEquals(stage.requestCount("create persistentvolumeclaims"), 2);
    },
  );
}

onEachCluster("a start that waits for a terminating home volume fails at its timeout", async (cluster) => {
  await createTerminatingHome(cluster, OF_EARLIER_STREAMSPACE);
  const args = ["--home-strategy=per-user", "--start-timeout=1s"];
  await using stage = await Stage.start(cluster, { throughProxies: true, args });
  const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
  const problem = '"home-alice" of an earlier session is still being deleted';
  assertEquals(error, `Cannot start session "s1": after 1s, ${problem}`);
  assertEquals(stage.requestCount("create persistentvolumeclaims"), 1);
  await cluster.setFinalizers({ ...HOME, metadata: { name: "home-alice" } }, []);
});

onEachCluster("sessions have no home volume with --home-strategy=none", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: ["--home-strategy=none"] });
  assertEquals(await homeOf(stage, { sessionId: "s1" }), undefined);
  assertEquals(await claimNames(cluster), []);
});

const LONG_AGO = "2020-01-01T00:00:00Z";

/** A home volume that nothing has used for years; of a session, or of a user. */
function oldHome(
  name: string,
  labels: Readonly<Record<string, string>>,
  unusedSince = LONG_AGO,
): V1PersistentVolumeClaim {
  return {
    ...HOME,
    metadata: {
      name,
      labels: { app: "streamspace-session", ...labels },
      annotations: { "stream.space/unused-since": unusedSince },
    },
  };
}

/** Names of the home volumes, with "unused" where that is recorded. */
async function homes(cluster: TestCluster): Promise<string[]> {
  const claims = await cluster.list("v1", "PersistentVolumeClaim");
  return claims.map(({ metadata }) =>
    `${metadata?.name}${metadata?.annotations?.["stream.space/unused-since"] ? " unused" : ""}`
  ).sort();
}

onEachCluster(
  "--home-retention deletes the home volumes that nothing has used for longer",
  async (cluster) => {
    await cluster.create(oldHome("old-home", { session: "old", "stream.space/agent": "k8s-e2e" }));
    await cluster.create(oldHome("recent-home", { session: "recent" }, new Date().toISOString()));
    await cluster.create(oldHome("go-home", { session: "go" }));
    await cluster.create(oldHome("other-home", { session: "other", "stream.space/agent": "k8s-other" }));
    await cluster.create(oldHome("home-bob", { user: "bob" }));
    await cluster.create(oldHome("home-carol", { user: "carol" }));
    await cluster.create(oldHome("mounted-home", { session: "mounted" }));
    await cluster.create({
      ...HOME,
      metadata: {
        ...HOME.metadata,
        name: "new-home",
        labels: { app: "streamspace-session", session: "new" },
      },
    });
    await cluster.create(
      {
        apiVersion: "v1",
        kind: "PersistentVolumeClaim",
        metadata: { name: "database" },
        spec: HOME.spec,
      } as KubernetesObject,
    );
    const labels = { app: "backup" };
    await cluster.create({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "backup", labels },
      spec: {
        replicas: 0,
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            containers: [{ name: "backup", image: "example.com/backup:1" }],
            volumes: [{ name: "home", persistentVolumeClaim: { claimName: "mounted-home" } }],
          },
        },
      },
    } as KubernetesObject);
    await using stage = await Stage.start(cluster, { timings: { homeCheckMs: 3_600_000 } });
    assertEquals((await stage.command("start_session", { ...START, sessionId: "s1" })).error, undefined);
    await stage.command("hibernate_session", { sessionId: "s1" });
    await stage.command("start_session", { ...START, sessionId: "s2", user: "carol", persistentHome: false });
    const before = await homes(cluster);

    await stage.restart({ args: ["--home-retention=1h"], timings: { homeCheckMs: 20 } });
    await cluster.until(async () => (await homes(cluster)).length === before.length - 3);
    await cluster.until(async () => (await homes(cluster)).includes("new-home unused"));
    await cluster.until(async () => !(await homes(cluster)).includes("home-carol unused"));
    assertEquals(await homes(cluster), [
      "database",
      "home-carol",
      "mounted-home unused",
      "new-home unused",
      "other-home unused",
      "recent-home unused",
      "s1-home",
    ]);
    const lines = stage.agent.output.filter((line) => line.includes("which no session has used for"));
    assertEquals(lines.length, 3);
  },
);

onEachCluster("a start that uses a home volume again keeps it from being deleted", async (cluster) => {
  await cluster.create(oldHome("s1-home", { session: "s1" }));
  await using stage = await Stage.start(cluster);
  assertEquals((await stage.command("start_session", { ...START, sessionId: "s1" })).error, undefined);
  assertEquals(await homes(cluster), ["s1-home"]);
  await stage.command("stop_session", { sessionId: "s1" });
  await stage.restart({ args: ["--home-retention=1h"], timings: { homeCheckMs: 20 } });
  await cluster.until(async () => (await homes(cluster)).includes("s1-home unused"));
});
