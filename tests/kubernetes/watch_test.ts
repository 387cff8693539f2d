import type { KubernetesObject } from "@kubernetes/client-node";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { watch } from "../../lib/kubernetes/watch.ts";
import { FakeTime } from "../support/fake_time.ts";
import { FixedRandom } from "../support/fixed_random.ts";
import { ListWatchServer, type OpenWatch, type PendingRequest } from "../support/list_watch_server.ts";
import { LogCapture } from "../support/log_capture.ts";
import { Queue } from "../support/queue.ts";

const PATH = "/api/v1/namespaces/streamspace/pods";

function pod(name: string, version: number): Record<string, unknown> {
  return { metadata: { name, uid: `uid-${name}`, resourceVersion: String(version) } };
}

function name(object: KubernetesObject): string {
  return `${object.metadata?.name}@${object.metadata?.resourceVersion}`;
}

/** A watch that runs against a server of the test's until it is disposed. */
class RunningWatch implements AsyncDisposable {
  readonly server = new ListWatchServer();
  /** What came out: lists and changes in their order. */
  readonly told = new Queue<string>();
  /** What the observer was told. */
  readonly observed: string[] = [];
  readonly #transport = this.server.connect();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  // Waits between two attempts are random parts of a longest one: none at all here.
  readonly #random = new FixedRandom(0);

  constructor() {
    this.#running = watch<KubernetesObject>(this.#transport, {
      path: PATH,
      selector: { labelSelector: "app=streamspace-session" },
      onList: (objects, version) => this.told.push(`list@${version} ${objects.map(name).join(" ")}`.trim()),
      onChange: (change, object) => this.told.push(`${change} ${name(object)}`),
      observer: {
        heard: (resource) => this.observed.push(`heard ${resource}`),
        broke: (resource, reason) => this.observed.push(`${resource} ${reason}`),
      },
      signal: this.#stop.signal,
    });
  }

  /** The next request, which must ask for this. */
  async request(asks: string): Promise<PendingRequest> {
    const request = await this.server.requests.next();
    assertEquals(request.asks, asks);
    return request;
  }

  /** Answers the first list, empty and of version 100, and opens the first watch. */
  async begin(): Promise<OpenWatch> {
    (await this.request("list")).list([], "100");
    assertEquals(await this.told.next(), "list@100");
    return (await this.request("watch 100")).watch();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.#transport[Symbol.dispose]();
    await this.server[Symbol.asyncDispose]();
    this.#random[Symbol.dispose]();
  }
}

Deno.test("watch() lists first, and then asks for what has changed since", async () => {
  await using running = new RunningWatch();
  const list = await running.request("list");
  assertEquals(list.url.pathname, PATH);
  assertEquals(Object.fromEntries(list.url.searchParams), { labelSelector: "app=streamspace-session" });
  list.list([pod("p1", 90), pod("p2", 95)], "100");
  assertEquals(await running.told.next(), "list@100 p1@90 p2@95");
  const request = await running.request("watch 100");
  assertEquals(request.url.pathname, PATH);
  assertEquals(Object.fromEntries(request.url.searchParams), {
    watch: "true",
    allowWatchBookmarks: "true",
    timeoutSeconds: "30",
    labelSelector: "app=streamspace-session",
    resourceVersion: "100",
  });
});

Deno.test("watch() tells of additions, changes and removals in their order", async () => {
  await using running = new RunningWatch();
  const stream = await running.begin();
  stream.event("ADDED", pod("p1", 101));
  stream.event("MODIFIED", pod("p1", 102));
  stream.event("DELETED", pod("p1", 103));
  assertEquals(await running.told.next(), "put p1@101");
  assertEquals(await running.told.next(), "put p1@102");
  assertEquals(await running.told.next(), "remove p1@103");
});

Deno.test("K18 watch() goes on from the last change when the server ends the stream, without a list", async () => {
  await using running = new RunningWatch();
  const first = await running.begin();
  first.event("ADDED", pod("p1", 101));
  await running.told.next();
  first.close();
  const second = (await running.request("watch 101")).watch();
  second.event("MODIFIED", pod("p1", 102));
  assertEquals(await running.told.next(), "put p1@102");
  second.close();
  await running.request("watch 102");
});

Deno.test("K15 watch() leaves an overloaded API server alone for as long as it asks", async () => {
  using time = new FakeTime();
  await using running = new RunningWatch();
  (await running.request("list")).list([], "100");
  (await running.request("watch 100")).refuse(429, "not now", { "Retry-After": "7" });
  await time.tickAsync(await time.timer(7000));
  await running.request("watch 100");
});

Deno.test("K18 watch() goes on from a bookmark and tells nobody of it", async () => {
  await using running = new RunningWatch();
  const first = await running.begin();
  first.event("BOOKMARK", { kind: "Pod", metadata: { resourceVersion: "500" } });
  first.close();
  const second = (await running.request("watch 500")).watch();
  second.event("ADDED", pod("p1", 501));
  assertEquals(await running.told.next(), "put p1@501");
});

Deno.test("watch() puts events together however they are cut, within a letter too", async () => {
  await using running = new RunningWatch();
  const stream = await running.begin();
  const event = (object: unknown) => JSON.stringify({ type: "ADDED", object });
  const bytes = new TextEncoder().encode(`${event(pod("pé名", 101))}\n${event(pod("p2", 102))}\n`);
  for (const byte of bytes) stream.write(new Uint8Array([byte]));
  assertEquals(await running.told.next(), "put pé名@101");
  assertEquals(await running.told.next(), "put p2@102");
  stream.write(`${event(pod("p3", 103))}\n${event(pod("p4", 104))}\n${event(pod("p5", 105)).slice(0, 20)}`);
  assertEquals(await running.told.next(), "put p3@103");
  assertEquals(await running.told.next(), "put p4@104");
  stream.write(`${event(pod("p5", 105)).slice(20)}\n`);
  assertEquals(await running.told.next(), "put p5@105");
});

Deno.test("watch() asks again for a change of which only a part came", async () => {
  await using running = new RunningWatch();
  const first = await running.begin();
  first.event("ADDED", pod("p1", 101));
  first.write('{"type":"ADDED","object":{"metadata":{"name":"p2","resourceVer');
  await running.told.next();
  first.close();
  (await running.request("watch 101")).watch().event("ADDED", pod("p2", 102));
  assertEquals(await running.told.next(), "put p2@102");
});

Deno.test("watch() reads an event of a mebibyte", async () => {
  await using running = new RunningWatch();
  const stream = await running.begin();
  stream.event("ADDED", { ...pod("p1", 101), data: "x".repeat(2 ** 20) });
  assertEquals(await running.told.next(), "put p1@101");
});

Deno.test("K18 watch() lists anew when an event says that its version is too old", async () => {
  await using running = new RunningWatch();
  const stream = await running.begin();
  stream.event("ADDED", pod("p1", 101));
  await running.told.next();
  stream.event("ERROR", {
    kind: "Status",
    code: 410,
    reason: "Expired",
    message: "too old resource version",
  });
  (await running.request("list")).list([pod("p2", 900)], "1000");
  assertEquals(await running.told.next(), "list@1000 p2@900");
  await running.request("watch 1000");
});

Deno.test("K18 watch() lists anew when the server refuses its version as too old", async () => {
  await using running = new RunningWatch();
  (await running.request("list")).list([], "100");
  await running.told.next();
  (await running.request("watch 100")).refuse(410, "too old resource version: 100 (900)");
  (await running.request("list")).list([], "1000");
  assertEquals(await running.told.next(), "list@1000");
  await running.request("watch 1000");
});

const INTERRUPTIONS: Array<[name: string, interrupt: (stream: OpenWatch) => void, reason: string]> = [
  [
    "an event that is an error",
    (stream) => stream.event("ERROR", { code: 500, message: "etcd is away" }),
    "etcd",
  ],
  ["an error without words", (stream) => stream.event("ERROR", {}), "ended the watch with an error"],
  ["a line that is no JSON", (stream) => stream.write("<html>\n"), "JSON"],
  ["an event without a version", (stream) => stream.event("ADDED", {}), "without a resource version"],
  ["an event that is null", (stream) => stream.write("null\n"), "without a resource version"],
  ["a connection that breaks", (stream) => stream.break(), ""],
];

for (const [what, interrupt, reason] of INTERRUPTIONS) {
  Deno.test(`K18 watch() goes on from the last change after ${what}, and logs it`, async () => {
    using logs = new LogCapture();
    await using running = new RunningWatch();
    const stream = await running.begin();
    stream.event("ADDED", pod("p1", 101));
    await running.told.next();
    interrupt(stream);
    (await running.request("watch 101")).watch().event("ADDED", pod("p2", 102));
    assertEquals(await running.told.next(), "put p2@102");
    const line = await logs.line("WARN");
    assertStringIncludes(line, `Cannot watch ${PATH.split("/").at(-1)}, trying again: `);
    assertStringIncludes(line, reason);
  });
}

for (const status of [401, 403, 429, 500, 503]) {
  Deno.test(`K18 watch() goes on after a watch was refused with ${status}, over and over`, async () => {
    using logs = new LogCapture();
    await using running = new RunningWatch();
    (await running.request("list")).list([], "100");
    await running.told.next();
    for (let nth = 0; nth < 20; nth++) (await running.request("watch 100")).refuse(status, "not now");
    (await running.request("watch 100")).watch().event("ADDED", pod("p1", 101));
    assertEquals(await running.told.next(), "put p1@101");
    assertStringIncludes(await logs.line("Watching"), "Watching");
    // The same reason is told once, and not with each attempt.
    assertEquals(logs.lines.filter((line) => line.includes("not now")).length, 1);
  });
}

Deno.test("K18 watch() asks for a list until it gets one", async () => {
  using logs = new LogCapture();
  await using running = new RunningWatch();
  (await running.request("list")).refuse(403, "pods is forbidden");
  (await running.request("list")).respond(new Response("<html>"));
  (await running.request("list")).respond(Response.json({ items: [] }));
  (await running.request("list")).respond(Response.json({ metadata: { resourceVersion: "1" }, items: {} }));
  (await running.request("list")).respond(Response.json([]));
  (await running.request("list")).list([pod("p1", 90)], "100");
  assertEquals(await running.told.next(), "list@100 p1@90");
  assertStringIncludes(await logs.line("WARN"), "pods is forbidden");
});

Deno.test("K18 watch() ends a connection on which nothing was heard for 40 seconds, and goes on", async () => {
  using time = new FakeTime();
  using logs = new LogCapture();
  await using running = new RunningWatch();
  const stream = await running.begin();
  stream.event("ADDED", pod("p1", 101));
  await running.told.next();
  time.tick(39_999);
  stream.event("ADDED", pod("p2", 102));
  await running.told.next();
  time.tick(39_999);
  assertEquals(running.server.requests.size, 0);
  time.tick(1);
  await time.timer(0);
  time.tick(0);
  await running.request("watch 102");
  assertStringIncludes(await logs.line("WARN"), "nothing was heard for 40 seconds");
});

Deno.test("watch() waits longer after each failure, up to ten seconds", async () => {
  using time = new FakeTime();
  await using running = new RunningWatch();
  using _random = new FixedRandom(1);
  (await running.request("list")).list([], "100");
  await running.told.next();
  for (const wait of [500, 1000, 2000, 4000, 8000, 10_000, 10_000]) {
    (await running.request("watch 100")).refuse(500, "not now");
    await time.tickAsync(await time.timer(wait));
  }
  await running.request("watch 100");
});

Deno.test("watch() ends at once when it is told to while it lists", async () => {
  // Time stands still: an end that waits for the request's own would never come.
  using _time = new FakeTime();
  await using running = new RunningWatch();
  await running.request("list");
  await running.stop();
});

Deno.test("watch() ends at once when it is told to while a watch opens", async () => {
  await using running = new RunningWatch();
  (await running.request("list")).list([], "100");
  await running.request("watch 100");
  await running.stop();
});

Deno.test("watch() ends at once when it is told to while it listens, and says nothing of it", async () => {
  using logs = new LogCapture();
  await using running = new RunningWatch();
  const stream = await running.begin();
  stream.event("ADDED", pod("p1", 101));
  await running.told.next();
  await running.stop();
  assert(!logs.lines.some((line) => line.includes("WARN")), logs.lines.join("\n"));
});

Deno.test("watch() tells its observer when it is heard of, and how it broke", async () => {
  await using running = new RunningWatch();
  const first = await running.begin();
  first.event("ADDED", pod("p1", 101));
  await running.told.next();
  first.event("ERROR", { kind: "Status", code: 410, message: "too old" });
  (await running.request("list")).refuse(403, "forbidden");
  (await running.request("list")).list([], "200");
  await running.request("watch 200");
  assertEquals(running.observed, ["heard pods", "heard pods", "pods expired", "pods failed"]);
});
