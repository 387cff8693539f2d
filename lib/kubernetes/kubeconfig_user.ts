/**
 * The credentials of a kubeconfig's user: tokens, certificates, passwords, plug-ins and impersonation, with the rules and the precedence of kubectl.
 * Files are read again for each request, so that a rotated token or certificate is used immediately.
 * Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/#AuthInfo
 * @module
 */
import { LastValid } from "../common/last_valid.ts";
import { type CertificatePair, pairProblem, privateKeyProblem, readCertificates } from "../common/pem.ts";
import type { Entry } from "./kubeconfig_file.ts";
import { pluginOf } from "./kubeconfig_plugin.ts";

/** A header of a request; several may have the same name. */
export type Header = readonly [name: string, value: string];

/** What identifies the agent in a request. */
export interface Identity {
  readonly headers: readonly Header[];
  readonly pair?: CertificatePair | undefined;
}

/** A user whose settings are valid. */
export interface UserCredentials {
  /** Whether there are credentials that can be sent to an unencrypted address; certificates cannot. */
  readonly kind: "none" | "certificate" | "any";
  /** @throws {Error} if a plug-in fails or returns no credentials */
  readonly read: () => Promise<Identity>;
}

/** What a header cannot contain, or `fetch` removes: Kubernetes would see another user. */
// deno-lint-ignore no-control-regex
const UNSENDABLE = /^[ \t]|[ \t]$|[\0-\x08\x0a-\x1f\x7f]/;
/** Fields that `kubectl config view` replaces. */
const REDACTED = /^(DATA\+OMITTED|REDACTED)$/;
const KNOWN_FIELDS: readonly string[] = [
  ...["token", "tokenFile", "client-certificate", "client-certificate-data", "client-key", "client-key-data"],
  ...["username", "password", "exec", "auth-provider", "as", "as-uid", "as-groups", "as-user-extra"],
];

/**
 * Checks the settings of a user and reads its files.
 *
 * @throws {KubeconfigError} if a field is invalid, a file cannot be used, or fields contradict each other
 */
export function userCredentials(user: Entry): UserCredentials {
  const impersonation = impersonationOf(user);
  const token = tokenOf(user);
  const basic = basicOf(user);
  if (token && basic) throw user.error("token and username are both set: only one of them is allowed");
  const pair = certificateOf(user);
  const plugin = token || basic ? undefined : pluginOf(user);
  const kind = token || basic || plugin ? "any" : pair ? "certificate" : "none";
  const read = async (): Promise<Identity> => {
    const own = await plugin?.();
    const secret = token?.current() ?? basic;
    const authorization: Header[] = secret ? [["Authorization", secret]] : [];
    return {
      headers: [...authorization, ...own?.headers ?? [], ...impersonation],
      pair: own?.pair ?? pair?.current(),
    };
  };
  return { kind, read };
}

/** Text for the error that a user has no credentials, with the fields that are probably misspelled. */
export function describeMissing(user: Entry): string {
  const unknown = user.fields.filter((field) => !KNOWN_FIELDS.includes(field));
  const hint = unknown.length > 0 ? ` (unknown: ${unknown.join(", ")})` : "";
  return `none of token, tokenFile, client-certificate and exec is set${hint}`;
}

/**
 * Reads what a field contains, or the file that it names.
 *
 * @returns `undefined` if neither the field nor the one with the suffix `-data` is set
 * @throws {KubeconfigError} if both are set, or the data are not base64
 */
export function contentOf(entry: Entry, field: string): { field: string; read: () => string } | undefined {
  const dataField = `${field}-data`;
  const data = entry.text(dataField);
  const path = entry.path(field);
  if (data && path) throw entry.error(`${dataField} and ${field} are both set: only one of them is allowed`);
  if (path) return { field: `${field} ${path}`, read: () => entry.readFile(field) };
  if (!data) return undefined;
  const text = decodeBase64(entry, { field: dataField, data });
  return { field: dataField, read: () => text };
}

function decodeBase64(entry: Entry, { field, data }: { field: string; data: string }): string {
  if (REDACTED.test(data)) {
    throw entry.error(`${field} is ${data}, a placeholder of kubectl config view: export it with --raw`);
  }
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(data), (character) => character.charCodeAt(0)));
  } catch (cause) {
    throw entry.error(`${field} is not base64`, { cause });
  }
}

/** A token in a file takes precedence; the other one is used while the file cannot be read at the start. */
function tokenOf(user: Entry): LastValid<string> | undefined {
  const token = user.text("token");
  const path = user.path("tokenFile");
  const inline = token ? bearer(user, { field: "token", token }) : undefined;
  if (path) {
    const field = `tokenFile ${path}`;
    return new LastValid(() => bearer(user, { field, token: user.readFile("tokenFile").trim() }), inline);
  }
  return inline === undefined ? undefined : new LastValid(() => inline);
}

function bearer(user: Entry, { field, token }: { field: string; token: string }): string {
  if (token === "") throw user.error(`${field} is empty`);
  if (REDACTED.test(token)) {
    throw user.error(`${field} is ${token}, a placeholder of kubectl config view: export it with --raw`);
  }
  if (/[^\t\x20-\x7e]/.test(token)) throw user.error(`${field} contains characters that no token has`);
  return `Bearer ${token}`;
}

function basicOf(user: Entry): string | undefined {
  const username = user.text("username");
  const password = user.text("password");
  if (username) return `Basic ${btoa(utf8Bytes(`${username}:${password}`))}`;
  if (password) throw user.error("password is set without username");
  return undefined;
}

function certificateOf(user: Entry): LastValid<CertificatePair> | undefined {
  const cert = contentOf(user, "client-certificate");
  const key = contentOf(user, "client-key");
  if (!cert && !key) return undefined;
  if (!key) throw user.error("client-certificate is set without client-key");
  if (!cert) throw user.error("client-key is set without client-certificate");
  let valid: CertificatePair | undefined;
  return new LastValid(() => {
    const [certText, keyText] = [cert.read(), key.read()];
    if (valid?.cert === certText && valid.key === keyText) return valid;
    const certificates = readCertificates(certText);
    if ("problem" in certificates) throw user.error(`${cert.field} ${certificates.problem}`);
    const pair = { cert: certText, key: keyText };
    const problem = privateKeyProblem(keyText) ?? pairProblem(pair);
    if (problem) throw user.error(`${key.field} ${problem}`);
    return valid = pair;
  });
}

/** Source: https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/ */
function impersonationOf(user: Entry): Header[] {
  const name = user.text("as");
  const uid = user.text("as-uid");
  const groups = user.texts("as-groups");
  const extra = user.textLists("as-user-extra");
  if (!name) {
    const [field] = user.fields.filter((one) => one.startsWith("as-"));
    if (field) throw user.error(`${field} is set without as, the user to impersonate`);
    return [];
  }
  const header = (field: string, [header, value]: Header): Header => {
    if (UNSENDABLE.test(value)) {
      throw user.error(`${field} must not begin or end with a space, or contain control characters`);
    }
    return [header, utf8Bytes(value)];
  };
  return [
    header("as", ["Impersonate-User", name]),
    ...(uid ? [header("as-uid", ["Impersonate-Uid", uid])] : []),
    ...groups.map((group) => header("as-groups", ["Impersonate-Group", group])),
    ...extra.flatMap(([key, values]) =>
      values.map((value) =>
        header(`as-user-extra.${key}`, [`Impersonate-Extra-${escapeHeaderName(key)}`, value])
      )
    ),
  ];
}

/** UTF-8 as one character per byte, as `fetch` takes the values of headers. */
function utf8Bytes(text: string): string {
  return Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
}

/** Percent-encodes what may not be in a header's name, as client-go does. */
function escapeHeaderName(key: string): string {
  return utf8Bytes(key).replace(
    /[^!#$&'*+\-.^_`|~0-9A-Za-z]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`,
  );
}
