/**
 * Where issued keys outlive a test's credentials.
 * @module
 */
import type { KeyStore } from "../../lib/control_plane/issued_key.ts";

/** Keeps its text in memory, and tells what was written. */
export class MemoryKeyStore implements KeyStore {
  /** Every text that was written, and `undefined` for each removal. */
  readonly writes: Array<string | undefined> = [];
  #text: string | undefined;

  constructor(text?: string) {
    this.#text = text;
  }

  read(): Promise<string | undefined> {
    return Promise.resolve(this.#text);
  }

  write(text: string | undefined): Promise<void> {
    this.#text = text;
    this.writes.push(text);
    return Promise.resolve();
  }
}
