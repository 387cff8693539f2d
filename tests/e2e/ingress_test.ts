import { assertEquals } from "@std/assert";
import type { V1NetworkPolicy } from "@kubernetes/client-node";
import { onEachCluster, Stage } from "../support/stage.ts";

const START = { user: "alice", template: "vscode", persistentHome: false, memory: "512Mi", cpu: "250m" };

onEachCluster(
  "the chosen namespaces alone may reach a session, on its port, for as long as it lives",
  async (cluster) => {
    await using stage = await Stage.set(cluster, { args: ["--ingress-namespaces=streamspace,edge"] });
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

onEachCluster("a policy that an earlier start left with other namespaces is made anew", async (cluster) => {
  const labels = { app: "streamspace-session", session: "s1" };
  await cluster.create({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "s1", labels },
    spec: { podSelector: {}, policyTypes: ["Ingress"], ingress: [{}] },
  } as V1NetworkPolicy);
  await using stage = await Stage.set(cluster, { args: ["--ingress-namespaces=edge"] });
  await stage.command("start_session", { sessionId: "s1", ...START });
  const [policy] = await cluster.list("networking.k8s.io/v1", "NetworkPolicy") as [V1NetworkPolicy];
  assertEquals(policy.spec?.podSelector?.matchLabels, labels);
});
