/**
 * A proxy before an API server that records what is asked of it, in the words of RBAC; watches are passed through as streams.
 * @module
 */

/** One request in the words of a Role. */
export interface ApiRequest {
  readonly verb: string;
  readonly resource: string;
}

const VERBS: ReadonlyMap<string, string> = new Map([
  ["POST", "create"],
  ["PUT", "update"],
  ["PATCH", "patch"],
  ["DELETE", "delete"],
]);

/** Listens on loopback until it is disposed. */
export class ApiProxy implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #requests: ApiRequest[] = [];
  readonly #closing = new AbortController();

  private constructor(target: { server: string; client: Deno.HttpClient }) {
    const options = { hostname: "127.0.0.1", port: 0, onListen: () => {}, signal: this.#closing.signal };
    this.#server = Deno.serve(options, async (request) => {
      const url = new URL(request.url);
      this.#requests.push(describe(request.method, url));
      const headers = new Headers(request.headers);
      headers.delete("host");
      headers.delete("accept-encoding");
      const response = await fetch(`${target.server}${url.pathname}${url.search}`, {
        method: request.method,
        headers,
        body: request.body ? await request.arrayBuffer() : null,
        client: target.client,
        signal: this.#closing.signal,
      });
      return new Response(response.body, {
        status: response.status,
        headers: { "Content-Type": "application/json" },
      });
    });
  }

  /** Starts to listen on any free port; the client's own certificate, if it has one, speaks for all who come. */
  static start(target: { server: string; client: Deno.HttpClient }): ApiProxy {
    return new ApiProxy(target);
  }

  /** A kubeconfig that leads to this proxy, with a bearer token if one is given. */
  kubeconfig(token?: string): string {
    return JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "proxy", cluster: { server: `http://127.0.0.1:${this.#server.addr.port}` } }],
      users: [{ name: "agent", user: token ? { token } : {} }],
      contexts: [{ name: "proxy", context: { cluster: "proxy", user: "agent" } }],
      "current-context": "proxy",
    });
  }

  /** All requests so far. */
  get requests(): readonly ApiRequest[] {
    return this.#requests;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#server.finished;
  }
}

function describe(method: string, url: URL): ApiRequest {
  const [, resource = "", name] = /\/namespaces\/[^/]+\/([^/]+)(?:\/([^/]+))?/.exec(url.pathname) ?? [];
  const reading = url.searchParams.has("watch") ? "watch" : name ? "get" : "list";
  return { verb: VERBS.get(method) ?? reading, resource };
}
