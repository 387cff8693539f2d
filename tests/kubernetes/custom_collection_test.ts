import type { KubernetesObject } from "@kubernetes/client-node";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { CustomCollection } from "../../lib/kubernetes/custom_collection.ts";
import type { Transport } from "../../lib/kubernetes/transport.ts";
import { FakeTime } from "../support/fake_time.ts";
import { FixedRandom } from "../support/fixed_random.ts";
import { ListWatchServer, type OpenWatch, type PendingRequest } from "../support/list_watch_server.ts";
import { LogCapture } from "../support/log_capture.ts";
import { Queue } from "../support/queue.ts";

const DISCOVERY = "/apis/stream.space/v1alpha1";
const COLLECTION = `${DISCOVERY}/namespaces/streamspace/templates`;
const MINUTE = 60_000;
const never = new AbortController().signal;

function template(name: string, resourceVersion = "1"): KubernetesObject & { spec: unknown } {
  return {
    metadata: { name, resourceVersion },
    spec: { baseImage: `example.com/${name}:${resourceVersion}` },
  };
}

/** A collection of templates that watches a test server. */
class Following implements AsyncDisposable {
  readonly server = new ListWatchServer();
  readonly calls = new Queue<string>();
  readonly templates = new CustomCollection({
    resource: "templates",
    onList: () => this.calls.push("list"),
    onChange: ({ metadata }) => this.calls.push(`change of ${metadata?.name}`),
  });
  readonly #stop = new AbortController();
  readonly #transport: Transport = this.server.connect();
  readonly #random = new FixedRandom(0);
  readonly #running = this.templates.follow(this.#transport, {
    namespace: "streamspace",
    signal: this.#stop.signal,
  });

  /** Next request, which must have this path. */
  async request(path: string): Promise<PendingRequest> {
    const request = await this.server.requests.next();
    assertEquals(request.url.pathname, path);
    return request;
  }

  /** Answers discovery with these kinds. */
  async discover(...resources: string[]): Promise<void> {
    const request = await this.request(DISCOVERY);
    request.respond(
      Response.json({ kind: "APIResourceList", resources: resources.map((name) => ({ name })) }),
    );
  }

  /** Streams a list, and returns the watch after it. */
  async list(items: unknown[], version = "100"): Promise<OpenWatch> {
    const watch = (await this.request(COLLECTION)).watch();
    for (const item of items) watch.event("ADDED", item);
    watch.endList(version);
    assertEquals(await this.calls.next(), "list");
    return watch;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#transport[Symbol.dispose]();
    await this.server[Symbol.asyncDispose]();
    this.#random[Symbol.dispose]();
  }
}

Deno.test("CustomCollection holds the listed objects and applies additions, changes and removals", async () => {
  await using following = new Following();
  const { templates, calls } = following;
  await following.discover("templates", "sessions", "sessions/status");
  const watch = await following.list([template("gimp"), template("blender")]);
  await templates.synced(never);
  assert(templates.isServed);
  assertEquals(templates.get("gimp"), template("gimp"));
  watch.event("MODIFIED", template("gimp", "101"));
  watch.event("DELETED", template("blender", "102"));
  watch.event("ADDED", template("ide", "103"));
  for (const name of ["gimp", "blender", "ide"]) assertEquals(await calls.next(), `change of ${name}`);
  assertEquals(
    ["gimp", "blender", "ide", "none"].map((name) => templates.get(name)),
    [template("gimp", "101"), undefined, template("ide", "103"), undefined],
  );
  assertEquals([...templates.keys()].sort(), ["gimp", "ide"]);
});

Deno.test("CustomCollection is not synced before the first response", async () => {
  await using following = new Following();
  const { templates } = following;
  const reason = new Error("no wait");
  await assertRejects(() => templates.synced(AbortSignal.abort(reason)), Error, "no wait");
  assertEquals(templates.isServed, false);
});

const ABSENT: Array<{ name: string; answer: (request: PendingRequest) => void }> = [
  { name: "without any of the kinds", answer: (request) => request.refuse(404, "404 page not found") },
  {
    name: "with only another of the kinds",
    answer: (request) => request.respond(Response.json({ resources: [{ name: "sessions" }] })),
  },
];

for (const { name, answer } of ABSENT) {
  Deno.test(`CustomCollection in a cluster ${name} is empty without a log line, and is filled after the installation`, async () => {
    await using following = new Following();
    const { templates } = following;
    using log = new LogCapture();
    using time = new FakeTime();
    answer(await following.request(DISCOVERY));
    await templates.synced(never);
    assertEquals([templates.isServed, templates.isRefused, templates.get("gimp")], [false, false, undefined]);
    time.tick(await time.timer(MINUTE));
    await following.discover("templates");
    await following.list([template("gimp")]);
    assertEquals([templates.isServed, templates.get("gimp")], [true, template("gimp")]);
    assertEquals(log.lines, []);
  });
}

Deno.test("CustomCollection is emptied when its kind is removed, and looks the kind up again", async () => {
  await using following = new Following();
  const { templates, calls } = following;
  using log = new LogCapture();
  await following.discover("templates");
  const watch = await following.list([template("gimp")]);
  watch.event("DELETED", template("gimp", "101"));
  assertEquals(await calls.next(), "change of gimp");
  watch.close();
  const next = await following.request(COLLECTION);
  using time = new FakeTime();
  next.refuse(404, "the server could not find the requested resource");
  await time.timer(MINUTE);
  assertEquals([templates.isServed, templates.get("gimp")], [false, undefined]);
  assertEquals(log.lines, []);
});

Deno.test("CustomCollection is empty when listing is forbidden, and logs that once", async () => {
  await using following = new Following();
  const { templates } = following;
  using log = new LogCapture();
  using time = new FakeTime();
  for (let i = 0; i < 3; i++) {
    await following.discover("templates");
    (await following.request(COLLECTION)).refuse(403, "templates is forbidden");
    time.tick(await time.timer(MINUTE));
  }
  await templates.synced(never);
  assert(templates.isRefused);
  assertEquals(log.lines.map((line) => line.replace(/^.*WARN: /, "")), [
    "Continuing without templates of stream.space/v1alpha1, checking again every minute: " +
    "Kubernetes refused to read templates: templates is forbidden",
  ]);
});

Deno.test("CustomCollection.synced() waits at most five seconds while the API server fails", async () => {
  await using following = new Following();
  const { templates } = following;
  using time = new FakeTime();
  const first = await following.request(DISCOVERY);
  const synced = templates.synced(never);
  await time.timer(5000);
  let isSynced = false;
  void synced.then(() => isSynced = true);
  await time.tickAsync(4999);
  assertEquals(isSynced, false);
  await time.tickAsync(1);
  await synced;
  first.respond(Response.json({ resources: [{ name: "templates" }] }));
  await following.list([template("gimp")]);
  assertEquals(templates.get("gimp"), template("gimp"));
});

Deno.test("CustomCollection is looked up again soon after the API server failed", async () => {
  await using following = new Following();
  const { templates } = following;
  // The transport makes five attempts itself.
  for (let i = 0; i < 5; i++) (await following.request(DISCOVERY)).refuse(503, "starting");
  await following.discover("templates");
  await following.list([template("gimp")]);
  assertEquals(templates.get("gimp"), template("gimp"));
});
