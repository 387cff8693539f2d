/**
 * One WebSocket to the Control Plane: received frames as an async iterable, and text frames to send. It detects half-open connections and
 * describes rejected handshakes. It does not reconnect.
 * @module
 */
import { deadline } from "@std/async";
import { parseRetryAfter } from "../common/backoff.ts";
import { plainReason } from "../common/connection_problem.ts";
import { LinkError, messageOf } from "../common/errors.ts";
import { log } from "../common/log.ts";
import type { ConnectionCredentials } from "./credentials.ts";
import {
  API_KEY_HEADER,
  describeRejection,
  type RequestOptions,
  sendRequest,
  UPGRADE_REQUIRED_STATUSES,
} from "./http.ts";

/** How a connection ended. */
export interface SocketEnd {
  /** WebSocket close code; 1006 if none was received. */
  readonly code: number;
  readonly reason: string;
}

/** Options of {@linkcode Socket.connect}. */
export interface SocketOptions {
  readonly credentials: Pick<ConnectionCredentials, "apiKey" | "client">;
  readonly signal: AbortSignal;
  /** WebSocket subprotocol that is requested. @default none */
  readonly protocol?: string;
  /**
   * Time after which a connection counts as half-open, in milliseconds. A silent peer is pinged after half of it and has the other half to
   * answer; a peer to which no bytes could be sent for all of it is disconnected at the next frame. The default is well below the 45 seconds
   * after which the Control Plane drops a silent agent. @default {30_000}
   */
  readonly silenceMs?: number;
}

/** Timeout of the opening handshake, in milliseconds. */
const OPEN_TIMEOUT_MS = 15_000;
/** Timeout of the closing handshake, in milliseconds. */
const CLOSE_TIMEOUT_MS = 2000;

/** An open connection; close or dispose it. */
export class Socket implements AsyncDisposable {
  readonly #socket: WebSocket;
  readonly #frames: Array<string | Uint8Array> = [];
  readonly #closed = Promise.withResolvers<SocketEnd>();
  readonly #silenceMs: number;
  #wake: () => void = () => {};
  #end: SocketEnd | undefined;
  #closing: Promise<boolean> | undefined;
  /** Bytes in the send buffer after the last frame, and when some of them were last sent. */
  #buffered = 0;
  #progressAt = 0;

  private constructor(socket: WebSocket, silenceMs: number) {
    this.#socket = socket;
    this.#silenceMs = silenceMs;
    socket.addEventListener("message", (event: MessageEvent<string | ArrayBuffer>) => {
      this.#frames.push(typeof event.data === "string" ? event.data : new Uint8Array(event.data));
      this.#wake();
    });
    socket.addEventListener("close", (event) => {
      // Without a close frame the code is 0 or missing; 1006 is the standard code for that.
      this.#finish({ code: event.code || 1006, reason: event.reason });
    });
  }

  /**
   * Opens a connection.
   *
   * @throws {LinkError} if it is rejected or does not open within 15 seconds
   */
  static async connect(url: string, options: SocketOptions): Promise<Socket> {
    const { credentials: { apiKey, client }, silenceMs = 30_000 } = options;
    const headers: Record<string, string> = apiKey ? { [API_KEY_HEADER]: apiKey.reveal() } : {};
    const { protocol } = options;
    const socket = new WebSocket(url, {
      headers,
      ...(client ? { client } : {}),
      ...(protocol ? { protocols: [protocol] } : {}),
    });
    socket.binaryType = "arraybuffer";
    const signal = AbortSignal.any([options.signal, AbortSignal.timeout(OPEN_TIMEOUT_MS)]);
    try {
      const connection = new Socket(socket, silenceMs);
      await opened(socket, signal);
      if (!pingWhenSilent(socket, silenceMs)) {
        log.warn(
          "This runtime cannot send WebSocket pings: a half-open connection is detected only when TCP times out",
        );
      }
      return connection;
    } catch (error) {
      socket.close();
      const rejection = await describeFailure(url, {
        credentials: options.credentials,
        signal,
        cause: error as Error,
      });
      options.signal.throwIfAborted();
      throw rejection;
    }
  }

  /** Bytes in the send buffer. */
  get bufferedAmount(): number {
    return this.#socket.bufferedAmount;
  }

  /** How the connection ended; `undefined` while it is open. */
  get end(): SocketEnd | undefined {
    return this.#end;
  }

  /**
   * Sends a frame.
   *
   * @returns whether it was written to the send buffer; false if the socket is closing or the peer no longer reads
   */
  send(frame: string | Uint8Array<ArrayBuffer>): boolean {
    if (this.#socket.readyState !== WebSocket.OPEN) return false;
    if (this.#isStuck()) {
      this.#finish({ code: 1006, reason: "The peer no longer reads" });
      this.#socket.close();
      return false;
    }
    this.#socket.send(frame);
    this.#buffered = this.#socket.bufferedAmount;
    return true;
  }

  /** Yields received frames until the connection ends or the signal is aborted. */
  async *frames(signal: AbortSignal): AsyncGenerator<string | Uint8Array> {
    const onAbort = () => this.#wake();
    signal.addEventListener("abort", onAbort);
    try {
      while (!signal.aborted) {
        const frame = this.#frames.shift();
        if (frame !== undefined) {
          yield frame;
          continue;
        }
        if (this.#end) return;
        const { promise, resolve } = Promise.withResolvers<void>();
        this.#wake = resolve;
        await promise;
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /**
   * Closes the connection. Of the standard codes, a client may only send 1000.
   *
   * @returns whether the peer completed the closing handshake, which means that it has received everything sent before
   */
  close(code = 1000, reason = "agent stopped"): Promise<boolean> {
    return this.#closing ??= this.#close(code, reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Whether the send buffer has not shrunk for too long. Pings cannot detect that, as they would wait behind the buffered bytes. */
  #isStuck(): boolean {
    const { bufferedAmount } = this.#socket;
    const now = performance.now();
    if (bufferedAmount === 0 || bufferedAmount < this.#buffered) this.#progressAt = now;
    return now - this.#progressAt >= this.#silenceMs;
  }

  #finish(end: SocketEnd): void {
    if (this.#end) return;
    this.#end = end;
    this.#closed.resolve(end);
    this.#wake();
  }

  async #close(code: number, reason: string): Promise<boolean> {
    if (this.#end) return false;
    this.#socket.close(code, reason.slice(0, 100));
    const end = await deadline(this.#closed.promise, CLOSE_TIMEOUT_MS).catch(() => undefined);
    if (!end) this.#finish({ code: 1006, reason: "The peer did not answer the close frame" });
    return end?.code === 1000;
  }
}

/** Waits for the opening handshake; rejects with a {@linkcode LinkError} if it fails or the signal is aborted. */
async function opened(socket: WebSocket, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = () => reject(new LinkError(`not open within ${OPEN_TIMEOUT_MS / 1000} seconds`));
  let reason = "closed during the handshake";
  socket.addEventListener("error", (event) => {
    if (event instanceof ErrorEvent && event.message) reason = event.message;
  });
  socket.addEventListener("open", () => resolve());
  socket.addEventListener("close", () => reject(new LinkError(reason)));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await promise;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/**
 * Explains a failed handshake. The native WebSocket hides the HTTP response, so the address is requested again without an upgrade: that opens no
 * connection, and returns the same rejection of the agent or its key.
 *
 * @returns the error to throw, with the status and `Retry-After` of the response
 */
async function describeFailure(
  url: string,
  { cause, ...options }: Pick<RequestOptions, "credentials" | "signal"> & { readonly cause: Error },
): Promise<LinkError> {
  const problem = `Cannot open the WebSocket at ${url.split("?")[0]}`;
  try {
    const response = await sendRequest(url.replace(/^ws/, "http"), options);
    const { status, headers } = response;
    if (status >= 300 && !UPGRADE_REQUIRED_STATUSES.includes(status)) {
      const rejection = describeRejection(response, [options.credentials.apiKey?.reveal()]);
      const retryAfterMs = parseRetryAfter(headers);
      return new LinkError(`${problem}: ${rejection}`, { cause, status, retryAfterMs });
    }
  } catch (error) {
    // The WebSocket's own message lacks the reason, such as a refused connection.
    if (!options.signal.aborted) {
      return new LinkError(`${problem}: ${plainReason(messageOf(error))}`, { cause });
    }
  }
  return new LinkError(`${problem}: ${plainReason(cause.message)}`, { cause });
}

/**
 * Makes a WebSocket ping its peer when it is silent, and close with code 1001 if there is no pong. The WebSocket API has no ping. Deno's servers
 * send pings through two members of the same class that have no public name; this function uses them for a client.
 *
 * @returns whether the runtime has these members
 */
function pingWhenSilent(socket: WebSocket, silenceMs: number): boolean {
  const idleTimeout = symbolOf(socket, "[[idleTimeout]]");
  const start = symbolOf(socket, "[[serverHandleIdleTimeout]]");
  if (!idleTimeout || !start) return false;
  const members = socket as unknown as Record<symbol, unknown>;
  members[idleTimeout] = silenceMs / 1000;
  (members[start] as () => void)();
  return true;
}

function symbolOf(object: object, description: string): symbol | undefined {
  for (let holder: object | null = object; holder; holder = Object.getPrototypeOf(holder)) {
    const symbol = Object.getOwnPropertySymbols(holder).find((one) => one.description === description);
    if (symbol) return symbol;
  }
  return undefined;
}
