/**
 * Server-sent events with the state of the Control Plane, for the page: one when it connects, and one after changes, as fast as it receives them.
 * Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
 * @module
 */

/** Changes within this time are sent together, in milliseconds. */
const INTERVAL_MS = 100;

/** The open event streams. */
export class StateEvents {
  readonly #state: () => unknown;
  /** The open streams; `true` for those with a newer state that waits until the page has received the last one. */
  readonly #streams = new Map<ReadableStreamDefaultController<Uint8Array>, boolean>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param state the current state, which is sent as JSON */
  constructor(state: () => unknown) {
    this.#state = state;
  }

  /** A response that stays open until the page or the Control Plane closes it. */
  open(): Response {
    let own: ReadableStreamDefaultController<Uint8Array> | undefined;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        own = controller;
        this.#streams.set(controller, true);
      },
      pull: (controller) => {
        if (this.#streams.get(controller)) this.#send(controller);
      },
      cancel: () => {
        if (own) this.#streams.delete(own);
      },
    });
    return new Response(body, {
      headers: { "Content-Type": "text/event-stream", "Cache-Control": "no-store" },
    });
  }

  /** Sends the state soon, because it has changed. */
  changed(): void {
    if (this.#streams.size === 0) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      for (const stream of this.#streams.keys()) {
        this.#streams.set(stream, true);
        if ((stream.desiredSize ?? 0) > 0) this.#send(stream);
      }
    }, INTERVAL_MS);
  }

  /** Ends all streams. */
  close(): void {
    clearTimeout(this.#timer);
    for (const stream of this.#streams.keys()) stream.close();
    this.#streams.clear();
  }

  #send(stream: ReadableStreamDefaultController<Uint8Array>): void {
    this.#streams.set(stream, false);
    stream.enqueue(new TextEncoder().encode(`data: ${JSON.stringify(this.#state())}\n\n`));
  }
}
