/**
 * Proxies that inject faults between an agent, the API server and the Control Plane: one for API requests, and one for TCP on each connection.
 * @module
 */
import { ApiProxy, type RequestAttributes } from "../../dev/faults/api_proxy.ts";
import { TcpProxy } from "../../dev/faults/tcp_proxy.ts";
import { connectToApiServer } from "../../dev/api_server.ts";
import { temporaryFile, type TestCluster } from "./clusters.ts";

/** When a request reaches the proxy, or when the server has responded and the response is held back. */
type Point = "requested" | "held back";

/** Longer than any test. */
const FOREVER_MS = 3_600_000;

/** The proxies of one stage. */
export class Proxies implements AsyncDisposable {
  readonly api: ApiProxy;
  readonly apiLink: TcpProxy;
  readonly controlPlaneLink: TcpProxy;
  /** Path of a kubeconfig for the proxies. */
  readonly kubeconfig: string;
  readonly #client: Deno.HttpClient;
  readonly #listeners: Set<(point: Point, request: RequestAttributes) => void>;

  private constructor(parts: Pick<Proxies, "api" | "apiLink" | "controlPlaneLink" | "kubeconfig">, options: {
    client: Deno.HttpClient;
    listeners: Set<(point: Point, request: RequestAttributes) => void>;
  }) {
    this.api = parts.api;
    this.apiLink = parts.apiLink;
    this.controlPlaneLink = parts.controlPlaneLink;
    this.kubeconfig = parts.kubeconfig;
    this.#client = options.client;
    this.#listeners = options.listeners;
  }

  /** Starts proxies for a cluster and a Control Plane. */
  static async start(cluster: TestCluster, controlPlaneUrl: string): Promise<Proxies> {
    const { server, client } = await connectToApiServer(cluster.kubeconfig);
    const listeners = new Set<(point: Point, request: RequestAttributes) => void>();
    const notify = (point: Point) => (request: RequestAttributes) => {
      for (const listener of [...listeners]) listener(point, request);
    };
    const api = ApiProxy.start({
      server,
      client,
      onRequest: notify("requested"),
      onHeldBack: notify("held back"),
    });
    const apiLink = await TcpProxy.start(new URL(api.url));
    const controlPlaneLink = await TcpProxy.start(new URL(controlPlaneUrl));
    const kubeconfig = await temporaryFile(
      api.kubeconfig().replace(api.url, `http://127.0.0.1:${apiLink.port}`),
    );
    return new Proxies({ api, apiLink, controlPlaneLink, kubeconfig }, { client, listeners });
  }

  /** URL of the Control Plane's proxy. */
  get controlPlaneUrl(): string {
    return `http://127.0.0.1:${this.controlPlaneLink.port}`;
  }

  /** Resolves when the next request of a kind, such as `patch configmaps`, is at a point. */
  next(kind: string, point: Point = "requested"): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const listener = (at: Point, { verb, resource }: RequestAttributes) => {
      if (at !== point || kind !== `${verb} ${resource}`) return;
      this.#listeners.delete(listener);
      resolve();
    };
    this.#listeners.add(listener);
    return promise;
  }

  /** Does not forward the next request of a kind until the faults are cleared; resolves when the proxy has received it. */
  hang(kind: string): Promise<void> {
    this.api.inject({ kind: "hang", ...wordsOf(kind) });
    return this.next(kind);
  }

  /** Holds back the response to the next request of a kind for `ms`, or until the faults are cleared; resolves when the server has responded. */
  holdBack(kind: string, ms = FOREVER_MS): Promise<void> {
    this.api.inject({ kind: "delay", ms, ...wordsOf(kind) });
    return this.next(kind, "held back");
  }

  /** Cuts the agent off from the API server and the Control Plane, as if its machine had lost power. */
  isolate(): void {
    for (const link of [this.apiLink, this.controlPlaneLink]) {
      link.mode = { kind: "refuse" };
      link.cut();
    }
  }

  /** Ends all faults, also those of the TCP proxies, whose frozen connections are reset. */
  clearFaults(): void {
    this.api.clearFaults();
    for (const link of [this.apiLink, this.controlPlaneLink]) {
      if (link.mode.kind === "pass") continue;
      link.mode = { kind: "pass" };
      link.reset();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.api.clearFaults();
    for (const one of [this.controlPlaneLink, this.apiLink, this.api]) await one[Symbol.asyncDispose]();
    this.#client.close();
    await Deno.remove(this.kubeconfig);
  }
}

/** The words of a request such as `patch configmaps`. */
function wordsOf(kind: string): RequestAttributes {
  const [verb = "", resource = ""] = kind.split(" ");
  return { verb, resource };
}
