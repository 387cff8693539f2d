/**
 * A Control Plane's refusal in words: its status, which setting is wrong, and what it says itself. Pure.
 * @module
 */
import type { Answer } from "./answer.ts";

/** Longest part of the Control Plane's own words that is told, in characters. */
const MAX_WORDS = 500;

/** Which setting is wrong, for the refusals that only an operator can mend. */
const MEANINGS: ReadonlyMap<number, string> = new Map([
  [400, "it does not accept what the agent says of itself: check --agent-id, --platform and --region"],
  [401, "it does not accept the API key: check AGENT_API_KEY or --api-key-file"],
  [403, "it does not allow this agent: check --agent-id and its API key"],
  [404, "it does not know the address or the agent: check --control-plane-url and --agent-id"],
]);

/** What servers answer that are asked for a WebSocket without an upgrade and miss nothing else: RFC 9110, and Go's usual library. */
export const UPGRADE_MISSING: readonly number[] = [400, 426];

/** Says what an answer means that is no acceptance, such as `answered 429 (it says: slow down)`. */
export function describeRefusal(
  { status, headers }: Response,
  { answer, keys }: { answer: Answer; keys: readonly unknown[] },
): string {
  const location = status >= 300 && status < 400 ? headers.get("Location") : null;
  const meaning = location
    ? `it redirects to ${
      hideKeys(location.replace(/[?#].*$/, ""), keys)
    }: set --control-plane-url to where it is`
    : MEANINGS.get(status);
  const said = ownWords(answer, keys);
  return `answered ${status}${meaning ? `: ${meaning}` : ""}${said ? ` (it says: ${said})` : ""}`;
}

/** The Control Plane's own words, 500 characters at most, without keys. */
export function ownWords(answer: Answer, keys: readonly unknown[]): string {
  const words = [answer?.message, answer?.error, answer?.details].filter((part) =>
    typeof part === "string" && part !== ""
  );
  return hideKeys(words.join(": "), keys).slice(0, MAX_WORDS);
}

/** A Control Plane may repeat the key that it got, or the one that it gives. */
export function hideKeys(text: string, keys: readonly unknown[]): string {
  return keys.filter((key) => typeof key === "string" && key !== "").reduce<string>(
    (shown, key) => shown.replaceAll(String(key), "[redacted]"),
    text,
  );
}
