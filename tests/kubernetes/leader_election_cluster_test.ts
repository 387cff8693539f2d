import type { V1Lease } from "@kubernetes/client-node";
import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { Cluster } from "@streamspace/memory-cluster";
import { createLeaseApi, type LeaseApi } from "../../lib/kubernetes/client.ts";
import { loadAccess } from "../../lib/kubernetes/kubeconfig.ts";
import { LeaderElection, type Leadership } from "../../lib/kubernetes/leader_election.ts";
import { Transport } from "../../lib/kubernetes/transport.ts";
import { DEFAULT_TIMINGS } from "../../lib/model/timings.ts";
import { temporaryFile, type TestCluster } from "../support/clusters.ts";
import { LogCapture } from "../support/log_capture.ts";
import { Queue } from "../support/queue.ts";
import { onEachCluster } from "../support/stage.ts";

/** Retries of requests without noticeable pauses. */
const TIMINGS = { ...DEFAULT_TIMINGS, requestRetryMs: 1 };
const never = new AbortController().signal;
const NAME = "agent-leader";
/** A lease that does not expire during a test. */
const LONG = { leaseMs: 3_600_000, renewDeadlineMs: 1_800_000, retryPeriodMs: 50 };
/** The shortest lease that the API can store. */
const SHORT = { leaseMs: 1000, renewDeadlineMs: 700, retryPeriodMs: 50 };
const MICRO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;

/** A candidate's connection to the cluster; it records the leases that it wrote. */
class Connection implements Disposable {
  readonly leases: LeaseApi;
  /** Response to each write. */
  readonly written = new Queue<V1Lease>();
  readonly #transport: Transport;

  constructor(transport: Transport, namespace: string) {
    this.#transport = transport;
    const api = createLeaseApi(transport, namespace);
    const recorded = async (write: Promise<V1Lease>) => {
      const lease = await write;
      this.written.push(lease);
      return lease;
    };
    this.leases = {
      read: (name) => api.read(name),
      create: (lease) => recorded(api.create(lease)),
      replace: (lease) => recorded(api.replace(lease)),
    };
  }

  static to(cluster: TestCluster): Connection {
    return new Connection(
      new Transport(() => loadAccess(cluster.kubeconfig), { timings: TIMINGS }),
      cluster.namespace,
    );
  }

  acquire(identity: string, { timings = LONG, signal = never } = {}): Promise<Leadership> {
    return new LeaderElection({ leases: this.leases, name: NAME, identity, timings }).acquire(signal);
  }

  /** Changes the lease, as another client would; retries while the leader writes at the same time. */
  async edit(change: (lease: V1Lease) => V1Lease): Promise<void> {
    while (true) {
      const lease = await this.leases.read(NAME);
      assert(lease);
      try {
        await this.leases.replace(change(lease));
        return;
      } catch (error) {
        assertStringIncludes(String(error), "has been modified");
      }
    }
  }

  /** Next write that matches. */
  async nextWrite(matches: (lease: V1Lease) => boolean): Promise<V1Lease> {
    while (true) {
      const lease = await this.written.next();
      if (matches(lease)) return lease;
    }
  }

  [Symbol.dispose](): void {
    this.#transport[Symbol.dispose]();
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

onEachCluster("acquire() writes a valid lease and renews it", async (cluster) => {
  using a = Connection.to(cluster);
  await using leadership = await a.acquire("a");
  const first = await a.written.next();
  const second = await a.written.next();
  const [before, after] = [first, second].map(({ spec }) => JSON.parse(JSON.stringify(spec)));
  assertMatch(before.renewTime, MICRO_TIME);
  assertMatch(before.acquireTime, MICRO_TIME);
  assert(after.renewTime > before.renewTime, `${before.renewTime}, then ${after.renewTime}`);
  const rest = { holderIdentity: "a", leaseDurationSeconds: 3600, leaseTransitions: 0 };
  assertEquals(before, { ...rest, acquireTime: before.acquireTime, renewTime: before.renewTime });
  assertEquals(after, { ...rest, acquireTime: before.acquireTime, renewTime: after.renewTime });
  assert(!leadership.lost.aborted);
});

onEachCluster(
  "a released leadership passes to the next candidate at once, however long the lease is",
  async (cluster) => {
    using logs = new LogCapture();
    using a = Connection.to(cluster);
    using b = Connection.to(cluster);
    const first = await a.acquire("a");
    const waiting = b.acquire("b");
    await logs.line("Waiting for leadership: a is the leader");
    await first[Symbol.asyncDispose]();
    await using _second = await waiting;
    const lease = await a.leases.read(NAME);
    assertEquals([lease?.spec?.holderIdentity, lease?.spec?.leaseTransitions], ["b", 1]);
  },
);

onEachCluster("acquire() takes over from a dead leader", async (cluster) => {
  using b = Connection.to(cluster);
  await b.leases.create({
    metadata: { name: NAME },
    spec: { holderIdentity: "dead", leaseDurationSeconds: 1, leaseTransitions: 3 },
  });
  await using leadership = await b.acquire("b", { timings: SHORT });
  assert(!leadership.lost.aborted);
  assertEquals((await b.leases.read(NAME))?.spec?.leaseTransitions, 4);
});

onEachCluster("R9 leadership is lost to a holder that another client wrote", async (cluster) => {
  using a = Connection.to(cluster);
  using hand = Connection.to(cluster);
  await using leadership = await a.acquire("a");
  await hand.edit((lease) => ({ ...lease, spec: { ...lease.spec, holderIdentity: "z" } }));
  await aborted(leadership.lost);
  assertEquals(leadership.lost.reason.message, "Lost leadership: z is the leader");
});

onEachCluster("R9 leadership continues when its lease is deleted or edited", async (cluster) => {
  using a = Connection.to(cluster);
  using hand = Connection.to(cluster);
  await using leadership = await a.acquire("a");
  const { metadata } = await a.written.next();
  await cluster.objects.delete({
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name: NAME, namespace: cluster.namespace },
  });
  const created = await a.nextWrite((lease) => lease.metadata?.uid !== metadata?.uid);
  assertEquals(created.spec?.holderIdentity, "a");
  await hand.edit((lease) => ({ ...lease, metadata: { ...lease.metadata, labels: { team: "x" } } }));
  await a.nextWrite((lease) => lease.metadata?.labels?.team === "x");
  assert(!leadership.lost.aborted);
});

onEachCluster("exactly one of two concurrent candidates leads, each time", async (cluster) => {
  using a = Connection.to(cluster);
  using b = Connection.to(cluster);
  for (let round = 0; round < 20; round++) {
    let leaders = 0;
    const campaign = async (connection: Connection, identity: string) => {
      await using leadership = await connection.acquire(identity);
      leaders += 1;
      assertEquals(leaders, 1);
      const holder = (await connection.leases.read(NAME))?.spec?.holderIdentity;
      assertEquals([leaders, holder, leadership.lost.aborted], [1, identity, false]);
      leaders -= 1;
    };
    await Promise.all([campaign(a, `a${round}`), campaign(b, `b${round}`)]);
  }
  assertEquals((await a.leases.read(NAME))?.spec?.leaseTransitions, 39);
});

onEachCluster("acquire() stops waiting on abort and does not change the lease", async (cluster) => {
  using logs = new LogCapture();
  using a = Connection.to(cluster);
  using b = Connection.to(cluster);
  await using _leadership = await a.acquire("a");
  const stop = new AbortController();
  const waiting = b.acquire("b", { signal: stop.signal });
  await logs.line("Waiting for leadership");
  stop.abort(new Error("enough"));
  await assertRejects(() => waiting, Error, "enough");
  assertEquals((await b.leases.read(NAME))?.spec?.holderIdentity, "a");
});

/** A network in front of a cluster in memory that a test can cut: from then on no request is answered. */
class Network implements AsyncDisposable {
  readonly cluster = Cluster.start();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #end = Promise.withResolvers<Response>();
  #isCut = false;

  constructor() {
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
      if (this.#isCut) return await this.#end.promise;
      const { pathname, search } = new URL(request.url);
      const body = request.body ? await request.text() : null;
      const { method, headers } = request;
      return await fetch(`${this.cluster.url}${pathname}${search}`, { method, headers, body });
    });
  }

  cut(): void {
    this.#isCut = true;
  }

  /** Connects through this network, or directly to the cluster. */
  async connect(via: "network" | "direct"): Promise<Connection> {
    const through = `http://127.0.0.1:${this.#server.addr.port}`;
    const text = this.cluster.kubeconfig();
    const path = await temporaryFile(via === "network" ? text.replace(this.cluster.url, through) : text);
    const access = loadAccess(path);
    await Deno.remove(path);
    return new Connection(new Transport(() => access, { timings: TIMINGS }), "default");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.resolve(new Response(null, { status: 503 }));
    await this.#server.shutdown();
    await this.cluster[Symbol.asyncDispose]();
  }
}

Deno.test("R7 leadership is lost before another candidate leads when the leader's requests are not answered", async () => {
  await using network = new Network();
  using a = await network.connect("network");
  using b = await network.connect("direct");
  const events: string[] = [];
  await using first = await a.acquire("a", { timings: SHORT });
  first.lost.addEventListener("abort", () => events.push("a lost"), { once: true });
  const waiting = b.acquire("b", { timings: SHORT });
  network.cut();
  await using _second = await waiting;
  events.push("b leads");
  assertEquals(events, ["a lost", "b leads"]);
  assertStringIncludes(first.lost.reason.message, "did not answer within 350ms");
});

Deno.test("leadership survives a short outage of the API", async () => {
  await using network = new Network();
  using a = await network.connect("direct");
  await using leadership = await a.acquire("a");
  network.cluster.failNext({ resource: "leases", status: 503, times: 3 });
  network.cluster.failNext({ resource: "leases", verb: "update", status: 409 });
  const { length } = network.cluster.requests;
  while (network.cluster.requests.length < length + 6) await a.written.next();
  assert(!leadership.lost.aborted);
});

Deno.test("leadership is lost when the API refuses renewals until the deadline", async () => {
  await using network = new Network();
  using a = await network.connect("direct");
  await using leadership = await a.acquire("a", { timings: SHORT });
  network.cluster.failNext({ resource: "leases", status: 403, message: "not yours", times: 1000 });
  await aborted(leadership.lost);
  assertStringIncludes(leadership.lost.reason.message, "could not be renewed within 700ms");
  assertStringIncludes(leadership.lost.reason.message, "not yours");
});
