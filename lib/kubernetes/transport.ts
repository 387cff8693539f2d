/**
 * Sends requests to the Kubernetes API with Deno's HTTP client: it adds credentials, applies timeouts, retries, and converts every failure into a
 * {@linkcode KubernetesError}. It also opens the streams of watches.
 * @module
 */
import { abortable } from "@std/async";
import { Backoff } from "../common/backoff.ts";
import { AnonymousError, isTimeout, KubernetesError, messageOf } from "../common/errors.ts";
import { DEFAULT_TIMINGS, type Timings } from "../model/timings.ts";
import type { ApiCredentials, ClusterAccess } from "./kubeconfig.ts";
import {
  attributesOf,
  invalidResponse,
  noCredentials,
  noResponse,
  notLeader,
  type ReadResponse,
  rejection,
  type RequestAttributes,
} from "./requests.ts";
import { Outage } from "./outage.ts";
import { Semaphore } from "./semaphore.ts";

/** Timeouts and retry pauses of a {@linkcode Transport}. */
export type TransportTimings = Pick<
  Timings,
  "requestTimeoutMs" | "requestRetryMs" | "maxRequestRetryMs" | "watchOpenTimeoutMs"
>;

/** Options of a {@linkcode Transport}. */
export interface TransportOptions {
  /** Called after each attempt at a request. */
  readonly onRequest?: (record: RequestRecord) => void;
  /** Called if the API server ignores the credentials before it has accepted any request. */
  readonly onAnonymous?: (error: AnonymousError) => void;
  /** Whether writes are allowed now; while it returns `false`, only `GET` requests are sent. @default writes are always allowed */
  readonly mayWrite?: () => boolean;
  /** @default {DEFAULT_TIMINGS} */
  readonly timings?: TransportTimings;
}

/** One attempt at a request and its result. */
export interface RequestRecord extends RequestAttributes {
  /** HTTP status; 0 if there was no response. */
  readonly status: number;
  /** Milliseconds until the response headers, or until the failure. */
  readonly durationMs: number;
  /** Whether an earlier attempt at the same request failed. */
  readonly isRetry: boolean;
}

/** Attempts at one request after the first. */
const MAX_RETRIES = 4;
/**
 * Limit of concurrent requests: API servers serve 100 streams of one connection by default. Fewer would delay the last starts of a burst until the
 * controllers of the cluster are busy with the first ones.
 */
const CONCURRENCY = 100;

/**
 * Without compression: the API server compresses a streamed list in several gzip members (RFC 1952), of which Deno decodes only the first, without
 * an error.
 */
const HEADERS = { "Accept": "application/json", "Accept-Encoding": "identity" };

/** Timeout of a probe during an outage, in milliseconds. */
const PROBE_TIMEOUT_MS = 1000;

/** A request to the API. */
export interface ApiCall {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With the query. */
  readonly path: string;
  /** Sent as JSON. @default none */
  readonly body?: unknown;
  /** @default {"application/json"} */
  readonly contentType?: string;
}

/** A successful response. */
export interface ApiResponse {
  /** The parsed JSON. */
  readonly body: unknown;
  readonly headers: Headers;
}

/** A request that can be sent more than once. */
interface ApiRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Whether an earlier attempt failed. */
  readonly isRetry?: boolean;
}

/** How one attempt is sent. */
interface FetchOptions {
  readonly signal: AbortSignal;
  readonly connection: keyof Pick<Connections, "requests" | "watches">;
}

/** HTTP clients. Requests and watches use separate connections, so that a failure of one does not end the others. */
interface Connections {
  readonly requests: Deno.HttpClient;
  readonly watches: Deno.HttpClient;
  readonly openedAt: number;
  /** Certificates and proxy that the clients were created with. */
  readonly identity: string;
}

/** Connection to one API server. */
export class Transport implements Disposable {
  readonly #load: () => ClusterAccess;
  readonly #onRequest: (record: RequestRecord) => void;
  readonly #onAnonymous: (error: AnonymousError) => void;
  readonly #mayWrite: () => boolean;
  readonly #timings: TransportTimings;
  #access: ClusterAccess;
  readonly #server: string;
  readonly #semaphore = new Semaphore(CONCURRENCY);
  readonly #closed = new AbortController();
  readonly #outage = new Outage((signal) => this.#isReady(signal));
  #connections: Connections | undefined;
  /** Certificates and proxy of the last request. */
  #client: ApiCredentials["client"] | undefined;
  #isAccepted = false;

  /**
   * @param load loads the access to the cluster; called again each time the API server rejects the credentials
   * @throws {KubeconfigError} when `load` does
   */
  constructor(load: () => ClusterAccess, options: TransportOptions = {}) {
    const { onRequest = () => {}, onAnonymous = () => {} } = options;
    const { mayWrite = () => true, timings = DEFAULT_TIMINGS } = options;
    this.#load = load;
    this.#onRequest = onRequest;
    this.#onAnonymous = onAnonymous;
    this.#mayWrite = mayWrite;
    this.#timings = timings;
    this.#access = load();
    this.#server = this.#access.server;
  }

  /** URL of the API server. */
  get server(): string {
    return this.#server;
  }

  /**
   * Sends a request, with retries.
   *
   * @throws {KubernetesError} when the request is refused or gets no response, or one that is not JSON
   */
  async send({ method, path, body, contentType = "application/json" }: ApiCall): Promise<ApiResponse> {
    const request: ApiRequest = {
      method,
      url: `${this.#server}${path}`,
      headers: body === undefined ? {} : { "Content-Type": contentType },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    };
    const { response, text } = await this.#sendWithRetries(request);
    try {
      return { body: JSON.parse(text), headers: response.headers };
    } catch {
      throw invalidResponse(request);
    }
  }

  /**
   * Opens a watch, without retries, and returns its body. Abort the signal to end it.
   *
   * @throws {KubernetesError} when the watch is refused or does not open in time
   */
  async stream(path: string, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const request = { method: "GET", url: `${this.#server}${path}`, headers: {} };
    const startedAt = performance.now();
    const opened = this.#fetch(request, {
      signal: AbortSignal.any([signal, this.#closed.signal]),
      connection: "watches",
    });
    const timeout = AbortSignal.timeout(this.#timings.watchOpenTimeoutMs);
    try {
      const response = await abortable(opened, timeout);
      if (response.ok && response.body) return response.body;
      const text = await readBody(request, { response, signal: timeout });
      throw this.#rejection(request, { response, text });
    } catch (error) {
      if (!timeout.aborted) throw error;
      this.#outage.onNoResponse();
      this.renew(startedAt);
      throw noResponse(request, error);
    }
  }

  /** Reads an object or a list by its path; otherwise like {@linkcode Transport.send}. */
  async getJson(path: string): Promise<unknown> {
    return (await this.send({ method: "GET", path })).body;
  }

  /** The server and the current credentials, for a connection that is not an HTTP request. */
  async access(signal: AbortSignal): Promise<ApiCredentials & { readonly server: string }> {
    return { server: this.#server, ...await abortable(this.#access.credentials(), signal) };
  }

  /**
   * Waits before a retry. The wait ends early if the API server did not respond and responds again. Rejects with the signal's reason if it is aborted.
   *
   * @returns whether the API server responds again after an outage
   */
  async pause(ms: number, signal: AbortSignal): Promise<boolean> {
    return await this.#outage.wait(ms, signal);
  }

  /** Loads the access to the cluster again, because the API server rejected the credentials. */
  reload(): void {
    this.#access = this.#load();
  }

  /** Aborts all requests and closes the connections. */
  [Symbol.dispose](): void {
    this.#outage[Symbol.dispose]();
    this.#closed.abort(new DOMException("The connection to Kubernetes is closed", "AbortError"));
    this.#close();
  }

  /**
   * Replaces the connections if they were opened before the given time, at which a request or a watch on them started to hang: they may be
   * half-open. Requests in flight on them are not aborted; the next request opens new connections.
   */
  renew(hangingSince: number): void {
    if (this.#connections && this.#connections.openedAt <= hangingSince) this.#close();
  }

  #close(): void {
    this.#connections?.requests.close();
    this.#connections?.watches.close();
    this.#connections = undefined;
  }

  async #sendWithRetries(request: ApiRequest): Promise<ReadResponse> {
    const { signal } = this.#closed;
    const { requestRetryMs: firstMs, maxRequestRetryMs: longestMs } = this.#timings;
    const backoff = new Backoff({ firstMs, longestMs, attempts: MAX_RETRIES });
    while (true) {
      try {
        const attempt = { ...request, isRetry: backoff.failures > 0 };
        return await this.#semaphore.run(() => this.#sendOnce(attempt), signal);
      } catch (error) {
        const canRetry = error instanceof KubernetesError && isRetriable(request, error);
        if (!canRetry || backoff.isExhausted) throw error;
        await this.pause(backoff.next(error.retryAfterMs), signal);
      }
    }
  }

  async #sendOnce(request: ApiRequest): Promise<ReadResponse> {
    if (request.method !== "GET" && !this.#mayWrite()) throw notLeader(request);
    const startedAt = performance.now();
    // Not `AbortSignal.timeout()`, which would fire after each request, too, and keep its objects until then.
    const timeout = new AbortController();
    const onTimeout = () => timeout.abort(new DOMException("The request timed out", "TimeoutError"));
    const timer = setTimeout(onTimeout, this.#timings.requestTimeoutMs);
    const signal = AbortSignal.any([timeout.signal, this.#closed.signal]);
    try {
      const response = await this.#fetch(request, { signal, connection: "requests" });
      const text = await readBody(request, { response, signal });
      if (!response.ok) throw this.#rejection(request, { response, text });
      return { response, text };
    } finally {
      clearTimeout(timer);
      if (timeout.signal.aborted) this.renew(startedAt);
    }
  }

  /** Sends a request; after a 401 it reloads the credentials and sends it once more. */
  async #fetch(request: ApiRequest, options: FetchOptions): Promise<Response> {
    const usedAccess = this.#access;
    const response = await this.#fetchOnce(request, options);
    if (response.status !== 401) return response;
    const text = await readBody(request, { response, signal: options.signal });
    try {
      // Of several requests that are rejected at once, the first reloads for all.
      if (this.#access === usedAccess) this.#access = this.#load();
    } catch (error) {
      const { message, status, reason } = rejection(request, { response, text });
      const problem = `${message}; the credentials cannot be reloaded: ${messageOf(error)}`;
      throw new KubernetesError(problem, { status, reason, cause: error });
    }
    return await this.#fetchOnce(request, options);
  }

  async #fetchOnce(request: ApiRequest, options: FetchOptions): Promise<Response> {
    const { headers, connections } = await this.#connect(request, options.signal);
    const startedAt = performance.now();
    let status = 0;
    try {
      const response = await fetch(request.url, {
        method: request.method,
        headers: [...headers, ...Object.entries({ ...HEADERS, ...request.headers })],
        ...(request.body === undefined ? {} : { body: request.body }),
        signal: options.signal,
        client: connections[options.connection],
      });
      status = response.status;
      this.#isAccepted ||= response.ok;
      if (response.ok) this.#outage.onResponse();
      return response;
    } catch (error) {
      if (!options.signal.aborted || isTimeout(options.signal.reason)) this.#outage.onNoResponse();
      throw noResponse(request, error);
    } finally {
      const attributes = attributesOf(request.method, new URL(request.url));
      const durationMs = performance.now() - startedAt;
      this.#onRequest({ ...attributes, status, durationMs, isRetry: request.isRetry ?? false });
    }
  }

  /**
   * Whether the API server is ready, asked on a connection of its own, and without credentials, which a plug-in may have to fetch. A server that
   * refuses the answer does respond.
   */
  async #isReady(outer: AbortSignal): Promise<boolean> {
    if (!this.#client) return false;
    const signal = AbortSignal.any([outer, AbortSignal.timeout(PROBE_TIMEOUT_MS)]);
    const request = { method: "GET", url: `${this.#server}/readyz`, headers: {} };
    try {
      using client = Deno.createHttpClient(this.#client);
      const response = await fetch(request.url, { signal, client });
      await readBody(request, { response, signal });
      return response.status < 500 && response.status !== 429;
    } catch {
      return false;
    }
  }

  #rejection(request: ApiRequest, response: ReadResponse): KubernetesError {
    const error = rejection(request, response);
    const isUnintended = !this.#isAccepted && !this.#access.isAnonymous;
    if (error instanceof AnonymousError && isUnintended) this.#onAnonymous(error);
    return error;
  }

  /** Reads the credentials for each request, so that a rotated token or certificate is used immediately. */
  async #connect(
    request: ApiRequest,
    signal: AbortSignal,
  ): Promise<{ headers: Array<[string, string]>; connections: Connections }> {
    const { headers, client } = await this.#readCredentials(request, signal);
    this.#client = client;
    const identity = JSON.stringify(client);
    if (this.#connections?.identity !== identity) {
      const connect = () => Deno.createHttpClient(client);
      this.#close();
      this.#connections = { requests: connect(), watches: connect(), openedAt: performance.now(), identity };
    }
    return { headers: headers.map(([name, value]) => [name, value]), connections: this.#connections };
  }

  async #readCredentials(request: ApiRequest, signal: AbortSignal): Promise<ApiCredentials> {
    try {
      // A plug-in may wait forever, such as for input.
      return await abortable(this.#access.credentials(), signal);
    } catch (error) {
      throw noCredentials(request, error);
    }
  }
}

/** Reads a body to its end: cancelling one breaks the HTTP/2 connection for the other requests on it. */
async function readBody(
  request: ApiRequest,
  options: { response: Response; signal: AbortSignal },
): Promise<string> {
  try {
    return await abortable(options.response.text(), options.signal);
  } catch (error) {
    // A server may close the connection before the body of its rejection has arrived.
    if (!options.response.ok && !options.signal.aborted) return "";
    throw noResponse(request, error);
  }
}

/**
 * Whether the same request may succeed later. A patch carries no resource version, so that a conflict passes; a create gets the reason "Conflict"
 * only if a quota was changed at the same time: https://github.com/kubernetes/kubernetes/issues/67761
 */
function isRetriable({ method }: ApiRequest, error: KubernetesError): boolean {
  return error.isTransient() || (method === "PATCH" && error.status === 409) ||
    (method === "POST" && error.reason === "Conflict");
}
