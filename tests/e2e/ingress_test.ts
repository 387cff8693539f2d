import { assertEquals } from "@std/assert";
import type { V1NetworkPolicy } from "@kubernetes/client-node";
import { onEachCluster, SHORT_GRACE, Stage } from "../support/stage.ts";

const START = { user: "alice", template: "vscode", persistentHome: false, memory: "512Mi", cpu: "250m" };

onEachCluster(
  "only the namespaces of --ingress-namespaces may reach a session, on its port, until it is stopped",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { args: ["--ingress-namespaces=streamspace,edge"] });
    await stage.command("start_session", { sessionId: "s1", ...START });
    const [policy] = await cluster.list("networking.k8s.io/v1", "NetworkPolicy") as [V1NetworkPolicy];
    assertEquals(policy.metadata?.name, "s1");
    assertEquals<unknown>(JSON.parse(JSON.stringify(policy.spec)), {
      podSelector: { matchLabels: { app: "streamspace-session", session: "s1" } },
      policyTypes: ["Ingress"],
      ingress: [{
        _from: ["streamspace", "edge"].map((name) => ({
          namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": name } },
        })),
        ports: [{ port: 8443, protocol: "TCP" }],
      }],
    });
    await stage.command("hibernate_session", { sessionId: "s1" });
    assertEquals((await cluster.list("networking.k8s.io/v1", "NetworkPolicy")).length, 1);
    await stage.command("stop_session", { sessionId: "s1" });
    assertEquals(await cluster.leftovers(), []);
  },
);

onEachCluster("the NetworkPolicy of a session is deleted last, when no pod is left", async (cluster) => {
  const args = ["--ingress-namespaces=edge"];
  await using stage = await Stage.start(cluster, { args, throughProxies: true });
  await stage.command("start_session", { sessionId: "s1", ...START });
  const reached = stage.proxies.hang("delete networkpolicies");
  const stop = stage.send("stop_session", { sessionId: "s1" });
  await reached;
  assertEquals([await cluster.list("v1", "Pod"), await cluster.list("apps/v1", "Deployment")], [[], []]);
  stage.proxies.api.clearFaults();
  assertEquals((await stage.controlPlane.result(stop)).type, "complete");
});

onEachCluster("the NetworkPolicy of a failed start is deleted last", async (cluster) => {
  const args = ["--ingress-namespaces=edge"];
  await using stage = await Stage.start(cluster, { args, throughProxies: true, timings: SHORT_GRACE });
  const reached = stage.proxies.hang("delete networkpolicies");
  const start = stage.send("start_session", { sessionId: "s1", ...START, template: "crashing" });
  await reached;
  assertEquals(await cluster.list("v1", "Pod"), []);
  stage.proxies.api.clearFaults();
  assertEquals((await stage.controlPlane.result(start)).type, "failed");
  await cluster.untilEmpty();
});

const REACH: Array<[what: string, before: string[], after: string[], reachedFrom: string[]]> = [
  ["those of the current option", ["--ingress-namespaces=old"], ["--ingress-namespaces=edge"], ["edge"]],
  ["those of the current option instead of all", [], ["--ingress-namespaces=edge"], ["edge"]],
  ["all without the option", ["--ingress-namespaces=old"], [], []],
];

for (const [what, before, after, reachedFrom] of REACH) {
  onEachCluster(`the namespaces that may reach a woken session are ${what}`, async (cluster) => {
    await using stage = await Stage.start(cluster, { args: before });
    await stage.command("start_session", { sessionId: "s1", ...START });
    await stage.command("hibernate_session", { sessionId: "s1" });
    await stage.restart({ args: after });
    const { error } = await stage.command("wake_session", { sessionId: "s1" });
    const policies = await cluster.list("networking.k8s.io/v1", "NetworkPolicy") as V1NetworkPolicy[];
    const names = policies.flatMap(({ spec }) => spec?.ingress?.[0]?._from ?? []).map(
      ({ namespaceSelector }) => namespaceSelector?.matchLabels?.["kubernetes.io/metadata.name"],
    );
    assertEquals([error, names], [undefined, reachedFrom]);
  });
}

onEachCluster(
  "a wake sends no request for a NetworkPolicy that is up to date",
  async (cluster) => {
    const args = ["--ingress-namespaces=streamspace,edge"];
    await using stage = await Stage.start(cluster, { args, throughProxies: true });
    await stage.command("start_session", { sessionId: "s1", ...START });
    await stage.command("hibernate_session", { sessionId: "s1" });
    await stage.command("wake_session", { sessionId: "s1" });
    await stage.command("hibernate_session", { sessionId: "s1" });
    // The next process knows the policy from its list, not from the response to its creation.
    await stage.restart();
    await stage.command("wake_session", { sessionId: "s1" });
    const requests = ["create", "get", "delete"].map((verb) => stage.requestCount(`${verb} networkpolicies`));
    assertEquals(requests, [1, 0, 0]);
  },
);

onEachCluster("a session cannot be woken with an image that is no longer allowed", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await stage.command("start_session", { sessionId: "s1", ...START });
  await stage.command("hibernate_session", { sessionId: "s1" });
  await stage.restart({ args: ["--allowed-images=none/*"] });
  const { error } = await stage.command("wake_session", { sessionId: "s1" });
  assertEquals(
    error,
    'Cannot wake session "s1": image "lscr.io/linuxserver/code-server:latest" is not allowed: see --allowed-images',
  );
});

onEachCluster("a NetworkPolicy that an earlier start left is replaced", async (cluster) => {
  const labels = { app: "streamspace-session", session: "s1" };
  await cluster.create({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "s1", labels },
    spec: { podSelector: {}, policyTypes: ["Ingress"], ingress: [{}] },
  } as V1NetworkPolicy);
  await using stage = await Stage.start(cluster, { args: ["--ingress-namespaces=edge"] });
  await stage.command("start_session", { sessionId: "s1", ...START });
  const [policy] = await cluster.list("networking.k8s.io/v1", "NetworkPolicy") as [V1NetworkPolicy];
  assertEquals(policy.spec?.podSelector?.matchLabels, labels);
});
