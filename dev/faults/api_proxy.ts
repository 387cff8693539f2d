/**
 * A proxy in front of an API server that records the requests with their RBAC attributes and injects faults. Watches are forwarded as
 * streams.
 * @module
 */
import { delay } from "@std/async";
import { attributesOf, type RequestAttributes } from "../../lib/kubernetes/requests.ts";
import { ApiError, usualReason } from "@streamspace/memory-cluster/api_error";
import { type ApiFault, ApiFaults, type ErrorResponse } from "./api_fault.ts";
import { type BreakableConnection, BreakableServer } from "./breakable_server.ts";
import { WatchStream } from "./watch_stream.ts";

export type { ApiFault, RequestAttributes };

/** The API server behind the proxy. */
export interface ApiProxyTarget {
  /** Address of the server. */
  readonly server: string;
  /** Its client certificate, if any, authenticates all requests. */
  readonly client: Deno.HttpClient;
  /** Called with each request after its fault was chosen. */
  readonly onRequest?: (request: RequestAttributes) => void;
  /** Called with each executed request whose response is delayed. */
  readonly onHeldBack?: (request: RequestAttributes) => void;
}

/** Headers of the connection or the encoding; the response is decoded here. */
const HOP_HEADERS = ["connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"];

/** Listens on the loopback interface until it is disposed. */
export class ApiProxy implements AsyncDisposable {
  readonly #target: ApiProxyTarget;
  readonly #server: BreakableServer;
  readonly #requests: RequestAttributes[] = [];
  readonly #faults = new ApiFaults();
  readonly #watches = new Set<WatchStream>();
  readonly #closing = new AbortController();

  private constructor(target: ApiProxyTarget) {
    this.#target = target;
    this.#server = new BreakableServer((request, connection) => this.#answer(request, connection));
  }

  /** Starts the proxy on a free port. */
  static start(target: ApiProxyTarget): ApiProxy {
    return new ApiProxy(target);
  }

  /** Address of the proxy. */
  get url(): string {
    return `http://127.0.0.1:${this.#server.port}`;
  }

  /** A kubeconfig for this proxy, optionally with a bearer token. */
  kubeconfig(token?: string): string {
    return JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "proxy", cluster: { server: this.url } }],
      users: [{ name: "agent", user: token ? { token } : {} }],
      contexts: [{ name: "proxy", context: { cluster: "proxy", user: "agent" } }],
      "current-context": "proxy",
    });
  }

  /** All requests so far. */
  get requests(): readonly RequestAttributes[] {
    return this.#requests;
  }

  /** Number of open watches. */
  get watches(): number {
    return this.#watches.size;
  }

  /** Injects a fault for the next matching requests. If several faults match, the oldest is used. */
  inject(fault: ApiFault): void {
    this.#faults.add(fault);
  }

  /** Removes all faults, and releases requests that hang or are delayed. */
  clearFaults(): void {
    this.#faults.clear();
  }

  /** Ends all open watches, as a server does after their timeout. */
  endWatches(): void {
    for (const watch of this.#watches) watch.end();
  }

  /** Ends all open watches with an error event, such as 410. */
  errorWatches(code: number): void {
    for (const watch of this.#watches) watch.fail(injected(code).status);
  }

  /** Stalls all open watches: they stay open, but deliver nothing. */
  silenceWatches(): void {
    for (const watch of this.#watches) watch.silence();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.endWatches();
    this.#closing.abort();
    await this.#server[Symbol.asyncDispose]();
  }

  async #answer(request: Request, connection: BreakableConnection): Promise<Response> {
    const attributes = attributesOf(request.method, new URL(request.url));
    const fault = this.#faults.take(attributes);
    const { cleared } = this.#faults;
    this.#requests.push(attributes);
    this.#target.onRequest?.(attributes);
    switch (fault?.kind) {
      case "status":
        return errorResponse(fault);
      case "hang":
        await aborted(AbortSignal.any([cleared, connection.closed]));
        return connection.closed.aborted ? new Response() : await this.#forward(request, connection);
      case "delay": {
        const response = await this.#forward(request, connection);
        this.#target.onHeldBack?.(attributes);
        const signal = AbortSignal.any([cleared, connection.closed]);
        await delay(fault.ms, { signal }).catch(() => {});
        return response;
      }
      case "lost-answer": {
        const { body, status, headers } = await this.#forward(request, connection);
        await body?.cancel();
        connection.breakOff(fault.isBegun ? "begun" : "now");
        // The body never ends, so that the connection ends first.
        return new Response(new ReadableStream(), { status, headers });
      }
      default:
        return await this.#forward(request, connection);
    }
  }

  /** Returns the complete response of the server, or the stream of a watch. */
  async #forward(request: Request, connection: BreakableConnection): Promise<Response> {
    const over = new AbortController();
    try {
      const response = await this.#fetch(request, AbortSignal.any([over.signal, this.#closing.signal]));
      const { status } = response;
      const headers = new Headers(response.headers);
      for (const name of HOP_HEADERS) headers.delete(name);
      // Such as 204.
      if (!response.body) return new Response(null, { status, headers });
      const isWatch = response.ok && new URL(request.url).searchParams.has("watch");
      if (!isWatch) return new Response(await response.arrayBuffer(), { status, headers });
      const watch = new WatchStream(response.body, {
        onOver: () => {
          this.#watches.delete(watch);
          over.abort();
        },
        onBroken: () => connection.breakOff("now"),
      });
      this.#watches.add(watch);
      return new Response(watch.body, { status, headers });
    } catch (error) {
      const message = `the server did not answer: ${error instanceof Error ? error.message : error}`;
      return Response.json(new ApiError(502, "BadGateway", { message }).status, { status: 502 });
    }
  }

  async #fetch(request: Request, signal: AbortSignal): Promise<Response> {
    const { pathname, search } = new URL(request.url);
    const headers = new Headers(request.headers);
    headers.delete("host");
    headers.delete("accept-encoding");
    return await fetch(`${this.#target.server}${pathname}${search}`, {
      method: request.method,
      headers,
      body: request.body ? await request.arrayBuffer() : null,
      client: this.#target.client,
      signal,
    });
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}

function injected(code: number): ApiError {
  return new ApiError(code, usualReason(code), { message: `injected fault: ${usualReason(code)}` });
}

function errorResponse({ code, headers = {} }: ErrorResponse): Response {
  return Response.json(injected(code).status, { status: code, headers });
}
