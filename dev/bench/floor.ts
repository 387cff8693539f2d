/**
 * The floor: the least that any agent has to do for a session, with native fetch and one watch of pods and Deployments each, without
 * configuration, checks, retries or reports. What the agent takes longer than this is its own.
 * @module
 */
import type { SessionManifests } from "../../lib/sessions/manifests.ts";

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

/** Makes a session's API calls and waits for their effect in a watch. */
export class Floor implements AsyncDisposable {
  readonly #options: FloorOptions;
  readonly #closed = new AbortController();
  readonly #present = new Map<string, Set<string>>();
  readonly #ready = new Set<string>();
  readonly #waiters = new Map<string, () => void>();
  #watches: Promise<unknown> = Promise.resolve();

  private constructor(options: FloorOptions) {
    this.#options = options;
  }

  /** Opens the watches. */
  static async open(options: FloorOptions): Promise<Floor> {
    const floor = new Floor(options);
    const streams = await Promise.all([
      floor.#stream("/api/v1", "pods"),
      floor.#stream("/apis/apps/v1", "deployments"),
    ]);
    floor.#watches = Promise.allSettled(streams.map((stream) => floor.#follow(stream)));
    return floor;
  }

  /** Creates claim, Deployment and Service, and waits for the pod to be ready. */
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

  /** Scales to nothing and waits for the pod to be gone. */
  async hibernate(id: string): Promise<void> {
    await this.#call("PATCH", "/apis/apps/v1", {
      path: `deployments/${id}`,
      body: { spec: { replicas: 0 } },
    });
    await this.#until(id, () => this.#count(id, "Pod") === 0);
  }

  /** Scales to one and waits for the pod to be ready. */
  async wake(id: string): Promise<void> {
    await this.#call("PATCH", "/apis/apps/v1", {
      path: `deployments/${id}`,
      body: { spec: { replicas: 1 } },
    });
    await this.#until(id, () => this.#ready.has(id));
  }

  /** Deletes all objects and waits for Deployment and pod to be gone. */
  async stop(id: string): Promise<void> {
    const body = { propagationPolicy: "Foreground" };
    await Promise.all([
      this.#call("DELETE", "/apis/apps/v1", { path: `deployments/${id}`, body }),
      this.#call("DELETE", "/api/v1", { path: `services/${id}`, body }),
      this.#call("DELETE", "/api/v1", { path: `persistentvolumeclaims/${id}-home`, body }),
    ]);
    await this.#until(id, () => this.#count(id, "Pod") === 0 && this.#count(id, "Deployment") === 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    await this.#watches;
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

  async #stream(api: string, resource: string): Promise<ReadableStream<Uint8Array>> {
    const { server, client, namespace } = this.#options;
    const url =
      `${server}${api}/namespaces/${namespace}/${resource}?watch=true&labelSelector=app%3Dstreamspace-session`;
    const response = await fetch(url, { client, signal: this.#closed.signal });
    if (!response.ok || !response.body) throw new Error(await response.text());
    return response.body;
  }

  async #follow(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of stream) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#observe(JSON.parse(line));
    }
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
