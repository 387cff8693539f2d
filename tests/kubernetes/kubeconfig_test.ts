import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { KubeconfigError } from "../../lib/common/errors.ts";
import { type ClusterAccess, loadAccess } from "../../lib/kubernetes/kubeconfig.ts";
import { LogCapture } from "../support/log_capture.ts";

const TLS = new URL("../fixtures/tls/", import.meta.url).pathname;
const read = (name: string) => Deno.readTextFileSync(TLS + name);
const data = (name: string) => btoa(read(name));
const SERVER = "https://10.0.0.1:6443";
const CERTIFICATE = { "client-certificate-data": data("client.pem"), "client-key-data": data("client.key") };
const SECRET = "s3cret";

/** A folder with files, which is removed in the end. */
class Folder implements Disposable {
  readonly path = Deno.makeTempDirSync();

  write(name: string, content: unknown): string {
    const path = `${this.path}/${name}`;
    Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    Deno.writeTextFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
    return path;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

interface Parts {
  readonly user?: unknown;
  readonly cluster?: Readonly<Record<string, unknown>>;
  readonly context?: Readonly<Record<string, unknown>>;
  /** Other fields of the file. */
  readonly more?: Readonly<Record<string, unknown>>;
}

function kubeconfig({ user, cluster, context, more }: Parts): Record<string, unknown> {
  return {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "c", cluster: cluster ?? { server: SERVER } }],
    users: [{ name: "u", user }],
    contexts: [{ name: "x", context: context ?? { cluster: "c", user: "u" } }],
    "current-context": "x",
    ...more,
  };
}

/** Loads a kubeconfig that lies in a folder with token and certificate files. */
function load(folder: Folder, content: unknown): ClusterAccess {
  folder.write("token", `${SECRET}\n`);
  folder.write("empty", " \n");
  for (const name of ["ca.pem", "client.pem", "client.key", "server.key"]) {
    folder.write(`pki/${name}`, read(name));
  }
  return loadAccess(folder.write("config", content));
}

const BEARER = ["Authorization", `Bearer ${SECRET}`];

const ACCEPTED: ReadonlyArray<readonly [name: string, parts: Parts, headers: unknown]> = [
  ["a token", { user: { token: SECRET } }, [BEARER]],
  ["a token file beside the kubeconfig", { user: { tokenFile: "token" } }, [BEARER]],
  ["a token and a token file, which takes precedence", { user: { token: "old", tokenFile: "token" } }, [
    BEARER,
  ]],
  ["a token beside a missing token file", { user: { token: SECRET, tokenFile: "missing" } }, [BEARER]],
  ["a certificate", { user: CERTIFICATE }, []],
  ["a certificate and a token", { user: { ...CERTIFICATE, token: SECRET } }, [BEARER]],
  [
    "certificate files beside the kubeconfig",
    { user: { "client-certificate": "pki/client.pem", "client-key": "pki/client.key" } },
    [],
  ],
  ["a user name and password", { user: { username: "älice", password: "p" } }, [
    ["Authorization", "Basic w6RsaWNlOnA="],
  ]],
  ["a token beside an exec plug-in", { user: { token: SECRET, exec: { command: "/missing" } } }, [BEARER]],
  ["an impersonated user", { user: { token: SECRET, as: "alice" } }, [BEARER, ["Impersonate-User", "alice"]]],
  [
    "an impersonated user with uid, groups and extra fields",
    {
      user: {
        token: SECRET,
        as: "älice",
        "as-uid": "42",
        "as-groups": ["g1", "g2, g3"],
        "as-user-extra": { "Example.com/Scope%": ["a", "b"], key: [] },
      },
    },
    [
      BEARER,
      ["Impersonate-User", "Ã¤lice"],
      ["Impersonate-Uid", "42"],
      ["Impersonate-Group", "g1"],
      ["Impersonate-Group", "g2, g3"],
      ["Impersonate-Extra-Example.com%2FScope%25", "a"],
      ["Impersonate-Extra-Example.com%2FScope%25", "b"],
    ],
  ],
  ["no credentials for an unencrypted server", { user: {}, cluster: { server: "http://127.0.0.1:1" } }, []],
  [
    "no user for an unencrypted server",
    { context: { cluster: "c" }, cluster: { server: "http://127.0.0.1:1" } },
    [],
  ],
  ["unknown fields", { user: { token: SECRET, colour: "red" } }, [BEARER]],
  [
    "unrelated broken entries",
    {
      more: {
        clusters: [{ name: "c", cluster: { server: SERVER } }, { name: "d" }, { cluster: {} }, null],
        users: [
          { name: "u", user: { token: SECRET } },
          { name: "v", user: { "client-key-data": "@", tokenFile: "missing", token: 1 } },
          { name: "w", user: "text" },
          "text",
        ],
        contexts: [{ name: "x", context: { cluster: "c", user: "u" } }, { name: "y", context: {} }],
      },
    },
    [BEARER],
  ],
];

for (const [name, parts, headers] of ACCEPTED) {
  Deno.test(`loadAccess() accepts ${name}`, async () => {
    using _logs = new LogCapture();
    using folder = new Folder();
    const credentials = await load(folder, kubeconfig(parts)).credentials();
    assertEquals<unknown>(credentials.headers, headers);
  });
}

const MISSING = "none of token, tokenFile, client-certificate and exec is set";
const ANONYMOUS = "Kubernetes would treat the agent as system:anonymous";
const PLACEHOLDER = "is DATA+OMITTED, a placeholder of kubectl config view: export it with --raw";

const UNSENDABLE = "must not begin or end with a space, or contain control characters";

const REJECTED_USERS: ReadonlyArray<readonly [user: unknown, problem: string]> = [
  [{}, `${MISSING}: ${ANONYMOUS}`],
  [null, `${MISSING}: ${ANONYMOUS}`],
  [{ token: "" }, `${MISSING}: ${ANONYMOUS}`],
  [{ as: "alice" }, `${MISSING}: ${ANONYMOUS}`],
  [{ "token-file": "token" }, `${MISSING} (unknown: token-file): ${ANONYMOUS}`],
  [{ token: 12345 }, "token must be text: put it into quotes"],
  [{ token: "a\nb" }, "token contains characters that no token has"],
  [{ token: "REDACTED" }, "token is REDACTED, a placeholder of kubectl config view: export it with --raw"],
  [{ tokenFile: "empty" }, "tokenFile FOLDER/empty is empty"],
  [
    { tokenFile: "missing" },
    "tokenFile cannot be read: No such file or directory (os error 2): readfile 'FOLDER/missing'",
  ],
  [{ token: SECRET, username: "a" }, "token and username are both set: only one of them is allowed"],
  [{ password: SECRET }, "password is set without username"],
  [
    { "client-certificate-data": CERTIFICATE["client-certificate-data"] },
    "client-certificate is set without client-key",
  ],
  [{ "client-key": "pki/client.key" }, "client-key is set without client-certificate"],
  [{ ...CERTIFICATE, "client-certificate-data": "DATA+OMITTED" }, `client-certificate-data ${PLACEHOLDER}`],
  [{ ...CERTIFICATE, "client-key-data": "DATA+OMITTED" }, `client-key-data ${PLACEHOLDER}`],
  [{ ...CERTIFICATE, "client-certificate-data": "%%" }, "client-certificate-data is not base64"],
  [
    { ...CERTIFICATE, "client-certificate-data": btoa("hello") },
    "client-certificate-data contains no certificate in PEM format",
  ],
  [
    { ...CERTIFICATE, "client-certificate-data": CERTIFICATE["client-key-data"] },
    "client-certificate-data contains no certificate, but a private key",
  ],
  [
    { ...CERTIFICATE, "client-key-data": data("server.key") },
    "client-key-data does not belong to the certificate",
  ],
  [
    { "client-certificate": "pki/client.pem", "client-key": "pki/server.key" },
    "client-key FOLDER/pki/server.key does not belong to the certificate",
  ],
  [
    { ...CERTIFICATE, "client-certificate": "pki/client.pem" },
    "client-certificate-data and client-certificate are both set: only one of them is allowed",
  ],
  [
    { "client-certificate": "missing", "client-key": "pki/client.key" },
    "client-certificate cannot be read: No such file or directory (os error 2): readfile 'FOLDER/missing'",
  ],
  [{ token: SECRET, "as-groups": ["g"] }, "as-groups is set without as, the user to impersonate"],
  [{ token: SECRET, "as-uid": "1" }, "as-uid is set without as, the user to impersonate"],
  [{ token: SECRET, "as-user-extra": {} }, "as-user-extra is set without as, the user to impersonate"],
  [{ token: SECRET, as: "a", "as-groups": "g" }, "as-groups must be a list of texts"],
  [{ token: SECRET, as: "a", "as-user-extra": { k: "v" } }, "as-user-extra.k must be a list of texts"],
  [{ token: SECRET, as: " alice" }, `as ${UNSENDABLE}`],
  [{ token: SECRET, as: "alice\nbob" }, `as ${UNSENDABLE}`],
  [{ token: SECRET, as: "a", "as-uid": "1\t" }, `as-uid ${UNSENDABLE}`],
  [{ token: SECRET, as: "a", "as-groups": ["g", "g2 "] }, `as-groups ${UNSENDABLE}`],
  [{ token: SECRET, as: "a", "as-user-extra": { k: ["v\r"] } }, `as-user-extra.k ${UNSENDABLE}`],
  [{ exec: {} }, "exec has no command"],
  [
    { exec: { command: "aws", interactiveMode: "Always" } },
    "exec has interactiveMode Always, but the agent has no terminal",
  ],
  [{ exec: "aws" }, "exec must be a mapping"],
  [{ "auth-provider": { name: "other" } }, 'auth-provider "other" is not supported: use exec'],
];

for (const [user, problem] of REJECTED_USERS) {
  Deno.test(`loadAccess() rejects a user: ${problem}`, () => {
    using folder = new Folder();
    const error = assertThrows(() => load(folder, kubeconfig({ user })), KubeconfigError);
    const message = `Cannot use kubeconfig ${folder.path}/config: user "u": ${problem}`;
    assertEquals(error.message, message.replaceAll("FOLDER", folder.path));
  });
}

const USER = { token: SECRET };
const URL_PROBLEM = "server must be an https or http URL, such as https://10.0.0.1:6443";
const REJECTED: ReadonlyArray<readonly [content: unknown, problem: string]> = [
  ["", "current-context is not set"],
  ["hello", "it is not a mapping of settings"],
  ["[1]", "it is not a mapping of settings"],
  ["token: s3cret\n x: [", "it cannot be read: bad indentation of a mapping entry (2:3)"],
  ["\0", "it cannot be read: null byte is not allowed in input (1:1)"],
  [{ kind: "Secret" }, 'kind must be Config: it is "Secret"'],
  [kubeconfig({ user: USER, more: { users: { u: USER } } }), "users must be a list"],
  [
    kubeconfig({ user: USER, more: { "current-context": 1 } }),
    "current-context must be text: put it into quotes",
  ],
  [kubeconfig({ user: USER, more: { "current-context": "y" } }), 'current-context: there is no context "y"'],
  [
    kubeconfig({ user: USER, context: { cluster: "c", user: "v" } }),
    'context "x": user: there is no user "v"',
  ],
  [
    kubeconfig({ user: USER, context: { cluster: "d", user: "u" } }),
    'context "x": cluster: there is no cluster "d"',
  ],
  [kubeconfig({ user: USER, context: { user: "u" } }), 'context "x": cluster is not set'],
  [kubeconfig({ user: USER, context: { cluster: "c" } }), `context "x": user is not set: ${ANONYMOUS}`],
  [
    kubeconfig({ more: { users: [{ name: "u", user: USER }, { name: "u", user: USER }] } }),
    'user "u": there are two entries with this name',
  ],
  [kubeconfig({ user: USER, cluster: {} }), 'cluster "c": server is not set'],
  ...["10.0.0.1:6443", "localhost:6443", "localhost", "ftp://localhost"].map((server) =>
    [kubeconfig({ user: USER, cluster: { server } }), `cluster "c": ${URL_PROBLEM}`] as const
  ),
  [
    kubeconfig({ user: USER, cluster: { server: "https://a:s3cret@10.0.0.1" } }),
    'cluster "c": server must not contain a user, password, query or fragment',
  ],
  [
    kubeconfig({ user: USER, cluster: { server: SERVER, "insecure-skip-tls-verify": "true" } }),
    'cluster "c": insecure-skip-tls-verify must be true or false, without quotes',
  ],
  [
    kubeconfig({ user: USER, cluster: { server: SERVER, "insecure-skip-tls-verify": true } }),
    'cluster "c": insecure-skip-tls-verify disables verification of the server\'s certificate: set certificate-authority instead',
  ],
  [
    kubeconfig({ user: USER, cluster: { server: SERVER, "tls-server-name": "kubernetes" } }),
    'cluster "c": tls-server-name is set, which Deno does not support',
  ],
  [
    kubeconfig({ user: USER, cluster: { server: SERVER, "proxy-url": "ftp://a:s3cret@proxy" } }),
    'cluster "c": proxy-url is not an http or https URL',
  ],
  [
    kubeconfig({ user: USER, cluster: { server: SERVER, "certificate-authority-data": "DATA+OMITTED" } }),
    `cluster "c": certificate-authority-data ${PLACEHOLDER}`,
  ],
  [
    kubeconfig({ user: USER, cluster: { server: SERVER, "certificate-authority": "empty" } }),
    'cluster "c": certificate-authority FOLDER/empty is empty',
  ],
  [
    kubeconfig({
      user: USER,
      cluster: {
        server: SERVER,
        "certificate-authority": "pki/ca.pem",
        "certificate-authority-data": data("ca.pem"),
      },
    }),
    'cluster "c": certificate-authority-data and certificate-authority are both set: only one of them is allowed',
  ],
  [
    kubeconfig({ user: CERTIFICATE, cluster: { server: "http://localhost" } }),
    `user "u": client-certificate cannot be sent to http://localhost, and ${ANONYMOUS}: use https:// in server`,
  ],
];

for (const [content, problem] of REJECTED) {
  Deno.test(`loadAccess() rejects a kubeconfig: ${problem}`, () => {
    using folder = new Folder();
    const error = assertThrows(() => load(folder, content), KubeconfigError);
    const message = `Cannot use kubeconfig ${folder.path}/config: ${problem}`;
    assertEquals(error.message, message.replaceAll("FOLDER", folder.path));
    assert(!error.message.includes(SECRET), error.message);
  });
}

/** Files of which each has only a part. */
function writeParts(folder: Folder): void {
  const { clusters, contexts } = kubeconfig({});
  folder.write("a/base", { clusters, contexts, "current-context": "x" });
  folder.write("b/user", { users: [{ name: "u", user: { tokenFile: "token" } }], "current-context": "y" });
  folder.write("b/token", SECRET);
  folder.write("c/other", {
    users: [{ name: "u", user: { token: "other" } }],
    clusters: [{ name: "c", cluster: { server: "https://other" } }],
  });
  folder.write("c/partial", { users: [{ name: "u", user: { as: "alice" } }] });
}

const MERGED: ReadonlyArray<readonly [list: string, token: string]> = [
  ["a/base:b/user", SECRET],
  ["a/base:b/user:", SECRET],
  [":a/base::b/user", SECRET],
  ["missing:a/base:b/user", SECRET],
  ["a/base:b/user:c/other", SECRET],
  ["a/base:c/other:b/user", "other"],
];

for (const [list, token] of MERGED) {
  Deno.test(`loadAccess() merges ${list}`, async () => {
    using folder = new Folder();
    writeParts(folder);
    const paths = list.split(":").map((path) => path && `${folder.path}/${path}`).join(":");
    const { server, credentials } = loadAccess(paths);
    const { headers } = await credentials();
    assertEquals<unknown>([server, headers], [SERVER, [["Authorization", `Bearer ${token}`]]]);
  });
}

const UNMERGEABLE: ReadonlyArray<readonly [list: string, message: string]> = [
  ["b/user:a/base", 'Cannot use kubeconfig FOLDER/b/user: current-context: there is no context "y"'],
  ["a/base:c/partial:b/user", `Cannot use kubeconfig FOLDER/c/partial: user "u": ${MISSING}: ${ANONYMOUS}`],
  ["missing:gone", "Cannot use kubeconfig FOLDER/missing:FOLDER/gone: none of its files exists"],
  [
    "b/user:b",
    "Cannot use kubeconfig FOLDER/b: it cannot be read: Is a directory (os error 21): readfile 'FOLDER/b'",
  ],
];

for (const [list, message] of UNMERGEABLE) {
  Deno.test(`loadAccess() cannot merge ${list}`, () => {
    using folder = new Folder();
    writeParts(folder);
    const paths = list.split(":").map((path) => `${folder.path}/${path}`).join(":");
    assertEquals(
      assertThrows(() => loadAccess(paths), KubeconfigError).message,
      message.replaceAll("FOLDER", folder.path),
    );
  });
}

Deno.test("credentials() reads a rotated token file, and keeps the last token while the file is empty or missing", async () => {
  using logs = new LogCapture();
  using folder = new Folder();
  const { credentials } = load(folder, kubeconfig({ user: { tokenFile: "token" } }));
  const authorization = async () => (await credentials()).headers[0]?.[1];
  folder.write("token", "new");
  assertEquals(await authorization(), "Bearer new");
  folder.write("token", "");
  assertEquals([await authorization(), await authorization()], ["Bearer new", "Bearer new"]);
  assertEquals(logs.lines.length, 1);
  await Deno.remove(`${folder.path}/token`);
  assertEquals(await authorization(), "Bearer new");
  folder.write("token", "newest");
  assertEquals(await authorization(), "Bearer newest");
});

Deno.test("credentials() keeps the last certificate while a rotation is half done", async () => {
  using logs = new LogCapture();
  using folder = new Folder();
  const user = { "client-certificate": "pki/client.pem", "client-key": "pki/client.key" };
  const { credentials } = load(folder, kubeconfig({ user }));
  folder.write("pki/client.pem", read("server.pem"));
  const { client } = await credentials();
  await credentials();
  assertEquals<unknown>(client, { cert: read("client.pem"), key: read("client.key") });
  assertEquals(logs.lines.map((line) => line.replace(/^.*WARN: /, "")), [
    `Using the previous credentials: Cannot use kubeconfig ${folder.path}/config: user "u": client-key ${folder.path}/pki/client.key does not belong to the certificate`,
  ]);
  folder.write("pki/client.key", read("server.key"));
  assertEquals<unknown>((await credentials()).client, { cert: read("server.pem"), key: read("server.key") });
});

Deno.test("credentials() keeps the last CA certificates while their file is empty", async () => {
  using _logs = new LogCapture();
  using folder = new Folder();
  const { credentials } = load(
    folder,
    kubeconfig({ user: USER, cluster: { server: SERVER, "certificate-authority": "pki/ca.pem" } }),
  );
  const before = (await credentials()).client;
  folder.write("pki/ca.pem", "");
  assertEquals((await credentials()).client, before);
});

/** Runs a program that prints a credential. */
async function withProgram(
  status: Readonly<Record<string, string>>,
  use: (access: ClusterAccess) => Promise<void>,
): Promise<void> {
  using folder = new Folder();
  const program = folder.write("bin/get-token", `#!/bin/sh\nprintf '%s' '${JSON.stringify({ status })}'\n`);
  await Deno.chmod(program, 0o755);
  await use(load(folder, kubeconfig({ user: { exec: { command: "bin/get-token" } } })));
}

Deno.test("credentials() runs an exec plug-in beside the kubeconfig", async () => {
  await withProgram({ token: SECRET }, async ({ credentials }) => {
    assertEquals<unknown>((await credentials()).headers, [BEARER]);
  });
});

Deno.test("credentials() finds files beside a kubeconfig with a relative path", async () => {
  using folder = new Folder();
  load(folder, kubeconfig({ user: { tokenFile: "token" } }));
  const relative = `${"../".repeat(Deno.cwd().split("/").length)}${folder.path.slice(1)}/config`;
  assertEquals<unknown>((await loadAccess(relative).credentials()).headers, [BEARER]);
});

Deno.test("credentials() uses the certificate of an exec plug-in", async () => {
  const [clientCertificateData, clientKeyData] = [read("client.pem"), read("client.key")];
  const status = { clientCertificateData, clientKeyData };
  await withProgram(status, async ({ credentials }) => {
    assertEquals<unknown>(await credentials(), {
      headers: [],
      client: { cert: clientCertificateData, key: clientKeyData },
    });
  });
});

Deno.test("credentials() rejects an exec plug-in that returns nothing", async () => {
  await withProgram({}, async ({ credentials }) => {
    await assertRejects(
      credentials,
      KubeconfigError,
      'user "u": exec bin/get-token returned neither a token nor a certificate',
    );
  });
});

Deno.test("credentials() rejects an exec plug-in that prints a bare token, without quoting it", async () => {
  using folder = new Folder();
  const program = folder.write("bin/get-token", `#!/bin/sh\necho ${SECRET}\n`);
  await Deno.chmod(program, 0o755);
  const { credentials } = load(folder, kubeconfig({ user: { exec: { command: "bin/get-token" } } }));
  const error = await assertRejects(
    credentials,
    KubeconfigError,
    'user "u": exec bin/get-token failed: its output is not JSON',
  );
  assertEquals(Deno.inspect(error).includes(SECRET), false);
});

/** An identity provider whose certificate only the test's authority has signed; its tokens expire in an hour. */
class IdentityProvider implements AsyncDisposable {
  /** The parameters of each request for a token. */
  readonly grants: Array<Record<string, string>> = [];
  /** The newest id token. */
  newToken = "";
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor() {
    this.#server = Deno.serve({
      hostname: "127.0.0.1",
      port: 0,
      cert: read("server.pem"),
      key: read("server.key"),
      onListen: () => {},
    }, async (request) => {
      if (request.url.endsWith("/.well-known/openid-configuration")) {
        return Response.json({ issuer: this.url, token_endpoint: `${this.url}/token` });
      }
      this.grants.push(Object.fromEntries(new URLSearchParams(await request.text())));
      this.newToken = this.token(3600);
      return Response.json({
        access_token: "access",
        token_type: "bearer",
        id_token: this.newToken,
        refresh_token: `refresh-${this.grants.length}`,
      });
    });
  }

  get url(): string {
    return `https://127.0.0.1:${this.#server.addr.port}`;
  }

  token(expiresInSeconds: number): string {
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: this.url, aud: "agent", sub: "alice", iat: now, exp: now + expiresInSeconds };
    const part = (value: unknown) => btoa(JSON.stringify(value)).replaceAll("=", "");
    return `${part({ alg: "RS256" })}.${part(claims)}.c2lnbmF0dXJl`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

function oidc(config: Readonly<Record<string, string>>): Record<string, unknown> {
  return kubeconfig({ user: { "auth-provider": { name: "oidc", config } } });
}

Deno.test("credentials() refreshes the id token of an OIDC provider once it has expired", async () => {
  await using provider = new IdentityProvider();
  using folder = new Folder();
  const { credentials } = load(
    folder,
    oidc({
      "idp-issuer-url": provider.url,
      "idp-certificate-authority": folder.write("pki/ca.pem", read("ca.pem")),
      "client-id": "agent",
      "client-secret": SECRET,
      "id-token": provider.token(-60),
      "refresh-token": "refresh-0",
    }),
  );
  const [first, second] = await Promise.all([credentials(), credentials()]);
  const { headers } = await credentials();
  assertEquals<unknown>(headers, [["Authorization", `Bearer ${provider.newToken}`]]);
  assertEquals([first.headers, second.headers], [headers, headers]);
  assertEquals(provider.grants, [{
    grant_type: "refresh_token",
    refresh_token: "refresh-0",
    client_id: "agent",
    client_secret: SECRET,
  }]);
});

Deno.test("credentials() sends the id token of an OIDC provider until it expires", async () => {
  await using provider = new IdentityProvider();
  using folder = new Folder();
  const token = provider.token(60);
  const { credentials } = load(folder, oidc({ "id-token": token }));
  assertEquals<unknown>((await credentials()).headers, [["Authorization", `Bearer ${token}`]]);
});

Deno.test("credentials() rejects an expired id token that cannot be refreshed", async () => {
  await using provider = new IdentityProvider();
  for (const token of [provider.token(-60), "no.token", ""]) {
    using folder = new Folder();
    const { credentials } = load(folder, oidc({ "id-token": token, "client-id": "agent" }));
    await assertRejects(
      credentials,
      KubeconfigError,
      'user "u": auth-provider oidc failed: id-token has expired, and without idp-issuer-url',
    );
  }
});

Deno.test("credentials() takes the token of the providers gcp and azure from the kubeconfig", async () => {
  for (const name of ["gcp", "azure"]) {
    using folder = new Folder();
    const config = { "access-token": SECRET, expiry: new Date(Date.now() + 60_000).toISOString() };
    const user = { "auth-provider": { name, config } };
    const { credentials } = load(folder, kubeconfig({ user }));
    assertEquals<unknown>((await credentials()).headers, [BEARER]);
  }
});

const POD_ENV = { KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" };

/** Loads the service account of a pod whose folder contains these files. */
function loadPod(files: Readonly<Record<string, string>>, env: Readonly<Record<string, string>> = POD_ENV) {
  const folder = new Folder();
  for (const [name, text] of Object.entries(files)) folder.write(name, text);
  const load = () => loadAccess("", { env: (name) => env[name], folder: folder.path });
  return { load, folder, [Symbol.dispose]: () => folder[Symbol.dispose]() };
}

Deno.test("loadAccess() uses the pod's service account and its rotated token", async () => {
  using pod = loadPod({ token: "old\n", "ca.crt": read("ca.pem") });
  const { server, credentials } = pod.load();
  pod.folder.write("token", "new\n");
  const { headers, client } = await credentials();
  assertEquals<unknown>([server, headers], ["https://10.96.0.1:443", [["Authorization", "Bearer new"]]]);
  assertEquals("caCerts" in client && client.caCerts?.length, 1);
});

Deno.test("loadAccess() accepts an IPv6 address of the API server", () => {
  using pod = loadPod({ token: "t", "ca.crt": read("ca.pem") }, {
    KUBERNETES_SERVICE_HOST: "fd00::1",
    KUBERNETES_SERVICE_PORT: "443",
  });
  assertEquals(pod.load().server, "https://[fd00::1]:443");
});

const POD_FILES = { token: "t", "ca.crt": read("ca.pem") };
const REJECTED_PODS: ReadonlyArray<
  readonly [files: Record<string, string>, env: Record<string, string>, message: string]
> = [
  [{}, {}, "Cannot find the pod's service account: outside a cluster, set --kubeconfig (KUBECONFIG)"],
  [POD_FILES, {}, "Cannot use the pod's service account: the variable KUBERNETES_SERVICE_HOST is not set"],
  [
    POD_FILES,
    { KUBERNETES_SERVICE_HOST: "10.96.0.1" },
    "Cannot use the pod's service account: the variable KUBERNETES_SERVICE_PORT is not set",
  ],
  [
    {},
    POD_ENV,
    "Cannot use the pod's service account: the file cannot be read: No such file or directory (os error 2): readfile 'FOLDER/token'",
  ],
  [{ ...POD_FILES, token: "" }, POD_ENV, "Cannot use the pod's service account: FOLDER/token is empty"],
  [
    { token: "t" },
    POD_ENV,
    "Cannot use the pod's service account: the file cannot be read: No such file or directory (os error 2): readfile 'FOLDER/ca.crt'",
  ],
  [
    { ...POD_FILES, "ca.crt": "-----BEGIN CERTIFICATE-----\nMIIB" },
    POD_ENV,
    "Cannot use the pod's service account: FOLDER/ca.crt is truncated: a PEM block has no end line",
  ],
];

for (const [files, env, message] of REJECTED_PODS) {
  Deno.test(`loadAccess() rejects a pod: ${message}`, () => {
    using pod = loadPod(files, env);
    const error = assertThrows(pod.load, KubeconfigError);
    assertEquals(error.message, message.replaceAll("FOLDER", pod.folder.path));
  });
}

Deno.test("loadAccess() accepts the scheme of the server in upper case", () => {
  using folder = new Folder();
  const cluster = { server: "HTTPS://Host:6443/" };
  assertEquals(load(folder, kubeconfig({ user: USER, cluster })).server, "https://Host:6443");
});
