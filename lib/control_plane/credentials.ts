/**
 * What the agent proves itself with, whom it trusts, and by which way it goes: key and certificates come in from files, anew for each
 * connection, so that rotated files are used from the next one on.
 * @module
 */
import { LinkError, messageOf } from "../common/errors.ts";
import { clientProxy, type HttpProxy } from "../common/proxies.ts";
import { readKey, type Secret } from "../common/secret.ts";
import { IssuedKey, type KeyStore } from "./issued_key.ts";

/** Paths of files; empty where there is none. */
export interface CredentialFiles {
  readonly apiKeyFile: string;
  /** Certificates of authorities that are trusted besides the well-known ones, as PEM. */
  readonly caFile: string;
  /** The agent's own certificate and its key, as PEM. */
  readonly clientCert: string;
  readonly clientKey: string;
}

/** What an operator sets of all this. */
export interface CredentialSettings extends CredentialFiles {
  /** The key to use where no file holds one. */
  readonly apiKey: Secret | undefined;
  /** The proxy that leads to the Control Plane. */
  readonly proxy: HttpProxy | undefined;
}

/** The credentials of one connection; dispose them when it has ended. */
export interface ConnectionCredentials extends Disposable {
  readonly apiKey: Secret | undefined;
  /** Whether the key is one that the Control Plane issued. */
  readonly isIssued: boolean;
  /** For this connection alone. */
  readonly client: Deno.HttpClient | undefined;
}

/** Source of the credentials of all connections. */
export class Credentials {
  readonly #settings: CredentialSettings;
  readonly #issued: IssuedKey;

  /** @param store keeps a key that the Control Plane issues */
  constructor(settings: CredentialSettings, store: KeyStore) {
    this.#settings = settings;
    this.#issued = new IssuedKey(store);
  }

  /** Takes up an issued key that an earlier run has kept. */
  async restore(signal: AbortSignal): Promise<void> {
    await this.#issued.restore(signal);
  }

  /** Uses a key that the Control Plane issued, until the operator configures another one. */
  async issue(key: string): Promise<void> {
    await this.#issued.take(key, await this.#configuredKey());
  }

  /** Uses the configured key again. */
  async forgetIssued(): Promise<void> {
    await this.#issued.forget();
  }

  /**
   * Reads all files.
   *
   * @throws {LinkError} when one of them cannot be read or used
   */
  async read(): Promise<ConnectionCredentials> {
    const configured = await this.#configuredKey();
    const issued = await this.#issued.insteadOf(configured);
    return await this.#open({ apiKey: issued ?? configured, isIssued: issued !== undefined });
  }

  /**
   * Reads all files and leaves an issued key out.
   *
   * @throws {LinkError} when one of them cannot be read or used
   */
  async readConfigured(): Promise<ConnectionCredentials> {
    return await this.#open({ apiKey: await this.#configuredKey(), isIssued: false });
  }

  async #configuredKey(): Promise<Secret | undefined> {
    const { apiKeyFile, apiKey } = this.#settings;
    if (!apiKeyFile) return apiKey;
    const key = readKey(await read("--api-key-file", apiKeyFile));
    if (typeof key === "string") throw new LinkError(`The file of --api-key-file ${key}`);
    return key;
  }

  async #open(key: Pick<ConnectionCredentials, "apiKey" | "isIssued">): Promise<ConnectionCredentials> {
    const client = await this.#openClient();
    return { ...key, client, [Symbol.dispose]: () => client?.close() };
  }

  /** Of its own for each connection: one that is kept for later would be as dead as the link that comes after it. */
  async #openClient(): Promise<Deno.HttpClient> {
    const { caFile, clientCert, clientKey, proxy } = this.#settings;
    const authority = caFile ? { caCerts: [await read("--ca-file", caFile)] } : {};
    const own = clientCert
      ? { cert: await read("--client-cert", clientCert), key: await read("--client-key", clientKey) }
      : {};
    const way = proxy ? { proxy: clientProxy(proxy) } : {};
    try {
      return Deno.createHttpClient({ ...authority, ...own, ...way });
    } catch (error) {
      const problem = `The certificates of --ca-file, --client-cert and --client-key cannot be used: ${
        messageOf(error)
      }`;
      throw new LinkError(problem, { cause: error });
    }
  }
}

async function read(flag: string, path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    throw new LinkError(`The file of ${flag} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}
