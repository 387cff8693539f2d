/**
 * Answers that a test has laid ready: requests take them in order, and get the normal answer when there is none left.
 * @module
 */

/** An answer instead of the normal one; a body that is text is sent as it is, any other as JSON. */
export interface ScriptedAnswer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

/** A queue of answers. */
export class Script<Answer> {
  readonly #queue: Answer[] = [];

  /** Lays the answer ready for the next `times` requests. */
  add(answer: Answer, times = 1): void {
    for (let i = 0; i < times; i++) this.#queue.push(answer);
  }

  /** Takes the answer for the request at hand. */
  next(): Answer | undefined {
    return this.#queue.shift();
  }
}

/** The answer as a response. */
export function toResponse({ status, body, headers = {} }: ScriptedAnswer): Response {
  if (typeof body === "string" || body === undefined) return new Response(body, { status, headers });
  return Response.json(body, { status, headers });
}
