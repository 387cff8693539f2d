import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { V1PersistentVolumeClaim, V1ResourceQuota } from "@kubernetes/client-node";
import { REAL } from "../support/clusters.ts";
import { onEachCluster, Stage } from "../support/stage.ts";

const START = { user: "alice", template: "firefox", persistentHome: true, memory: "512Mi", cpu: "250m" };

/** The home of session s1, which somebody made beforehand. */
const HOME: V1PersistentVolumeClaim = {
  apiVersion: "v1",
  kind: "PersistentVolumeClaim",
  metadata: { name: "s1-home", labels: { app: "streamspace-session", session: "s1" } },
  spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "7Gi" } } },
};

onEachCluster("K10 a home of another size is used as it is", async (cluster) => {
  const { metadata } = await cluster.create(HOME);
  await using stage = await Stage.set(cluster);
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
  const quota: V1ResourceQuota = {
    apiVersion: "v1",
    kind: "ResourceQuota",
    metadata: { name: "full" },
    spec: { hard: { persistentvolumeclaims: "1" } },
  };
  await cluster.create(quota);
  await using stage = await Stage.set(cluster);
  const { error } = await stage.command("start_session", { sessionId: "s1", ...START });
  assertEquals(error, undefined);
  const other = await stage.command("start_session", { sessionId: "s2", ...START });
  assertStringIncludes(String(other.error), "refused to create persistentvolumeclaims: ");
}, [REAL]);

onEachCluster("K9 a start waits for a home that is on its way out, and gets a new one", async (cluster) => {
  const home = { ...HOME, metadata: { ...HOME.metadata, finalizers: ["example.com/hold"] } };
  const old = await cluster.create(home);
  await cluster.delete("v1", "PersistentVolumeClaim", "s1-home");
  await using stage = await Stage.set(cluster, { throughProxies: true });
  const refused = stage.proxies.next("get persistentvolumeclaims");
  const commandId = stage.give("start_session", { sessionId: "s1", ...START });
  await refused;
  await stage.exchange();
  assertEquals(stage.answers(commandId), []);
  await cluster.setFinalizers(HOME, []);
  assertEquals((await stage.controlPlane.result(commandId)).type, "complete");
  const [claim] = await cluster.list("v1", "PersistentVolumeClaim");
  assert(claim && claim.metadata?.uid !== old.metadata?.uid);
});
