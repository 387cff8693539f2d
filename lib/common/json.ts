/**
 * Narrows untrusted JSON to objects. Pure.
 * @module
 */

/** Returns the value if it is a JSON object, else `undefined`. */
export function asRecord(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? value as Record<string, unknown>
    : undefined;
}

/** Parses a text as a JSON object; `undefined` if it is not one. */
export function parseRecord(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return asRecord(JSON.parse(text));
  } catch {
    return undefined;
  }
}
