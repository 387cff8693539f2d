/**
 * One request to the Control Plane over HTTP, with the agent's key and by the operator's way.
 * @module
 */
import { type Answer, readAnswer } from "./answer.ts";
import type { ConnectionCredentials } from "./credentials.ts";

/** Header that carries the agent's key. */
export const API_KEY_HEADER = "X-Agent-API-Key";

/** How to ask. */
export interface AskOptions {
  readonly credentials: Pick<ConnectionCredentials, "apiKey" | "client">;
  readonly signal: AbortSignal;
  /** What is posted as JSON; without it the request is a GET. */
  readonly post?: unknown;
}

/**
 * Asks once.
 *
 * @throws {TypeError} when there is no answer, or the signal's reason
 */
export async function ask(
  url: string,
  { credentials: { apiKey, client }, signal, post }: AskOptions,
): Promise<{ readonly response: Response; readonly answer: Answer }> {
  const request = post === undefined ? {} : { method: "POST", body: JSON.stringify(post) };
  const response = await fetch(url, {
    ...request,
    headers: {
      ...(post === undefined ? {} : { "Content-Type": "application/json" }),
      ...(apiKey ? { [API_KEY_HEADER]: apiKey.reveal() } : {}),
    },
    ...(client ? { client } : {}),
    // The key goes to the host that the operator named and to no other.
    redirect: "manual",
    signal,
  });
  return { response, answer: await readAnswer(response) };
}
