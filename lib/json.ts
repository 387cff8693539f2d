/**
 * Looking at JSON from outside. Pure.
 * @module
 */

/** The value as an object of JSON, or `undefined` for anything else. */
export function asRecord(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? value as Record<string, unknown>
    : undefined;
}
