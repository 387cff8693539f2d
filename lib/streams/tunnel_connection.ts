/**
 * One end of a tunnel: carries streams over a WebSocket. The Control Plane opens streams, the agent accepts or resets them. Streams take turns, one
 * message each, while the socket is not congested, so that none delays the others.
 * @module
 */
import { abortable } from "@std/async";
import { SendQueue } from "./send_queue.ts";
import {
  decodeMessage,
  encodeMessage,
  MalformedStreamError,
  MAX_MESSAGE_BYTES,
  MAX_PAYLOAD,
  type OpenMessage,
  StreamResetError,
  type TunnelMessage,
  TunnelProtocolError,
} from "./tunnel_messages.ts";
import { DEFAULT_WINDOW, type StreamConnection, TunnelStream } from "./tunnel_stream.ts";

/** The WebSocket of a tunnel. */
export interface TunnelSocket {
  readonly bufferedAmount: number;
  /** Copies the message, whose bytes are used again. */
  send(frame: Uint8Array<ArrayBuffer>): unknown;
  close(code: number, reason: string): unknown;
}

/** Options of a {@linkcode TunnelConnection}. */
export interface TunnelConnectionOptions {
  /** Streams at the same time; the peer may allow fewer. @default {1024} */
  readonly maxStreams?: number;
  /** Bytes that all streams together may buffer until they are passed on. @default {64 MiB} */
  readonly maxBuffered?: number;
  /** Called for each stream that the peer requests: the agent's end. Without it, requests are a protocol error. */
  readonly onOpen?: (request: OpenMessage, accept: AcceptStream) => void;
}

/** Accepts a requested stream. */
export type AcceptStream = {
  (target: { readonly port: number; readonly podName: string }): TunnelStream;
  /** Rejects the stream instead. */
  readonly reject: (code: StreamResetError["code"], message: string) => void;
  /** Aborted with a {@linkcode StreamResetError} when the peer gives the stream up, or the tunnel closes, before it is accepted. */
  readonly cancelled: AbortSignal;
};

/** An open stream with its target. */
export interface OpenedStream {
  readonly stream: TunnelStream;
  readonly port: number;
  readonly podName: string;
}

/** A stream that was requested, but not accepted yet. */
interface PendingStream {
  readonly granted: number;
  /** Ends the request with an error. */
  readonly reject: (error: StreamResetError) => void;
  /** The Control Plane's end. */
  readonly opened?: PromiseWithResolvers<OpenedStream>;
}

/** The socket counts as congested above this, in bytes. */
const CONGESTED_BYTES = 256 * 1024;
/** Smallest window of a stream, in bytes, however many there are. */
const MIN_WINDOW = 16 * 1024;
/** Close code of a protocol error: that of RFC 6455 (1002) with 3000 added, because the WebSocket API reserves the standard codes. */
export const PROTOCOL_ERROR_CODE = 4002;

/** One end of a tunnel. Pass received messages to {@linkcode receive}, and the end of the socket to {@linkcode close}. */
export class TunnelConnection implements StreamConnection {
  readonly #socket: TunnelSocket;
  readonly #options: TunnelConnectionOptions;
  readonly #streams = new Map<number, TunnelStream>();
  readonly #pending = new Map<number, PendingStream>();
  readonly #queue: SendQueue;
  readonly #frame = new Uint8Array(MAX_MESSAGE_BYTES);
  readonly #ready = Promise.withResolvers<void>();
  #maxStreams: number;
  #maxBuffered: number;
  #buffered = 0;
  #lastId = 0;
  #isClosed = false;
  #isGoingAway = false;
  #hasHello = false;
  maxPayload = MAX_PAYLOAD;

  constructor(socket: TunnelSocket, options: TunnelConnectionOptions = {}) {
    this.#socket = socket;
    this.#queue = new SendQueue(socket, CONGESTED_BYTES);
    this.#options = options;
    this.#maxStreams = options.maxStreams ?? 1024;
    this.#maxBuffered = options.maxBuffered ?? 64 * 1024 * 1024;
    this.#ready.promise.catch(() => {});
    this.send({ type: "hello", maxPayload: MAX_PAYLOAD, maxStreams: this.#maxStreams });
  }

  /** Number of open streams. */
  get size(): number {
    return this.#streams.size;
  }

  /** The open streams. */
  get streams(): Iterable<TunnelStream> {
    return this.#streams.values();
  }

  /**
   * Opens a stream to a session: the Control Plane's end.
   *
   * @throws {StreamResetError} if the agent rejects it, or the tunnel is closed
   */
  async open(
    { sessionId, port }: { readonly sessionId: string; readonly port?: number | undefined },
    signal: AbortSignal,
  ): Promise<OpenedStream> {
    await abortable(this.#ready.promise, signal);
    signal.throwIfAborted();
    if (this.#isClosed) throw new StreamResetError("cancelled", "the tunnel was closed");
    if (this.#isGoingAway) throw new StreamResetError("stopping", "the agent accepts no new streams");
    if (this.#streams.size + this.#pending.size >= this.#maxStreams) {
      throw new StreamResetError("too-many-streams", `${this.#maxStreams} streams are open`);
    }
    const stream = ++this.#lastId;
    const opened = Promise.withResolvers<OpenedStream>();
    const granted = this.targetWindow();
    this.#pending.set(stream, { granted, opened, reject: opened.reject });
    this.send({ type: "open", stream, sessionId, port, window: granted });
    const onAbort = () => {
      if (!this.#pending.delete(stream)) return;
      this.send({ type: "reset", stream, code: "cancelled", message: "the viewer has gone" });
      opened.reject(signal.reason);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await opened.promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Handles a received WebSocket message. */
  receive(frame: string | Uint8Array): void {
    if (this.#isClosed) return;
    try {
      if (typeof frame === "string") throw new TunnelProtocolError("a message is text");
      this.#handle(decodeMessage(frame));
    } catch (error) {
      if (error instanceof MalformedStreamError) this.#resetMalformed(error);
      else if (error instanceof TunnelProtocolError) {
        this.#socket.close(PROTOCOL_ERROR_CODE, error.message);
        this.close(`protocol error: ${error.message}`, "protocol");
      } else throw error;
    }
  }

  /** Accepts no new streams; existing ones go on. */
  goAway(message: string): void {
    if (this.#isGoingAway || this.#isClosed) return;
    this.#isGoingAway = true;
    this.send({ type: "goaway", message });
  }

  /** Ends all streams, because the socket has closed or is about to. */
  close(reason: string, code: StreamResetError["code"] = "cancelled"): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#ready.reject(new StreamResetError(code, reason));
    for (const { reject } of this.#pending.values()) reject(new StreamResetError(code, reason));
    this.#pending.clear();
    for (const stream of this.#streams.values()) stream.finishWith({ code, message: reason });
    this.#queue.close();
  }

  send(message: TunnelMessage): void {
    if (!this.#isClosed) this.#socket.send(encodeMessage(message, this.#frame));
  }

  sendInTurn(stream: TunnelStream, message: TunnelMessage): Promise<void> {
    return this.#queue.push(() => {
      if (!stream.end || stream.end.code === "finished") this.send(message);
    });
  }

  targetWindow(): number {
    const share = Math.floor(this.#maxBuffered / Math.max(1, this.#streams.size + this.#pending.size));
    return Math.max(MIN_WINDOW, Math.min(DEFAULT_WINDOW, share));
  }

  buffer(bytes: number): boolean {
    if (bytes > 0 && this.#buffered + bytes > this.#maxBuffered) return false;
    this.#buffered += bytes;
    return true;
  }

  ended(stream: TunnelStream): void {
    this.#streams.delete(stream.id);
  }

  #handle(message: TunnelMessage): void {
    if (message.type !== "hello" && !this.#hasHello) {
      throw new TunnelProtocolError("the first message is not HELLO");
    }
    switch (message.type) {
      case "hello":
        if (this.#hasHello) throw new TunnelProtocolError("a second HELLO");
        this.#hasHello = true;
        this.maxPayload = Math.min(MAX_PAYLOAD, message.maxPayload);
        this.#maxStreams = Math.min(this.#maxStreams, message.maxStreams);
        return this.#ready.resolve();
      case "open":
        return this.#receiveOpen(message);
      case "accept":
        return this.#receiveAccept(message);
      case "goaway":
        this.#isGoingAway = true;
        return;
      case "data":
        if (message.bytes.length > MAX_PAYLOAD) {
          throw new MalformedStreamError(message.stream, `more than ${MAX_PAYLOAD} bytes in one message`);
        }
        return this.#streams.get(message.stream)?.receive(message);
      case "reset":
        this.#rejectPending(message.stream, new StreamResetError(message.code, message.message));
        return this.#streams.get(message.stream)?.receive(message);
      default:
        return this.#streams.get(message.stream)?.receive(message);
    }
  }

  #receiveOpen(request: OpenMessage): void {
    const { stream: id, window } = request;
    const { onOpen } = this.#options;
    if (!onOpen) throw new TunnelProtocolError("the agent opens a stream");
    const cancel = new AbortController();
    const pending = { granted: 0, reject: (error: StreamResetError) => cancel.abort(error) };
    const reject = (code: StreamResetError["code"], message: string) => {
      // A request that was given up may still be connecting while its id is used again.
      if (this.#pending.get(id) !== pending) return;
      this.#pending.delete(id);
      this.send({ type: "reset", stream: id, code, message });
    };
    if (id <= this.#lastId && (this.#pending.has(id) || this.#streams.has(id))) {
      throw new TunnelProtocolError(`stream ${id} is opened twice`);
    }
    this.#lastId = Math.max(this.#lastId, id);
    const isFull = this.#streams.size + this.#pending.size >= this.#maxStreams;
    this.#pending.set(id, pending);
    if (this.#isGoingAway) return reject("stopping", "the agent is stopping");
    if (isFull) return reject("too-many-streams", `${this.#maxStreams} streams are open`);
    const accept = ({ port, podName }: { port: number; podName: string }) => {
      this.#pending.delete(id);
      const granted = this.targetWindow();
      const stream = new TunnelStream(id, this, { credit: window, granted });
      this.#streams.set(id, stream);
      this.send({ type: "accept", stream: id, port, podName, window: granted });
      return stream;
    };
    onOpen(request, Object.assign(accept, { reject, cancelled: cancel.signal }));
  }

  #receiveAccept(message: Extract<TunnelMessage, { type: "accept" }>): void {
    const { stream: id, port, podName, window } = message;
    const pending = this.#pending.get(id);
    // Cancelled meanwhile: the agent has the RESET by now.
    if (!pending?.opened) return;
    this.#pending.delete(id);
    const stream = new TunnelStream(id, this, { credit: window, granted: pending.granted });
    this.#streams.set(id, stream);
    pending.opened.resolve({ stream, port, podName });
  }

  #rejectPending(id: number, error: StreamResetError): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    pending?.reject(error);
  }

  #resetMalformed({ stream, message }: MalformedStreamError): void {
    this.#rejectPending(stream, new StreamResetError("protocol", message));
    const open = this.#streams.get(stream);
    if (open) open.reset("protocol", message);
    else this.send({ type: "reset", stream, code: "protocol", message });
  }
}
