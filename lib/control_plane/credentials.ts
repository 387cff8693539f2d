/**
 * What the agent proves itself with, and whom it trusts: key and certificates come in from files, anew for each connection, so that rotated
 * files are used from the next one on.
 * @module
 */
import { LinkError, messageOf } from "../errors.ts";
import { Secret } from "../secret.ts";

/** Paths of files; empty where there is none. */
export interface CredentialFiles {
  readonly apiKeyFile: string;
  /** Certificates of authorities that are trusted besides the well-known ones, as PEM. */
  readonly caFile: string;
  /** The agent's own certificate and its key, as PEM. */
  readonly clientCert: string;
  readonly clientKey: string;
}

/** The credentials of one connection; dispose them when it has ended. */
export interface ConnectionCredentials extends Disposable {
  readonly apiKey: Secret | undefined;
  /** Absent where nothing but the usual is trusted and shown. */
  readonly client: Deno.HttpClient | undefined;
}

/** Source of the credentials of all connections. */
export class Credentials {
  readonly #files: CredentialFiles;
  readonly #initialKey: Secret | undefined;
  #issued: { readonly key: Secret; readonly insteadOf: string | undefined } | undefined;

  /** @param apiKey the key to use where no file holds one */
  constructor(files: CredentialFiles, apiKey: Secret | undefined) {
    this.#files = files;
    this.#initialKey = apiKey;
  }

  /** Uses a key that the Control Plane issued, until the operator puts another one in the file. */
  async issue(key: string): Promise<void> {
    this.#issued = { key: new Secret(key), insteadOf: (await this.#configuredKey())?.reveal() };
  }

  /**
   * Reads all files.
   *
   * @throws {LinkError} when one of them cannot be read or used
   */
  async read(): Promise<ConnectionCredentials> {
    const configured = await this.#configuredKey();
    if (this.#issued && this.#issued.insteadOf !== configured?.reveal()) this.#issued = undefined;
    const client = await this.#openClient();
    return { apiKey: this.#issued?.key ?? configured, client, [Symbol.dispose]: () => client?.close() };
  }

  async #configuredKey(): Promise<Secret | undefined> {
    const { apiKeyFile } = this.#files;
    return apiKeyFile ? new Secret((await read("--api-key-file", apiKeyFile)).trim()) : this.#initialKey;
  }

  async #openClient(): Promise<Deno.HttpClient | undefined> {
    const { caFile, clientCert, clientKey } = this.#files;
    if (!caFile && !clientCert) return undefined;
    const authority = caFile ? { caCerts: [await read("--ca-file", caFile)] } : {};
    const own = clientCert
      ? { cert: await read("--client-cert", clientCert), key: await read("--client-key", clientKey) }
      : {};
    try {
      return Deno.createHttpClient({ ...authority, ...own });
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
