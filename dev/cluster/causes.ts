/**
 * Common validation errors of a field, with the messages of the API.
 * @module
 */
import type { Cause } from "./api_error.ts";

/** A required field is missing. */
export function required(field: string, why = ""): Cause {
  return { reason: "FieldValueRequired", message: why ? `Required value: ${why}` : "Required value", field };
}

/** The value of a field is invalid. */
export function wrong(field: string, value: unknown, why: string): Cause {
  return { reason: "FieldValueInvalid", message: `Invalid value: ${JSON.stringify(value)}: ${why}`, field };
}
