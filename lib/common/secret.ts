/**
 * A value that must not be shown: it writes itself as `[redacted]` wherever text or JSON is made of it.
 * @module
 */

/** Holds a secret; only {@linkcode Secret.reveal} gives it out. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value itself, for the one place that needs it. */
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

/** Whether text can be a key: at least one character, and only such as an HTTP header carries unchanged. */
export function isKey(text: string): boolean {
  return /^[\x21-\x7e]+$/.test(text);
}

/** Reads the key that text holds, without the space around it; where it holds none, says why as the end of a sentence that does not show it. */
export function readKey(
  text: string,
): Secret | "is empty" | "contains characters that are not allowed in a key" {
  const key = text.trim();
  if (key === "") return "is empty";
  return isKey(key) ? new Secret(key) : "contains characters that are not allowed in a key";
}
