/**
 * Credentials for connections to the Control Plane: API key, certificates and proxy. Files are read again for each connection, so that a rotated
 * key or certificate is used from the next connection on. While a certificate's files are half-rotated, the last valid ones stay in use.
 * @module
 */
import { ControlPlaneError, LinkError, messageOf } from "../common/errors.ts";
import { LastValid } from "../common/last_valid.ts";
import { log } from "../common/log.ts";
import { type CertificatePair, pairProblem, privateKeyProblem, readCertificates } from "../common/pem.ts";
import { clientProxy, type HttpProxy } from "../common/proxies.ts";
import { readKey, type Secret } from "../common/secret.ts";
import { connectionAdvice } from "./connection_advice.ts";
import { IssuedKey, type KeyStore } from "./issued_key.ts";

/** Paths of files; empty if not configured. */
export interface CredentialFiles {
  readonly apiKeyFile: string;
  /** PEM certificates of authorities that are trusted in addition to the well-known ones. */
  readonly caFile: string;
  /** The agent's own certificate and private key, as PEM. */
  readonly clientCert: string;
  readonly clientKey: string;
}

/** The operator's settings for credentials. */
export interface CredentialSettings extends CredentialFiles {
  /** The key to use if no key file is configured. */
  readonly apiKey: Secret | undefined;
  /** The proxy for connections to the Control Plane. */
  readonly proxy: HttpProxy | undefined;
}

/** Credentials of one connection; dispose them when the connection has ended. */
export interface ConnectionCredentials extends Disposable {
  readonly apiKey: Secret | undefined;
  /** Whether the key was issued by the Control Plane. */
  readonly isIssued: boolean;
  /** The client for this connection only. */
  readonly client: Deno.HttpClient | undefined;
}

/** Options of {@linkcode Credentials.tryKeys}. */
export interface TryKeysOptions<T> {
  readonly attempt: (credentials: ConnectionCredentials) => Promise<T>;
  /** Whether the result shows that the key was accepted. @default {() => true} */
  readonly isAccepted?: (result: T) => boolean;
}

/** Provides the credentials of each connection. */
export class Credentials {
  readonly #settings: CredentialSettings;
  readonly #issued: IssuedKey;
  #authorities: LastValid<string> | undefined;
  #pair: LastValid<CertificatePair> | undefined;

  /** @param store persists a key that the Control Plane issues */
  constructor(settings: CredentialSettings, store: KeyStore) {
    this.#settings = settings;
    this.#issued = new IssuedKey(store);
  }

  /** Loads the issued key that a previous process persisted. */
  async restore(signal: AbortSignal): Promise<void> {
    await this.#issued.restore(signal);
  }

  /** Uses an issued key until the operator configures another key. */
  async issue(key: string): Promise<void> {
    await this.#issued.set(key, this.#configuredKey());
  }

  /** Removes the issued key, so that the configured one is used again. */
  async forgetIssued(): Promise<void> {
    await this.#issued.remove();
  }

  /**
   * Reads all files; an issued key takes precedence over the configured one.
   *
   * @throws {LinkError} if a file cannot be read or used
   */
  async read(): Promise<ConnectionCredentials> {
    const configured = this.#configuredKey();
    const issued = await this.#issued.replacementFor(configured);
    return this.#open({ apiKey: issued ?? configured, isIssued: issued !== undefined });
  }

  /**
   * Reads all files and ignores an issued key.
   *
   * @throws {LinkError} if a file cannot be read or used
   */
  readConfigured(): ConnectionCredentials {
    return this.#open({ apiKey: this.#configuredKey(), isIssued: false });
  }

  /**
   * Makes an attempt with the current key. If that is an issued key and it is rejected, makes a second attempt with the configured key, and
   * removes the issued key once the configured one is accepted.
   *
   * @throws {ControlPlaneError} the error of the last attempt
   */
  async tryKeys<T>({ attempt, isAccepted = () => true }: TryKeysOptions<T>): Promise<T> {
    using current = await this.read();
    try {
      return await attempt(current);
    } catch (error) {
      if (!(current.isIssued && error instanceof ControlPlaneError && error.isKeyRejected())) throw error;
    }
    log.warn("The Control Plane rejected the key that it issued, trying the configured key");
    using configured = this.readConfigured();
    const result = await attempt(configured);
    if (isAccepted(result)) await this.forgetIssued();
    return result;
  }

  /** What an operator can do about a failed connection; `undefined` if that is not known. */
  adviceFor(error: ControlPlaneError): string | undefined {
    // A response gives its own reason.
    if (error.status > 0) return undefined;
    const authorities = this.#authorities?.current();
    return connectionAdvice(error.message, { ...this.#settings, authorities });
  }

  #configuredKey(): Secret | undefined {
    const { apiKeyFile, apiKey } = this.#settings;
    if (!apiKeyFile) return apiKey;
    const key = readKey(readFile("--api-key-file", apiKeyFile));
    if (typeof key === "string") throw new LinkError(`The file of --api-key-file ${key}`);
    return key;
  }

  /** Opens a client of its own for each connection: a pooled connection may be half-open after the link was lost. */
  #open(key: Pick<ConnectionCredentials, "apiKey" | "isIssued">): ConnectionCredentials {
    const { caFile, clientCert, clientKey, proxy } = this.#settings;
    if (caFile) this.#authorities ??= new LastValid(() => readAuthorities(caFile));
    if (clientCert) this.#pair ??= new LastValid(() => readPair(clientCert, clientKey));
    const client = Deno.createHttpClient({
      ...(this.#authorities ? { caCerts: [this.#authorities.current()] } : {}),
      ...this.#pair?.current(),
      ...(proxy ? { proxy: clientProxy(proxy) } : {}),
    });
    return { ...key, client, [Symbol.dispose]: () => client.close() };
  }
}

function readAuthorities(path: string): string {
  const certificates = readCertificates(readFile("--ca-file", path));
  if ("problem" in certificates) throw new LinkError(`The file of --ca-file ${certificates.problem}`);
  return certificates.pem;
}

function readPair(certPath: string, keyPath: string): CertificatePair {
  const pair = { cert: readFile("--client-cert", certPath), key: readFile("--client-key", keyPath) };
  const certificates = readCertificates(pair.cert);
  if ("problem" in certificates) throw new LinkError(`The file of --client-cert ${certificates.problem}`);
  const problem = privateKeyProblem(pair.key) ?? pairProblem(pair);
  if (problem) throw new LinkError(`The file of --client-key ${problem}`);
  return pair;
}

function readFile(flag: string, path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    throw new LinkError(`Cannot read the file of ${flag}: ${messageOf(error)}`, { cause: error });
  }
}
