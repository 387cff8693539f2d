/**
 * The id token of a kubeconfig's `auth-provider: oidc`, which is refreshed once it has expired. Unlike kubectl, this does not write the new token to
 * the kubeconfig.
 * Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#openid-connect-tokens
 * @module
 */
import type { CustomFetch } from "openid-client";
import { parseRecord } from "../common/json.ts";

/** A token counts as expired this long before its expiry, in milliseconds, because the server's clock may differ. Source: client-go. */
const EXPIRY_MARGIN_MS = 10_000;

/** Fields of the provider's `config`. */
type ProviderConfig = Readonly<Record<string, unknown>>;

/** An id token, and what is needed to refresh it. */
export class OidcToken {
  readonly #config: ProviderConfig;
  #idToken: string;
  #refreshToken: string;
  #refreshing: Promise<void> | undefined;

  constructor(config: ProviderConfig) {
    this.#config = config;
    this.#idToken = this.#text("id-token");
    this.#refreshToken = this.#text("refresh-token");
  }

  /**
   * Returns a token that has not expired.
   *
   * @throws {Error} if it has expired and cannot be refreshed
   */
  async current(): Promise<string> {
    if (hasExpired(this.#idToken)) {
      // A provider may accept a refresh token only once.
      this.#refreshing ??= this.#refresh().finally(() => this.#refreshing = undefined);
      await this.#refreshing;
    }
    return this.#idToken;
  }

  async #refresh(): Promise<void> {
    const [issuer, clientId] = ["idp-issuer-url", "client-id"].map((field) => this.#text(field));
    if (!issuer || !clientId || !this.#refreshToken) {
      throw new Error(
        "id-token has expired, and without idp-issuer-url, client-id and refresh-token, there is no new one",
      );
    }
    const { customFetch, discovery, refreshTokenGrant } = await import("openid-client");
    using client = Deno.createHttpClient({ caCerts: await this.#certificates() });
    const secret = this.#text("client-secret") || undefined;
    // The body is text or a form; its declared type includes views of shared memory, too.
    const send: CustomFetch = (url, init) => fetch(url, { ...init, client } as RequestInit);
    const options = { [customFetch]: send };
    const configuration = await discovery(new URL(issuer), clientId, secret, undefined, options);
    const tokens = await refreshTokenGrant(configuration, this.#refreshToken);
    if (!tokens.id_token) throw new Error("the provider returned no id token");
    this.#idToken = tokens.id_token;
    this.#refreshToken = tokens.refresh_token ?? this.#refreshToken;
  }

  /** Certificates that the provider's certificate may be signed with, besides well-known ones. */
  async #certificates(): Promise<string[]> {
    const data = this.#text("idp-certificate-authority-data");
    if (data) return [atob(data)];
    const path = this.#text("idp-certificate-authority");
    return path ? [await Deno.readTextFile(path)] : [];
  }

  #text(field: string): string {
    const value = this.#config[field];
    return typeof value === "string" ? value : "";
  }
}

/** Whether a JSON Web Token has expired; `true` if it cannot be read. Source: RFC 7519, 4.1.4. */
function hasExpired(token: string): boolean {
  const [, claims = ""] = token.split(".");
  try {
    const { exp } = parseRecord(atob(claims.replaceAll("-", "+").replaceAll("_", "/"))) ?? {};
    return typeof exp !== "number" || Date.now() + EXPIRY_MARGIN_MS > exp * 1000;
  } catch {
    return true;
  }
}
