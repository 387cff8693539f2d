/**
 * The floor: the minimum of API requests that any agent needs for a session, with native fetch and a watch, and without configuration, checks,
 * retries or reports. Everything beyond that is the agent's overhead.
 * @module
 */
import type { SessionManifests } from "../../lib/manifests/manifests.ts";

interface Observed {
  readonly metadata: { readonly name: string; readonly labels?: Record<string, string> };
  readonly status?: { readonly conditions?: ReadonlyArray<{ type: string; status: string }> };
}

/** How to reach the API server. */
export interface FloorOptions {
  readonly server: string;
  readonly client: Deno.HttpClient;
  readonly namespace: string;
}

/** Paths of the watched collections below a namespace. A start needs only the pods; a stop with a home volume also the Deployments. */
const WATCHES = { pods: "/api/v1", deployments: "/apis/apps/v1" } as const;

/** Name of a watched collection. */
export type WatchedResource = keyof typeof WATCHES;

/** Sends a session's API requests and waits for their effect in the watches. */
export class Floor implements AsyncDisposable {
  readonly #options: FloorOptions;
  readonly #readers = new Set<ReadableStreamDefaultReader<Uint8Array>>();
  readonly #present = new Map<string, Set<string>>();
  readonly #ready = new Set<string>();
  readonly #waiters = new Map<string, () => void>();
  #isClosed = false;

  private constructor(options: FloorOptions) {
    this.#options = options;
  }

  /** Opens the watches. */
  static async open(options: FloorOptions, resources: readonly WatchedResource[]): Promise<Floor> {
    const floor = new Floor(options);
    await Promise.all(resources.map((resource) => floor.#watch(WATCHES[resource], resource)));
    return floor;
  }

  /** Creates PersistentVolumeClaim, if there is one, Deployment and Service, and waits until the pod is ready. */
  async start(manifests: SessionManifests): Promise<void> {
    const { claim, deployment, service } = manifests;
    const createClaimAndDeployment = async () => {
      if (claim) await this.#call("POST", "/api/v1", { path: "persistentvolumeclaims", body: claim });
      await this.#call("POST", "/apis/apps/v1", { path: "deployments", body: deployment });
    };
    await Promise.all([
      createClaimAndDeployment(),
      this.#call("POST", "/api/v1", { path: "services", body: service }),
    ]);
    await this.#until(deployment.metadata?.name ?? "", (id) => this.#ready.has(id));
  }

  /** Scales to zero and waits until the pod is gone. */
  async hibernate(id: string): Promise<void> {
    await this.#call("PATCH", "/apis/apps/v1", {
      path: `deployments/${id}`,
      body: { spec: { replicas: 0 } },
    });
    await this.#until(id, () => this.#count(id, "Pod") === 0);
  }

  /** Scales to one and waits until the pod is ready. */
  async wake(id: string): Promise<void> {
    await this.#call("PATCH", "/apis/apps/v1", {
      path: `deployments/${id}`,
      body: { spec: { replicas: 1 } },
    });
    await this.#until(id, () => this.#ready.has(id));
  }

  /** Deletes all objects and waits until the pod and, if it is watched, the Deployment are gone. */
  async stop({ claim, deployment }: SessionManifests): Promise<void> {
    const id = deployment.metadata?.name ?? "";
    const body = { propagationPolicy: "Foreground" };
    await Promise.all([
      this.#call("DELETE", "/apis/apps/v1", { path: `deployments/${id}`, body }),
      this.#call("DELETE", "/api/v1", { path: `services/${id}`, body }),
      ...(claim
        ? [this.#call("DELETE", "/api/v1", { path: `persistentvolumeclaims/${id}-home`, body })]
        : []),
    ]);
    await this.#until(id, () => this.#count(id, "Pod") === 0 && this.#count(id, "Deployment") === 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#readers].map((reader) => reader.cancel()));
  }

  #count(id: string, kind: string): number {
    return [...this.#present.get(id) ?? []].filter((key) => key.startsWith(`${kind}/`)).length;
  }

  async #call(method: string, api: string, { path, body }: { path: string; body: unknown }): Promise<void> {
    const { server, client, namespace } = this.#options;
    const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
    const response = await fetch(`${server}${api}/namespaces/${namespace}/${path}`, {
      method,
      client,
      headers: { "Content-Type": type },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${text}`);
  }

  /** Watches a collection; resumes when the server ends the watch, as it does with slow clients. */
  async #watch(api: string, resource: string): Promise<void> {
    const first = await this.#open(api, resource, "");
    void (async () => {
      let reader = first;
      while (true) {
        const version = await this.#follow(reader);
        if (this.#isClosed) return;
        reader = await this.#open(api, resource, version);
      }
    })();
  }

  async #open(
    api: string,
    resource: string,
    version: string,
  ): Promise<ReadableStreamDefaultReader<Uint8Array>> {
    const { server, client, namespace } = this.#options;
    const query = new URLSearchParams({
      watch: "true",
      labelSelector: "app=streamspace-session",
      resourceVersion: version,
    });
    const response = await fetch(`${server}${api}/namespaces/${namespace}/${resource}?${query}`, { client });
    if (!response.ok || !response.body) throw new Error(await response.text());
    const reader = response.body.getReader();
    this.#readers.add(reader);
    return reader;
  }

  /** Reads a watch to its end and returns the resource version of its last event. */
  async #follow(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
    const decoder = new TextDecoder();
    let rest = "";
    let version = "";
    while (true) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const event = JSON.parse(line);
        version = event.object.metadata.resourceVersion;
        this.#observe(event);
      }
    }
    this.#readers.delete(reader);
    return version;
  }

  #observe({ type, object }: { type: string; object: Observed & { kind: string } }): void {
    const id = object.metadata.labels?.session ?? "";
    const present = this.#present.get(id) ?? new Set();
    const key = `${object.kind}/${object.metadata.name}`;
    if (type === "DELETED") present.delete(key);
    else present.add(key);
    this.#present.set(id, present);
    if (object.kind === "Pod") {
      const isReady = object.status?.conditions?.some((one) => one.type === "Ready" && one.status === "True");
      if (type !== "DELETED" && isReady) this.#ready.add(id);
      else this.#ready.delete(id);
    }
    this.#waiters.get(id)?.();
  }

  async #until(id: string, holds: (id: string) => boolean): Promise<void> {
    while (!holds(id)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.set(id, resolve);
      await promise;
    }
    this.#waiters.delete(id);
  }
}
