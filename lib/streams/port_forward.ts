/**
 * Connects to pods through the API server: the subresource `pods/portforward` over a WebSocket, one for each connection. Each message is a channel
 * byte and bytes: channel 0 has data, channel 1 errors; both begin with the port. There is no half-close.
 * Source: https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go
 * @module
 */
import type { Agent as HttpAgent, IncomingMessage } from "node:http";
// @ts-types="@types/ws"
import { type RawData, WebSocket } from "ws";
import { delay } from "@std/async";
import { messageOf } from "../common/errors.ts";
import type { Transport } from "../kubernetes/transport.ts";
import { ByteQueue } from "./byte_queue.ts";
import { DIAL_TIMEOUT_MS, type Dialer, type PodConnection, type PodPort } from "./dialer.ts";
import { decongested } from "./send_queue.ts";
import { StreamResetError } from "./tunnel_messages.ts";

const PROTOCOL = "v4.channel.k8s.io";
const DATA = 0;
/** Both channels begin with a message of the port, which is 2 bytes after the channel. */
const PREFACES = 2;
/** The kubelet accepts a connection before it connects to the pod, and reports a failure at once after that. */
const FAILURE_MS = 50;
/** Bytes in either direction above which the sender has to wait. */
const CONGESTED_BYTES = 256 * 1024;

/** Opens connections through the API server. */
export class PortForwardDialer implements Dialer {
  readonly mode = "port-forward";
  readonly #transport: Pick<Transport, "access" | "reload">;
  readonly #namespace: string;

  constructor(transport: Pick<Transport, "access" | "reload">, namespace: string) {
    this.#transport = transport;
    this.#namespace = namespace;
  }

  async dial(target: PodPort, signal: AbortSignal): Promise<PodConnection> {
    const timeout = AbortSignal.timeout(DIAL_TIMEOUT_MS);
    const either = AbortSignal.any([signal, timeout]);
    try {
      return await this.#open(target, either).catch(async (error) => {
        if (!(error instanceof UnauthorizedError)) throw error;
        this.#transport.reload();
        return await this.#open(target, either);
      });
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof StreamResetError) throw error;
      if (timeout.aborted) {
        throw new StreamResetError("timeout", `no connection to port ${target.port} in time`, {
          cause: error,
        });
      }
      const message = `Kubernetes does not forward port ${target.port}: ${messageOf(error)}`;
      throw new StreamResetError("unreachable", message, { cause: error });
    }
  }

  async #open({ podName, port }: PodPort, signal: AbortSignal): Promise<PodConnection> {
    const { server, headers, client } = await this.#transport.access(signal);
    const { proxy } = client;
    const agent = proxy && "url" in proxy ? await proxyAgent(proxy, server) : undefined;
    const path = `/api/v1/namespaces/${this.#namespace}/pods/${podName}/portforward?ports=${port}`;
    const socket = new WebSocket(`${server.replace(/^http/, "ws")}${path}`, [PROTOCOL], {
      headers: Object.fromEntries(headers),
      perMessageDeflate: false,
      ...(agent ? { agent } : {}),
      ...("cert" in client ? { cert: client.cert, key: client.key } : {}),
      ...(client.caCerts ? { ca: [...client.caCerts] } : {}),
    });
    const connection = new ForwardedConnection(socket, port);
    const onAbort = () => connection.close();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await connection.opened;
      await Promise.race([connection.firstMessage, delay(FAILURE_MS, { signal })]);
      connection.throwIfFailed();
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }
}

/** Connects through a proxy. Few clusters have one, so the library is loaded only then. */
async function proxyAgent(
  { url, basicAuth }: { readonly url: string; readonly basicAuth?: Deno.BasicAuth },
  server: string,
): Promise<HttpAgent> {
  const { HttpProxyAgent, HttpsProxyAgent } = await import("hpagent");
  const proxy = new URL(url);
  proxy.username = encodeURIComponent(basicAuth?.username ?? "");
  proxy.password = encodeURIComponent(basicAuth?.password ?? "");
  return server.startsWith("https:") ? new HttpsProxyAgent({ proxy }) : new HttpProxyAgent({ proxy });
}

/** The API server rejected the credentials. */
class UnauthorizedError extends Error {
  override readonly name = "UnauthorizedError";
}

class ForwardedConnection implements PodConnection {
  readonly #socket: WebSocket;
  readonly #port: number;
  readonly #opened = Promise.withResolvers<void>();
  readonly #firstMessage = Promise.withResolvers<void>();
  readonly #received = new ByteQueue();
  #prefaces = 0;
  #failure: Error | undefined;
  #isClosed = false;
  /** Whether this side has closed it: what still arrives is dropped, so that the end of the connection is read. */
  #isClosing = false;
  #wake: () => void = () => {};

  constructor(socket: WebSocket, port: number) {
    this.#socket = socket;
    this.#port = port;
    this.#opened.promise.catch(() => {});
    socket.binaryType = "nodebuffer";
    socket.on("message", (data) => this.#receive(data));
    socket.on("unexpected-response", (_request, response) => this.#rejected(response));
    socket.on("error", (error) => this.#fail(error));
    socket.on("close", () => {
      this.#isClosed = true;
      this.#opened.reject(this.#failure ?? new Error("the connection was closed"));
      this.#firstMessage.resolve();
      this.#wake();
    });
  }

  /** Resolves when the API server forwards the port. */
  get opened(): Promise<void> {
    return this.#opened.promise;
  }

  /** Resolves with the first data or error of the pod. */
  get firstMessage(): Promise<void> {
    return this.#firstMessage.promise;
  }

  throwIfFailed(): void {
    if (this.#failure) throw this.#failure;
  }

  async read(): Promise<Uint8Array | null> {
    while (true) {
      const bytes = this.#received.shift();
      if (bytes) {
        // Not as soon as one message fits: to pause and resume for each makes TCP wait now and then.
        if (this.#received.size < CONGESTED_BYTES / 4 && this.#socket.isPaused) this.#socket.resume();
        return bytes;
      }
      this.throwIfFailed();
      if (this.#isClosed) return null;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    await decongested(this.#socket, { congestedBytes: CONGESTED_BYTES, isClosed: () => this.#isClosed });
    this.throwIfFailed();
    if (this.#isClosed) throw new StreamResetError("pod-gone", "the connection to the pod has ended");
    const message = new Uint8Array(1 + bytes.length);
    message[0] = DATA;
    message.set(bytes, 1);
    this.#socket.send(message);
  }

  /** Port forwarding has no half-close: the pod learns of the end when the stream ends in both directions. */
  finish(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    this.#isClosing = true;
    this.#received.clear();
    // A close frame would wait behind what the pod does not accept.
    const isStalled = this.#socket.bufferedAmount > 0;
    if (isStalled || this.#socket.readyState === WebSocket.CONNECTING) this.#socket.terminate();
    else this.#socket.close();
    if (this.#socket.isPaused) this.#socket.resume();
  }

  #receive(data: RawData): void {
    const message = data as Uint8Array;
    const bytes = message.subarray(1);
    if (this.#prefaces < PREFACES) {
      this.#prefaces += 1;
      if (this.#prefaces === PREFACES) this.#opened.resolve();
      return;
    }
    this.#firstMessage.resolve();
    if (message[0] !== DATA) return this.#fail(forwardingError(new TextDecoder().decode(bytes), this.#port));
    if (bytes.length === 0) return;
    if (this.#isClosing) return;
    this.#received.push(bytes);
    if (this.#received.size >= CONGESTED_BYTES) this.#socket.pause();
    this.#wake();
  }

  #rejected(response: IncomingMessage): void {
    const { statusCode = 0 } = response;
    response.resume();
    if (statusCode === 401) return this.#fail(new UnauthorizedError("Kubernetes rejected the credentials"));
    const code = statusCode === 403 ? "forbidden" : statusCode === 404 ? "pod-gone" : "unreachable";
    const advice = statusCode === 403 ? ", which requires create and get on pods/portforward" : "";
    this.#fail(
      new StreamResetError(code, `Kubernetes refused to forward ports (HTTP ${statusCode})${advice}`),
    );
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#opened.reject(this.#failure);
    this.#firstMessage.resolve();
    this.#wake();
    this.close();
  }
}

function forwardingError(text: string, port: number): StreamResetError {
  const reason = text.trim().slice(0, 300);
  return /refused/i.test(reason)
    ? new StreamResetError("refused", `the pod refuses connections to port ${port}`)
    : new StreamResetError("unreachable", `the pod cannot be reached on port ${port}: ${reason}`);
}
