/**
 * Carries the display of a session to a browser: RFB by a WebSocket, and HTTP by a proxy on the session's own origin, `http://SESSION.localhost`.
 * @module
 */
import { deadline, delay } from "@std/async";
import { TcpConnection } from "../../lib/streams/dialer.ts";
import { relay } from "../../lib/streams/session_streams.ts";
import type { OpenedStream } from "../../lib/streams/tunnel_connection.ts";
import { StreamResetError } from "../../lib/streams/tunnel_messages.ts";
import type { TunnelStream } from "../../lib/streams/tunnel_stream.ts";
import { errorResponse } from "./router.ts";

/** Opens a stream to the display of a session. */
export type OpenDisplay = (sessionId: string, signal: AbortSignal) => Promise<OpenedStream>;

/** What a display speaks. */
export type DisplayKind = "rfb" | "http";

/** A server of RFB greets first, one of HTTP waits for a request: the time that a greeting may take, in milliseconds. */
const GREETING_MS = 1000;
const OPEN_TIMEOUT_MS = 30_000;
/** A browser that is slower than its desktop is waited for when this many bytes are not sent yet. */
const CONGESTED_BYTES = 256 * 1024;
const CONGESTION_POLL_MS = 2;
/** Close code for a stream that was reset; the reason contains its code and message. */
const RESET_CODE = 4000;
/** Longest reason of a close frame in bytes: RFC 6455, section 5.5. */
const MAX_REASON_BYTES = 123;
/** Headers that belong to one connection: RFC 9110, section 7.6.1. The proxy's own connections have their own. */
const CONNECTION_HEADERS = [
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
];

/**
 * Asks the port of a display what it speaks.
 *
 * @throws {StreamResetError} if the display cannot be reached
 */
export async function kindOfDisplay(open: OpenDisplay, sessionId: string): Promise<DisplayKind> {
  const { stream } = await open(sessionId, AbortSignal.timeout(OPEN_TIMEOUT_MS));
  try {
    const bytes = await deadline(stream.read(), GREETING_MS);
    return new TextDecoder().decode(bytes).startsWith("RFB ") ? "rfb" : "http";
  } catch (error) {
    if (error instanceof StreamResetError) throw error;
    return "http";
  } finally {
    stream.reset("cancelled", "the kind of the display is known");
  }
}

/** Upgrades a browser's request to a WebSocket that carries the bytes of the display. */
export function relayDisplay(request: Request, sessionId: string, open: OpenDisplay): Response {
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    return errorResponse(426, "Upgrade required", "This endpoint accepts WebSocket connections only");
  }
  const { socket, response } = Deno.upgradeWebSocket(request);
  socket.binaryType = "arraybuffer";
  socket.onerror = () => {};
  socket.onopen = async () => {
    const gone = new AbortController();
    socket.onclose = () => gone.abort();
    try {
      const { stream } = await open(sessionId, gone.signal);
      socket.onclose = () => stream.reset("cancelled", "the viewer has gone");
      sendMessages(socket, stream);
      await sendBytes(stream, socket);
      socket.close(1000);
    } catch (error) {
      if (!(error instanceof StreamResetError)) return;
      socket.close(RESET_CODE, clip(`${error.code}: ${error.message}`));
    }
  };
  return response;
}

/** Passes the messages of a viewer on to a display, in order. */
function sendMessages(socket: WebSocket, stream: TunnelStream): void {
  let sent = Promise.resolve();
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") return;
    // The viewer learns from the close frame why a stream was reset.
    sent = sent.then(() => stream.write(new Uint8Array(data))).catch(() => {});
  };
}

/** Passes the bytes of a display on to a viewer, no faster than it takes them. */
async function sendBytes(stream: TunnelStream, socket: WebSocket): Promise<void> {
  while (true) {
    const bytes = await stream.read();
    if (!bytes) return;
    socket.send(new Uint8Array(bytes));
    while (socket.bufferedAmount > CONGESTED_BYTES && socket.readyState === WebSocket.OPEN) {
      await delay(CONGESTION_POLL_MS);
    }
    stream.passedOn(bytes.length);
  }
}

/** The session whose origin a request is for, such as `s1` for `http://s1.localhost:8000/`. */
export function sessionOfHost(hostname: string): string | undefined {
  return /^(.+)\.localhost$/.exec(hostname)?.[1];
}

/** Proxies of HTTP displays: each session gets a port on loopback whose connections are streams to its display. */
export class DisplayProxies {
  readonly #open: OpenDisplay;
  readonly #listeners = new Map<string, Deno.TcpListener>();
  #client: Deno.HttpClient | undefined;
  readonly #sockets = new Set<WebSocket>();

  constructor(open: OpenDisplay) {
    this.#open = open;
  }

  /** Forwards a request to the display of a session, and its response back, without buffering their bodies. */
  async forward(request: Request, sessionId: string): Promise<Response> {
    const url = new URL(request.url);
    const target = `127.0.0.1:${this.#portOf(sessionId)}${url.pathname}${url.search}`;
    if (request.headers.get("upgrade")?.toLowerCase() === "websocket") return this.#bridge(request, target);
    const headers = endToEnd(request.headers);
    // The response is passed on as it is: it must not be decompressed on the way.
    headers.set("accept-encoding", "identity");
    const { method, body } = request;
    this.#client ??= Deno.createHttpClient({ http2: false });
    const options = { method, headers, body, redirect: "manual", client: this.#client } as const;
    try {
      const response = await fetch(`http://${target}`, options);
      const { status, statusText } = response;
      return new Response(response.body, { status, statusText, headers: endToEnd(response.headers) });
    } catch {
      return errorResponse(502, "The display cannot be reached", await this.#reason(sessionId));
    }
  }

  /** Stops listening, and closes the WebSockets. */
  close(): void {
    for (const listener of this.#listeners.values()) listener.close();
    this.#listeners.clear();
    for (const socket of this.#sockets) socket.close();
    this.#client?.close();
    this.#client = undefined;
  }

  /** Why a display cannot be reached. */
  async #reason(sessionId: string): Promise<string> {
    try {
      const { stream } = await this.#open(sessionId, AbortSignal.timeout(OPEN_TIMEOUT_MS));
      stream.reset("cancelled", "the display is reachable");
      return `The display of session "${sessionId}" closed the connection`;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** Connects a WebSocket of the browser with one of the display. */
  #bridge(request: Request, target: string): Response {
    const protocols = request.headers.get("sec-websocket-protocol")?.split(",").map((one) => one.trim()) ??
      [];
    const upstream = new WebSocket(`ws://${target}`, protocols);
    const [protocol] = protocols;
    const { socket, response } = Deno.upgradeWebSocket(request, protocol ? { protocol } : {});
    for (const one of [socket, upstream]) {
      one.binaryType = "arraybuffer";
      one.onerror = () => {};
      this.#sockets.add(one);
    }
    const waiting: (string | ArrayBuffer)[] = [];
    socket.onmessage = ({ data }) => {
      if (upstream.readyState === WebSocket.OPEN) upstream.send(data);
      else waiting.push(data);
    };
    upstream.onopen = () => {
      for (const data of waiting.splice(0)) upstream.send(data);
    };
    upstream.onmessage = ({ data }) => socket.send(data);
    const closeBoth = () => {
      for (const one of [socket, upstream]) {
        this.#sockets.delete(one);
        one.close();
      }
    };
    socket.onclose = upstream.onclose = closeBoth;
    return response;
  }

  #portOf(sessionId: string): number {
    const known = this.#listeners.get(sessionId);
    if (known) return known.addr.port;
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.#listeners.set(sessionId, listener);
    void (async () => {
      for await (const connection of listener) void this.#carry(connection, sessionId);
    })();
    return listener.addr.port;
  }

  async #carry(connection: Deno.TcpConn, sessionId: string): Promise<void> {
    try {
      const { stream } = await this.#open(sessionId, AbortSignal.timeout(OPEN_TIMEOUT_MS));
      await relay(
        stream,
        new TcpConnection(connection),
        () => stream.reset("cancelled", "the viewer has gone"),
      );
    } catch {
      // The end of the connection shows the failure to the HTTP client; the next request gets the reason.
      connection.close();
    }
  }
}

function endToEnd(headers: Headers): Headers {
  const kept = new Headers(headers);
  for (const name of CONNECTION_HEADERS) kept.delete(name);
  return kept;
}

function clip(text: string): string {
  return new TextDecoder().decode(new TextEncoder().encode(text).subarray(0, MAX_REASON_BYTES)).replace(
    /\ufffd$/,
    "",
  );
}
