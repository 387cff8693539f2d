/**
 * Taking over the sessions of the Go agent, which reported neither hibernations nor ends.
 * @module
 */
import { assertEquals } from "@std/assert";
import type {
  KubernetesObject,
  V1Deployment,
  V1PersistentVolumeClaim,
  V1Service,
} from "@kubernetes/client-node";
import { MEMORY, type TestCluster } from "../support/clusters.ts";
import { onEachCluster, Stage } from "../support/stage.ts";

/** What the Go agent creates for a session with a home volume. */
function goObjects(sessionId: string, replicas: 0 | 1) {
  const labels = { app: "streamspace-session", session: sessionId, user: "alice", template: "firefox" };
  const metadata = { name: sessionId, labels };
  const deployment: V1Deployment = {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata,
    spec: {
      replicas,
      selector: { matchLabels: { app: "streamspace-session", session: sessionId } },
      template: {
        metadata: { labels },
        spec: {
          containers: [{
            name: "session",
            image: "lscr.io/linuxserver/firefox:latest",
            ports: [{ name: "vnc", containerPort: 3000, protocol: "TCP" }],
          }],
          volumes: [{ name: "home", persistentVolumeClaim: { claimName: `${sessionId}-home` } }],
        },
      },
    },
  };
  const service: V1Service = {
    apiVersion: "v1",
    kind: "Service",
    metadata,
    spec: { selector: { session: sessionId }, ports: [{ name: "vnc", port: 3000, protocol: "TCP" }] },
  };
  const claim: V1PersistentVolumeClaim = {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name: `${sessionId}-home`, labels },
    spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
  };
  return { deployment, service, claim };
}

async function create(cluster: TestCluster, ...objects: readonly KubernetesObject[]): Promise<void> {
  for (const object of objects) await cluster.create(object);
}

onEachCluster(
  "sessions that the Go agent hibernated or ended are reported once, and wake",
  async (cluster) => {
    const hibernated = goObjects("s1", 0);
    await create(cluster, hibernated.claim, hibernated.deployment, hibernated.service);
    // The Go agent keeps the home volume of a session that it terminates.
    await create(cluster, goObjects("s2", 1).claim);
    const running = goObjects("s3", 1);
    await create(cluster, running.claim, running.deployment, running.service);
    await using stage = await Stage.start(cluster);
    await stage.untilState("s1", "hibernated");
    await stage.untilState("s2", "terminated");

    assertEquals((await stage.command("wake_session", { sessionId: "s1" })).error, undefined);
    await stage.untilState("s1", "running");
    // The Control Plane repeats a stop until it is reported as terminated.
    assertEquals((await stage.command("stop_session", { sessionId: "s2" })).error, undefined);
    assertEquals(stage.states("s2"), ["terminated", "terminated"]);
    assertEquals((await stage.command("hibernate_session", { sessionId: "s3" })).error, undefined);

    const hasRecord = async () => {
      const claims = await cluster.list("v1", "PersistentVolumeClaim");
      return claims.some(({ metadata }) =>
        metadata?.name === "s2-home" && metadata.annotations?.["stream.space/status"] !== undefined
      );
    };
    await cluster.until(hasRecord);
    const before = ["s1", "s2", "s3"].map((id) => stage.states(id).length);
    await stage.restart();
    await stage.roundTrip();
    assertEquals(["s1", "s2", "s3"].map((id) => stage.states(id).length), before);
  },
);

onEachCluster(
  "a session whose pod is still ending after the Go agent hibernated it is reported",
  async (cluster) => {
    const { claim, deployment, service } = goObjects("s1", 1);
    await create(cluster, claim, deployment, service);
    const pods = () => cluster.list("v1", "Pod");
    await cluster.until(async () => (await pods()).length === 1);
    const [pod] = await pods();
    const held = { apiVersion: "v1", kind: "Pod", metadata: { name: pod?.metadata?.name ?? "" } };
    await cluster.setFinalizers(held, ["example.com/hold"]);
    await cluster.change({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "s1" },
      spec: { replicas: 0 },
    });
    await cluster.until(async () => (await pods())[0]?.metadata?.deletionTimestamp !== undefined);
    await using stage = await Stage.start(cluster);
    await stage.roundTrip();
    assertEquals(stage.states("s1"), []);
    await cluster.setFinalizers(held, []);
    await stage.untilState("s1", "hibernated");
  },
  // On a node, the containers end although the finalizer keeps the pod, and the session is hibernated.
  [MEMORY],
);
