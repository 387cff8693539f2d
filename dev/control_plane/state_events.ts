/**
 * Server-sent events with the state of the Control Plane, for the page: one when it connects, and one after each change.
 * Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
 * @module
 */

/** Changes within this time are sent together, in milliseconds. */
const INTERVAL_MS = 100;

/** The open event streams. */
export class StateEvents {
  readonly #state: () => unknown;
  readonly #streams = new Set<ReadableStreamDefaultController<Uint8Array>>();
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
        this.#streams.add(controller);
        controller.enqueue(this.#event());
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
      const event = this.#event();
      for (const stream of this.#streams) stream.enqueue(event);
    }, INTERVAL_MS);
  }

  /** Ends all streams. */
  close(): void {
    clearTimeout(this.#timer);
    for (const stream of this.#streams) stream.close();
    this.#streams.clear();
  }

  #event(): Uint8Array {
    return new TextEncoder().encode(`data: ${JSON.stringify(this.#state())}\n\n`);
  }
}
