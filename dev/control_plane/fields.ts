/**
 * Checks of untrusted JSON: a value and the fields it should have come in, sentences about what is wrong come out.
 * @module
 */

/** A JSON object of unknown content. */
export type JsonObject = Record<string, unknown>;

/** What one field must be. */
export interface Check {
  /** Completes the sentence "X must be …". */
  readonly expected: string;
  accepts(value: unknown): boolean;
}

/** The fields an object should have; fields that are not named may be there too. */
export type Shape = Readonly<Record<string, Check>>;

/** A text that is not empty. */
export const TEXT: Check = {
  expected: "a text that is not empty",
  accepts: (value) => typeof value === "string" && value !== "",
};

/** A text, perhaps empty. */
export const ANY_TEXT: Check = { expected: "a text", accepts: (value) => typeof value === "string" };

/** True or false. */
export const FLAG: Check = { expected: "true or false", accepts: (value) => typeof value === "boolean" };

/** A number from 0. */
export const AMOUNT: Check = {
  expected: "a number from 0",
  accepts: (value) => typeof value === "number" && Number.isFinite(value) && value >= 0,
};

/** A whole number from 0. */
export const COUNT: Check = {
  expected: "a whole number from 0",
  accepts: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
};

/** A port's number; 0 says that there is none yet. */
export const PORT: Check = {
  expected: "a port number",
  accepts: (value) => COUNT.accepts(value) && (value as number) <= 65_535,
};

/** A JSON object. */
export const OBJECT: Check = { expected: "an object", accepts: isObject };

/** Bytes as base64 text. */
export const BASE64: Check = {
  expected: "base64 text",
  accepts: (value) =>
    typeof value === "string" && value.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(value),
};

/** One of the texts. */
export function oneOf(...values: readonly string[]): Check {
  return {
    expected: `one of ${values.join(", ")}`,
    accepts: (value) => typeof value === "string" && values.includes(value),
  };
}

/** The check, or no such field at all. */
export function optional(check: Check): Check {
  return { expected: check.expected, accepts: (value) => value === undefined || check.accepts(value) };
}

/** Whether the value is a JSON object (not null, not an array). */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Says of each field that is not as it should be what is wrong; `path` names the object in the sentences. */
export function checkFields(value: JsonObject, shape: Shape, path = ""): string[] {
  return Object.entries(shape)
    .filter(([name, check]) => !check.accepts(value[name]))
    .map(([name, check]) => `${path}${name} must be ${check.expected}, not ${excerpt(value[name])}`);
}

/** The value as short JSON for a sentence. */
export function excerpt(value: unknown, maxLength = 80): string {
  const text = value === undefined ? "absent" : JSON.stringify(value);
  return text.length > maxLength ? `${text.slice(0, maxLength)}…` : text;
}
