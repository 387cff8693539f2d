/**
 * A proxy for HTTP displays, each on an origin of its own, `http://SESSION.localhost`. Each request and each WebSocket is a stream to the display.
 * Bodies are passed on in pieces, no faster than the other side accepts them, and nothing has a time limit.
 * @module
 */
import { type IncomingMessage, request as sendRequest } from "node:http";
import { Duplex, pipeline, Readable } from "node:stream";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import { WebSocket as Client } from "ws";
import { abortable } from "@std/async";
import { messageOf } from "../../lib/common/errors.ts";
import type { TunnelStream } from "../../lib/streams/tunnel_stream.ts";
import { drained, isCongested, MAX_WAITING_BYTES, OPEN_TIMEOUT_MS, type OpenDisplay } from "./display.ts";
import { errorResponse } from "./router.ts";

/** Headers that belong to one connection: RFC 9110, section 7.6.1. The proxy's own connections have their own. */
const CONNECTION_HEADERS = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
/** Headers of a WebSocket's handshake, which belong to the connection, too. */
const HANDSHAKE_HEADER = /^sec-websocket-/;
/** Responses without a body: https://fetch.spec.whatwg.org/#null-body-status */
const NULL_BODY_STATUS = new Set([204, 205, 304]);

/** The proxy for the displays of all sessions. */
export class DisplayProxy {
  readonly #open: OpenDisplay;
  readonly #connections = new Set<Duplex>();

  constructor(open: OpenDisplay) {
    this.#open = open;
  }

  /** Forwards a request to the display of a session, and returns its response. */
  async forward(request: Request, sessionId: string): Promise<Response> {
    try {
      const connection = await this.#connect(request, sessionId);
      try {
        const isUpgrade = request.headers.get("upgrade")?.toLowerCase() === "websocket";
        return isUpgrade ? await bridge(request, connection) : await exchange(request, connection);
      } catch (error) {
        connection.destroy();
        throw error;
      }
    } catch (error) {
      return errorResponse(502, "The display cannot be reached", messageOf(error));
    }
  }

  /** Closes all connections to displays, which ends the browsers' ones. */
  close(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  async #connect({ signal }: Request, sessionId: string): Promise<Duplex> {
    const timeout = AbortSignal.timeout(OPEN_TIMEOUT_MS);
    const { stream } = await abortable(this.#open(sessionId, timeout), signal);
    const connection = duplexOf(stream);
    this.#connections.add(connection);
    connection.once("close", () => this.#connections.delete(connection));
    return connection;
  }
}

/** Sends a request over the connection, and resolves with the response, whose body may still be arriving. */
async function exchange(request: Request, connection: Duplex): Promise<Response> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const outgoing = sendRequest({
    method: request.method,
    path: pathOf(request),
    headers: endToEnd(request.headers),
    createConnection: () => connection,
  });
  outgoing.on("response", resolve).on("error", reject);
  // Errors end the response, too.
  if (request.body) pipeline(Readable.fromWeb(request.body as NodeReadableStream), outgoing, () => {});
  else outgoing.end();
  const incoming = await abortable(promise, request.signal);
  const { statusCode: status = 502, statusMessage: statusText = "" } = incoming;
  const hasBody = request.method !== "HEAD" && !NULL_BODY_STATUS.has(status);
  if (!hasBody) incoming.resume();
  const body = hasBody ? Readable.toWeb(incoming) as ReadableStream<Uint8Array<ArrayBuffer>> : null;
  return new Response(body, { status, statusText, headers: responseHeaders(incoming, request) });
}

/** Connects a WebSocket of the browser with one of the display, which chooses the subprotocol. */
async function bridge(request: Request, connection: Duplex): Promise<Response> {
  const protocols = request.headers.get("sec-websocket-protocol")?.split(",").map((one) => one.trim()) ?? [];
  const upstream = new Client(`ws://${request.headers.get("host")}${pathOf(request)}`, protocols, {
    headers: endToEnd(request.headers),
    perMessageDeflate: false,
    createConnection: () => connection,
  });
  upstream.binaryType = "arraybuffer";
  const { promise: opened, resolve, reject } = Promise.withResolvers<void>();
  upstream.onopen = () => {
    // No message may arrive before the browser's socket is open.
    upstream.pause();
    resolve();
  };
  upstream.on("error", reject);
  await abortable(opened, request.signal);
  const { protocol } = upstream;
  const { socket, response } = Deno.upgradeWebSocket(request, {
    ...(protocol ? { protocol } : {}),
    idleTimeout: 0,
  });
  join(socket, upstream);
  return response;
}

/** Passes messages on in both directions until one side closes. */
function join(socket: WebSocket, upstream: Client): void {
  socket.binaryType = "arraybuffer";
  socket.onopen = () => upstream.resume();
  upstream.onmessage = async ({ data }) => {
    socket.send(data as string | ArrayBuffer);
    if (!isCongested(socket)) return;
    upstream.pause();
    await drained(socket);
    upstream.resume();
  };
  socket.onmessage = ({ data }) => {
    upstream.send(data);
    // The browser's socket cannot be paused.
    if (upstream.bufferedAmount > MAX_WAITING_BYTES) socket.close(1008, "The display is too slow");
  };
  socket.onerror = () => {};
  socket.onclose = (event) => closeLike(upstream, event);
  upstream.onclose = (event) => closeLike(socket, event);
}

/** Closes the other side with the code and reason of a close event as far as `close()` accepts them: https://websockets.spec.whatwg.org/#dom-websocket-close */
function closeLike(
  other: { close(code?: number, reason?: string): void },
  { code, reason }: { readonly code: number; readonly reason: string },
): void {
  if (code === 1000 || (code >= 3000 && code < 5000)) other.close(code, reason);
  else other.close();
}

/** A stream as a socket of Node.js. */
function duplexOf(stream: TunnelStream): Duplex {
  const duplex = new Duplex({
    async read() {
      try {
        const bytes = await stream.read();
        duplex.push(bytes ?? null);
        if (bytes) stream.passedOn(bytes.length);
      } catch (error) {
        duplex.destroy(error as Error);
      }
    },
    write(bytes: Uint8Array, _encoding, done) {
      stream.write(bytes).then(() => done(), done);
    },
    final(done) {
      stream.finish();
      done();
    },
    destroy(error, done) {
      stream.reset("cancelled", "the viewer has gone");
      done(error);
    },
  });
  return duplex;
}

function pathOf({ url }: Request): string {
  const { pathname, search } = new URL(url);
  return pathname + search;
}

/** The headers without those of the connection and those that `Connection` names. */
function endToEnd(headers: Headers): Record<string, string> {
  const named = new Set(headers.get("connection")?.toLowerCase().split(",").map((name) => name.trim()));
  return Object.fromEntries(
    [...headers].filter(([name]) =>
      !CONNECTION_HEADERS.has(name) && !named.has(name) && !HANDSHAKE_HEADER.test(name)
    ),
  );
}

/** The display's headers, and which pages may show it in a frame: those of the Control Plane. */
function responseHeaders({ rawHeaders }: IncomingMessage, request: Request): Headers {
  const headers = new Headers();
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const [name = "", value = ""] = rawHeaders.slice(i, i + 2);
    if (!CONNECTION_HEADERS.has(name.toLowerCase())) headers.append(name, value);
  }
  const { port } = new URL(request.url);
  const pages = ["localhost", "127.0.0.1"].map((host) => `http://${host}${port && `:${port}`}`);
  headers.append("Content-Security-Policy", `frame-ancestors 'self' ${pages.join(" ")}`);
  return headers;
}
