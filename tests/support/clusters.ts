/**
 * The clusters that end-to-end tests run on: the Kubernetes API in memory always, and the real one that `KUBECONFIG` names.
 * @module
 */
import {
  CoreV1Api,
  type KubeConfig,
  type KubernetesObject,
  KubernetesObjectApi,
  PatchStrategy,
  type V1ResourceQuota,
} from "@kubernetes/client-node";
import { delay } from "@std/async";
import { Cluster } from "@streamspace/memory-cluster";
import { clientNodeConfig } from "../../dev/api_server.ts";
import type { ClusterAccess } from "../../lib/kubernetes/kubeconfig.ts";
import { serveEcho } from "../../dev/desktop/echo_pod.ts";

/** A kind of cluster, and whether it is available. */
export interface ClusterKind {
  readonly name: string;
  readonly isMissing: boolean;
  /** Creates a namespace for one test. */
  readonly open: () => Promise<TestCluster>;
}

const KUBECONFIG = Deno.env.get("KUBECONFIG") ?? "";

/** The Kubernetes API in memory. */
export const MEMORY: ClusterKind = {
  name: "API in memory",
  isMissing: false,
  open: () => TestCluster.open(undefined),
};

/** The real API server. */
export const REAL: ClusterKind = {
  name: "real API server",
  isMissing: KUBECONFIG === "",
  open: () => TestCluster.open(KUBECONFIG),
};

/** Every kind of cluster. */
export const CLUSTERS: readonly ClusterKind[] = [MEMORY, REAL];

/** A namespace in a cluster, with an administrator's access. */
export class TestCluster implements AsyncDisposable {
  readonly kubeconfig: string;
  readonly namespace: string;
  readonly objects: KubernetesObjectApi;
  readonly config: KubeConfig;
  readonly #memory: Cluster | undefined;

  private constructor(parts: { kubeconfig: string; namespace: string; memory: Cluster | undefined }) {
    this.kubeconfig = parts.kubeconfig;
    this.namespace = parts.namespace;
    this.#memory = parts.memory;
    this.config = clientNodeConfig(parts.kubeconfig);
    this.objects = KubernetesObjectApi.makeApiClient(this.config);
  }

  /** Connects to the cluster of a kubeconfig, or starts one in memory. */
  static async open(kubeconfig: string | undefined): Promise<TestCluster> {
    const memory = kubeconfig === undefined ? Cluster.start({ servePod: serveEcho }) : undefined;
    const path = kubeconfig ?? await temporaryFile(memory?.kubeconfig() ?? "");
    const namespace = `e2e-${crypto.randomUUID().slice(0, 8)}`;
    const cluster = new TestCluster({ kubeconfig: path, namespace, memory });
    await cluster.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } });
    return cluster;
  }

  /** Creates any object, in the test's namespace unless it names another. */
  async create<T extends KubernetesObject>(object: T): Promise<T> {
    const metadata = object.kind === "Namespace"
      ? object.metadata
      : { namespace: this.namespace, ...object.metadata };
    return await this.objects.create({ ...object, metadata }) as T;
  }

  /** Sets the finalizers of an object. */
  async setFinalizers(object: KubernetesObject, finalizers: string[]): Promise<void> {
    await this.change({ ...object, metadata: { ...object.metadata, finalizers } });
  }

  /** Patches an object with the given fields. */
  async change(
    object: KubernetesObject & Readonly<Record<string, unknown>>,
    strategy: PatchStrategy = PatchStrategy.MergePatch,
  ): Promise<void> {
    const metadata = object.kind === "Namespace"
      ? object.metadata
      : { namespace: this.namespace, ...object.metadata };
    const none = undefined;
    await this.objects.patch({ ...object, metadata }, none, none, none, none, strategy);
  }

  /** Creates a ResourceQuota, and waits until its status shows that it is in force. */
  async limit(
    name: string,
    hard: Readonly<Record<string, string>>,
    { scopes }: { scopes?: string[] } = {},
  ): Promise<void> {
    const used = Object.fromEntries(Object.keys(hard).map((what) => [what, "0"]));
    // The API in memory has no controller that writes the status.
    const quota = {
      apiVersion: "v1",
      kind: "ResourceQuota",
      metadata: { name },
      spec: { hard, ...(scopes ? { scopes } : {}) },
      status: { hard, used },
    };
    await this.create(quota);
    await this.until(async () => {
      const quotas = await this.list("v1", "ResourceQuota") as V1ResourceQuota[];
      return quotas.some(({ metadata, status }) => metadata?.name === name && status?.hard !== undefined);
    });
  }

  /** Deletes an object of the test's namespace. */
  async delete(apiVersion: string, kind: string, name: string): Promise<void> {
    await this.objects.delete({ apiVersion, kind, metadata: { name, namespace: this.namespace } });
  }

  /** All objects of a kind in the test's namespace. */
  async list(apiVersion: string, kind: string): Promise<KubernetesObject[]> {
    const { items } = await this.objects.list(apiVersion, kind, this.namespace);
    return items;
  }

  /** Names of all objects of sessions in the test's namespace, as `Kind/name`. */
  async leftovers(): Promise<string[]> {
    const kinds = [
      ["apps/v1", "Deployment"],
      ["v1", "Service"],
      ["v1", "PersistentVolumeClaim"],
      ["networking.k8s.io/v1", "NetworkPolicy"],
      ["v1", "Pod"],
    ] as const;
    const lists = await Promise.all(kinds.map(async ([apiVersion, kind]) => {
      const items = await this.list(apiVersion, kind);
      return items.map((item) => `${kind}/${item.metadata?.name}`);
    }));
    return lists.flat().sort();
  }

  /** Writes a kubeconfig for a service account without permissions; only on a real API server. */
  async kubeconfigWithoutPermissions(): Promise<string> {
    await this.create({ apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "nobody" } });
    return await this.kubeconfigOf("nobody");
  }

  /** Writes a kubeconfig for a service account; only on a real API server. */
  async kubeconfigOf(account: string): Promise<string> {
    const { status } = await this.config.makeApiClient(CoreV1Api).createNamespacedServiceAccountToken({
      name: account,
      namespace: this.namespace,
      body: { spec: { audiences: [] } },
    });
    const { name, server, caData, caFile } = this.config.getCurrentCluster() ?? {};
    const authority = caData ? { "certificate-authority-data": caData } : { "certificate-authority": caFile };
    return await temporaryFile(JSON.stringify({
      clusters: [{ name, cluster: { server, ...authority } }],
      users: [{ name: account, user: { token: status?.token } }],
      contexts: [{ name: account, context: { cluster: name, user: account } }],
      "current-context": account,
    }));
  }

  /** Ends all open watches; only in memory. */
  cutWatches(): void {
    this.#memory?.closeWatches();
  }

  /** Expires all resource versions, so that watches must list again; only in memory. */
  expireWatches(): void {
    this.#memory?.expireWatches();
  }

  /** Waits until no objects of sessions are left. */
  async untilEmpty(): Promise<void> {
    await this.untilLeft([]);
  }

  /** Waits until only these objects of sessions are left, named as by {@linkcode leftovers}. */
  async untilLeft(names: readonly string[]): Promise<void> {
    await this.until(async () => String(await this.leftovers()) === String(names));
  }

  /** Waits until a condition is true, for at most a minute. */
  async until(isTrue: () => Promise<boolean>): Promise<void> {
    const signal = AbortSignal.timeout(60_000);
    while (!await isTrue()) await delay(50, { signal });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.objects.delete({ apiVersion: "v1", kind: "Namespace", metadata: { name: this.namespace } });
    if (!this.#memory) return;
    await this.#memory[Symbol.asyncDispose]();
    await Deno.remove(this.kubeconfig);
  }
}

/** Access to a server with a token, or without credentials. */
export function accessTo(server: string, token?: string): ClusterAccess {
  const headers = token === undefined ? [] : [["Authorization", `Bearer ${token}`] as const];
  return {
    server,
    isAnonymous: token === undefined,
    credentials: () => Promise.resolve({ headers, client: {} }),
  };
}

/** Writes a file into the temporary folder. */
export async function temporaryFile(text: string): Promise<string> {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, text);
  return path;
}
