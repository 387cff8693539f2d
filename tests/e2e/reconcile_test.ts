import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { isDeepStrictEqual } from "node:util";
import { delay } from "@std/async";
import type { KubernetesObject, V1NetworkPolicy, V1Service } from "@kubernetes/client-node";
import { LOST_HOME_ADVICE } from "../../lib/status/observed.ts";
import type { TestCluster } from "../support/clusters.ts";
import { type AnyStage, onEachCluster, Stage, START, START_WITH_HOME } from "../support/stage.ts";

const SERVICE = { apiVersion: "v1", kind: "Service", metadata: { name: "s1" } };
const POLICY = { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: { name: "s1" } };

/** What somebody does to a Service. */
const TRICKS: Readonly<Record<string, (cluster: TestCluster) => Promise<void>>> = {
  "was deleted": (cluster) => cluster.delete("v1", "Service", "s1"),
  "got another selector": (cluster) =>
    cluster.change({ ...SERVICE, spec: { selector: { session: "other", tier: "x" } } }),
  "got another port": (cluster) =>
    cluster.change({ ...SERVICE, spec: { ports: [{ name: "vnc", port: 1234, targetPort: 1234 }] } }),
  "lost its label app": (cluster) =>
    cluster.change({ ...SERVICE, metadata: { name: "s1", labels: { app: null as unknown as string } } }),
  "got the label of another agent": (cluster) =>
    cluster.change({ ...SERVICE, metadata: { name: "s1", labels: { "stream.space/agent": "other" } } }),
  "got the label of another session": (cluster) =>
    cluster.change({ ...SERVICE, metadata: { name: "s1", labels: { session: "s2" } } }),
  "lost its label session": (cluster) =>
    cluster.change({ ...SERVICE, metadata: { name: "s1", labels: { session: null as unknown as string } } }),
};

async function start(stage: AnyStage, payload: Record<string, unknown> = START): Promise<void> {
  const { error } = await stage.command("start_session", { ...payload, sessionId: "s1" });
  assertEquals(error, undefined);
  await stage.untilState("s1", "running");
}

/** The part of a Service that leads to its session. */
async function leading(cluster: TestCluster): Promise<unknown> {
  const services = await cluster.list("v1", "Service") as V1Service[];
  return services.map(({ metadata, spec }) => [
    metadata?.name,
    { ...metadata?.labels },
    { ...spec?.selector },
    spec?.ports?.map(({ name, port, targetPort }) => [name, port, targetPort]),
  ]);
}

/** Waits until something equals what it was before. */
async function untilEqual(
  cluster: TestCluster,
  read: () => Promise<unknown>,
  before: unknown,
): Promise<void> {
  await cluster.until(async () => isDeepStrictEqual(await read(), before)).catch(async () => {
    assertEquals(await read(), before);
  });
}

for (const [trick, perform] of Object.entries(TRICKS)) {
  onEachCluster(`a Service that ${trick} is restored while its session runs`, async (cluster) => {
    await using stage = await Stage.start(cluster);
    await start(stage);
    const before = await leading(cluster);
    await perform(cluster);
    await stage.agent.line(/[Rr]estored the Service/);
    await untilEqual(cluster, () => leading(cluster), before);
    assertEquals(stage.states("s1").at(-1), "running");
  });
}

onEachCluster(
  "a Service gets the port that the Control Plane assumes, also one of an earlier version",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    await start(stage, { ...START, template: "vscode" });
    assertEquals(stage.lastStatus("s1").vncPort, 8443);
    const before = await leading(cluster);
    assertEquals((before as unknown[][])[0]?.[3], [["vnc", 8443, "vnc"], ["display-alias", 3000, "vnc"]]);
    const ports = [{ name: "vnc", port: 8443, targetPort: "vnc" }];
    await cluster.change({ ...SERVICE, spec: { ports } });
    await untilEqual(cluster, () => leading(cluster), before);
  },
);

onEachCluster(
  "a Service is restored while its session is hibernated, and before a wake succeeds",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    await start(stage);
    const before = await leading(cluster);
    await stage.command("hibernate_session", { sessionId: "s1" });
    await cluster.delete("v1", "Service", "s1");
    const { result } = await stage.command("wake_session", { sessionId: "s1" });
    assertEquals((result as Record<string, unknown>).service, "s1");
    await untilEqual(cluster, () => leading(cluster), before);
  },
);

onEachCluster("what was deleted and changed while no agent was running is restored", async (cluster) => {
  const args = ["--ingress-namespaces=edge"];
  await using stage = await Stage.start(cluster, { args });
  await start(stage);
  const before = await leading(cluster);
  const [policy] = await cluster.list("networking.k8s.io/v1", "NetworkPolicy") as V1NetworkPolicy[];
  stage.agent.stop();
  await stage.agent.ended();
  await cluster.delete("v1", "Service", "s1");
  await cluster.change({ ...POLICY, spec: { podSelector: { matchLabels: null }, ingress: [{}] } });
  await stage.startNext();
  await untilEqual(cluster, () => leading(cluster), before);
  const specs = async () => {
    const policies = await cluster.list("networking.k8s.io/v1", "NetworkPolicy") as V1NetworkPolicy[];
    return policies.map(({ spec }) => spec);
  };
  await untilEqual(cluster, specs, [policy?.spec]);
  assertEquals((await stage.command("start_session", { ...START, sessionId: "s1" })).error, undefined);
});

onEachCluster("a NetworkPolicy that was deleted is restored at once", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: ["--ingress-namespaces=edge"] });
  await start(stage);
  await cluster.delete("networking.k8s.io/v1", "NetworkPolicy", "s1");
  await cluster.until(async () => (await cluster.list("networking.k8s.io/v1", "NetworkPolicy")).length === 1);
});

onEachCluster(
  "a Service that cannot be restored is reported, and no command succeeds without it",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { throughProxies: true });
    await start(stage);
    const [code, times] = [403, Infinity];
    stage.proxies.api.inject({ kind: "status", code, verb: "create", resource: "services", times });
    await cluster.delete("v1", "Service", "s1");
    await stage.untilMessage("s1", "its Service is missing or does not lead to its pod");
    assertEquals(stage.lastStatus("s1").state, "pending");
    const again = await stage.command("start_session", { ...START, sessionId: "s1" });
    assertStringIncludes(String(again.error), 'Cannot start session "s1": ');
    stage.proxies.clearFaults();
    await stage.untilState("s1", "running");
  },
);

onEachCluster("a home volume that is deleted while its session runs is reported", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await start(stage, START_WITH_HOME);
  const [claim] = await cluster.list("v1", "PersistentVolumeClaim") as KubernetesObject[];
  assert(claim);
  await cluster.change({
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name: "s1-home", finalizers: ["kubernetes.io/pvc-protection", "example.com/hold"] },
  });
  await cluster.delete("v1", "PersistentVolumeClaim", "s1-home");
  await stage.untilMessage(
    "s1",
    'volume "s1-home" is not available: it is being deleted, and its files are lost when the session\'s pod ends',
  );
  assertEquals(stage.lastStatus("s1").state, "running");
});

onEachCluster(
  "a home volume that is deleted while its session is hibernated is reported",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    await start(stage, START_WITH_HOME);
    await stage.command("hibernate_session", { sessionId: "s1" });
    await cluster.delete("v1", "PersistentVolumeClaim", "s1-home");
    await stage.untilMessage(
      "s1",
      `volume "s1-home" is not available: it was deleted; ${LOST_HOME_ADVICE}`,
    );
    assertEquals(stage.lastStatus("s1").state, "hibernated");
  },
);

onEachCluster(
  "a Service that somebody deletes again and again is restored less and less often",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { throughProxies: true });
    await start(stage);
    const before = stage.requestCount("create services");
    const until = performance.now() + 3000;
    while (performance.now() < until) {
      const services = await cluster.list("v1", "Service");
      if (services.length > 0) await cluster.delete("v1", "Service", "s1");
      await delay(20);
    }
    const restored = stage.requestCount("create services") - before;
    assert(restored >= 1 && restored <= 5, `restored ${restored} times`);
  },
);

onEachCluster(
  "a Service whose deletion hangs is reported, and a hibernation does not wait for it",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { timings: { repairTimeoutMs: 50 } });
    await start(stage);
    await cluster.setFinalizers(SERVICE, ["example.com/load-balancer"]);
    await cluster.delete("v1", "Service", "s1");
    await stage.untilMessage("s1", "its Service is missing or does not lead to its pod");
    assertEquals((await stage.command("hibernate_session", { sessionId: "s1" })).error, undefined);
    await cluster.setFinalizers(SERVICE, []);
    await stage.agent.line(/Restored the Service/);
  },
);

onEachCluster("a restored Service is deleted with the Deployment of its session", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await start(stage);
  const uid = async () => (await cluster.list("v1", "Service"))[0]?.metadata?.uid;
  const before = await uid();
  await cluster.delete("v1", "Service", "s1");
  await cluster.until(async () => ![before, undefined].includes(await uid()));
  await cluster.delete("apps/v1", "Deployment", "s1");
  await cluster.untilLeft([]);
  await stage.untilState("s1", "terminated");
});
