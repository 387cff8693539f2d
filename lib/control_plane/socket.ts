/**
 * One WebSocket to the Control Plane: frames in as an async iterable, text out. No retries; when it is closed it stays closed.
 * @module
 */
import { deadline } from "@std/async";
import { LinkError } from "../common/errors.ts";
import { log } from "../common/log.ts";
import { API_KEY_HEADER } from "./ask.ts";
import type { ConnectionCredentials } from "./credentials.ts";
import { refusedUpgrade } from "./refused_upgrade.ts";

/** How a socket ended. */
export interface SocketEnd {
  /** WebSocket close code; 1006 where none was received. */
  readonly code: number;
  readonly reason: string;
}

/** Longest wait for the connection to open, in milliseconds. */
const OPEN_TIMEOUT_MS = 15_000;
/** Longest wait for the peer to agree to the end, in milliseconds. */
const CLOSE_TIMEOUT_MS = 2000;
/** Well below the 45 s after which the Control Plane gives up a silent agent. */
const SILENCE_SECONDS = 30;

/** An open connection; close or dispose it. */
export class Socket implements AsyncDisposable {
  readonly #socket: WebSocket;
  readonly #frames: Array<string | Uint8Array> = [];
  readonly #closed = Promise.withResolvers<SocketEnd>();
  readonly #silenceMs: number;
  #wake: () => void = () => {};
  #end: SocketEnd | undefined;
  #goodbye: Promise<boolean> | undefined;
  /** Bytes that waited to leave after the last frame, and when some last left. */
  #buffered = 0;
  #movedAt = 0;

  private constructor(socket: WebSocket, silenceSeconds: number) {
    this.#socket = socket;
    this.#silenceMs = silenceSeconds * 1000;
    socket.addEventListener("message", (event: MessageEvent<string | ArrayBuffer>) => {
      this.#frames.push(typeof event.data === "string" ? event.data : new Uint8Array(event.data));
      this.#wake();
    });
    socket.addEventListener("close", (event) => {
      // A peer that vanished leaves 0 or nothing; 1006 is the code for that.
      this.#finish({ code: event.code || 1006, reason: event.reason });
    });
  }

  /**
   * Opens a connection.
   *
   * @throws {LinkError} when it is refused or takes too long
   */
  static async connect(
    url: string,
    options: {
      credentials: Pick<ConnectionCredentials, "apiKey" | "client">;
      signal: AbortSignal;
      /**
       * A peer that is silent for half of this is pinged, and given the other half to answer; one that takes nothing for all of it is given
       * up at the next frame. @default 30
       */
      silenceSeconds?: number;
    },
  ): Promise<Socket> {
    const { credentials: { apiKey, client }, silenceSeconds = SILENCE_SECONDS } = options;
    const headers: Record<string, string> = apiKey ? { [API_KEY_HEADER]: apiKey.reveal() } : {};
    const socket = new WebSocket(url, { headers, ...(client ? { client } : {}) });
    socket.binaryType = "arraybuffer";
    const opened = Promise.withResolvers<void>();
    const signal = AbortSignal.any([options.signal, AbortSignal.timeout(OPEN_TIMEOUT_MS)]);
    const onAbort = () =>
      opened.reject(new LinkError(`it did not open within ${OPEN_TIMEOUT_MS / 1000} seconds`));
    let reason = "it was closed at once";
    socket.addEventListener(
      "error",
      (event) => reason = event instanceof ErrorEvent ? event.message || reason : reason,
    );
    socket.addEventListener("open", () => opened.resolve());
    socket.addEventListener("close", () => opened.reject(new LinkError(reason)));
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      const connection = new Socket(socket, silenceSeconds);
      await opened.promise;
      if (!pingWhenSilent(socket, silenceSeconds)) {
        log.warn(
          "This runtime cannot ping: a link that is dead without knowing it is found only when the system gives it up",
        );
      }
      return connection;
    } catch (error) {
      socket.close();
      const refused = await refusedUpgrade(url, {
        credentials: options.credentials,
        signal,
        cause: error as Error,
      });
      options.signal.throwIfAborted();
      throw refused;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** How it ended, once it has. */
  get end(): SocketEnd | undefined {
    return this.#end;
  }

  /**
   * Sends a text frame.
   *
   * @returns whether it left; not from a socket that is closing, or whose peer takes nothing any more
   */
  send(text: string): boolean {
    if (this.#socket.readyState !== WebSocket.OPEN) return false;
    if (this.#isStuck()) {
      this.#finish({ code: 1006, reason: "The peer takes nothing any more." });
      this.#socket.close();
      return false;
    }
    this.#socket.send(text);
    this.#buffered = this.#socket.bufferedAmount;
    return true;
  }

  /** Every frame that arrives, until the connection ends or the signal is aborted. */
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
   * Says goodbye and waits a moment for the peer's; browsers' rules allow a program only code 1000 here.
   *
   * @returns whether the peer answered the goodbye, and so has read all that was sent before
   */
  close(): Promise<boolean> {
    return this.#goodbye ??= this.#sayGoodbye();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** A ping tells nothing here: it would wait behind all that does not leave. */
  #isStuck(): boolean {
    const { bufferedAmount } = this.#socket;
    const now = performance.now();
    if (bufferedAmount === 0 || bufferedAmount < this.#buffered) this.#movedAt = now;
    return now - this.#movedAt >= this.#silenceMs;
  }

  #finish(end: SocketEnd): void {
    if (this.#end) return;
    this.#end = end;
    this.#closed.resolve(end);
    this.#wake();
  }

  async #sayGoodbye(): Promise<boolean> {
    if (this.#end) return false;
    this.#socket.close(1000, "agent stopped");
    const end = await deadline(this.#closed.promise, CLOSE_TIMEOUT_MS).catch(() => undefined);
    return end?.code === 1000;
  }
}

/**
 * Makes a WebSocket ping its peer in silence, and end with code 1001 when no answer comes. The standard gives programs no ping; Deno's own
 * servers ping by two members of the same class that have no public name, and this uses them.
 *
 * @returns whether the runtime has them
 */
function pingWhenSilent(socket: WebSocket, silenceSeconds: number): boolean {
  const seconds = symbolOf(socket, "[[idleTimeout]]");
  const begin = symbolOf(socket, "[[serverHandleIdleTimeout]]");
  if (!seconds || !begin) return false;
  const members = socket as unknown as Record<symbol, unknown>;
  members[seconds] = silenceSeconds;
  (members[begin] as () => void)();
  return true;
}

function symbolOf(object: object, description: string): symbol | undefined {
  for (let holder: object | null = object; holder; holder = Object.getPrototypeOf(holder)) {
    const found = Object.getOwnPropertySymbols(holder).find((symbol) => symbol.description === description);
    if (found) return found;
  }
  return undefined;
}
