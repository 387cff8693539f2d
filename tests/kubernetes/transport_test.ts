import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { KubeConfig } from "@kubernetes/client-node";
import { KubernetesError } from "../../lib/common/errors.ts";
import { createSessionClient } from "../../lib/kubernetes/client.ts";
import { loadKubeConfig } from "../../lib/kubernetes/kubeconfig.ts";
import { Transport, type TransportOptions } from "../../lib/kubernetes/transport.ts";
import { temporaryFile } from "../support/clusters.ts";
import { FakeTime } from "../support/fake_time.ts";
import { FixedRandom } from "../support/fixed_random.ts";
import { Queue } from "../support/queue.ts";
import { RecordingProxy } from "../support/recording_proxy.ts";

const PATH = "/api/v1/namespaces/streamspace/pods";
/** Half of the longest first wait. */
const FIRST_WAIT_MS = 50;
const never = new AbortController().signal;

/** What a request gets; `hang` gets nothing. */
type Answer = Response | "hang";

/** An API server that answers as a test tells it to. */
class ScriptedApi implements AsyncDisposable {
  /** The credentials of each request. */
  readonly authorizations: Array<string | null> = [];
  /** Requests as they arrive. */
  readonly arrivals = new Queue<Request>();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #over = Promise.withResolvers<Response>();

  constructor(answer: (nth: number, request: Request) => Answer) {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      this.authorizations.push(request.headers.get("authorization"));
      this.arrivals.push(request);
      const answered = answer(this.authorizations.length - 1, request);
      return answered === "hang" ? this.#over.promise : answered;
    });
  }

  get host(): string {
    return `127.0.0.1:${this.#server.addr.port}`;
  }

  /** A transport with the token that `token` gives each time the credentials are loaded. */
  connect(token: () => string = () => "token", options: TransportOptions = {}): Transport {
    return new Transport(() => kubeConfig(this.host, token()), options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.resolve(new Response(null, { status: 503 }));
    await this.#server.shutdown();
  }
}

/** An API server that breaks every connection once a request has come. */
class ResettingApi implements AsyncDisposable {
  connections = 0;
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #running = this.#serve();

  get host(): string {
    return `127.0.0.1:${this.#listener.addr.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#running;
  }

  async #serve(): Promise<void> {
    for await (const connection of this.#listener) {
      this.connections++;
      await connection.read(new Uint8Array(1));
      connection.close();
    }
  }
}

function kubeConfig(host: string, token: string): KubeConfig {
  const config = new KubeConfig();
  const cluster = { name: "c", server: `http://${host}`, skipTLSVerify: true };
  config.loadFromClusterAndUser(cluster, { name: "u", token });
  return config;
}

function refusal(code: number, headers: Record<string, string> = {}): Response {
  return Response.json({ kind: "Status", code, message: `no (${code})` }, { status: code, headers });
}

const list = () => Response.json({ kind: "List", items: [] });

for (const status of [500, 503]) {
  Deno.test(`Transport sends a request again after ${status}, up to five times`, async () => {
    // Waits between two attempts are a random part of a longest one: none here.
    using _random = new FixedRandom(0);
    await using api = new ScriptedApi((nth) => nth === 4 ? list() : refusal(status));
    using transport = api.connect();
    assertEquals(await transport.getJson(PATH), { kind: "List", items: [] });
    assertEquals(api.authorizations.length, 5);
    const error = await assertRejects(() => transport.getJson(PATH), KubernetesError);
    assertEquals([error.status, api.authorizations.length], [status, 10]);
  });
}

Deno.test("K15 Transport sends a request again after its connection was reset, up to five times", async () => {
  using _random = new FixedRandom(0);
  await using api = new ResettingApi();
  using transport = new Transport(() => kubeConfig(api.host, "token"));
  const error = await assertRejects(() => transport.getJson(PATH), KubernetesError);
  assertEquals([error.status, api.connections], [0, 5]);
  assertStringIncludes(error.message, "Kubernetes did not answer a request to read pods: ");
});

for (const [asked, waitedMs] of [["3", 3000], ["3600", 32_000]] as const) {
  Deno.test(`K15 Transport leaves an overloaded API server that asks for ${asked} seconds alone for ${waitedMs} ms`, async () => {
    using time = new FakeTime();
    using _random = new FixedRandom(0.5);
    const headers = { "Retry-After": asked };
    await using api = new ScriptedApi((nth) => nth === 0 ? refusal(429, headers) : list());
    using transport = api.connect();
    const listed = transport.getJson(PATH);
    await time.tickAsync(await time.timer(waitedMs + FIRST_WAIT_MS) - 1);
    assertEquals(api.authorizations.length, 1);
    await time.tickAsync(1);
    assertEquals(await listed, { kind: "List", items: [] });
  });
}

Deno.test("K15 Transport gives a request that hangs up after 10 seconds, and sends it again", async () => {
  using time = new FakeTime();
  using _random = new FixedRandom(0.5);
  await using api = new ScriptedApi((nth) => nth === 0 ? "hang" : list());
  using transport = api.connect();
  const listed = transport.getJson(PATH);
  await api.arrivals.next();
  await time.tickAsync(await time.timer(10_000));
  await time.tickAsync(await time.timer(FIRST_WAIT_MS));
  await api.arrivals.next();
  assertEquals(await listed, { kind: "List", items: [] });
});

for (const status of [400, 403, 404, 409, 422]) {
  Deno.test(`Transport takes ${status} for an answer`, async () => {
    await using api = new ScriptedApi(() => refusal(status));
    using transport = api.connect();
    const error = await assertRejects(() => transport.getJson(PATH), KubernetesError);
    assertEquals([error.status, api.authorizations.length], [status, 1]);
    assertEquals(error.message, `Kubernetes refused to read pods: no (${status})`);
  });
}

Deno.test("Transport creates an object again where a quota was changed in the same moment, and no more than that", async () => {
  using _random = new FixedRandom(0);
  const asked: string[] = [];
  await using api = new ScriptedApi((nth, { method }) => {
    asked.push(method);
    const message = nth === 0
      ? 'Operation cannot be fulfilled on resourcequotas "gke-resource-quotas": the object has been modified'
      : 'services "s1" already exists';
    const reason = nth === 0 ? "Conflict" : "AlreadyExists";
    return Response.json({ kind: "Status", code: 409, reason, message }, { status: 409 });
  });
  using transport = api.connect();
  const { services } = createSessionClient(transport, "streamspace");
  const error = await assertRejects(() => services.create({ metadata: { name: "s1" } }), KubernetesError);
  assertEquals(error.reason, "AlreadyExists");
  assertEquals(asked, ["POST", "POST"]);
});

/** An API server that takes only the token that is written in the kubeconfig now. */
function rotating(current: { token: string }): ScriptedApi {
  return new ScriptedApi((_nth, request) =>
    request.headers.get("authorization") === `Bearer ${current.token}` ? list() : refusal(401)
  );
}

Deno.test("K16 Transport loads its credentials anew when the API server refuses them", async () => {
  const current = { token: "old" };
  await using api = rotating(current);
  using transport = api.connect(() => current.token);
  await transport.getJson(PATH);
  current.token = "new";
  await transport.getJson(PATH);
  await transport.getJson(PATH);
  assertEquals(api.authorizations, ["old", "old", "new", "new"].map((token) => `Bearer ${token}`));
});

Deno.test("Transport loads its credentials anew for a watch, too", async () => {
  const current = { token: "old" };
  await using api = rotating(current);
  using transport = api.connect(() => current.token);
  current.token = "new";
  const body = await transport.stream(`${PATH}?watch=true`, never);
  await body.cancel();
  assertEquals(api.authorizations, ["Bearer old", "Bearer new"]);
});

Deno.test("Transport loads its credentials once for all requests that are refused together", async () => {
  const current = { token: "old" };
  let loads = 0;
  const requests = 5;
  const arrived = Promise.withResolvers<void>();
  await using api = new ScriptedApi((nth, request) => {
    if (nth + 1 === requests) arrived.resolve();
    if (request.headers.get("authorization") === "Bearer new") return list();
    // None is answered before all have come.
    const body = new ReadableStream<Uint8Array>({ pull: (it) => arrived.promise.then(() => it.close()) });
    return new Response(body, { status: 401 });
  });
  using transport = api.connect(() => {
    loads++;
    return current.token;
  });
  current.token = "new";
  await Promise.all(Array.from({ length: requests }, () => transport.getJson(PATH)));
  assertEquals([loads, api.authorizations.length], [2, 2 * requests]);
});

Deno.test("K16 Transport takes a second 401 for an answer", async () => {
  await using api = new ScriptedApi(() => refusal(401));
  using transport = api.connect();
  const error = await assertRejects(() => transport.getJson(PATH), KubernetesError, "no (401)");
  assertEquals([error.status, api.authorizations.length], [401, 2]);
});

Deno.test("Transport says that credentials which are refused cannot be loaded anew", async () => {
  await using api = new ScriptedApi(() => refusal(401));
  let loads = 0;
  using transport = api.connect(() => {
    if (loads++ > 0) throw new Error("the file is gone");
    return "token";
  });
  const error = await assertRejects(() => transport.getJson(PATH), KubernetesError);
  assertEquals(
    error.message,
    "Kubernetes refused to read pods: no (401); new credentials cannot be loaded: the file is gone",
  );
});

Deno.test("K16 Transport reads a service account's rotated token at once", async () => {
  const current = { token: "old" };
  await using api = rotating(current);
  const tokenFile = await temporaryFile("old");
  await using _removal = { [Symbol.asyncDispose]: () => Deno.remove(tokenFile) };
  using transport = new Transport(() => {
    const config = new KubeConfig();
    const cluster = { name: "c", server: `http://${api.host}`, skipTLSVerify: true };
    const authProvider = { name: "tokenFile", config: { tokenFile } };
    config.loadFromClusterAndUser(cluster, { name: "u", authProvider });
    return config;
  });
  await transport.getJson(PATH);
  current.token = "new";
  await Deno.writeTextFile(tokenFile, "new");
  await transport.getJson(PATH);
  assertEquals(api.authorizations, ["old", "old", "new"].map((token) => `Bearer ${token}`));
});

/** A kubeconfig of a cluster. */
async function kubeconfigOf(
  cluster: Readonly<Record<string, string>>,
): Promise<{ path: string } & AsyncDisposable> {
  const path = await temporaryFile(JSON.stringify({
    clusters: [{ name: "c", cluster }],
    users: [{ name: "u", user: { token: "token" } }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
  }));
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path) };
}

Deno.test("Transport goes by the proxy that the kubeconfig names", async () => {
  await using api = new ScriptedApi(list);
  await using proxy = new RecordingProxy();
  await using kubeconfig = await kubeconfigOf({
    server: `http://${api.host}`,
    "proxy-url": `http://alice:s3cret@${proxy.host}`,
  });
  using transport = new Transport(() => loadKubeConfig(kubeconfig.path));
  await transport.getJson(PATH);
  const authorization = `Basic ${btoa("alice:s3cret")}`;
  assertEquals(proxy.requests, [{ method: "GET", target: api.host, authorization }]);
});

Deno.test("loadKubeConfig() refuses a proxy that the agent cannot use, without showing it", async () => {
  await using kubeconfig = await kubeconfigOf({
    server: "http://127.0.0.1:1",
    "proxy-url": "ftp://alice:s3cret@proxy",
  });
  const error = await assertRejects(() => Promise.try(() => loadKubeConfig(kubeconfig.path)), TypeError);
  assertStringIncludes(error.message, "its proxy-url is no http or https URL");
  assert(!error.message.includes("s3cret"));
});

Deno.test("loadKubeConfig() refuses a name of the server that cannot be sent", async () => {
  await using kubeconfig = await kubeconfigOf({
    server: "https://10.0.0.1",
    "tls-server-name": "kubernetes",
  });
  const error = await assertRejects(() => Promise.try(() => loadKubeConfig(kubeconfig.path)), TypeError);
  assertStringIncludes(error.message, "as it names a tls-server-name, which Deno cannot send");
});

Deno.test("R7 Transport changes nothing in the cluster while it may not, and still reads", async () => {
  const methods: string[] = [];
  await using api = new ScriptedApi((_, request) => {
    methods.push(request.method);
    return Response.json({});
  });
  let mayWrite = false;
  using transport = api.connect(undefined, { mayWrite: () => mayWrite });
  const { scale } = createSessionClient(transport, "streamspace");
  const change = { replicas: 0, annotations: {} } as const;
  await transport.getJson(PATH);
  await assertRejects(
    () => scale("s1", change),
    KubernetesError,
    "Cannot ask Kubernetes to change deployments s1: this replica may lead no more",
  );
  mayWrite = true;
  await scale("s1", change);
  assertEquals(methods, ["GET", "PATCH"]);
});

Deno.test("Transport tells of each attempt at a request how it went", async () => {
  using _random = new FixedRandom(0);
  await using api = new ScriptedApi((nth) => nth === 0 ? refusal(503) : list());
  const told: unknown[] = [];
  using transport = new Transport(
    () => kubeConfig(api.host, "token"),
    { onRequest: ({ durationMs, ...record }) => told.push({ ...record, hasTime: durationMs >= 0 }) },
  );
  await transport.getJson(PATH);
  const words = { verb: "list", resource: "pods", hasTime: true };
  assertEquals(told, [{ ...words, status: 503, isRetry: false }, { ...words, status: 200, isRetry: true }]);
});

Deno.test("Transport tells of a request without an answer that it has status 0", async () => {
  using _random = new FixedRandom(0);
  await using api = new ResettingApi();
  const statuses: number[] = [];
  using transport = new Transport(() => kubeConfig(api.host, "token"), {
    onRequest: ({ status }) => statuses.push(status),
  });
  await assertRejects(() => transport.getJson(PATH), KubernetesError);
  assertEquals(statuses, [0, 0, 0, 0, 0]);
});
