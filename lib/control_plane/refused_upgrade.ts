/**
 * Why a WebSocket was refused. The native one hides the answer: its address is asked once more without an upgrade, which opens no link and
 * disturbs none, and tells what the Control Plane holds against agent or key.
 * @module
 */
import { LinkError } from "../common/errors.ts";
import { parseRetryAfter } from "../common/backoff.ts";
import { ask, type AskOptions } from "./ask.ts";
import { describeRefusal, UPGRADE_MISSING } from "./refusal.ts";

/**
 * The error of a WebSocket that was refused, with status and wait where the answer without an upgrade is a refusal, too.
 *
 * @param url the WebSocket's address
 * @param cause why it did not open, as far as the WebSocket tells
 */
export async function refusedUpgrade(
  url: string,
  { cause, ...options }: Pick<AskOptions, "credentials" | "signal"> & { readonly cause: Error },
): Promise<LinkError> {
  const problem = `The Control Plane refused the WebSocket at ${url.split("?")[0]}`;
  try {
    const { response, answer } = await ask(url.replace(/^ws/, "http"), options);
    const { status, headers } = response;
    if (status >= 300 && !UPGRADE_MISSING.includes(status)) {
      const said = describeRefusal(response, { answer, keys: [options.credentials.apiKey?.reveal()] });
      return new LinkError(`${problem}: it ${said}`, {
        cause,
        status,
        retryAfterMs: parseRetryAfter(headers),
      });
    }
  } catch {
    // Without an answer there is nothing more to tell.
  }
  return new LinkError(`${problem}: ${cause.message}`, { cause });
}
