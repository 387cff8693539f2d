/**
 * Scripted answers: requests consume them in order and get the normal answer when none is left.
 * @module
 */

/** An answer that replaces the normal one; a string body is sent unchanged, any other as JSON. */
export interface ScriptedAnswer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

/** A queue of answers. */
export class Script<Answer> {
  readonly #queue: Answer[] = [];

  /** Uses the answer for the next `times` requests. */
  add(answer: Answer, times = 1): void {
    for (let i = 0; i < times; i++) this.#queue.push(answer);
  }

  /** Removes and returns the next answer. */
  next(): Answer | undefined {
    return this.#queue.shift();
  }
}

/** The answer as a response. */
export function toResponse({ status, body, headers = {} }: ScriptedAnswer): Response {
  if (typeof body === "string" || body === undefined) return new Response(body, { status, headers });
  return Response.json(body, { status, headers });
}
