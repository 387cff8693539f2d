import { assert, assertEquals, assertRejects } from "@std/assert";
import { Credentials, type CredentialSettings } from "../../lib/control_plane/credentials.ts";
import { register } from "../../lib/control_plane/registration.ts";
import { Socket } from "../../lib/control_plane/socket.ts";
import { LinkError, RegistrationError } from "../../lib/common/errors.ts";
import { parseProxy } from "../../lib/common/proxies.ts";
import { Secret } from "../../lib/common/secret.ts";
import { LogCapture } from "../support/log_capture.ts";
import { MemoryKeyStore } from "../support/memory_key_store.ts";
import { RecordingProxy } from "../support/recording_proxy.ts";

const TLS = new URL("../fixtures/tls/", import.meta.url);
const CA_FILE = new URL("ca.pem", TLS).pathname;
const NOTHING: CredentialSettings = {
  apiKeyFile: "",
  caFile: "",
  clientCert: "",
  clientKey: "",
  apiKey: undefined,
  proxy: undefined,
};
const never = new AbortController().signal;
const REGISTRATION = {
  agentId: "a1",
  platform: "kubernetes",
  region: "",
  capacity: { maxCpu: 1, maxMemory: 1, maxSessions: 1, cpu: "1 cores", memory: "1Gi" },
  features: ["tunnel.v1"],
  metadata: { namespace: "streamspace", kubernetes: true, templates: ["firefox"] },
} as const;

/** A Control Plane with or without TLS; its certificate is signed by an authority that only these tests trust. */
class TlsControlPlane implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor({ isPlain = false } = {}) {
    const certificate = isPlain ? {} : {
      cert: Deno.readTextFileSync(new URL("server.pem", TLS)),
      key: Deno.readTextFileSync(new URL("server.key", TLS)),
    };
    const options = { hostname: "127.0.0.1", port: 0, onListen: () => {}, ...certificate };
    this.#server = Deno.serve(options, (request) => {
      if (request.headers.get("upgrade") !== "websocket") return Response.json({ agentId: "a1" });
      const { socket, response } = Deno.upgradeWebSocket(request);
      socket.onopen = () => socket.send("hello");
      return response;
    });
  }

  get host(): string {
    return `127.0.0.1:${this.#server.addr.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

async function keyFile(key: string): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, `${key}\n`);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path) };
}

function credentialsOf(
  settings: Partial<CredentialSettings> = {},
  store = new MemoryKeyStore(),
): Credentials {
  return new Credentials({ ...NOTHING, ...settings }, store);
}

async function keyOf(credentials: Credentials): Promise<string | undefined> {
  using read = await credentials.read();
  return read.apiKey?.reveal();
}

Deno.test("C3 Credentials read the key file for each connection, and throw if it is missing", async () => {
  await using file = await keyFile("k1");
  const credentials = credentialsOf({ apiKeyFile: file.path, apiKey: new Secret("fallback") });
  assertEquals(await keyOf(credentials), "k1");
  await Deno.writeTextFile(file.path, "k2");
  assertEquals(await keyOf(credentials), "k2");
  const missing = credentialsOf({ apiKeyFile: "/no/such/file" });
  await assertRejects(() => missing.read(), LinkError, "Cannot read the file of --api-key-file");
});

for (
  const [text, problem] of [
    ["OLD-s3cret\nNEW-s3cret", "contains characters that are not allowed in a key"],
    ["s3crét", "contains characters that are not allowed in a key"],
    [" ", "is empty"],
  ] as const
) {
  Deno.test(`C3 Credentials reject the key file ${JSON.stringify(text)}, which ${problem}, without showing its content`, async () => {
    await using file = await keyFile("k1");
    const credentials = credentialsOf({ apiKeyFile: file.path });
    await Deno.writeTextFile(file.path, text);
    for (const read of [() => credentials.read(), () => Promise.try(() => credentials.readConfigured())]) {
      const error = await assertRejects(read, LinkError);
      assertEquals(error.message, `The file of --api-key-file ${problem}`);
      assert(!Deno.inspect(error, { depth: 9 }).includes("s3cr"));
    }
  });
}

Deno.test("Credentials use an issued key until the operator changes the key file", async () => {
  await using file = await keyFile("bootstrap");
  const credentials = credentialsOf({ apiKeyFile: file.path });
  await credentials.issue("issued");
  assertEquals([await keyOf(credentials), await keyOf(credentials)], ["issued", "issued"]);
  await Deno.writeTextFile(file.path, "rotated");
  assertEquals([await keyOf(credentials), await keyOf(credentials)], ["rotated", "rotated"]);
});

Deno.test("Credentials use the configured key again after the issued one is removed", async () => {
  const store = new MemoryKeyStore();
  const credentials = credentialsOf({ apiKey: new Secret("bootstrap") }, store);
  await credentials.issue("issued");
  using configured = credentials.readConfigured();
  assertEquals([configured.apiKey?.reveal(), configured.isIssued], ["bootstrap", false]);
  await credentials.forgetIssued();
  assertEquals([await keyOf(credentials), store.writes.length, store.writes[1]], ["bootstrap", 2, undefined]);
});

Deno.test("C3 Credentials prefer a changed key file to a stored issued key", async () => {
  await using file = await keyFile("bootstrap");
  const store = new MemoryKeyStore();
  await credentialsOf({ apiKeyFile: file.path }, store).issue("issued");
  const restarted = credentialsOf({ apiKeyFile: file.path }, store);
  await restarted.restore(never);
  assertEquals(await keyOf(restarted), "issued");
  await Deno.writeTextFile(file.path, "rotated");
  assertEquals(await keyOf(restarted), "rotated");
  const again = credentialsOf({ apiKeyFile: file.path }, store);
  await again.restore(never);
  assertEquals(await keyOf(again), "rotated");
});

for (const isPlain of [true, false]) {
  Deno.test(`C12 register() and Socket.connect() use the proxy ${isPlain ? "without" : "with"} TLS`, async () => {
    await using controlPlane = new TlsControlPlane({ isPlain });
    await using proxy = new RecordingProxy();
    const settings = { caFile: isPlain ? "" : CA_FILE, proxy: parseProxy(`alice:s3cret@${proxy.host}`) };
    using credentials = await credentialsOf(settings).read();
    const httpBase = `${isPlain ? "http" : "https"}://${controlPlane.host}`;
    await register(REGISTRATION, { httpBase, credentials, signal: never });
    await using socket = await Socket.connect(httpBase.replace("http", "ws"), { credentials, signal: never });
    assertEquals((await socket.frames(never).next()).value, "hello");
    const authorization = `Basic ${btoa("alice:s3cret")}`;
    assertEquals(
      proxy.requests,
      (isPlain ? ["POST", "GET"] : ["CONNECT", "CONNECT"]).map((method) => (
        { method, target: controlPlane.host, authorization }
      )),
    );
  });
}

Deno.test("register() and Socket.connect() do not show the password of a proxy in their errors", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  listener.close();
  const proxy = parseProxy(`alice:s3cret@127.0.0.1:${listener.addr.port}`);
  using credentials = await credentialsOf({ proxy }).read();
  const errors = [
    await assertRejects(() =>
      register(REGISTRATION, { httpBase: "https://cp.example.com", credentials, signal: never })
    ),
    await assertRejects(() => Socket.connect("wss://cp.example.com", { credentials, signal: never })),
  ];
  for (const error of errors) {
    const shown = Deno.inspect(error, { depth: 9 });
    assert(!shown.includes("s3cret") && !shown.includes(btoa("alice:s3cret")), shown);
  }
});

Deno.test("C12 register() and Socket.connect() trust the authority of --ca-file", async () => {
  await using controlPlane = new TlsControlPlane();
  using credentials = await credentialsOf({ caFile: CA_FILE }).read();
  const response = await register(REGISTRATION, {
    httpBase: `https://${controlPlane.host}`,
    credentials,
    signal: never,
  });
  assertEquals(response.kind, "registered");
  await using socket = await Socket.connect(`wss://${controlPlane.host}/`, { credentials, signal: never });
  const { value } = await socket.frames(never).next();
  assertEquals(value, "hello");
});

Deno.test("C12 register() and Socket.connect() reject a certificate of an unknown authority", async () => {
  await using controlPlane = new TlsControlPlane();
  using credentials = await credentialsOf().read();
  const httpBase = `https://${controlPlane.host}`;
  await assertRejects(
    () => register(REGISTRATION, { httpBase, credentials, signal: never }),
    RegistrationError,
    "UnknownIssuer",
  );
  await assertRejects(
    () => Socket.connect(`wss://${controlPlane.host}/`, { credentials, signal: never }),
    LinkError,
  );
});

/** Serves one certificate of the fixtures, or no TLS. */
function serve(certificate?: string): Deno.HttpServer<Deno.NetAddr> {
  const tls = certificate === undefined ? {} : {
    cert: Deno.readTextFileSync(new URL(`${certificate}.pem`, TLS)),
    key: Deno.readTextFileSync(new URL(`${certificate}.key`, TLS)),
  };
  const options = { hostname: "127.0.0.1", port: 0, onListen: () => {}, ...tls };
  return Deno.serve(options, () => Response.json({ agentId: "a1" }));
}

const SELF_SIGNED = new URL("self_signed.pem", TLS).pathname;
const MISTAKES: ReadonlyArray<
  readonly [
    name: string,
    parts: { certificate?: string; scheme: string; caFile?: string },
    reason: string,
    advice: string,
  ]
> = [
  [
    "an unknown authority",
    { certificate: "server", scheme: "https" },
    "the server's certificate is not signed by a trusted authority (invalid peer certificate: UnknownIssuer)",
    "set --ca-file (CA_FILE) to a file with its CA certificate",
  ],
  [
    "another authority in --ca-file",
    { certificate: "server", scheme: "https", caFile: SELF_SIGNED },
    "the server's certificate is not signed by a trusted authority (invalid peer certificate: UnknownIssuer)",
    "add the CA certificate that issued it to the file of --ca-file (CA_FILE), or let the Control Plane send its intermediate certificates",
  ],
  [
    "the server's own certificate in --ca-file",
    { certificate: "server", scheme: "https", caFile: new URL("server.pem", TLS).pathname },
    "the server's certificate is not signed by a trusted authority (invalid peer certificate: UnknownIssuer)",
    "the file of --ca-file (CA_FILE) contains the certificate of a server: replace it with the CA certificate that issued it",
  ],
  [
    "a self-signed certificate of an authority in --ca-file",
    { certificate: "self_signed", scheme: "https", caFile: SELF_SIGNED },
    "the server uses the certificate of an authority, which only signs other certificates, as its own (invalid peer certificate: Other(OtherError(CaUsedAsEndEntity)))",
    "give the Control Plane a certificate with basicConstraints CA:FALSE, and update the file of --ca-file (CA_FILE) if it is self-signed",
  ],
  [
    "wss:// to a port without TLS",
    { scheme: "https" },
    "the server does not use TLS on this port (received corrupt message of type InvalidContentType)",
    "check the port in --control-plane-url (CONTROL_PLANE_URL), or use ws:// if the Control Plane has no TLS",
  ],
  [
    "ws:// to a port with TLS",
    { certificate: "server", scheme: "http" },
    "the server does not use unencrypted HTTP on this port (invalid HTTP version parsed)",
    "if the Control Plane uses TLS, use wss:// in --control-plane-url (CONTROL_PLANE_URL), otherwise check the port",
  ],
];

for (const [name, { certificate, scheme, caFile = "" }, reason, advice] of MISTAKES) {
  Deno.test(`C12 Credentials explain ${name}`, async () => {
    await using server = serve(certificate);
    const credentials = credentialsOf({ caFile });
    using current = await credentials.read();
    const httpBase = `${scheme}://127.0.0.1:${server.addr.port}`;
    const error = await assertRejects(
      () => register(REGISTRATION, { httpBase, credentials: current, signal: never }),
      RegistrationError,
    );
    const problem = `Cannot register with the Control Plane at ${httpBase}/api/v1/agents/register: `;
    assertEquals([error.message, credentials.adviceFor(error)], [problem + reason, advice]);
    const socketError = await assertRejects(
      () => Socket.connect(httpBase.replace("http", "ws"), { credentials: current, signal: never }),
      LinkError,
    );
    assertEquals(credentials.adviceFor(socketError), advice);
  });
}

Deno.test("register() explains a TLS server that answers an unencrypted request with 400", async () => {
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response("Client sent an HTTP request to an HTTPS server.\n", { status: 400 }),
  );
  const credentials = credentialsOf();
  using current = await credentials.read();
  const httpBase = `http://127.0.0.1:${server.addr.port}`;
  const error = await assertRejects(
    () => register(REGISTRATION, { httpBase, credentials: current, signal: never }),
    RegistrationError,
    "HTTP 400: the server expects TLS, use wss:// in --control-plane-url",
  );
  assertEquals(credentials.adviceFor(error), undefined);
});

Deno.test("Credentials keep the last client certificate while a rotation is half done", async () => {
  using logs = new LogCapture();
  const folder = await Deno.makeTempDir();
  await using _removal = { [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
  const copy = (from: string, to: string) => Deno.copyFile(new URL(from, TLS), `${folder}/${to}`);
  await Promise.all([copy("client.pem", "cert"), copy("client.key", "key"), copy("ca.pem", "ca")]);
  const credentials = credentialsOf({
    caFile: `${folder}/ca`,
    clientCert: `${folder}/cert`,
    clientKey: `${folder}/key`,
  });
  const read = async () => {
    using _current = await credentials.read();
  };
  await read();
  await copy("server.pem", "cert");
  await read();
  await read();
  assertEquals(logs.lines.map((line) => line.replace(/^.*WARN: /, "")), [
    "Using the previous credentials: The file of --client-key does not belong to the certificate",
  ]);
  await copy("server.key", "key");
  await Deno.writeTextFile(`${folder}/ca`, "");
  await read();
  await Deno.remove(`${folder}/cert`);
  await read();
  assertEquals(logs.lines.length, 3);
});

Deno.test("Credentials reject client certificates that were never valid", async () => {
  const settings = { clientCert: CA_FILE, clientKey: new URL("client.key", TLS).pathname };
  await assertRejects(
    () => credentialsOf(settings).read(),
    LinkError,
    "The file of --client-key does not belong to the certificate",
  );
});
