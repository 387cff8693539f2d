import { assert, assertEquals } from "@std/assert";
import {
  CoreV1Api,
  type KubernetesObject,
  type V1Deployment,
  type V1NetworkPolicy,
  type V1PersistentVolumeClaim,
  type V1Pod,
  type V1ReplicaSet,
  type V1Role,
  type V1Secret,
  type V1Service,
} from "@kubernetes/client-node";
import { loadAll } from "js-yaml";
import { ApiProxy } from "../../dev/faults/api_proxy.ts";
import { WATCHED_RESOURCES } from "../../lib/kubernetes/session_watch.ts";
import { installKinds, ObjectWatcher } from "../support/custom_kinds.ts";
import { REAL, temporaryFile, type TestCluster } from "../support/clusters.ts";
import { AGENT_ID, onEachCluster, Stage, START_WITH_HOME as START } from "../support/stage.ts";

const FILES = ["rbac.yaml", "configmap.yaml", "deployment.yaml"];

/** Commands, and the state of the Session object afterwards, if there is one. */
const COMMANDS = [
  ["start_session", "running"],
  ["hibernate_session", "hibernated"],
  ["wake_session", "running"],
  ["stop_session", undefined],
  ["start_session", "running"],
] as const;

/** The objects of k8s/, moved into the test's namespace. */
async function manifests(namespace: string): Promise<KubernetesObject[]> {
  const texts = await Promise.all(
    FILES.map((file) => Deno.readTextFile(new URL(`../../k8s/${file}`, import.meta.url))),
  );
  return texts.flatMap((text) =>
    loadAll(text.replaceAll("namespace: streamspace", `namespace: ${namespace}`)) as KubernetesObject[]
  );
}

/** A kubeconfig with only a token of the agent's service account, through a proxy. */
async function serviceAccountKubeconfig(cluster: TestCluster, proxy: ApiProxy): Promise<string> {
  const { status } = await cluster.config.makeApiClient(CoreV1Api).createNamespacedServiceAccountToken({
    name: "k8s-agent",
    namespace: cluster.namespace,
    body: { spec: { audiences: [] } },
  });
  return await temporaryFile(proxy.kubeconfig(status?.token));
}

function certificateAuthority(cluster: TestCluster): Deno.HttpClient {
  const { caData, caFile } = cluster.config.getCurrentCluster() ?? {};
  const ca = caData ? atob(caData) : Deno.readTextFileSync(caFile ?? "");
  return Deno.createHttpClient({ caCerts: [ca] });
}

onEachCluster(
  "the shipped Role permits all four commands, and grants no permission that they do not use",
  async (cluster) => {
    await installKinds(cluster);
    const objects = await manifests(cluster.namespace);
    for (const object of objects) await cluster.create(object);
    const server = cluster.config.getCurrentCluster()?.server ?? "";
    using client = certificateAuthority(cluster);
    await using proxy = ApiProxy.start({ server, client });
    // A server that cannot stream lists is asked for pages, by the second process if the first one ends before.
    for (const resource of [...WATCHED_RESOURCES, "events", "templates", "sessions"]) {
      proxy.inject({ kind: "status", code: 422, verb: "watch", resource, times: 2 });
    }
    const kubeconfig = await serviceAccountKubeconfig(cluster, proxy);
    await using _removal = { [Symbol.asyncDispose]: () => Deno.remove(kubeconfig) };
    await using stage = await Stage.start(cluster, {
      kubeconfig,
      args: ["--leader-election", "--ingress-namespaces=edge", "--stream-dial=direct"],
    });

    // An issued key is stored in the Secret that the agent has read before.
    stage.controlPlane.answerRegistration({
      status: 200,
      body: { agent: { agentId: AGENT_ID }, apiKey: "issued-key", features: ["tunnel.v1"] },
    });
    await stage.restart();
    const secrets = await cluster.list("v1", "Secret") as V1Secret[];
    assertEquals(secrets.map(({ data }) => Object.keys(data ?? {})), [[AGENT_ID]]);

    // A start removes the annotation of an unused home volume.
    await cluster.create(
      {
        apiVersion: "v1",
        kind: "PersistentVolumeClaim",
        metadata: {
          name: "s1-home",
          labels: { app: "streamspace-session", session: "s1" },
          annotations: { "stream.space/unused-since": "2026-01-01T00:00:00Z" },
        },
        spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
      } as V1PersistentVolumeClaim,
    );
    await using sessions = new ObjectWatcher(cluster, "sessions");
    for (const [action, state] of COMMANDS) {
      const { error } = await stage.command(action, { sessionId: "s1", ...START });
      assertEquals(error, undefined);
      if (state) await sessions.until("s1", ({ status }) => status?.state === state);
    }
    // The use of a session is recorded on its Service.
    const signal = AbortSignal.timeout(30_000);
    await stage.controlPlane.tunnels.waitFor(AGENT_ID, signal);
    await stage.controlPlane.tunnels.open(AGENT_ID, { sessionId: "s1" }, signal);
    await sessions.until("s1", ({ status }) => status?.viewers === 1);
    const { error } = await stage.command("stop_session", { sessionId: "s1", deletePVC: true });
    assertEquals(error, undefined);
    // Existing objects are read by name before the start is rejected.
    await cluster.create(
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "taken" },
        spec: { ports: [{ port: 1 }] },
      } as V1Service,
    );
    await cluster.create(
      {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "fenced" },
        spec: { podSelector: {} },
      } as V1NetworkPolicy,
    );
    const agent = objects.find((object) => object.kind === "Deployment") as V1Deployment;
    await cluster.create({ ...agent, metadata: { name: "taken" } });
    for (const sessionId of ["taken", "fenced"]) {
      const rejected = await stage.command("start_session", { sessionId, ...START });
      const problem = `"${sessionId}" already exists in the cluster and does not belong to this session`;
      assert(String(rejected.error).endsWith(problem), String(rejected.error));
    }

    // What a Deployment left is deleted with the session.
    const labels = { app: "streamspace-session", session: "left" };
    const spec = { containers: [{ name: "session", image: "example.com/left:1" }] };
    // Its own label, so that it does not adopt the pod.
    const setLabels = { ...labels, set: "left" };
    const selector = { matchLabels: setLabels };
    const set = { spec: { replicas: 0, selector, template: { metadata: { labels: setLabels }, spec } } };
    await cluster.create(
      {
        apiVersion: "apps/v1",
        kind: "ReplicaSet",
        metadata: { name: "left", labels },
        ...set,
      } as V1ReplicaSet,
    );
    await cluster.create(
      { apiVersion: "v1", kind: "Pod", metadata: { name: "left", labels }, spec } as V1Pod,
    );
    assertEquals((await stage.command("stop_session", { sessionId: "left" })).error, undefined);

    // The lease is released at the end.
    stage.agent.stop();
    await stage.agent.ended();

    const role = objects.find((object) => object.kind === "Role") as V1Role;
    const granted = role.rules?.flatMap(({ resources = [], verbs }) =>
      resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}`))
    );
    // All accounts may request the kinds of the API and their own permissions.
    const permittedToAll = ["", "selfsubjectaccessreviews"];
    const used = new Set(
      proxy.requests.filter(({ resource }) => !permittedToAll.includes(resource)).map(({ verb, resource }) =>
        `${verb} ${resource}`
      ),
    );
    assertEquals([...used].sort(), [...granted ?? []].sort());
  },
  [REAL],
);
