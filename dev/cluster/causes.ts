/**
 * The usual things that can be wrong with a field, in the API's words.
 * @module
 */
import type { Cause } from "./api_error.ts";

/** A field that must be given. */
export function required(field: string, why = ""): Cause {
  return { reason: "FieldValueRequired", message: why ? `Required value: ${why}` : "Required value", field };
}

/** A field whose value is wrong. */
export function wrong(field: string, value: unknown, why: string): Cause {
  return { reason: "FieldValueInvalid", message: `Invalid value: ${JSON.stringify(value)}: ${why}`, field };
}
