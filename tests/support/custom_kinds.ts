/**
 * The optional custom kinds of k8s/crds/ on a real API server, and a watcher of their objects.
 * @module
 */
import {
  ApiextensionsV1Api,
  type KubernetesObject,
  PatchStrategy,
  setHeaderOptions,
} from "@kubernetes/client-node";
import { delay } from "@std/async";
import { load } from "js-yaml";
import { loadAccess } from "../../lib/kubernetes/kubeconfig.ts";
import { CUSTOM_API, CustomCollection } from "../../lib/kubernetes/custom_collection.ts";
import { Transport } from "../../lib/kubernetes/transport.ts";
import type { TestCluster } from "./clusters.ts";

/** An object of a custom kind. */
export interface CustomObject extends KubernetesObject {
  readonly spec: Readonly<Record<string, unknown>>;
  readonly status?: Readonly<Record<string, unknown>>;
}

/** The garbage collector discovers a new kind within half a minute. */
const TIMEOUT_MS = 60_000;

const FILES = ["templates.yaml", "sessions.yaml"];

/** Installs the agent's kinds, or others, in the cluster, where they stay, and waits until they are served. */
export async function installKinds(
  cluster: TestCluster,
  paths = FILES.map((file) => `../../k8s/crds/${file}`),
): Promise<void> {
  const api = cluster.config.makeApiClient(ApiextensionsV1Api);
  for (const path of paths) {
    const text = await Deno.readTextFile(new URL(path, import.meta.url));
    const body = load(text) as { metadata: { name: string } };
    await api.patchCustomResourceDefinition(
      { name: body.metadata.name, body, fieldManager: "tests", force: true, fieldValidation: "Strict" },
      setHeaderOptions("Content-Type", PatchStrategy.ServerSideApply),
    );
  }
  using transport = new Transport(() => loadAccess(cluster.kubeconfig));
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  while (!await isServed(transport)) await delay(50, { signal });
}

async function isServed(transport: Transport): Promise<boolean> {
  const answer = await transport.getJson(`/apis/${CUSTOM_API}`).catch(() => ({})) as {
    resources?: Array<{ name: string }>;
  };
  const names = answer.resources?.map(({ name }) => name) ?? [];
  return ["templates", "sessions", "sessions/status"].every((name) => names.includes(name));
}

/** Watches the objects of one kind in a test's namespace until it is disposed. */
export class ObjectWatcher implements AsyncDisposable {
  readonly #collection: CustomCollection;
  readonly #transport: Transport;
  readonly #stop = new AbortController();
  readonly #watchers = new Set<() => void>();
  readonly #following: Promise<void>;

  constructor(cluster: TestCluster, resource: string) {
    const wake = () => {
      for (const watcher of this.#watchers) watcher();
      this.#watchers.clear();
    };
    this.#collection = new CustomCollection({ resource, onList: wake, onChange: wake });
    this.#transport = new Transport(() => loadAccess(cluster.kubeconfig));
    const { namespace } = cluster;
    this.#following = this.#collection.follow(this.#transport, { namespace, signal: this.#stop.signal });
  }

  /** Waits until the object with that name fulfils the condition, and returns it. */
  async until(name: string, isWanted: (object: CustomObject) => boolean): Promise<CustomObject> {
    const object = await this.#find(name, (object) => object !== undefined && isWanted(object));
    return object as CustomObject;
  }

  /** Waits until no object has that name. */
  async untilGone(name: string): Promise<void> {
    await this.#collection.synced(this.#stop.signal);
    await this.#find(name, (object) => object === undefined);
  }

  async #find(name: string, isWanted: (object?: CustomObject) => boolean): Promise<CustomObject | undefined> {
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    while (true) {
      const object = this.#collection.get(name) as CustomObject | undefined;
      if (isWanted(object)) return object;
      await new Promise<void>((resolve, reject) => {
        this.#watchers.add(resolve);
        const seen = JSON.stringify(object);
        timeout.addEventListener("abort", () => reject(new Error(`"${name}" is still ${seen}`)), {
          once: true,
        });
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#following;
    this.#transport[Symbol.dispose]();
  }
}
