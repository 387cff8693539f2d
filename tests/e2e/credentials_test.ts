import { assertEquals, assertRejects } from "@std/assert";
import type { V1SelfSubjectReview, V1UserInfo } from "@kubernetes/client-node";
import { KubeconfigError } from "../../lib/common/errors.ts";
import { loadAccess } from "../../lib/kubernetes/kubeconfig.ts";
import { Transport } from "../../lib/kubernetes/transport.ts";
import { REAL, temporaryFile, type TestCluster } from "../support/clusters.ts";
import { onEachCluster, Stage } from "../support/stage.ts";

/** Writes a kubeconfig with another user for the cluster, beside a file with a token. */
async function kubeconfigOf(cluster: TestCluster, user: Readonly<Record<string, unknown>>): Promise<string> {
  const { name, server, caData } = cluster.config.getCurrentCluster() ?? {};
  return await temporaryFile(JSON.stringify({
    clusters: [{ name, cluster: { server, "certificate-authority-data": caData } }],
    users: [{ name: "agent", user }],
    contexts: [{ name: "agent", context: { cluster: name, user: "agent" } }],
    "current-context": "agent",
  }));
}

/** What the API server takes the agent for. */
async function identityOf(kubeconfig: string): Promise<V1UserInfo | undefined> {
  using transport = new Transport(() => loadAccess(kubeconfig));
  const path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
  const { body } = await transport.send({ method: "POST", path, body: {} });
  return (body as V1SelfSubjectReview).status?.userInfo;
}

onEachCluster("an API server recognizes the account of a token file", async (cluster) => {
  await cluster.create({ apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "agent" } });
  const { users: [{ user }] } = JSON.parse(await Deno.readTextFile(await cluster.kubeconfigOf("agent")));
  const tokenFile = (await temporaryFile(`${user.token}\n`)).replace(/^.*\//, "");
  const identity = await identityOf(await kubeconfigOf(cluster, { tokenFile }));
  assertEquals(identity?.username, `system:serviceaccount:${cluster.namespace}:agent`);
}, [REAL]);

onEachCluster("an API server recognizes an impersonated user with all attributes", async (cluster) => {
  const { certData, keyData } = cluster.config.getCurrentUser() ?? {};
  const identity = await identityOf(
    await kubeconfigOf(cluster, {
      "client-certificate-data": certData,
      "client-key-data": keyData,
      as: "älice",
      "as-uid": "42",
      "as-groups": ["g1", "g2, g3"],
      "as-user-extra": { "example.com/Scope%": ["a", "b"] },
    }),
  );
  assertEquals<unknown>({ ...identity }, {
    username: "älice",
    uid: "42",
    groups: ["g1", "g2, g3", "system:authenticated"],
    extra: { "example.com/scope%": ["a", "b"] },
  });
}, [REAL]);

onEachCluster("the agent ends when an API server ignores its password", async (cluster) => {
  const kubeconfig = await kubeconfigOf(cluster, { username: "alice", password: "p" });
  await using stage = await Stage.launch(cluster, { kubeconfig });
  await assertRejects(() => stage.agent.ended(), KubeconfigError, "treats it as system:anonymous");
}, [REAL]);
