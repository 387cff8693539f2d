import { assertEquals, assertRejects } from "@std/assert";
import { type CredentialFiles, Credentials } from "../../lib/control_plane/credentials.ts";
import { register } from "../../lib/control_plane/registration.ts";
import { Socket } from "../../lib/control_plane/socket.ts";
import { LinkError, RegistrationError } from "../../lib/errors.ts";
import { Secret } from "../../lib/secret.ts";

const TLS = new URL("../fixtures/tls/", import.meta.url);
const CA_FILE = new URL("ca.pem", TLS).pathname;
const NO_FILES: CredentialFiles = { apiKeyFile: "", caFile: "", clientCert: "", clientKey: "" };
const never = new AbortController().signal;
const REGISTRATION = {
  agentId: "a1",
  platform: "kubernetes",
  region: "",
  capacity: { maxCpu: 1, maxMemory: 1, maxSessions: 1, cpu: "1 cores", memory: "1Gi" },
  metadata: { namespace: "streamspace", kubernetes: true },
} as const;

/** A Control Plane that speaks TLS with a certificate that only the tests' authority vouches for. */
class TlsControlPlane implements AsyncDisposable {
  readonly #server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    cert: Deno.readTextFileSync(new URL("server.pem", TLS)),
    key: Deno.readTextFileSync(new URL("server.key", TLS)),
    onListen: () => {},
  }, (request) => {
    if (request.headers.get("upgrade") !== "websocket") return Response.json({ agentId: "a1" });
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.onopen = () => socket.send("hello");
    return response;
  });

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

async function keyOf(credentials: Credentials): Promise<string | undefined> {
  using read = await credentials.read();
  return read.apiKey?.reveal();
}

Deno.test("credentials are the file's key as it is now, and its absence is told", async () => {
  await using file = await keyFile("k1");
  const credentials = new Credentials({ ...NO_FILES, apiKeyFile: file.path }, new Secret("from the start"));
  assertEquals(await keyOf(credentials), "k1");
  await Deno.writeTextFile(file.path, "k2");
  assertEquals(await keyOf(credentials), "k2");
  const lost = new Credentials({ ...NO_FILES, apiKeyFile: "/no/such/file" }, undefined);
  await assertRejects(() => lost.read(), LinkError, "The file of --api-key-file cannot be read");
});

Deno.test("credentials use an issued key until the operator puts another one in the file", async () => {
  await using file = await keyFile("bootstrap");
  const credentials = new Credentials({ ...NO_FILES, apiKeyFile: file.path }, undefined);
  await credentials.issue("issued");
  assertEquals([await keyOf(credentials), await keyOf(credentials)], ["issued", "issued"]);
  await Deno.writeTextFile(file.path, "rotated");
  assertEquals([await keyOf(credentials), await keyOf(credentials)], ["rotated", "rotated"]);
});

Deno.test("C12 registration and WebSocket trust the authority of --ca-file", async () => {
  await using controlPlane = new TlsControlPlane();
  using credentials = await new Credentials({ ...NO_FILES, caFile: CA_FILE }, undefined).read();
  const answer = await register(REGISTRATION, {
    httpBase: `https://${controlPlane.host}`,
    credentials,
    signal: never,
  });
  assertEquals(answer.kind, "registered");
  await using socket = await Socket.connect(`wss://${controlPlane.host}/`, { credentials, signal: never });
  const { value } = await socket.frames(never).next();
  assertEquals(value, "hello");
});

Deno.test("C12 registration and WebSocket refuse a certificate that nobody vouches for", async () => {
  await using controlPlane = new TlsControlPlane();
  using credentials = await new Credentials(NO_FILES, undefined).read();
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
