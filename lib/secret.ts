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
