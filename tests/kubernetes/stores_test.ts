import { assertEquals, assertRejects } from "@std/assert";
import type { V1Secret } from "@kubernetes/client-node";
import { Cluster, type ClusterOptions } from "@streamspace/memory-cluster";
import { KubernetesError } from "../../lib/common/errors.ts";
import type { KeyStore } from "../../lib/control_plane/issued_key.ts";
import { loadAccess } from "../../lib/kubernetes/kubeconfig.ts";
import { createIssuedKeyStore } from "../../lib/kubernetes/stores.ts";
import { Transport } from "../../lib/kubernetes/transport.ts";
import { temporaryFile } from "../support/clusters.ts";

const PATH = "/api/v1/namespaces/streamspace/secrets";
const NAME = "k8s-agent-issued-key";

/** A cluster in memory and the key stores of agents in it. */
class Stores implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly transport: Transport;
  readonly #kubeconfig: string;

  private constructor(cluster: Cluster, kubeconfig: string) {
    this.cluster = cluster;
    this.#kubeconfig = kubeconfig;
    this.transport = new Transport(() => loadAccess(kubeconfig));
  }

  static async open(options: ClusterOptions = {}): Promise<Stores> {
    const cluster = Cluster.start(options);
    return new Stores(cluster, await temporaryFile(cluster.kubeconfig()));
  }

  of(agent: string): KeyStore {
    return createIssuedKeyStore(this.transport, { namespace: "streamspace", agent });
  }

  async secret(): Promise<V1Secret> {
    return await this.transport.getJson(`${PATH}/${NAME}`) as V1Secret;
  }

  /** Creates the Secret without data, as k8s/rbac.yaml does. */
  async createSecret(): Promise<void> {
    const body = JSON.stringify({ apiVersion: "v1", kind: "Secret", metadata: { name: NAME } });
    const response = await fetch(`${this.cluster.url}${PATH}`, { method: "POST", body });
    await response.body?.cancel();
  }

  /** RBAC verbs of the requests for the Secret. */
  get verbs(): string[] {
    return this.cluster.requests.filter(({ resource }) => resource === "secrets").map(({ verb }) => verb);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.transport[Symbol.dispose]();
    await this.cluster[Symbol.asyncDispose]();
    await Deno.remove(this.#kubeconfig);
  }
}

Deno.test("createIssuedKeyStore() patches the existing Secret and separates agents", async () => {
  await using stores = await Stores.open();
  await stores.createSecret();
  const [one, two] = [stores.of("agent-1"), stores.of("agent-2")];
  assertEquals(await one.read(), undefined);
  await one.write("text 1");
  await two.write("text 2");
  assertEquals([await one.read(), await two.read()], ["text 1", "text 2"]);
  await one.write(undefined);
  assertEquals([await one.read(), await two.read()], [undefined, "text 2"]);
  assertEquals(stores.verbs, [
    ...["create", "get", "patch", "patch", "get", "get"],
    ...["patch", "get", "get"],
  ]);
});

Deno.test("createIssuedKeyStore() creates a missing Secret only to write a key", async () => {
  await using stores = await Stores.open();
  const store = stores.of("agent-1");
  assertEquals(await store.read(), undefined);
  await store.write(undefined);
  assertEquals(stores.verbs, ["get", "patch"]);
  await store.write("text");
  const { metadata, data } = await stores.secret();
  assertEquals(metadata?.labels, { component: "k8s-agent" });
  assertEquals(data, { "agent-1": btoa("text") });
});

Deno.test("createIssuedKeyStore() patches the Secret when another agent creates it first", async () => {
  await using stores = await Stores.open();
  await stores.createSecret();
  stores.cluster.failNext({ verb: "patch", resource: "secrets", status: 404 });
  await stores.of("agent-1").write("text");
  assertEquals(stores.verbs, ["create", "patch", "create", "patch"]);
  assertEquals(await stores.of("agent-1").read(), "text");
});

Deno.test("createIssuedKeyStore() throws when creating the Secret is forbidden", async () => {
  await using stores = await Stores.open({ authorize: ({ verb }) => verb !== "create" });
  const error = await assertRejects(
    () => stores.of("agent-1").write("text"),
    KubernetesError,
    "refused to create secrets",
  );
  assertEquals(error.status, 403);
});
