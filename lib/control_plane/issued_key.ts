/**
 * The API key that the Control Plane issued to this agent. It replaces the configured key that it was issued for, and is persisted so that the
 * next process finds it.
 * @module
 */
import { deadline } from "@std/async";
import { isPermanent, isTimeout, messageOf } from "../common/errors.ts";
import { parseRecord } from "../common/json.ts";
import { log } from "../common/log.ts";
import { isKey, Secret } from "../common/secret.ts";

/** Persists one text. */
export interface KeyStore {
  /** Resolves with `undefined` if there is none. */
  read(): Promise<string | undefined>;
  /** Replaces the text, or removes it. */
  write(text: string | undefined): Promise<void>;
}

/** An issued key, and the fingerprint of the configured key that it replaces. */
interface Issued {
  readonly key: Secret;
  readonly insteadOf: string;
}

/** Timeout of a request to the store, in milliseconds: an unavailable cluster must not delay the connection to the Control Plane. */
const STORE_TIMEOUT_MS = 5000;

/** At most one issued key, in memory and in its store. */
export class IssuedKey {
  readonly #store: KeyStore;
  #issued: Issued | undefined;
  /** Whether the store has answered; a permanent error counts. */
  #isRestored = false;

  constructor(store: KeyStore) {
    this.#store = store;
  }

  /** Loads the persisted key, unless an earlier call has already done so. */
  async restore(signal: AbortSignal): Promise<void> {
    if (this.#isRestored) return;
    try {
      const text = await deadline(this.#store.read(), STORE_TIMEOUT_MS, { signal });
      this.#isRestored = true;
      this.#issued = text === undefined ? undefined : parse(text);
    } catch (error) {
      if (signal.aborted) return;
      this.#isRestored = isPermanent(error);
      warn("Cannot read the issued key, using the configured one", error);
    }
  }

  /** The issued key that replaces the configured one; `undefined` if there is none. */
  async replacementFor(configured: Secret | undefined): Promise<Secret | undefined> {
    return this.#issued?.insteadOf === await fingerprint(configured) ? this.#issued.key : undefined;
  }

  /** Sets the key that was issued for the configured one, and persists it. */
  async set(key: string, configured: Secret | undefined): Promise<void> {
    if (key === configured?.reveal()) return await this.remove();
    const issued = { key: new Secret(key), insteadOf: await fingerprint(configured) };
    if (this.#issued?.key.reveal() === key && this.#issued.insteadOf === issued.insteadOf) return;
    this.#issued = issued;
    this.#isRestored = true;
    try {
      await this.#write(JSON.stringify({ ...issued, key }));
    } catch (error) {
      warn("Cannot store the issued key for the next start", error);
    }
  }

  /** Removes the key from memory and from the store. */
  async remove(): Promise<void> {
    if (!this.#issued) return;
    this.#issued = undefined;
    try {
      await this.#write(undefined);
    } catch (error) {
      warn("Cannot remove the rejected issued key from the cluster", error);
    }
  }

  async #write(text: string | undefined): Promise<void> {
    await deadline(this.#store.write(text), STORE_TIMEOUT_MS);
  }
}

/** Validates the persisted text, as somebody may have edited it. */
function parse(text: string): Issued | undefined {
  const { key, insteadOf } = parseRecord(text) ?? {};
  if (typeof key === "string" && isKey(key) && typeof insteadOf === "string") {
    return { key: new Secret(key), insteadOf };
  }
  log.warn("The stored issued key is invalid, using the configured one");
  return undefined;
}

/** Identifies a configured key without storing it; empty if none is configured. */
async function fingerprint(key: Secret | undefined): Promise<string> {
  if (!key) return "";
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key.reveal()));
  return new Uint8Array(digest).toHex();
}

function warn(problem: string, error: unknown): void {
  log.warn(problem + "{advice}: {reason}", {
    advice: isPermanent(error) ? " (apply k8s/rbac.yaml)" : "",
    reason: isTimeout(error)
      ? `no response from the cluster within ${STORE_TIMEOUT_MS / 1000} seconds`
      : messageOf(error),
  });
}
