/**
 * The body of a watch on its way through a proxy, which can be ended, ended by an error, or silenced.
 * @module
 */

const NEWLINE = 0x0a;
const encoder = new TextEncoder();

/** What is told of a watch. */
export interface WatchStreamEvents {
  /** It has ended, or its reader has left; told once. */
  readonly onOver: () => void;
  /** The source broke, so that the way to the reader must be broken too. */
  readonly onBroken: () => void;
}

/** Passes on each event as it comes; only what is not a whole line yet waits, so that an error never splits one. */
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

  /** Ends it as a server does when its time is up. */
  end(): void {
    if (this.#isOver) return;
    this.#controller?.close();
    this.#over();
  }

  /** Ends it by an event of the type ERROR with this object. */
  fail(status: unknown): void {
    if (this.#isOver) return;
    this.#controller?.enqueue(encoder.encode(`${JSON.stringify({ type: "ERROR", object: status })}\n`));
    this.end();
  }

  /** Passes nothing on any more, not even the end, and stays open. */
  silence(): void {
    this.#isSilent = true;
  }

  /** Reads until something can be passed on. */
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
