/**
 * Secret values that appear as `[redacted]` in text, JSON and inspection.
 * @module
 */

/** Wraps a secret; only {@linkcode Secret.reveal} returns it. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** Returns the secret value. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return "[redacted]";
  }

  toJSON(): string {
    return "[redacted]";
  }

  [Symbol.for("Deno.customInspect")](): string {
    return "[redacted]";
  }
}

/** Whether a text is a valid API key: not empty, and only visible ASCII characters, as it is sent in an HTTP header. */
export function isKey(text: string): boolean {
  return /^[\x21-\x7e]+$/.test(text);
}

/** Parses an API key and trims the space around it. An invalid key yields the problem, worded to follow the name of its source. */
export function readKey(
  text: string,
): Secret | "is empty" | "contains characters that are not allowed in a key" {
  const key = text.trim();
  if (key === "") return "is empty";
  return isKey(key) ? new Secret(key) : "contains characters that are not allowed in a key";
}
