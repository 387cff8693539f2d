/**
 * What stands between an agent and the two that it talks to where a test wants faults: a proxy that knows the API, and before it and before
 * the Control Plane one that knows only TCP.
 * @module
 */
import { ApiProxy, type RequestAttributes } from "../../dev/faults/api_proxy.ts";
import { TcpProxy } from "../../dev/faults/tcp_proxy.ts";
import { connectToApiServer } from "../../dev/api_server.ts";
import { temporaryFile, type TestCluster } from "./clusters.ts";

/** When a request is at a point: as it reaches the proxy, or once the server has carried it out and its answer is held back. */
type Point = "asked" | "held back";

/** Longer than any test takes. */
const FOR_EVER_MS = 3_600_000;

/** The proxies of one stage. */
export class Proxies implements AsyncDisposable {
  readonly api: ApiProxy;
  readonly apiLink: TcpProxy;
  readonly controlPlaneLink: TcpProxy;
  /** Path of a kubeconfig that leads through them. */
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

  /** Starts proxies before a cluster and a Control Plane. */
  static async start(cluster: TestCluster, controlPlaneUrl: string): Promise<Proxies> {
    const { server, client } = await connectToApiServer(cluster.kubeconfig);
    const listeners = new Set<(point: Point, request: RequestAttributes) => void>();
    const tell = (point: Point) => (request: RequestAttributes) => {
      for (const listener of [...listeners]) listener(point, request);
    };
    const api = ApiProxy.start({
      server,
      client,
      onRequest: tell("asked"),
      onHeldBack: tell("held back"),
    });
    const apiLink = await TcpProxy.start(new URL(api.url));
    const controlPlaneLink = await TcpProxy.start(new URL(controlPlaneUrl));
    const kubeconfig = await temporaryFile(
      api.kubeconfig().replace(api.url, `http://127.0.0.1:${apiLink.port}`),
    );
    return new Proxies({ api, apiLink, controlPlaneLink, kubeconfig }, { client, listeners });
  }

  /** Where the Control Plane is found through its proxy. */
  get controlPlaneUrl(): string {
    return `http://127.0.0.1:${this.controlPlaneLink.port}`;
  }

  /** Resolves when the next such request is at a point, such as `patch configmaps`. */
  next(what: string, point: Point = "asked"): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const listener = (at: Point, { verb, resource }: RequestAttributes) => {
      if (at !== point || what !== `${verb} ${resource}`) return;
      this.#listeners.delete(listener);
      resolve();
    };
    this.#listeners.add(listener);
    return promise;
  }

  /** Leaves the next such request unanswered until the faults are cleared; resolves when it is there, and the server never heard of it. */
  hang(what: string): Promise<void> {
    this.api.inject({ kind: "hang", ...wordsOf(what) });
    return this.next(what);
  }

  /** Holds the answer to the next such request back for `ms`, or until the faults are cleared; resolves when the server has carried it out. */
  holdBack(what: string, ms = FOR_EVER_MS): Promise<void> {
    this.api.inject({ kind: "delay", ms, ...wordsOf(what) });
    return this.next(what, "held back");
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
function wordsOf(what: string): RequestAttributes {
  const [verb = "", resource = ""] = what.split(" ");
  return { verb, resource };
}
