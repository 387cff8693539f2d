/**
 * How long to leave a server alone before the next attempt. Pure.
 * @module
 */

/** Longest wait that a server can ask for: a slip in a header must not silence the agent for a year. */
const LONGEST_RETRY_AFTER_MS = 3_600_000;

/** Seconds or a date, as milliseconds from now, an hour at most. Source: RFC 9110, section 10.2.3. */
export function retryAfter(headers: Headers, now = Date.now()): number | undefined {
  const value = headers.get("Retry-After");
  if (!value) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isFinite(ms) ? Math.min(Math.max(0, ms), LONGEST_RETRY_AFTER_MS) : undefined;
}

/** The pause after some failures in a row, in milliseconds: it doubles from the first to the longest. */
export function pauseAfter(
  failures: number,
  { firstMs, longestMs }: { readonly firstMs: number; readonly longestMs: number },
): number {
  return Math.min(longestMs, firstMs * 2 ** failures);
}
