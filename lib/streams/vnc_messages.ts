/**
 * Carries the displays of sessions in messages of the control link (`--vnc-messages`), for Control Planes without the tunnel. They do not say when
 * a viewer arrives, so the display of each running session is connected in advance, and its first bytes are sent at once. When a viewer leaves,
 * the display is connected again for the next one. `docs/streams.md` describes the messages and their limits.
 * @module
 */
import { delay } from "@std/async";
import { Backoff } from "../common/backoff.ts";
import { encode, type Outbound } from "../control_plane/protocol.ts";
import { Semaphore } from "../kubernetes/semaphore.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { currentPod, isReady } from "../status/readiness.ts";
import { ByteQueue } from "./byte_queue.ts";
import { SendQueue } from "./send_queue.ts";
import type { SessionStreams, ViewerStream } from "./session_streams.ts";
import { StreamResetError, TUNNEL_FEATURE } from "./tunnel_messages.ts";
import type { StreamEnd } from "./tunnel_stream.ts";

/** The connection that carries the control link. */
export interface VncWire {
  readonly bufferedAmount: number;
  send(text: string): boolean;
}

/** Options of {@linkcode VncMessages}. */
export interface VncMessagesOptions {
  readonly cache: SessionCache;
  readonly streams: Pick<SessionStreams, "serve">;
  /** Pause before a display is connected again after a failure, in milliseconds; it doubles with each further failure, up to 16 times. */
  readonly retryMs: number;
}

type VncMessage = Extract<Outbound, { type: "vnc_ready" | "vnc_data" }>;

/** Bytes of a display in one message: commands and heartbeats wait for no more than this and what is in the socket. */
const MESSAGE_BYTES = 32 * 1024;
/** Nothing is sent while more bytes than this wait in the socket. */
const CONGESTED_BYTES = 32 * 1024;
/** Bytes of a viewer that wait for the pod; the messages have no flow control. */
const MAX_RECEIVED_BYTES = 256 * 1024;
/** Displays that are connected at the same time, after the link came up. */
const CONCURRENT_DIALS = 8;

/** The displays of all sessions while the link to a Control Plane without a tunnel is up. */
export class VncMessages implements Disposable {
  readonly #options: VncMessagesOptions;
  readonly #stopListening: () => void;
  readonly #dials = new Semaphore(CONCURRENT_DIALS);
  /** The sessions whose display is, or will be, connected. */
  readonly #serving = new Set<string>();
  readonly #streams = new Map<string, VncStream>();
  #link: VncLink | undefined;

  constructor(options: VncMessagesOptions) {
    this.#options = options;
    this.#stopListening = options.cache.listen((sessionId) => this.#check(sessionId));
  }

  /** Called each time the link comes up, with the features that the Control Plane supports. */
  onLinkUp(features: readonly string[], wire: VncWire): void {
    if (features.includes(TUNNEL_FEATURE)) return;
    this.#link = new VncLink(wire);
    for (const sessionId of this.#options.cache.sessionIds()) this.#check(sessionId);
  }

  /** Called when the link is down: ends all streams. */
  onLinkDown(): void {
    this.#link?.[Symbol.dispose]();
    this.#link = undefined;
    this.#serving.clear();
    for (const stream of [...this.#streams.values()]) stream.reset("cancelled", "the link was closed");
  }

  /** Passes on what a viewer sent. */
  receive(sessionId: string, bytes: Uint8Array): void {
    this.#streams.get(sessionId)?.receive(bytes);
  }

  /** A viewer has left. */
  close(sessionId: string): void {
    this.#streams.get(sessionId)?.reset("cancelled", "the viewer has gone");
  }

  /** Ends all streams. */
  [Symbol.dispose](): void {
    this.#stopListening();
    this.onLinkDown();
  }

  #check(sessionId: string): void {
    if (!this.#link || this.#serving.has(sessionId) || !this.#isRunning(sessionId)) return;
    this.#serving.add(sessionId);
    void this.#serve(sessionId, this.#link);
  }

  /** Keeps the display connected while the session runs and the link is up. Never rejects. */
  async #serve(sessionId: string, link: VncLink): Promise<void> {
    const { retryMs } = this.#options;
    const backoff = new Backoff({ firstMs: retryMs, longestMs: retryMs * 16, jitter: [1, 1.1] });
    while (!link.signal.aborted && this.#isRunning(sessionId)) {
      const end = await this.#connect(sessionId, link);
      if (end?.code === "cancelled") backoff.reset();
      else await delay(backoff.next(), { signal: link.signal }).catch(() => {});
    }
    if (this.#link === link) this.#serving.delete(sessionId);
  }

  /** Connects the display, and returns how its stream ended; `undefined` if it could not be connected. */
  async #connect(sessionId: string, link: VncLink): Promise<StreamEnd | undefined> {
    const { promise: connected, resolve } = Promise.withResolvers<void>();
    let stream: VncStream | undefined;
    const accept = ({ port, podName }: { port: number; podName: string }) => {
      stream = new VncStream(sessionId, link);
      this.#streams.set(sessionId, stream);
      link.send({ type: "vnc_ready", payload: { sessionId, vncPort: port, podName } });
      resolve();
      return stream;
    };
    try {
      let served: Promise<void> | undefined;
      await this.#dials.run(async () => {
        const viewer = Object.assign(accept, { reject: () => resolve(), cancelled: link.signal });
        served = this.#options.streams.serve({ sessionId, port: undefined }, viewer);
        await connected;
      }, link.signal);
      await served;
    } catch {
      // The link is down.
    }
    if (stream && this.#streams.get(sessionId) === stream) this.#streams.delete(sessionId);
    return stream?.end;
  }

  #isRunning(sessionId: string): boolean {
    const { deployment, pods } = this.#options.cache.session(sessionId);
    const pod = deployment?.spec?.replicas === 0 ? undefined : currentPod(pods);
    return pod !== undefined && isReady(pod);
  }
}

/** One connection of the control link. Sessions take turns, one message each. */
class VncLink implements Disposable {
  readonly #wire: VncWire;
  readonly #down = new AbortController();
  readonly #queue: SendQueue;

  constructor(wire: VncWire) {
    this.#wire = wire;
    this.#queue = new SendQueue(wire, CONGESTED_BYTES);
  }

  /** Aborted when the link is down. */
  get signal(): AbortSignal {
    return this.#down.signal;
  }

  send(message: VncMessage): void {
    this.#wire.send(encode(message));
  }

  /** Sends a message in its turn, once the socket is not congested. */
  async sendInTurn(message: VncMessage): Promise<void> {
    await this.#queue.push(() => this.send(message));
    this.signal.throwIfAborted();
  }

  [Symbol.dispose](): void {
    this.#down.abort(new StreamResetError("cancelled", "the link was closed"));
    this.#queue.close();
  }
}

/** The display of one session. */
class VncStream implements ViewerStream {
  readonly #sessionId: string;
  readonly #link: VncLink;
  readonly #received = new ByteQueue();
  readonly #closed = Promise.withResolvers<StreamEnd>();
  readonly #used = Promise.withResolvers<void>();
  #end: StreamEnd | undefined;
  #wake: () => void = () => {};
  bytesIn = 0;
  bytesOut = 0;
  readonly stalls = 0;

  constructor(sessionId: string, link: VncLink) {
    this.#sessionId = sessionId;
    this.#link = link;
  }

  get end(): StreamEnd | undefined {
    return this.#end;
  }

  get closed(): Promise<StreamEnd> {
    return this.#closed.promise;
  }

  get used(): Promise<void> {
    return this.#used.promise;
  }

  receive(bytes: Uint8Array): void {
    if (this.#end) return;
    if (this.#received.size + bytes.length > MAX_RECEIVED_BYTES) {
      return this.reset("flow-control", "the pod does not accept what the viewer sends");
    }
    this.bytesIn += bytes.length;
    this.#received.push(bytes);
    this.#used.resolve();
    this.#wake();
  }

  async read(): Promise<Uint8Array | undefined> {
    while (true) {
      if (this.#end) throw new StreamResetError(this.#end.code, this.#end.message);
      const bytes = this.#received.shift();
      if (bytes) return bytes;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
  }

  passedOn(): void {}

  async write(bytes: Uint8Array): Promise<void> {
    for (let start = 0; start < bytes.length; start += MESSAGE_BYTES) {
      if (this.#end) throw new StreamResetError(this.#end.code, this.#end.message);
      const part = bytes.subarray(start, start + MESSAGE_BYTES);
      const data = part.toBase64();
      await this.#link.sendInTurn({ type: "vnc_data", payload: { sessionId: this.#sessionId, data } });
      this.bytesOut += part.length;
    }
  }

  /** The messages have no half-close. */
  finish(): void {
    this.reset("finished", "the pod ended the connection");
  }

  reset(code: StreamEnd["code"], message: string): void {
    if (this.#end) return;
    this.#end = { code, message };
    this.#closed.resolve(this.#end);
    this.#wake();
  }
}
