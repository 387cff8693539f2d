/**
 * One stream of a tunnel: bytes in both directions with flow control by credit, half-close and reset. The same for both ends of the tunnel.
 * @module
 */
import { ByteQueue } from "./byte_queue.ts";
import { StreamResetError, type TunnelMessage } from "./tunnel_messages.ts";

/** Default window of a stream, in bytes. */
export const DEFAULT_WINDOW = 512 * 1024;

/** What a stream needs of its connection. */
export interface StreamConnection {
  /** Largest payload of a DATA message, in bytes. */
  readonly maxPayload: number;
  /** Sends a message at once. */
  send(message: TunnelMessage): void;
  /** Sends DATA when it is the stream's turn and the socket is not congested. */
  sendInTurn(stream: TunnelStream, message: TunnelMessage): Promise<void>;
  /** Window that the stream should have now, in bytes: smaller if many streams share the buffer. */
  targetWindow(): number;
  /** Accounts for bytes that are buffered until they are passed on; returns false if there is no room for them. */
  buffer(bytes: number): boolean;
  /** Called once when the stream has ended. */
  ended(stream: TunnelStream): void;
}

/** How a stream ended: without a code after FIN from both sides. */
export interface StreamEnd {
  readonly code: StreamResetError["code"] | "finished";
  readonly message: string;
}

/** A stream. */
export class TunnelStream {
  readonly id: number;
  readonly #connection: StreamConnection;
  readonly #closed = Promise.withResolvers<StreamEnd>();
  readonly #received = new ByteQueue();
  /** Bytes that this side may send. */
  #credit: number;
  /** Bytes that the peer may still send, and those that were passed on, but for which it has no new credit yet. */
  #granted = 0;
  #passedOn = 0;
  #buffered = 0;
  #hasSentFin = false;
  #hasReceivedFin = false;
  #end: StreamEnd | undefined;
  #wake: (() => void)[] = [];
  /** Bytes received and sent. */
  bytesIn = 0;
  bytesOut = 0;
  /** How often a write had to wait for credit. */
  stalls = 0;

  constructor(
    id: number,
    connection: StreamConnection,
    { credit, granted }: { credit: number; granted: number },
  ) {
    this.id = id;
    this.#connection = connection;
    this.#credit = credit;
    this.#granted = granted;
  }

  /** How the stream ended; `undefined` while it is open. */
  get end(): StreamEnd | undefined {
    return this.#end;
  }

  /** Resolves when the stream has ended. */
  get closed(): Promise<StreamEnd> {
    return this.#closed.promise;
  }

  /**
   * The next received bytes; `undefined` after the peer's FIN. Call {@linkcode passedOn} when they are accepted further on.
   *
   * @throws {StreamResetError} if the stream was reset
   */
  async read(): Promise<Uint8Array | undefined> {
    while (true) {
      const chunk = this.#received.shift();
      if (chunk) return chunk;
      if (this.#hasReceivedFin) return undefined;
      this.#throwIfEnded();
      await this.#change();
    }
  }

  /** Returns credit for received bytes. */
  passedOn(bytes: number): void {
    // After a reset nothing is left to release.
    this.#release(Math.min(bytes, this.#buffered));
    this.#passedOn += bytes;
    if (this.#end || this.#hasReceivedFin) return;
    const target = this.#connection.targetWindow();
    const window = this.#granted + this.#buffered;
    const credit = Math.min(this.#passedOn, target - window);
    // Few messages for many bytes, but the peer never waits for long.
    if (credit <= 0 || (credit < target / 4 && this.#granted > target / 2)) return;
    this.#passedOn = 0;
    this.#granted += credit;
    this.#connection.send({ type: "credit", stream: this.id, bytes: credit });
  }

  /**
   * Sends bytes as the peer's credit allows. Resolves when they are in the socket's buffer; call it again only then.
   *
   * @throws {StreamResetError} if the stream was reset
   */
  async write(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) {
      this.#throwIfEnded();
      if (this.#credit === 0) {
        this.stalls += 1;
        await this.#change();
        continue;
      }
      const part = rest.subarray(0, Math.min(rest.length, this.#credit, this.#connection.maxPayload));
      this.#credit -= part.length;
      this.bytesOut += part.length;
      await this.#connection.sendInTurn(this, { type: "data", stream: this.id, bytes: part });
      rest = rest.subarray(part.length);
    }
  }

  /** Sends FIN: no more data from this side. */
  finish(): void {
    if (this.#hasSentFin || this.#end) return;
    this.#hasSentFin = true;
    this.#connection.send({ type: "fin", stream: this.id });
    this.#finishIfDone();
  }

  /** Ends the stream in both directions, and drops what was not read. Sends nothing if it has ended. */
  reset(code: StreamResetError["code"], message: string): void {
    if (this.#end) return this.#discard();
    this.#connection.send({ type: "reset", stream: this.id, code, message });
    this.finishWith({ code, message });
  }

  /** Handles a message of the peer. */
  receive(message: Extract<TunnelMessage, { type: "data" | "credit" | "fin" | "reset" }>): void {
    if (this.#end) return;
    switch (message.type) {
      case "data":
        return this.#receiveData(message.bytes);
      case "credit":
        this.#credit += message.bytes;
        if (this.#credit > 2 ** 32) this.reset("flow-control", "the credit exceeds 2^32 bytes");
        break;
      case "fin":
        this.#hasReceivedFin = true;
        this.#finishIfDone();
        break;
      case "reset":
        return this.finishWith({ code: message.code, message: message.message });
    }
    this.#notify();
  }

  /** Ends the stream without a message. */
  finishWith(end: StreamEnd): void {
    if (this.#end) return;
    this.#end = end;
    if (end.code !== "finished") this.#discard();
    this.#connection.ended(this);
    this.#closed.resolve(end);
    this.#notify();
  }

  #receiveData(bytes: Uint8Array): void {
    if (bytes.length > this.#granted || this.#hasReceivedFin) {
      return this.reset("flow-control", "more data than the credit allows");
    }
    if (!this.#connection.buffer(bytes.length)) {
      return this.reset("flow-control", "the buffer of all streams is full");
    }
    this.#granted -= bytes.length;
    this.#buffered += bytes.length;
    this.bytesIn += bytes.length;
    this.#received.push(bytes);
    this.#notify();
  }

  #discard(): void {
    this.#received.clear();
    this.#release(this.#buffered);
  }

  #release(bytes: number): void {
    this.#buffered -= bytes;
    this.#connection.buffer(-bytes);
  }

  #finishIfDone(): void {
    if (this.#hasSentFin && this.#hasReceivedFin) this.finishWith({ code: "finished", message: "" });
  }

  #throwIfEnded(): void {
    if (this.#end) throw new StreamResetError(this.#end.code, this.#end.message || "the stream has ended");
  }

  #change(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake.push(resolve);
    return promise;
  }

  #notify(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const resolve of waiting) resolve();
  }
}
