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

/** The home of session s1, which somebody made beforehand. */
const HOME: V1PersistentVolumeClaim = {
  apiVersion: "v1",
  kind: "PersistentVolumeClaim",
  metadata: { name: "s1-home", labels: { app: "streamspace-session", session: "s1" } },
  spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "7Gi" } } },
};

onEachCluster("K10 a home of another size is used as it is", async (cluster) => {
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

onEachCluster("K10 a home that exists is used where a quota allows no more of them", async (cluster) => {
  await cluster.create(HOME);
  await cluster.limit("full", { persistentvolumeclaims: "1" });
  await using stage = await Stage.start(cluster);
  const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
  assertEquals(error, undefined);
  const other = await stage.command("start_session", { sessionId: "s2", ...START });
  assertStringIncludes(String(other.error), "refused to create persistentvolumeclaims: ");
}, [REAL]);

onEachCluster("K9 a start waits for a home that is on its way out, and gets a new one", async (cluster) => {
  const home = { ...HOME, metadata: { ...HOME.metadata, finalizers: ["example.com/hold"] } };
  const old = await cluster.create(home);
  await cluster.delete("v1", "PersistentVolumeClaim", "s1-home");
  await using stage = await Stage.start(cluster, { throughProxies: true });
  const refused = stage.proxies.next("get persistentvolumeclaims");
  const commandId = stage.send("start_session", { sessionId: "s1", ...START });
  await refused;
  await stage.roundTrip();
  assertEquals(stage.results(commandId), []);
  await cluster.setFinalizers(HOME, []);
  assertEquals((await stage.controlPlane.result(commandId)).type, "complete");
  const [claim] = await cluster.list("v1", "PersistentVolumeClaim");
  assert(claim && claim.metadata?.uid !== old.metadata?.uid);
});

/** The claim that a session was started with. */
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
  "a user's home is shared by the user's sessions, and goes with the last when that is asked for",
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
  "a user's home goes with the last sessions, also where they are stopped at once",
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

/** A home whose volume is gone: it may be restored. */
const LOST: V1PersistentVolumeClaim = {
  ...HOME,
  metadata: { ...HOME.metadata, annotations: { "pv.kubernetes.io/bind-completed": "yes" } },
  spec: { ...HOME.spec, volumeName: "gone" },
};

onEachCluster("a failed start leaves a home whose volume is lost", async (cluster) => {
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

onEachCluster("a failed start leaves a user's home to the user's other sessions", async (cluster) => {
  await using stage = await Stage.start(cluster, {
    args: ["--home-strategy=per-user"],
    timings: SHORT_GRACE,
  });
  await homeOf(stage, { sessionId: "s1" });
  const { error } = await stage.command("start_session", { ...START, sessionId: "s2", template: "crashing" });
  assertStringIncludes(String(error), 'Cannot start session "s2": its container crashed: ');
  assertEquals(await claimNames(cluster), ["home-alice"]);
});

onEachCluster("homes of earlier versions are carried on with, and another user's is not", async (cluster) => {
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

/** The home of user alice, on its way out and held by somebody. */
async function leavingHome(cluster: TestCluster, labels: Record<string, string>): Promise<KubernetesObject> {
  const metadata = { name: "home-alice", labels, finalizers: ["example.com/hold"] };
  const home = await cluster.create({ ...HOME, metadata });
  await cluster.delete("v1", "PersistentVolumeClaim", "home-alice");
  return home;
}

/** Labels of a home that no watch of the agent's shows. */
const OF_EARLIER_STREAMSPACE = { app: "streamspace-user-home", user: "alice" };

for (
  const [name, labels] of [
    ["of this agent", { app: "streamspace-session", user: "alice" }],
    ["that an earlier StreamSpace made", OF_EARLIER_STREAMSPACE],
  ] as const
) {
  onEachCluster(`K9 a user's home ${name} on its way out is waited for, and made anew`, async (cluster) => {
    const old = await leavingHome(cluster, labels);
    const args = ["--home-strategy=per-user"];
    await using stage = await Stage.start(cluster, { throughProxies: true, args });
    const refused = stage.proxies.next("get persistentvolumeclaims");
    const commandId = stage.send("start_session", { sessionId: "s1", ...START });
    await refused;
    await stage.roundTrip();
    assertEquals(stage.results(commandId), []);
    await cluster.setFinalizers({ ...HOME, metadata: { name: "home-alice" } }, []);
    assertEquals((await stage.controlPlane.result(commandId)).type, "complete");
    const [claim] = await cluster.list("v1", "PersistentVolumeClaim");
    assert(claim && claim.metadata?.uid !== old.metadata?.uid);
    assertEquals(stage.requestCount("create persistentvolumeclaims"), 2);
  });
}

onEachCluster("K9 a start waits no longer than it may for a home on its way out", async (cluster) => {
  await leavingHome(cluster, OF_EARLIER_STREAMSPACE);
  const args = ["--home-strategy=per-user", "--start-timeout=1s"];
  await using stage = await Stage.start(cluster, { throughProxies: true, args });
  const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
  const problem = '"home-alice" of an earlier session is still being deleted';
  assertEquals(error, `Cannot start session "s1": after 1s, ${problem}`);
  assertEquals(stage.requestCount("create persistentvolumeclaims"), 1);
  await cluster.setFinalizers({ ...HOME, metadata: { name: "home-alice" } }, []);
});

onEachCluster("no session has a home where the operator wants none", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: ["--home-strategy=none"] });
  assertEquals(await homeOf(stage, { sessionId: "s1" }), undefined);
  assertEquals(await claimNames(cluster), []);
});
