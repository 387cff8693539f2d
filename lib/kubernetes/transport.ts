/**
 * Requests to the Kubernetes API over Deno's own HTTP client: credentials, deadlines, retries, and errors that say what was refused.
 * It serves the generated clients (as their HTTP library) and the watches (as a stream of lines).
 * @module
 */
import { type KubeConfig, type RequestContext, ResponseContext } from "@kubernetes/client-node";
import { abortable, delay } from "@std/async";
import { Backoff } from "../common/backoff.ts";
import { KubernetesError, messageOf } from "../common/errors.ts";
import { readCredentials } from "./kubeconfig.ts";
import { forbidden, refusal, unanswered } from "./request_errors.ts";
import { type RequestWords, requestWords } from "./request_words.ts";
import { Semaphore } from "./semaphore.ts";

/** Longest wait for an answer to one request. */
const REQUEST_TIMEOUT_MS = 10_000;
/** Longest wait for a watch to open. */
const OPEN_TIMEOUT_MS = 15_000;
/** Five attempts in all. */
const RETRY = { firstMs: 100, longestMs: 5000, attempts: 4 };
/** Requests in flight at once: more only queue up in the API server, whose streams on one connection are limited. */
const CONCURRENCY = 48;

/** A request that the transport can send more than once. */
interface ApiRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Whether an earlier attempt at it failed. */
  readonly isRetry?: boolean;
}

/** One attempt at a request, as it went. */
export interface RequestRecord extends RequestWords {
  /** HTTP status; 0 where no answer came. */
  readonly status: number;
  /** Milliseconds. */
  readonly durationMs: number;
  /** Whether an earlier attempt at the same request failed. */
  readonly isRetry: boolean;
}

/** What an agent sets of a transport. */
export interface TransportOptions {
  /** Called after each attempt at a request. */
  readonly onRequest?: (record: RequestRecord) => void;
  /** Whether the cluster may be changed now; other requests than `GET` are rejected while it is false. @default {always} */
  readonly mayWrite?: () => boolean;
}

/** How a request is sent. */
interface FetchOptions {
  readonly signal: AbortSignal;
  readonly connection: keyof Pick<Connections, "requests" | "watches">;
}

/** Requests and watches have connections of their own: what breaks one does not end the others. */
interface Connections {
  readonly requests: Deno.HttpClient;
  readonly watches: Deno.HttpClient;
  readonly openedAt: number;
  /** The certificates and the proxy that they were made with. */
  readonly identity: string;
}

/** The way to one API server. */
export class Transport implements Disposable {
  readonly #load: () => KubeConfig;
  readonly #onRequest: (record: RequestRecord) => void;
  readonly #mayWrite: () => boolean;
  #config: KubeConfig;
  readonly #server: string;
  readonly #semaphore = new Semaphore(CONCURRENCY);
  readonly #closed = new AbortController();
  #connections: Connections | undefined;

  /**
   * @param load reads the credentials; called again when the API server does not accept them any more
   */
  constructor(load: () => KubeConfig, options: TransportOptions = {}) {
    this.#load = load;
    this.#onRequest = options.onRequest ?? (() => {});
    this.#mayWrite = options.mayWrite ?? (() => true);
    this.#config = load();
    const cluster = this.#config.getCurrentCluster();
    if (!cluster) throw new TypeError("Cannot reach Kubernetes as the kubeconfig names no current cluster");
    this.#server = cluster.server.replace(/\/+$/, "");
  }

  /** Address of the API server. */
  get server(): string {
    return this.#server;
  }

  /** Sends a request of a generated client; a refusal is thrown as {@linkcode KubernetesError}. */
  async send(context: RequestContext): Promise<ResponseContext> {
    const body = context.getBody();
    const request: ApiRequest = {
      method: context.getHttpMethod(),
      url: context.getUrl(),
      headers: context.getHeaders(),
      ...(typeof body === "string" ? { body } : {}),
    };
    const { status, headers, text } = await this.#sendWithRetries(request);
    return new ResponseContext(status, Object.fromEntries(headers), {
      text: () => Promise.resolve(text),
      binary: () => Promise.reject(new TypeError("Cannot read a Kubernetes object as binary")),
      stream: () => null,
    });
  }

  /** Opens a watch and gives its body; the caller ends it through the signal. */
  async stream(path: string, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const request = { method: "GET", url: `${this.#server}${path}`, headers: {} };
    const startedAt = performance.now();
    const opened = this.#fetch(request, {
      signal: AbortSignal.any([signal, this.#closed.signal]),
      connection: "watches",
    });
    const deadline = AbortSignal.timeout(OPEN_TIMEOUT_MS);
    try {
      const response = await abortable(opened, deadline);
      if (response.ok && response.body) return response.body;
      const text = await read(request, { response, signal: deadline });
      throw refusal(request, { status: response.status, headers: response.headers, text });
    } catch (error) {
      if (!deadline.aborted) throw error;
      this.renew(startedAt);
      throw unanswered(request, error);
    }
  }

  /** Reads a JSON answer, such as a list. */
  async getJson(path: string): Promise<unknown> {
    const { text } = await this.#sendWithRetries({
      method: "GET",
      url: `${this.#server}${path}`,
      headers: {},
    });
    return JSON.parse(text);
  }

  /** Ends all requests and closes the connections. */
  [Symbol.dispose](): void {
    this.#closed.abort(new DOMException("The connection to Kubernetes is closed", "AbortError"));
    this.#close();
  }

  /**
   * Gives up the connections if they are older than the time at which something began to hang on them: they may be dead without knowing it.
   * What is under way on them is not cut off; the next request opens new ones.
   */
  renew(hangingSince: number): void {
    if (this.#connections && this.#connections.openedAt <= hangingSince) this.#close();
  }

  #close(): void {
    this.#connections?.requests.close();
    this.#connections?.watches.close();
    this.#connections = undefined;
  }

  async #sendWithRetries(request: ApiRequest): Promise<{ status: number; headers: Headers; text: string }> {
    const { signal } = this.#closed;
    const backoff = new Backoff(RETRY);
    while (true) {
      try {
        const attempt = { ...request, isRetry: backoff.failures > 0 };
        return await this.#semaphore.run(() => this.#sendOnce(attempt), signal);
      } catch (error) {
        const isRetriable = error instanceof KubernetesError && mayPass(request, error);
        if (!isRetriable || backoff.isExhausted) throw error;
        await delay(backoff.next(error.retryAfterMs), { signal });
      }
    }
  }

  async #sendOnce(request: ApiRequest): Promise<{ status: number; headers: Headers; text: string }> {
    if (request.method !== "GET" && !this.#mayWrite()) throw forbidden(request);
    const startedAt = performance.now();
    const deadline = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
    const signal = AbortSignal.any([deadline, this.#closed.signal]);
    try {
      const response = await this.#fetch(request, { signal, connection: "requests" });
      const text = await read(request, { response, signal });
      if (!response.ok) throw refusal(request, { status: response.status, headers: response.headers, text });
      return { status: response.status, headers: response.headers, text };
    } finally {
      if (deadline.aborted) this.renew(startedAt);
    }
  }

  /** Where the credentials are not accepted, they are loaded anew and have one more try. */
  async #fetch(request: ApiRequest, options: FetchOptions): Promise<Response> {
    const refused = this.#config;
    const response = await this.#fetchOnce(request, options);
    if (response.status !== 401) return response;
    const text = await read(request, { response, signal: options.signal });
    try {
      // Of many requests that are refused at once, the first loads for all.
      if (this.#config === refused) this.#config = this.#load();
    } catch (error) {
      const { message, status, reason } = refusal(request, {
        status: response.status,
        headers: response.headers,
        text,
      });
      const problem = `${message}; new credentials cannot be loaded: ${messageOf(error)}`;
      throw new KubernetesError(problem, { status, reason, cause: error });
    }
    return await this.#fetchOnce(request, options);
  }

  async #fetchOnce(request: ApiRequest, options: FetchOptions): Promise<Response> {
    const { headers, connections } = await this.#credentials();
    const startedAt = performance.now();
    let status = 0;
    try {
      const response = await fetch(request.url, {
        method: request.method,
        headers: { ...headers, Accept: "application/json", ...request.headers },
        ...(request.body === undefined ? {} : { body: request.body }),
        signal: options.signal,
        client: connections[options.connection],
      });
      status = response.status;
      return response;
    } catch (error) {
      throw unanswered(request, error);
    } finally {
      const words = requestWords(request.method, new URL(request.url));
      const durationMs = performance.now() - startedAt;
      this.#onRequest({ ...words, status, durationMs, isRetry: request.isRetry ?? false });
    }
  }

  /** Asks client-node each time, which reads files again once in a while, so that a rotated token or certificate is used from the next request on. */
  async #credentials(): Promise<{ headers: Record<string, string>; connections: Connections }> {
    const { headers, client } = await readCredentials(this.#config);
    const identity = JSON.stringify(client);
    if (this.#connections?.identity !== identity) {
      const connect = () => Deno.createHttpClient(client);
      this.#close();
      this.#connections = { requests: connect(), watches: connect(), openedAt: performance.now(), identity };
    }
    return { headers, connections: this.#connections };
  }
}

/** Bodies are read to the end always: cancelled ones break an HTTP/2 connection for the requests beside them. */
async function read(
  request: ApiRequest,
  options: { response: Response; signal: AbortSignal },
): Promise<string> {
  try {
    return await abortable(options.response.text(), options.signal);
  } catch (error) {
    throw unanswered(request, error);
  }
}

/**
 * Whether the same request may succeed a moment later. A patch says what to change, and not since which version; a creation meets a conflict
 * only where a quota was changed in the same moment: https://github.com/kubernetes/kubernetes/issues/67761
 */
function mayPass({ method }: ApiRequest, error: KubernetesError): boolean {
  return error.isTransient() || (method === "PATCH" && error.status === 409) ||
    (method === "POST" && error.reason === "Conflict");
}
