import { assert, assertEquals, assertRejects } from "@std/assert";
import type { KubernetesObject } from "@kubernetes/client-node";
import { Cluster } from "@streamspace/memory-cluster";
import { type ApiFault, ApiProxy, type RequestAttributes } from "../../dev/faults/api_proxy.ts";
import { TcpProxy } from "../../dev/faults/tcp_proxy.ts";
import { KubernetesError } from "../../lib/common/errors.ts";
import { Transport } from "../../lib/kubernetes/transport.ts";
import { watch } from "../../lib/kubernetes/watch.ts";
import { accessTo } from "../support/clusters.ts";
import { FakeTime } from "../support/fake_time.ts";
import { FixedRandom } from "../support/fixed_random.ts";
import { Queue } from "../support/queue.ts";
import { type Answer, call } from "./cluster_client.ts";

const MAPS = "/api/v1/namespaces/default/configmaps";
const SECRETS = "/api/v1/namespaces/default/secrets";

/** An in-memory cluster, a proxy in front of it, and clients of the proxy. */
class Proxied implements AsyncDisposable {
  readonly cluster = Cluster.start();
  /** The requests to the proxy, with their RBAC attributes. */
  readonly arrivals = new Queue<string>();
  readonly proxy: ApiProxy;
  readonly transport: Transport;
  readonly #upstream = Deno.createHttpClient({});
  /** Keeps no connections: it would repeat requests on stale ones. */
  readonly #downstream = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });

  /** `server`: address of the cluster for the proxy. */
  constructor(server?: string) {
    this.proxy = ApiProxy.start({
      server: server ?? this.cluster.url,
      client: this.#upstream,
      onRequest: (request) => this.arrivals.push(words(request)),
    });
    this.transport = new Transport(() => accessTo(this.proxy.url));
  }

  /** Sends a request through the proxy. */
  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return await fetch(`${this.proxy.url}${path}`, { ...init, client: this.#downstream });
  }

  /** Creates a ConfigMap through the proxy. */
  async create(name: string): Promise<Response> {
    const body = JSON.stringify({ metadata: { name } });
    return await this.fetch(MAPS, { method: "POST", body, headers: { "Content-Type": "application/json" } });
  }

  /** Names of the ConfigMaps in the cluster. */
  async names(): Promise<string[]> {
    const { items } = await call(this.cluster, MAPS);
    return items.map(({ metadata }: Answer) => metadata.name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.transport[Symbol.dispose]();
    await this.proxy[Symbol.asyncDispose]();
    await this.cluster[Symbol.asyncDispose]();
    this.#upstream.close();
    this.#downstream.close();
  }
}

/** The agent's watch, through a proxy. */
class ProxiedWatch implements AsyncDisposable {
  /** The received lists and changes in their order. */
  readonly changes = new Queue<string>();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  // A random factor of 0 makes retries immediate.
  readonly #random = new FixedRandom(0);

  constructor(transport: Transport) {
    this.#running = watch<KubernetesObject>(transport, {
      path: MAPS,
      selector: { labelSelector: "" },
      onList: (objects) => this.changes.push(["list", ...objects.map(name)].join(" ")),
      onChange: (change, object) => this.changes.push(`${change} ${name(object)}`),
      signal: this.#stop.signal,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#random[Symbol.dispose]();
  }
}

function name({ metadata }: KubernetesObject): string {
  return metadata?.name ?? "";
}

function words({ verb, resource }: RequestAttributes): string {
  return `${verb} ${resource}`;
}

/** Creates a ConfigMap without the proxy, and waits until the watch delivers it. */
async function createAndAwait({ cluster }: Proxied, { changes }: ProxiedWatch, name: string): Promise<void> {
  await call(cluster, MAPS, { body: { metadata: { name } } });
  assertEquals(await changes.next(), `put ${name}`);
}

Deno.test("ApiProxy forwards requests, and records their RBAC attributes", async () => {
  await using proxied = new Proxied();
  const created = await proxied.create("one");
  assertEquals([created.status, (await created.json()).metadata.name], [201, "one"]);
  const missing = await proxied.fetch(`${MAPS}/two`);
  assertEquals([missing.status, (await missing.json()).reason], [404, "NotFound"]);
  const merge = { "Content-Type": "application/merge-patch+json" };
  const patched = await proxied.fetch(`${MAPS}/one`, { method: "PATCH", body: "{}", headers: merge });
  await patched.json();
  const list = await proxied.transport.getJson(MAPS) as Answer;
  assertEquals(list.items.length, 1);
  const recorded = ["create configmaps", "get configmaps", "patch configmaps", "list configmaps"];
  assertEquals(proxied.proxy.requests.map(words), recorded);
});

Deno.test("ApiProxy answers with a Status, and does not forward the request", async () => {
  await using proxied = new Proxied();
  const reasons = {
    401: "Unauthorized",
    403: "Forbidden",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
  };
  for (const [code, reason] of Object.entries(reasons)) {
    proxied.proxy.inject({ kind: "status", code: Number(code), headers: { "Retry-After": "7" } });
    const response = await proxied.fetch(MAPS);
    assertEquals([response.status, response.headers.get("Retry-After")], [Number(code), "7"]);
    const status = await response.json();
    assertEquals(status, {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: `injected fault: ${reason}`,
      reason,
      code: Number(code),
    });
  }
  assertEquals(proxied.cluster.requests, []);
});

Deno.test("Transport reports and retries error responses of ApiProxy", async () => {
  await using proxied = new Proxied();
  proxied.proxy.inject({ kind: "status", code: 403 });
  const error = await assertRejects(() => proxied.transport.getJson(MAPS), KubernetesError);
  assertEquals([error.status, error.reason], [403, "Forbidden"]);
  proxied.proxy.inject({ kind: "status", code: 503 });
  await proxied.transport.getJson(MAPS);
  assertEquals(proxied.proxy.requests.length, 3);
});

Deno.test("ApiProxy applies a fault to matching requests only, and as often as requested", async () => {
  await using proxied = new Proxied();
  const statuses = async () => {
    const responses = [await proxied.fetch(MAPS), await proxied.fetch(SECRETS), await proxied.create("one")];
    for (const response of responses) await response.body?.cancel();
    return responses.map(({ status }) => status);
  };
  proxied.proxy.inject({ kind: "status", code: 500, verb: "list", resource: "configmaps", times: 2 });
  assertEquals(await statuses(), [500, 200, 201]);
  assertEquals(await statuses(), [500, 200, 409]);
  assertEquals(await statuses(), [200, 200, 409]);
  proxied.proxy.inject({ kind: "status", code: 500, verb: "create" });
  proxied.proxy.inject({ kind: "status", code: 503, times: Infinity });
  assertEquals(await statuses(), [503, 503, 500]);
  assertEquals(await statuses(), [503, 503, 503]);
  proxied.proxy.clearFaults();
  assertEquals(await statuses(), [200, 200, 409]);
});

Deno.test("ApiProxy loses the response of an executed request", async () => {
  await using proxied = new Proxied();
  proxied.proxy.inject({ kind: "lost-answer", verb: "create" });
  await assertRejects(() => proxied.create("one"), TypeError);
  assertEquals(await proxied.names(), ["one"]);
  const again = await proxied.create("one");
  assertEquals([again.status, (await again.json()).reason], [409, "AlreadyExists"]);
});

Deno.test("ApiProxy loses the rest of a response", async () => {
  await using proxied = new Proxied();
  proxied.proxy.inject({ kind: "lost-answer", isBegun: true });
  const response = await proxied.create("one");
  assertEquals(response.status, 201);
  await assertRejects(() => response.text(), TypeError);
  assertEquals(await proxied.names(), ["one"]);
});

Deno.test("ApiProxy loses the response of a watch, and closes the watch", async () => {
  await using proxied = new Proxied();
  proxied.proxy.inject({ kind: "lost-answer", verb: "watch" });
  await assertRejects(() => proxied.fetch(`${MAPS}?watch=1`), TypeError);
  assertEquals([proxied.proxy.watches, proxied.proxy.requests.length], [0, 1]);
});

for (const fault of [{ kind: "lost-answer" }, { kind: "lost-answer", isBegun: true }] satisfies ApiFault[]) {
  const name = "isBegun" in fault ? "is lost after its headers" : "is lost";
  Deno.test(`Transport retries when a response of ApiProxy ${name}`, async () => {
    await using proxied = new Proxied();
    proxied.proxy.inject(fault);
    assertEquals((await proxied.transport.getJson(MAPS) as Answer).items, []);
    const lists = proxied.proxy.requests.filter(({ resource }) => resource === "configmaps");
    assertEquals(lists.length, 2);
  });
}

Deno.test("ApiProxy blocks a request until the faults are cleared", async () => {
  await using proxied = new Proxied();
  proxied.proxy.inject({ kind: "hang", verb: "create" });
  let isAnswered = false;
  const hanging = proxied.create("one").finally(() => isAnswered = true);
  assertEquals(await proxied.arrivals.next(), "create configmaps");
  assertEquals((await (await proxied.create("two")).json()).metadata.name, "two");
  assertEquals([isAnswered, await proxied.names()], [false, ["two"]]);
  proxied.proxy.clearFaults();
  assertEquals((await (await hanging).json()).metadata.name, "one");
});

Deno.test("ApiProxy aborts blocked requests and ends watches when it is disposed", async () => {
  const proxied = new Proxied();
  const open = await proxied.fetch(`${MAPS}?watch=1`);
  proxied.proxy.inject({ kind: "hang" });
  const hanging = assertRejects(() => proxied.create("one"), TypeError);
  assertEquals(await proxied.arrivals.next(), "watch configmaps");
  assertEquals(await proxied.arrivals.next(), "create configmaps");
  assertEquals(proxied.proxy.watches, 1);
  const reading = open.text().catch(() => {});
  await proxied[Symbol.asyncDispose]();
  await Promise.all([hanging, reading]);
  assertEquals(proxied.proxy.watches, 0);
  assertEquals(proxied.cluster.requests.map(({ verb }) => verb), ["watch"]);
});

Deno.test("ApiProxy delays the response of an executed request", async () => {
  using time = new FakeTime();
  await using proxied = new Proxied();
  proxied.proxy.inject({ kind: "delay", ms: 1000 });
  let isAnswered = false;
  const delayed = proxied.create("one").finally(() => isAnswered = true);
  await time.timer(1000);
  assertEquals([await proxied.names(), isAnswered], [["one"], false]);
  time.tick(1000);
  assertEquals((await (await delayed).json()).metadata.name, "one");
});

Deno.test("ApiProxy streams watches, and ends them", async () => {
  await using proxied = new Proxied();
  await using watching = new ProxiedWatch(proxied.transport);
  assertEquals(await watching.changes.next(), "list");
  await createAndAwait(proxied, watching, "one");
  await createAndAwait(proxied, watching, "two");
  assertEquals(proxied.proxy.watches, 1);
  proxied.proxy.endWatches();
  assertEquals(proxied.proxy.watches, 0);
  await createAndAwait(proxied, watching, "three");
  const recorded = ["watch configmaps", "watch configmaps"];
  assertEquals(proxied.proxy.requests.map(words), recorded);
});

Deno.test("ApiProxy ends watches with an error: after 410, the client lists again", async () => {
  await using proxied = new Proxied();
  await using watching = new ProxiedWatch(proxied.transport);
  assertEquals(await watching.changes.next(), "list");
  await createAndAwait(proxied, watching, "one");
  proxied.proxy.errorWatches(500);
  await createAndAwait(proxied, watching, "two");
  proxied.proxy.errorWatches(410);
  assertEquals(await watching.changes.next(), "list one two");
  await createAndAwait(proxied, watching, "three");
});

Deno.test("ApiProxy sends errors in watches as Status objects", async () => {
  await using proxied = new Proxied();
  const open = await proxied.fetch(`${MAPS}?watch=1`);
  proxied.proxy.errorWatches(410);
  assertEquals(JSON.parse(await open.text()), {
    type: "ERROR",
    object: {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: "injected fault: Expired",
      reason: "Expired",
      code: 410,
    },
  });
});

Deno.test("ApiProxy stalls watches, which stay open until the client closes them", async () => {
  using time = new FakeTime();
  await using proxied = new Proxied();
  await using watching = new ProxiedWatch(proxied.transport);
  assertEquals(await watching.changes.next(), "list");
  await createAndAwait(proxied, watching, "one");
  proxied.proxy.silenceWatches();
  await call(proxied.cluster, MAPS, { body: { metadata: { name: "two" } } });
  proxied.cluster.closeWatches();
  assertEquals((await (await proxied.fetch(SECRETS)).json()).items, []);
  assertEquals([watching.changes.size, proxied.proxy.watches], [0, 1]);
  // The timeout of the agent for a watch without data.
  await time.timer(40_000);
  time.tick(40_000);
  while (watching.changes.size === 0) await time.tickAsync(0);
  assertEquals(await watching.changes.next(), "put two");
});

Deno.test("ApiProxy ends the watch of the server when the client disconnects", async () => {
  await using proxied = new Proxied();
  const leaving = new AbortController();
  const open = await proxied.fetch(`${MAPS}?watch=1`, { signal: leaving.signal });
  assertEquals(proxied.proxy.watches, 1);
  leaving.abort();
  await open.body?.cancel().catch(() => {});
  while (proxied.proxy.watches > 0) await new Promise((resolve) => setTimeout(resolve, 0));
});

Deno.test("ApiProxy answers 502 if the server is unreachable, and aborts a response that has started", async () => {
  await using cluster = Cluster.start();
  await using way = await TcpProxy.start(new URL(cluster.url));
  await using proxied = new Proxied(`http://127.0.0.1:${way.port}`);
  const open = await proxied.fetch(`${MAPS}?watch=1`);
  way.mode = { kind: "refuse" };
  way.reset();
  await assertRejects(() => open.text(), TypeError);
  const response = await proxied.fetch(MAPS);
  const { kind, reason, message } = await response.json();
  assertEquals([response.status, kind, reason], [502, "Status", "BadGateway"]);
  assert(message.startsWith("the server did not answer: "), message);
  way.mode = { kind: "pass" };
  await (await proxied.fetch(MAPS)).json();
});

Deno.test("ApiProxy works behind a TcpProxy", async () => {
  await using proxied = new Proxied();
  await using way = await TcpProxy.start(new URL(proxied.proxy.url));
  const response = await fetch(`http://127.0.0.1:${way.port}${MAPS}`);
  assertEquals((await response.json()).items, []);
  assertEquals(proxied.proxy.requests.map(words), ["list configmaps"]);
});
