/**
 * Detects the protocol of a session's display, and relays RFB to a browser by a WebSocket. `display_proxy.ts` relays HTTP.
 * @module
 */
import { deadline } from "@std/async";
import type { OpenedStream } from "../../lib/streams/tunnel_connection.ts";
import { isTimeout } from "../../lib/common/errors.ts";
import { decongested } from "../../lib/streams/send_queue.ts";
import { StreamResetError } from "../../lib/streams/tunnel_messages.ts";
import type { TunnelStream } from "../../lib/streams/tunnel_stream.ts";
import { errorResponse } from "./router.ts";

/** Opens a stream to the display of a session. */
export type OpenDisplay = (sessionId: string, signal: AbortSignal) => Promise<OpenedStream>;

/** The protocol of a display. */
export type DisplayKind = "rfb" | "http";

/** Servers of RFB send a greeting first; others, which wait for a request, get one after this time in milliseconds. */
const GREETING_MS = 1000;
const PROBE = "HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/** Timeout of opening a stream to a display, in milliseconds. */
export const OPEN_TIMEOUT_MS = 30_000;
/** Most bytes of a browser that wait for a display, whose WebSocket cannot be paused. */
export const MAX_WAITING_BYTES = 64 * 1024 * 1024;
/** A display waits for its browser while this many bytes are not sent yet. */
const CONGESTED_BYTES = 256 * 1024;
/** Close code for a stream that was reset; the reason contains its code and message. */
const RESET_CODE = 4000;
/** Longest reason of a close frame in bytes: RFC 6455, section 5.5. */
const MAX_REASON_BYTES = 123;
/**
 * Connects to a display, and detects its protocol by the first bytes that it sends.
 *
 * @throws {StreamResetError} if the display cannot be reached, or sends nothing
 */
export async function kindOfDisplay(open: OpenDisplay, sessionId: string): Promise<DisplayKind> {
  const { stream } = await open(sessionId, AbortSignal.timeout(OPEN_TIMEOUT_MS));
  using _ = { [Symbol.dispose]: () => stream.reset("cancelled", "the protocol of the display is known") };
  const first = stream.read();
  if (await isLate(first, GREETING_MS)) await stream.write(new TextEncoder().encode(PROBE));
  if (await isLate(first, OPEN_TIMEOUT_MS)) {
    throw new StreamResetError("timeout", "the display sends nothing");
  }
  const bytes = await first;
  if (!bytes) throw new StreamResetError("refused", "the display closed the connection");
  return new TextDecoder().decode(bytes).startsWith("RFB ") ? "rfb" : "http";
}

/** Whether a promise does not resolve in time; rejects if it does. */
async function isLate(promise: Promise<unknown>, ms: number): Promise<boolean> {
  return await deadline(promise.then(() => false), ms).catch((error) => {
    if (!isTimeout(error)) throw error;
    return true;
  });
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
  let waiting = 0;
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") return;
    waiting += data.byteLength;
    if (waiting > MAX_WAITING_BYTES) return stream.reset("cancelled", "the display is too slow");
    sent = sent.then(() => stream.write(new Uint8Array(data))).then(() => {
      waiting -= data.byteLength;
      // The close frame contains the reason of a reset.
    }, () => {});
  };
}

/** Passes the bytes of a display on to a viewer, no faster than it accepts them. */
async function sendBytes(stream: TunnelStream, socket: WebSocket): Promise<void> {
  while (true) {
    const bytes = await stream.read();
    if (!bytes) return;
    socket.send(new Uint8Array(bytes));
    await drained(socket);
    stream.passedOn(bytes.length);
  }
}

/** Whether a browser accepts messages more slowly than they are sent. */
export function isCongested(socket: WebSocket): boolean {
  return socket.readyState === WebSocket.OPEN && socket.bufferedAmount >= CONGESTED_BYTES;
}

/** Waits while a browser is {@linkcode isCongested}. */
export async function drained(socket: WebSocket): Promise<void> {
  await decongested(socket, {
    congestedBytes: CONGESTED_BYTES,
    isClosed: () => socket.readyState !== WebSocket.OPEN,
  });
}

/** The session whose origin a request is for, such as `s1` for `http://s1.localhost:8000/`. */
export function sessionOfHost(hostname: string): string | undefined {
  return /^(.+)\.localhost$/.exec(hostname)?.[1];
}

function clip(text: string): string {
  return new TextDecoder().decode(new TextEncoder().encode(text).subarray(0, MAX_REASON_BYTES)).replace(
    /\ufffd$/,
    "",
  );
}
