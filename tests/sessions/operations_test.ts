import { abortable } from "@std/async";
import { assertEquals, assertRejects } from "@std/assert";
import { CommandError } from "../../lib/common/errors.ts";
import type { SessionClient } from "../../lib/kubernetes/client.ts";
import { SessionCache } from "../../lib/kubernetes/session_cache.ts";
import { followSessions } from "../../lib/kubernetes/session_watch.ts";
import { SessionCapacity } from "../../lib/sessions/capacity.ts";
import { OUTCOME_ANNOTATION } from "../../lib/model/names.ts";
import type { CommandContext } from "../../lib/sessions/command_context.ts";
import { SessionOperations } from "../../lib/sessions/operations.ts";
import { AnnotationRecorder } from "../../lib/status/annotations.ts";
import { SETTINGS } from "../../dev/session_settings.ts";
import { FakeTransport } from "../support/fake_transport.ts";
import { FixedRandom } from "../support/fixed_random.ts";

const LABELS = { app: "streamspace-session", session: "s1", "stream.space/agent": "a1" };
const START = {
  action: "start_session",
  sessionId: "s1",
  user: "alice",
  template: "firefox",
  persistentHome: false,
  memory: "2Gi",
  cpu: "1",
} as const;
const STARTED = { sessionId: "s1", state: "running" };
const CANCELLED = new CommandError("cancelled", "cancelled by stop");

/** Operations on a cluster with a recorded outcome of command `c1`; it accepts no requests. */
class Bench implements AsyncDisposable {
  readonly cancel = new AbortController();
  /** Resolves when the Template objects are synced. */
  readonly templateObjects = Promise.withResolvers<void>();
  readonly operations: SessionOperations;
  readonly #cluster = new FakeTransport();
  readonly #cache = new SessionCache("a1");
  readonly #stop = new AbortController();
  readonly #random = new FixedRandom(0);
  #following: Promise<void> | undefined;

  constructor() {
    const annotations = { [OUTCOME_ANNOTATION]: JSON.stringify({ commandId: "c1", result: STARTED }) };
    const metadata = { name: "s1", uid: "u1", resourceVersion: "1", labels: LABELS, annotations };
    this.#cluster.items.services = [{ metadata }];
    this.operations = new SessionOperations({
      client: {} as SessionClient,
      cache: this.#cache,
      templateObjects: { synced: (signal) => abortable(this.templateObjects.promise, signal) },
      recorder: new AnnotationRecorder({} as SessionClient, this.#cache),
      reported: new Map(),
      capacity: new SessionCapacity(this.#cache, { maxSessions: 1, maxCpu: 1, maxMemory: 1 }),
      maxConcurrentStarts: 1,
      settings: SETTINGS,
      templates: { cluster: new Map(), table: new Map(), rules: SETTINGS },
      startTimeoutMs: 10_000,
      onStatus: () => {},
    });
  }

  /** Starts the list and watch. */
  follow(): void {
    const options = { namespace: "streamspace", signal: this.#stop.signal };
    this.#following = followSessions({ cache: this.#cache, transport: this.#cluster.transport }, options);
  }

  /** Resolves when the cache is synced and everything that waited for it has continued. */
  async synced(): Promise<void> {
    await this.#cache.synced(this.#stop.signal);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }

  context(commandId: string): CommandContext {
    return { commandId, spentMs: 1000, signal: this.cancel.signal };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#following;
    this.#random[Symbol.dispose]();
  }
}

Deno.test("run() returns the recorded outcome of a command that a stop cancelled", async () => {
  await using bench = new Bench();
  bench.cancel.abort(CANCELLED);
  const running = bench.operations.run(START, bench.context("c1"));
  bench.follow();
  assertEquals((await running).result, STARTED);
});

Deno.test("run() returns the recorded outcome of a command that a stop cancels before the cache is synced", async () => {
  await using bench = new Bench();
  const running = bench.operations.run(START, bench.context("c1"));
  bench.cancel.abort(CANCELLED);
  bench.follow();
  assertEquals((await running).result, STARTED);
});

Deno.test("run() does nothing for a cancelled command without a recorded outcome", async () => {
  await using bench = new Bench();
  bench.cancel.abort(CANCELLED);
  bench.follow();
  const error = await assertRejects(() => bench.operations.run(START, bench.context("c2")), CommandError);
  assertEquals([error.failure, error.message], [
    "cancelled",
    'Cannot start session "s1": cancelled by stop',
  ]);
});

Deno.test("run() hands a command over immediately, even before the cache is synced", async () => {
  await using bench = new Bench();
  const running = bench.operations.run(START, bench.context("c1"));
  bench.cancel.abort(new CommandError("handed_over", "left to the agent's next process"));
  const error = await assertRejects(() => running, CommandError);
  assertEquals(error.failure, "handed_over");
});

Deno.test("run() waits for the Template objects before a start", async () => {
  await using bench = new Bench();
  bench.follow();
  let isDone = false;
  const running = bench.operations.run(START, bench.context("c2")).finally(() => isDone = true);
  await bench.synced();
  assertEquals(isDone, false);
  bench.templateObjects.resolve();
  const error = await assertRejects(() => running, CommandError);
  assertEquals(error.failure, "unknown_template");
});

Deno.test("run() cancels a start that waits for the Template objects", async () => {
  await using bench = new Bench();
  bench.follow();
  const running = bench.operations.run(START, bench.context("c2"));
  await bench.synced();
  bench.cancel.abort(CANCELLED);
  const error = await assertRejects(() => running, CommandError);
  assertEquals(error.message, 'Cannot start session "s1": cancelled by stop');
});
