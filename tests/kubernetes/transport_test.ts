import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { KubernetesError } from "../../lib/common/errors.ts";
import { createSessionClient } from "../../lib/kubernetes/client.ts";
import { loadAccess } from "../../lib/kubernetes/kubeconfig.ts";
import { DEFAULT_TIMINGS } from "../../lib/model/timings.ts";
import { attributesOf } from "../../lib/kubernetes/requests.ts";
import { type RequestRecord, Transport, type TransportOptions } from "../../lib/kubernetes/transport.ts";
import { accessTo, temporaryFile } from "../support/clusters.ts";
import { gzipSync } from "node:zlib";
import { FakeTime } from "../support/fake_time.ts";
import { FixedRandom } from "../support/fixed_random.ts";
import { Queue } from "../support/queue.ts";
import { RecordingProxy } from "../support/recording_proxy.ts";

const PATH = "/api/v1/namespaces/streamspace/pods";
/** Half of the longest first pause. */
const FIRST_PAUSE_MS = 50;
const never = new AbortController().signal;

/** Response to a request; `hang` sends none. */
type Answer = Response | "hang";

/** An API server whose responses a test defines. */
class ScriptedApi implements AsyncDisposable {
  /** Authorization header of each request. */
  readonly authorizations: Array<string | null> = [];
  /** Requests in the order of arrival. */
  readonly arrivals = new Queue<Request>();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #end = Promise.withResolvers<Response>();

  constructor(answer: (nth: number, request: Request) => Answer) {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      this.authorizations.push(request.headers.get("authorization"));
      this.arrivals.push(request);
      const answered = answer(this.authorizations.length - 1, request);
      return answered === "hang" ? this.#end.promise : answered;
    });
  }

  get host(): string {
    return `127.0.0.1:${this.#server.addr.port}`;
  }

  /** Creates a transport; `token` is called each time the credentials are loaded. */
  connect(token: () => string = () => "token", options: TransportOptions = {}): Transport {
    return new Transport(() => accessTo(`http://${this.host}`, token()), options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.resolve(new Response(null, { status: 503 }));
    await this.#server.shutdown();
  }
}

/** An API server that closes each connection when a request arrives. */
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

function refusal(code: number, headers: Record<string, string> = {}): Response {
  return Response.json({ kind: "Status", code, message: `no (${code})` }, { status: code, headers });
}

const list = () => Response.json({ kind: "List", items: [] });

for (const status of [500, 503]) {
  Deno.test(`Transport retries a request after ${status}, five attempts in all`, async () => {
    // No pause between attempts.
    using _random = new FixedRandom(0);
    await using api = new ScriptedApi((nth) => nth === 4 ? list() : refusal(status));
    using transport = api.connect();
    assertEquals(await transport.getJson(PATH), { kind: "List", items: [] });
    assertEquals(api.authorizations.length, 5);
    const error = await assertRejects(() => transport.getJson(PATH), KubernetesError);
    assertEquals([error.status, api.authorizations.length], [status, 10]);
  });
}

Deno.test("K15 Transport retries a request after a connection reset, five attempts in all", async () => {
  using _random = new FixedRandom(0);
  await using api = new ResettingApi();
  using transport = new Transport(() => accessTo(`http://${api.host}`, "token"));
  const error = await assertRejects(() => transport.getJson(PATH), KubernetesError);
  assertEquals([error.status, api.connections], [0, 5]);
  assertStringIncludes(error.message, "Kubernetes did not answer a request to read pods: ");
});

for (const [header, pauseMs] of [["3", 3000], ["3600", 32_000]] as const) {
  Deno.test(`K15 Transport waits ${pauseMs} ms for Retry-After: ${header}`, async () => {
    using time = new FakeTime();
    using _random = new FixedRandom(0.5);
    const headers = { "Retry-After": header };
    await using api = new ScriptedApi((nth) => nth === 0 ? refusal(429, headers) : list());
    using transport = api.connect();
    const listed = transport.getJson(PATH);
    await time.tickAsync(await time.timer(pauseMs + FIRST_PAUSE_MS) - 1);
    assertEquals(api.authorizations.length, 1);
    await time.tickAsync(1);
    assertEquals(await listed, { kind: "List", items: [] });
  });
}

Deno.test("K15 Transport retries a request that gets no response for 10 seconds", async () => {
  using time = new FakeTime();
  using _random = new FixedRandom(0.5);
  await using api = new ScriptedApi((nth) => nth === 0 ? "hang" : list());
  using transport = api.connect();
  const listed = transport.getJson(PATH);
  await api.arrivals.next();
  await time.tickAsync(await time.timer(10_000));
  await time.tickAsync(await time.timer(FIRST_PAUSE_MS));
  await api.arrivals.next();
  assertEquals(await listed, { kind: "List", items: [] });
});

for (const status of [400, 403, 404, 409, 422]) {
  Deno.test(`Transport does not retry after ${status}`, async () => {
    await using api = new ScriptedApi(() => refusal(status));
    using transport = api.connect();
    const error = await assertRejects(() => transport.getJson(PATH), KubernetesError);
    assertEquals([error.status, api.authorizations.length], [status, 1]);
    assertEquals(error.message, `Kubernetes refused to read pods: no (${status})`);
  });
}

Deno.test("Transport retries a create after a quota conflict, but not after AlreadyExists", async () => {
  using _random = new FixedRandom(0);
  const methods: string[] = [];
  await using api = new ScriptedApi((nth, { method }) => {
    methods.push(method);
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
  assertEquals(methods, ["POST", "POST"]);
});

Deno.test("Transport rejects a response that is not JSON, without quoting it", async () => {
  await using api = new ScriptedApi(() => new Response("s3cret"));
  using transport = api.connect();
  const error = await assertRejects(() => transport.getJson(PATH), KubernetesError);
  assertEquals(error.message, "Kubernetes answered a request to read pods with something other than JSON");
  assertEquals(Deno.inspect(error).includes("s3cret"), false);
});

/** An API server that accepts only the current token. */
function rotating(current: { token: string }): ScriptedApi {
  return new ScriptedApi((_nth, request) =>
    request.headers.get("authorization") === `Bearer ${current.token}` ? list() : refusal(401)
  );
}

Deno.test("K16 Transport reloads its credentials after a 401", async () => {
  const current = { token: "old" };
  await using api = rotating(current);
  using transport = api.connect(() => current.token);
  await transport.getJson(PATH);
  current.token = "new";
  await transport.getJson(PATH);
  await transport.getJson(PATH);
  assertEquals(api.authorizations, ["old", "old", "new", "new"].map((token) => `Bearer ${token}`));
});

Deno.test("Transport reloads its credentials after a 401 for a watch", async () => {
  const current = { token: "old" };
  await using api = rotating(current);
  using transport = api.connect(() => current.token);
  current.token = "new";
  const body = await transport.stream(`${PATH}?watch=true`, never);
  await body.cancel();
  assertEquals(api.authorizations, ["Bearer old", "Bearer new"]);
});

Deno.test("Transport receives a stream that the API server would compress in several gzip members", async () => {
  const parts = ["first line\n", "second line\n"];
  const members = parts.map((part) => gzipSync(part));
  await using api = new ScriptedApi((_, request) =>
    request.headers.get("accept-encoding")?.includes("gzip")
      ? new Response(new Blob(members), { headers: { "Content-Encoding": "gzip" } })
      : new Response(parts.join(""))
  );
  using transport = api.connect();
  const body = await transport.stream(`${PATH}?watch=true`, never);
  assertEquals(await new Response(body).text(), parts.join(""));
});

Deno.test("Transport.pause() ends as soon as the API server responds again", async () => {
  using _random = new FixedRandom(0);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  using transport = new Transport(() => accessTo(`http://127.0.0.1:${port}`, "token"));
  await assertRejects(() => transport.getJson(PATH), KubernetesError, "did not answer");
  const pause = transport.pause(3_600_000, never);
  const paths: string[] = [];
  await using _server = Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, ({ url }) => {
    paths.push(new URL(url).pathname);
    // While it starts, it is not ready.
    return new Response(null, { status: paths.length > 2 ? 200 : 500 });
  });
  assertEquals(await pause, true);
  assertEquals(paths, ["/readyz", "/readyz", "/readyz"]);
});

Deno.test("Transport sends 100 requests at a time", async () => {
  const answers: Array<() => void> = [];
  await using api = new ScriptedApi(() => {
    const body = new ReadableStream<Uint8Array>({
      start: (it) => void answers.push(() => (it.enqueue(new TextEncoder().encode("{}")), it.close())),
    });
    return new Response(body);
  });
  using transport = api.connect();
  const requests = Array.from({ length: 101 }, () => transport.getJson(PATH));
  for (let count = 0; count < 100; count++) await api.arrivals.next();
  assertEquals(api.authorizations.length, 100);
  answers[0]?.();
  await api.arrivals.next();
  assertEquals(api.authorizations.length, 101);
  for (const answer of answers.slice(1)) answer();
  await Promise.all(requests);
});

Deno.test("Transport reloads its credentials once for concurrent requests", async () => {
  const current = { token: "old" };
  let loads = 0;
  const requests = 5;
  const arrived = Promise.withResolvers<void>();
  await using api = new ScriptedApi((nth, request) => {
    if (nth + 1 === requests) arrived.resolve();
    if (request.headers.get("authorization") === "Bearer new") return list();
    // No response ends before all requests have arrived.
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

Deno.test("K16 Transport does not retry after a second 401", async () => {
  await using api = new ScriptedApi(() => refusal(401));
  using transport = api.connect();
  const error = await assertRejects(() => transport.getJson(PATH), KubernetesError, "no (401)");
  assertEquals([error.status, api.authorizations.length], [401, 2]);
});

Deno.test("Transport reports that the credentials cannot be reloaded", async () => {
  await using api = new ScriptedApi(() => refusal(401));
  let loads = 0;
  using transport = api.connect(() => {
    if (loads++ > 0) throw new Error("the file is gone");
    return "token";
  });
  const error = await assertRejects(() => transport.getJson(PATH), KubernetesError);
  assertEquals(
    error.message,
    "Kubernetes refused to read pods: no (401); the credentials cannot be reloaded: the file is gone",
  );
});

/** Writes a kubeconfig with one cluster. */
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

Deno.test("Transport uses the proxy of the kubeconfig", async () => {
  await using api = new ScriptedApi(list);
  await using proxy = new RecordingProxy();
  await using kubeconfig = await kubeconfigOf({
    server: `http://${api.host}`,
    "proxy-url": `http://alice:s3cret@${proxy.host}`,
  });
  using transport = new Transport(() => loadAccess(kubeconfig.path));
  await transport.getJson(PATH);
  const authorization = `Basic ${btoa("alice:s3cret")}`;
  assertEquals(proxy.requests, [{ method: "GET", target: api.host, authorization }]);
});

Deno.test("R7 Transport rejects writes and still reads while mayWrite() returns false", async () => {
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
    "Cannot change deployments s1: this replica may no longer be the leader",
  );
  mayWrite = true;
  await scale("s1", change);
  assertEquals(methods, ["GET", "PATCH"]);
});

Deno.test("Transport reports each attempt at a request", async () => {
  using _random = new FixedRandom(0);
  await using api = new ScriptedApi((nth) => nth === 0 ? refusal(503) : list());
  const records: unknown[] = [];
  using transport = new Transport(
    () => accessTo(`http://${api.host}`, "token"),
    {
      onRequest: ({ durationMs, ...record }) => void records.push({ ...record, hasTime: durationMs >= 0 }),
    },
  );
  await transport.getJson(PATH);
  const request = { verb: "list", resource: "pods", hasTime: true };
  assertEquals(records, [{ ...request, status: 503, isRetry: false }, {
    ...request,
    status: 200,
    isRetry: true,
  }]);
});

Deno.test("Transport reports status 0 for a request without a response", async () => {
  using _random = new FixedRandom(0);
  await using api = new ResettingApi();
  const statuses: number[] = [];
  const onRequest = ({ status }: RequestRecord) => void statuses.push(status);
  using transport = new Transport(() => accessTo(`http://${api.host}`, "token"), { onRequest });
  await assertRejects(() => transport.getJson(PATH), KubernetesError);
  assertEquals(statuses, [0, 0, 0, 0, 0]);
});

const ATTRIBUTES: ReadonlyArray<[method: string, path: string, attributes: string]> = [
  ["GET", "/api/v1/namespaces/s/pods", "list pods"],
  ["GET", "/api/v1/namespaces/s/pods?watch=true", "watch pods"],
  ["GET", "/api/v1/namespaces/s/secrets/k8s-agent-issued-key", "get secrets"],
  ["POST", "/apis/apps/v1/namespaces/s/deployments", "create deployments"],
  ["PATCH", "/apis/apps/v1/namespaces/s/deployments/s1", "patch deployments"],
  ["PUT", "/apis/coordination.k8s.io/v1/namespaces/s/leases/a", "update leases"],
  ["DELETE", "/api/v1/namespaces/s/services/s1", "delete services"],
  ["PATCH", "/apis/stream.space/v1alpha1/namespaces/s/sessions/s1/status", "patch sessions/status"],
  ["POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "create selfsubjectaccessreviews"],
  ["GET", "/api/v1/namespaces/s", "get namespaces"],
  ["GET", "/apis/stream.space/v1alpha1", "list "],
  ["GET", "/version", "list "],
];

for (const [method, path, expected] of ATTRIBUTES) {
  Deno.test(`attributesOf() returns ${JSON.stringify(expected)} for ${method} ${path}`, () => {
    const { verb, resource } = attributesOf(method, new URL(path, "https://api.example.com"));
    assertEquals(`${verb} ${resource}`, expected);
  });
}

/** Response of an API server to a request without credentials. */
function anonymousRefusal(): Response {
  const message = 'pods is forbidden: User "system:anonymous" cannot list resource "pods"';
  return Response.json({ kind: "Status", code: 403, reason: "Forbidden", message }, { status: 403 });
}

for (
  const [name, token, answers, calls] of [
    ["reports an API server that ignores its credentials", "t", [anonymousRefusal], 1],
    ["does not report it without credentials", undefined, [anonymousRefusal], 0],
    ["does not report it after an accepted request", "t", [list, anonymousRefusal], 0],
  ] as const
) {
  Deno.test(`Transport ${name}`, async () => {
    await using api = new ScriptedApi((nth) => answers[nth]?.() ?? list());
    const errors: KubernetesError[] = [];
    const onAnonymous = (error: KubernetesError) => errors.push(error);
    using transport = new Transport(() => accessTo(`http://${api.host}`, token), { onAnonymous });
    for (const _ of answers.slice(1)) await transport.getJson(PATH);
    const error = await assertRejects(() => transport.getJson(PATH), KubernetesError);
    assertStringIncludes(
      error.message,
      "Kubernetes refused to read pods, as it accepts no credentials of the agent and treats it as system:anonymous: ",
    );
    assertEquals(errors.length, calls);
  });
}

Deno.test("Transport explains the rejection of an unencrypted request by a TLS server", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    for await (const connection of listener) {
      await connection.read(new Uint8Array(4096));
      const text = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
      await connection.write(new TextEncoder().encode(text));
      connection.close();
    }
  })();
  using transport = new Transport(() => accessTo(`http://127.0.0.1:${listener.addr.port}`, "t"));
  const error = await assertRejects(() => transport.getJson(PATH), KubernetesError);
  listener.close();
  await serving;
  assertEquals(
    error.message,
    "Kubernetes refused to read pods: HTTP status 400: the server expects TLS, use https:// in its address",
  );
});

Deno.test("Transport retries a request whose credentials cannot be read", async () => {
  using _random = new FixedRandom(0);
  await using api = new ScriptedApi(list);
  let reads = 0;
  const access = {
    ...accessTo(`http://${api.host}`, "t"),
    credentials: () => {
      if (reads++ === 0) throw new Error("exec aws failed: no network");
      return Promise.resolve({ headers: [], client: {} });
    },
  };
  using transport = new Transport(() => access);
  assertEquals(await transport.getJson(PATH), { kind: "List", items: [] });
  assertEquals(reads, 2);
});

Deno.test("Transport does not wait longer for credentials than for a response", async () => {
  using _random = new FixedRandom(0);
  const access = {
    ...accessTo("http://127.0.0.1:9", "t"),
    credentials: () => Promise.withResolvers<never>().promise,
  };
  const timings = { ...DEFAULT_TIMINGS, requestTimeoutMs: 10 };
  using transport = new Transport(() => access, { timings });
  await assertRejects(
    () => transport.getJson(PATH),
    KubernetesError,
    "Cannot read pods: the kubeconfig's plug-in returns no credentials",
  );
});
