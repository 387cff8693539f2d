/**
 * The key that the Control Plane issued. It takes the place of the configured key that it was issued for, and is kept where the next start
 * finds it.
 * @module
 */
import { deadline } from "@std/async";
import { isPermanent, isTimeout, messageOf } from "../common/errors.ts";
import { parseRecord } from "../common/json.ts";
import { log } from "../common/log.ts";
import { isKey, Secret } from "../common/secret.ts";

/** Keeps one text beyond the end of the program. */
export interface KeyStore {
  /** Gives `undefined` where nothing is kept. */
  read(): Promise<string | undefined>;
  /** Keeps the text, or nothing any more. */
  write(text: string | undefined): Promise<void>;
}

/** A key, and the fingerprint of the configured one that it took the place of. */
interface Issued {
  readonly key: Secret;
  readonly insteadOf: string;
}

/** Longest wait for the store, in milliseconds: a cluster that does not answer keeps no agent from its Control Plane. */
const STORE_TIMEOUT_MS = 5000;

/** At most one issued key, in memory and in its store. */
export class IssuedKey {
  readonly #store: KeyStore;
  #issued: Issued | undefined;
  /** Whether the store was asked and has answered, be it by a refusal. */
  #isRestored = false;

  constructor(store: KeyStore) {
    this.#store = store;
  }

  /** Takes up the key that is kept, until the store has answered once. */
  async restore(signal: AbortSignal): Promise<void> {
    if (this.#isRestored) return;
    try {
      const text = await this.#inTime(this.#store.read(), signal);
      this.#isRestored = true;
      this.#issued = text === undefined ? undefined : parse(text);
    } catch (error) {
      if (signal.aborted) return;
      this.#isRestored = isPermanent(error);
      log.warn(
        "Cannot look for a key that the Control Plane issued, using the configured one{advice}: {reason}",
        {
          advice: advice(error),
          reason: wordsOf(error),
        },
      );
    }
  }

  /** The key to use instead of the configured one, if there is one. */
  async insteadOf(configured: Secret | undefined): Promise<Secret | undefined> {
    return this.#issued?.insteadOf === await fingerprint(configured) ? this.#issued.key : undefined;
  }

  /** Takes a key that was issued to whoever has the configured one. */
  async take(key: string, configured: Secret | undefined): Promise<void> {
    if (key === configured?.reveal()) return await this.forget();
    const issued = { key: new Secret(key), insteadOf: await fingerprint(configured) };
    if (this.#issued?.key.reveal() === key && this.#issued.insteadOf === issued.insteadOf) return;
    this.#issued = issued;
    this.#isRestored = true;
    try {
      await this.#inTime(this.#store.write(JSON.stringify({ ...issued, key })));
    } catch (error) {
      log.warn("The key that the Control Plane issued cannot be kept for the next start{advice}: {reason}", {
        advice: advice(error),
        reason: wordsOf(error),
      });
    }
  }

  /** Gives the key up for good. */
  async forget(): Promise<void> {
    if (!this.#issued) return;
    this.#issued = undefined;
    try {
      await this.#inTime(this.#store.write(undefined));
    } catch (error) {
      log.warn(
        "The key that the Control Plane refuses cannot be removed from the cluster{advice}: {reason}",
        {
          advice: advice(error),
          reason: wordsOf(error),
        },
      );
    }
  }

  async #inTime<T>(answer: Promise<T>, signal?: AbortSignal): Promise<T> {
    return await deadline(answer, STORE_TIMEOUT_MS, { signal });
  }
}

/** What was kept is text from outside: it may have been edited. */
function parse(text: string): Issued | undefined {
  const { key, insteadOf } = parseRecord(text) ?? {};
  if (typeof key === "string" && isKey(key) && typeof insteadOf === "string") {
    return { key: new Secret(key), insteadOf };
  }
  log.warn("The key that was kept in the cluster is not readable, using the configured one");
  return undefined;
}

/** Tells configured keys apart without keeping them; empty where none is configured. */
async function fingerprint(key: Secret | undefined): Promise<string> {
  if (!key) return "";
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key.reveal()));
  return new Uint8Array(digest).toHex();
}

function advice(error: unknown): string {
  return isPermanent(error) ? " (apply k8s/rbac.yaml)" : "";
}

function wordsOf(error: unknown): string {
  return isTimeout(error)
    ? `no answer from the cluster within ${STORE_TIMEOUT_MS / 1000} seconds`
    : messageOf(error);
}
