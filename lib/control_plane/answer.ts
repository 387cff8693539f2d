/**
 * What the Control Plane says over HTTP, read as far as an honest answer is long.
 * @module
 */
import { parseRecord } from "../common/json.ts";

/** An answer is a few hundred bytes; more is no Control Plane. */
const MAX_LENGTH = 64 * 1024;

/** What it says; `undefined` where that is no object of JSON. */
export type Answer = Readonly<Record<string, unknown>> | undefined;

/** The body as an object of JSON, or `undefined` where it is none or too long. */
export async function readAnswer(response: Response): Promise<Answer> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > MAX_LENGTH) return undefined;
  }
  return parseRecord(text);
}
