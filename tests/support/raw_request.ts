/**
 * Requests with any header, including Host, which fetch() sets itself.
 * @module
 */
import { type IncomingHttpHeaders, request } from "node:http";

/** A response. */
export interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** Sends a request; with a body, a POST. */
export async function send(url: string, headers: Record<string, string>, body?: string): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const method = body === undefined ? "GET" : "POST";
  request(url, { headers, method, agent: false }, async (response) => {
    const chunks = await Array.fromAsync(response as AsyncIterable<Uint8Array>);
    const text = await new Response(new Blob(chunks.map((chunk) => new Uint8Array(chunk)))).text();
    resolve({ status: response.statusCode, headers: response.headers, text });
  }).on("error", reject).end(body);
  return await promise;
}
