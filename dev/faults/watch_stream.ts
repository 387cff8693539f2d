/**
 * The response body of a watch through a proxy. It can be ended, ended with an error, or stalled.
 * @module
 */

const NEWLINE = 0x0a;
const encoder = new TextEncoder();

/** Callbacks of a watch. */
export interface WatchStreamEvents {
  /** Called once when the watch ended or its reader left. */
  readonly onOver: () => void;
  /** Called when the source failed, so that the connection to the reader has to fail, too. */
  readonly onBroken: () => void;
}

/** Forwards complete lines only, so that an injected error never splits an event. */
export class WatchStream {
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  readonly #source: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>;
  readonly #events: WatchStreamEvents;
  #controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined;
  #rest = new Uint8Array();
  #isSilent = false;
  #isOver = false;

  constructor(source: ReadableStream<Uint8Array<ArrayBuffer>>, events: WatchStreamEvents) {
    this.#source = source.getReader();
    this.#events = events;
    this.body = new ReadableStream({
      start: (controller) => void (this.#controller = controller),
      pull: () => this.#pull(),
      cancel: () => this.#over(),
    });
  }

  /** Ends the watch, as a server does after its timeout. */
  end(): void {
    if (this.#isOver) return;
    this.#controller?.close();
    this.#over();
  }

  /** Ends the watch with an event of type ERROR and this object. */
  fail(status: unknown): void {
    if (this.#isOver) return;
    this.#controller?.enqueue(encoder.encode(`${JSON.stringify({ type: "ERROR", object: status })}\n`));
    this.end();
  }

  /** Keeps the watch open, but forwards nothing, not even its end. */
  silence(): void {
    this.#isSilent = true;
  }

  /** Reads until a complete line can be forwarded. */
  async #pull(): Promise<void> {
    try {
      while (true) {
        const { done, value } = await this.#source.read();
        if (this.#isOver || (done && this.#isSilent)) return;
        if (done) return this.end();
        if (!this.#isSilent && this.#pass(value)) return;
      }
    } catch {
      if (this.#isOver || this.#isSilent) return;
      this.#over();
      this.#events.onBroken();
    }
  }

  #pass(chunk: Uint8Array<ArrayBuffer>): boolean {
    const bytes = new Uint8Array(this.#rest.length + chunk.length);
    bytes.set(this.#rest);
    bytes.set(chunk, this.#rest.length);
    const length = bytes.lastIndexOf(NEWLINE) + 1;
    this.#rest = bytes.slice(length);
    if (length > 0) this.#controller?.enqueue(bytes.slice(0, length));
    return length > 0;
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#source.cancel().catch(() => {});
    this.#events.onOver();
  }
}
