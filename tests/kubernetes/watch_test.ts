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

/** A watch that runs against a test server until it is disposed. */
class RunningWatch implements AsyncDisposable {
  readonly server = new ListWatchServer();
  /** Delivered lists and changes, in order. */
  readonly delivered = new Queue<string>();
  /** Calls of the observer. */
  readonly observed: string[] = [];
  readonly #transport = this.server.connect();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  // No pauses between attempts.
  readonly #random = new FixedRandom(0);

  constructor() {
    this.#running = watch<KubernetesObject>(this.#transport, {
      path: PATH,
      selector: { labelSelector: "app=streamspace-session" },
      onList: (objects, version) =>
        this.delivered.push(`list@${version} ${objects.map(name).join(" ")}`.trim()),
      onChange: (change, object) => this.delivered.push(`${change} ${name(object)}`),
      observer: {
        onWatchEvent: (resource) => void this.observed.push(`${resource} event`),
        onWatchError: (resource, reason) => void this.observed.push(`${resource} ${reason}`),
      },
      signal: this.#stop.signal,
    });
  }

  /** Next request, which must have this kind. */
  async request(kind: string): Promise<PendingRequest> {
    const request = await this.server.requests.next();
    assertEquals(request.kind, kind);
    return request;
  }

  /** Streams a list without objects, with version 100. */
  async begin(): Promise<OpenWatch> {
    const stream = (await this.request("stream")).watch();
    stream.endList("100");
    assertEquals(await this.delivered.next(), "list@100");
    return stream;
  }

  /** Refuses to stream the list, and returns the request for its first page. */
  async firstPage(): Promise<PendingRequest> {
    (await this.request("stream")).refuse(422, "sendInitialEvents: Forbidden");
    return await this.request("list");
  }

  /** Answers with a list without objects in one page, with version 100. */
  async beginWithPage(): Promise<void> {
    (await this.firstPage()).list([], "100");
    assertEquals(await this.delivered.next(), "list@100");
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

const WATCH = {
  watch: "true",
  allowWatchBookmarks: "true",
  timeoutSeconds: "30",
  labelSelector: "app=streamspace-session",
};

Deno.test("watch() streams the list, delivers it once it is complete, and goes on with the same watch", async () => {
  await using running = new RunningWatch();
  const request = await running.request("stream");
  assertEquals(request.url.pathname, PATH);
  assertEquals(Object.fromEntries(request.url.searchParams), {
    ...WATCH,
    sendInitialEvents: "true",
    resourceVersionMatch: "NotOlderThan",
  });
  const stream = request.watch();
  for (const [name, version] of [["p1", 90], ["p2", 91], ["p3", 92]] as const) {
    stream.event("ADDED", pod(name, version));
  }
  stream.event("MODIFIED", pod("p2", 101));
  stream.event("DELETED", pod("p3", 102));
  stream.event("BOOKMARK", { metadata: { resourceVersion: "102" } });
  assertEquals([running.delivered.size, running.observed], [0, []]);
  stream.endList("103");
  assertEquals(await running.delivered.next(), "list@103 p1@90 p2@101");
  stream.event("ADDED", pod("p4", 104));
  assertEquals(await running.delivered.next(), "put p4@104");
  stream.close();
  const next = await running.request("watch 104");
  assertEquals(Object.fromEntries(next.url.searchParams), { ...WATCH, resourceVersion: "104" });
});

for (const status of [400, 422]) {
  Deno.test(`watch() lists in pages if the server refuses with ${status} to stream the list`, async () => {
    using logs = new LogCapture();
    await using running = new RunningWatch();
    (await running.request("stream")).refuse(status, "resourceVersionMatch is forbidden for watch");
    const first = await running.request("list");
    assertEquals(first.url.pathname, PATH);
    const selector = { labelSelector: "app=streamspace-session" };
    assertEquals(Object.fromEntries(first.url.searchParams), { ...selector, limit: "250" });
    const metadata = { resourceVersion: "100", continue: "token 2" };
    first.respond(Response.json({ kind: "List", metadata, items: [pod("p1", 90)] }));
    const second = await running.request("list");
    assertEquals(second.url.searchParams.get("continue"), "token 2");
    second.list([pod("p2", 95)], "100");
    assertEquals(await running.delivered.next(), "list@100 p1@90 p2@95");
    const request = await running.request("watch 100");
    assertEquals(Object.fromEntries(request.url.searchParams), { ...WATCH, resourceVersion: "100" });
    assertEquals(logs.lines, []);
  });
}

const FAILED_STREAMS: Array<[name: string, fail: (stream: OpenWatch) => void]> = [
  ["ends", (stream) => stream.close()],
  ["breaks", (stream) => stream.break()],
  ["has an ERROR event", (stream) => stream.event("ERROR", { code: 500, message: "etcd is away" })],
];

for (const [what, fail] of FAILED_STREAMS) {
  Deno.test(`watch() lists in pages after a streamed list that ${what}, and later streams again`, async () => {
    using _logs = new LogCapture();
    await using running = new RunningWatch();
    const stream = (await running.request("stream")).watch();
    stream.event("ADDED", pod("p1", 90));
    fail(stream);
    (await running.request("list")).list([pod("p2", 95)], "100");
    assertEquals(await running.delivered.next(), "list@100 p2@95");
    (await running.request("watch 100")).refuse(410, "too old resource version: 100 (900)");
    const again = (await running.request("stream")).watch();
    again.endList("1000");
    assertEquals(await running.delivered.next(), "list@1000");
    again.event("ERROR", { code: 410, message: "too old resource version" });
    await running.request("stream");
  });
}

Deno.test("watch() lists in pages after 10 seconds in which a streamed list did not go on", async () => {
  using time = new FakeTime();
  using _logs = new LogCapture();
  await using running = new RunningWatch();
  (await running.request("stream")).watch();
  time.tick(await time.timer(10_000));
  time.tick(await time.timer(0));
  (await running.request("list")).list([pod("p1", 90)], "100");
  assertEquals(await running.delivered.next(), "list@100 p1@90");
});

Deno.test("watch() lists from the beginning when the next page has expired", async () => {
  await using running = new RunningWatch();
  const metadata = { resourceVersion: "100", continue: "token 2" };
  const items = [pod("p1", 90)];
  (await running.firstPage()).respond(Response.json({ kind: "List", metadata, items }));
  (await running.request("list")).refuse(410, "The provided continue parameter is too old");
  const again = await running.firstPage();
  assertEquals(again.url.searchParams.get("continue"), null);
  again.list([pod("p1", 90), pod("p2", 95)], "200");
  assertEquals(await running.delivered.next(), "list@200 p1@90 p2@95");
});

Deno.test("watch() delivers additions, changes and removals in order", async () => {
  await using running = new RunningWatch();
  const stream = await running.begin();
  stream.event("ADDED", pod("p1", 101));
  stream.event("MODIFIED", pod("p1", 102));
  stream.event("DELETED", pod("p1", 103));
  assertEquals(await running.delivered.next(), "put p1@101");
  assertEquals(await running.delivered.next(), "put p1@102");
  assertEquals(await running.delivered.next(), "remove p1@103");
});

Deno.test("K18 watch() continues from the last change without a new list when the server ends the stream", async () => {
  await using running = new RunningWatch();
  const first = await running.begin();
  first.event("ADDED", pod("p1", 101));
  await running.delivered.next();
  first.close();
  const second = (await running.request("watch 101")).watch();
  second.event("MODIFIED", pod("p1", 102));
  assertEquals(await running.delivered.next(), "put p1@102");
  second.close();
  await running.request("watch 102");
});

Deno.test("K15 watch() waits as long as the Retry-After of the API server", async () => {
  using time = new FakeTime();
  await using running = new RunningWatch();
  await running.beginWithPage();
  (await running.request("watch 100")).refuse(429, "not now", { "Retry-After": "7" });
  await time.tickAsync(await time.timer(7000));
  await running.request("watch 100");
});

Deno.test("K18 watch() continues from a bookmark and does not deliver it", async () => {
  await using running = new RunningWatch();
  const first = await running.begin();
  first.event("BOOKMARK", { kind: "Pod", metadata: { resourceVersion: "500" } });
  first.close();
  const second = (await running.request("watch 500")).watch();
  second.event("ADDED", pod("p1", 501));
  assertEquals(await running.delivered.next(), "put p1@501");
});

Deno.test("watch() joins events that are split at any byte", async () => {
  await using running = new RunningWatch();
  const stream = await running.begin();
  const event = (object: unknown) => JSON.stringify({ type: "ADDED", object });
  const bytes = new TextEncoder().encode(`${event(pod("pé名", 101))}\n${event(pod("p2", 102))}\n`);
  for (const byte of bytes) stream.write(new Uint8Array([byte]));
  assertEquals(await running.delivered.next(), "put pé名@101");
  assertEquals(await running.delivered.next(), "put p2@102");
  stream.write(`${event(pod("p3", 103))}\n${event(pod("p4", 104))}\n${event(pod("p5", 105)).slice(0, 20)}`);
  assertEquals(await running.delivered.next(), "put p3@103");
  assertEquals(await running.delivered.next(), "put p4@104");
  stream.write(`${event(pod("p5", 105)).slice(20)}\n`);
  assertEquals(await running.delivered.next(), "put p5@105");
});

Deno.test("watch() requests a change again that was received only in part", async () => {
  await using running = new RunningWatch();
  const first = await running.begin();
  first.event("ADDED", pod("p1", 101));
  first.write('{"type":"ADDED","object":{"metadata":{"name":"p2","resourceVer');
  await running.delivered.next();
  first.close();
  (await running.request("watch 101")).watch().event("ADDED", pod("p2", 102));
  assertEquals(await running.delivered.next(), "put p2@102");
});

Deno.test("watch() reads an event of 1 MiB", async () => {
  await using running = new RunningWatch();
  const stream = await running.begin();
  stream.event("ADDED", { ...pod("p1", 101), data: "x".repeat(2 ** 20) });
  assertEquals(await running.delivered.next(), "put p1@101");
});

Deno.test("K18 watch() lists again after an ERROR event with code 410", async () => {
  await using running = new RunningWatch();
  const stream = await running.begin();
  stream.event("ADDED", pod("p1", 101));
  await running.delivered.next();
  stream.event("ERROR", {
    kind: "Status",
    code: 410,
    reason: "Expired",
    message: "too old resource version",
  });
  const again = (await running.request("stream")).watch();
  again.event("ADDED", pod("p2", 900));
  again.endList("1000");
  assertEquals(await running.delivered.next(), "list@1000 p2@900");
});

Deno.test("K18 watch() lists again after a response with status 410", async () => {
  await using running = new RunningWatch();
  await running.beginWithPage();
  (await running.request("watch 100")).refuse(410, "too old resource version: 100 (900)");
  (await running.request("stream")).watch().endList("1000");
  assertEquals(await running.delivered.next(), "list@1000");
});

const INTERRUPTIONS: Array<[name: string, interrupt: (stream: OpenWatch) => void, reason: string]> = [
  [
    "an ERROR event",
    (stream) => stream.event("ERROR", { code: 500, message: "etcd is away" }),
    "etcd",
  ],
  ["an error without a message", (stream) => stream.event("ERROR", {}), "ended the watch with an error"],
  ["a line that is not JSON", (stream) => stream.write("<html>\n"), "JSON"],
  ["an event without a version", (stream) => stream.event("ADDED", {}), "without a resource version"],
  ["an event that is null", (stream) => stream.write("null\n"), "without a resource version"],
  ["a broken connection", (stream) => stream.break(), ""],
];

for (const [what, interrupt, reason] of INTERRUPTIONS) {
  Deno.test(`K18 watch() continues from the last change after ${what} and logs it`, async () => {
    using logs = new LogCapture();
    await using running = new RunningWatch();
    const stream = await running.begin();
    stream.event("ADDED", pod("p1", 101));
    await running.delivered.next();
    interrupt(stream);
    (await running.request("watch 101")).watch().event("ADDED", pod("p2", 102));
    assertEquals(await running.delivered.next(), "put p2@102");
    const line = await logs.line("WARN");
    assertStringIncludes(line, `Cannot watch ${PATH.split("/").at(-1)}, retrying: `);
    assertStringIncludes(line, reason);
    assertEquals(line.includes("<html>"), false);
  });
}

for (const status of [401, 403, 429, 500, 503]) {
  Deno.test(`K18 watch() keeps retrying after ${status} and logs the reason once`, async () => {
    using logs = new LogCapture();
    await using running = new RunningWatch();
    await running.beginWithPage();
    for (let nth = 0; nth < 20; nth++) (await running.request("watch 100")).refuse(status, "not now");
    (await running.request("watch 100")).watch().event("ADDED", pod("p1", 101));
    assertEquals(await running.delivered.next(), "put p1@101");
    assertStringIncludes(await logs.line("Watching"), "Watching");
    assertEquals(logs.lines.filter((line) => line.includes("not now")).length, 1);
  });
}

Deno.test("K18 watch() retries the list until it succeeds, streamed and in pages", async () => {
  using logs = new LogCapture();
  await using running = new RunningWatch();
  const invalid = [
    new Response("<html>"),
    Response.json({ items: [] }),
    Response.json({ metadata: { resourceVersion: "1" }, items: {} }),
    Response.json([]),
  ];
  for (const response of invalid) {
    (await running.request("stream")).refuse(403, "pods is forbidden");
    (await running.request("list")).respond(response);
  }
  (await running.request("stream")).refuse(403, "pods is forbidden");
  (await running.request("list")).list([pod("p1", 90)], "100");
  assertEquals(await running.delivered.next(), "list@100 p1@90");
  assertStringIncludes(await logs.line("WARN"), "pods is forbidden");
});

Deno.test("K18 watch() reconnects after 40 seconds without data", async () => {
  using time = new FakeTime();
  using logs = new LogCapture();
  await using running = new RunningWatch();
  const stream = await running.begin();
  stream.event("ADDED", pod("p1", 101));
  await running.delivered.next();
  time.tick(39_999);
  stream.event("ADDED", pod("p2", 102));
  await running.delivered.next();
  time.tick(39_999);
  assertEquals(running.server.requests.size, 0);
  time.tick(1);
  await time.timer(0);
  time.tick(0);
  await running.request("watch 102");
  assertStringIncludes(await logs.line("WARN"), "no data was received for 40s");
});

Deno.test("watch() doubles the pause after each failure, up to ten seconds", async () => {
  using time = new FakeTime();
  await using running = new RunningWatch();
  using _random = new FixedRandom(1);
  await running.beginWithPage();
  for (const pauseMs of [500, 1000, 2000, 4000, 8000, 10_000, 10_000]) {
    (await running.request("watch 100")).refuse(500, "not now");
    await time.tickAsync(await time.timer(pauseMs));
  }
  await running.request("watch 100");
});

Deno.test("watch() lists at once when its version has expired, but pauses when that happens again", async () => {
  using time = new FakeTime();
  await using running = new RunningWatch();
  using _random = new FixedRandom(1);
  const stream = await running.begin();
  stream.event("ERROR", { code: 410, message: "too old resource version" });
  await time.tickAsync(await time.timer(0));
  (await running.request("stream")).refuse(410, "too old resource version");
  await time.tickAsync(await time.timer(1000));
  await running.request("list");
});

Deno.test("watch() ends immediately on abort while it lists", async () => {
  // With fake time, the request would never time out.
  using _time = new FakeTime();
  await using running = new RunningWatch();
  await running.firstPage();
  await running.stop();
});

Deno.test("watch() ends immediately on abort while a watch opens", async () => {
  await using running = new RunningWatch();
  await running.request("stream");
  await running.stop();
});

Deno.test("watch() ends immediately on abort while it watches, without a log line", async () => {
  using logs = new LogCapture();
  await using running = new RunningWatch();
  const stream = await running.begin();
  stream.event("ADDED", pod("p1", 101));
  await running.delivered.next();
  await running.stop();
  assert(!logs.lines.some((line) => line.includes("WARN")), logs.lines.join("\n"));
});

Deno.test("watch() calls its observer for events and errors", async () => {
  await using running = new RunningWatch();
  const first = await running.begin();
  first.event("ADDED", pod("p1", 101));
  await running.delivered.next();
  first.event("ERROR", { kind: "Status", code: 410, message: "too old" });
  (await running.request("stream")).refuse(403, "forbidden");
  (await running.request("list")).list([], "200");
  assertEquals(await running.delivered.next(), "list@200");
  (await running.request("watch 200")).watch().event("ADDED", pod("p2", 201));
  assertEquals(await running.delivered.next(), "put p2@201");
  assertEquals(running.observed, [
    "pods event",
    "pods event",
    "pods expired",
    "pods failed",
    "pods event",
    "pods event",
  ]);
});
