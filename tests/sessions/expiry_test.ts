import { assertEquals } from "@std/assert";
import type { V1Deployment } from "@kubernetes/client-node";
import { CommandError } from "../../lib/common/errors.ts";
import type { SessionStatus } from "../../lib/control_plane/protocol.ts";
import { SessionCache } from "../../lib/kubernetes/session_cache.ts";
import type { SessionRequest } from "../../lib/model/requests.ts";
import { Expiry } from "../../lib/sessions/expiry.ts";
import { SessionActivity } from "../../lib/status/session_activity.ts";
import { statusOf } from "../../lib/status/status.ts";
import { FakeTime } from "../support/fake_time.ts";
import { FixedRandom } from "../support/fixed_random.ts";
import { LogCapture } from "../support/log_capture.ts";

const HOUR_MS = 3_600_000;

function deployment(
  id: string,
  run: { seconds: number; since?: number; version?: number; replicas?: number },
): V1Deployment {
  const { seconds, since = 0, version = 1, replicas = 1 } = run;
  return {
    metadata: {
      name: id,
      uid: id,
      resourceVersion: String(version),
      labels: { app: "streamspace-session", session: id },
      annotations: {
        "stream.space/max-session-duration": `${seconds}s`,
        "stream.space/running-since": new Date(since).toISOString(),
      },
    },
    spec: { replicas, selector: {}, template: {} },
  };
}

/** Sessions, a started expiry, and the runs that it ends; the test settles each. */
class Bench implements Disposable {
  readonly cache = new SessionCache("a1");
  readonly ends: { readonly request: SessionRequest; readonly settle: PromiseWithResolvers<void> }[] = [];
  readonly reported: SessionStatus[] = [];
  readonly activity = new SessionActivity();
  readonly #cancel = new AbortController();
  readonly #expiry = new Expiry({
    cache: this.cache,
    activity: this.activity,
    actions: { "max-duration": "hibernate", "idle-timeout": "stop" },
    dispatcher: { insert: (_request, work) => work(this.#cancel.signal) },
    operations: {
      expire: async (request) => {
        const settle = Promise.withResolvers<void>();
        this.ends.push({ request, settle });
        await settle.promise;
        return statusOf(request.sessionId, "hibernated");
      },
    },
    monitor: { report: (status) => this.reported.push(status) },
  });

  constructor(deployments: readonly V1Deployment[]) {
    for (const one of deployments) this.cache.put("deployment", one);
    this.#expiry.start();
  }

  get ended(): string[] {
    return this.ends.map(({ request }) => request.sessionId);
  }

  /** As a stop of the session does. */
  cancel(): void {
    this.#cancel.abort();
  }

  [Symbol.dispose](): void {
    this.#expiry[Symbol.dispose]();
  }
}

Deno.test("Expiry ends each run at its maximum duration, and not before", async () => {
  using time = new FakeTime();
  using bench = new Bench([deployment("s1", { seconds: 20 }), deployment("s2", { seconds: 10 })]);
  await time.tickAsync(9999);
  assertEquals(bench.ended, []);
  await time.tickAsync(1);
  assertEquals(bench.ended, ["s2"]);
  await time.tickAsync(10_000);
  assertEquals(bench.ended, ["s2", "s1"]);
});

Deno.test("Expiry ends overdue runs when it starts", async () => {
  using time = new FakeTime(HOUR_MS);
  using bench = new Bench([deployment("s1", { seconds: 60 })]);
  await time.tickAsync(0);
  assertEquals(bench.ended, ["s1"]);
});

Deno.test("Expiry watches new sessions, and the new run after a wake", async () => {
  using time = new FakeTime();
  using bench = new Bench([]);
  bench.cache.put("deployment", deployment("s1", { seconds: 10 }));
  await time.tickAsync(5000);
  bench.cache.put("deployment", deployment("s1", { seconds: 10, replicas: 0, version: 2 }));
  assertEquals(time.pending, []);
  bench.cache.put("deployment", deployment("s1", { seconds: 10, since: 5000, version: 3 }));
  await time.tickAsync(9999);
  assertEquals(bench.ended, []);
  await time.tickAsync(1);
  assertEquals(bench.ended, ["s1"]);
});

Deno.test("Expiry waits longer than the longest timer", async () => {
  using time = new FakeTime();
  const seconds = 30 * 24 * 3600;
  using bench = new Bench([deployment("s1", { seconds })]);
  assertEquals(time.pending, [60_000]);
  await time.tickAsync(seconds * 1000 - 1);
  assertEquals(bench.ended, []);
  await time.tickAsync(1);
  assertEquals(bench.ended, ["s1"]);
});

Deno.test("Expiry follows the clock when it is set", async () => {
  using time = new FakeTime();
  using bench = new Bench([deployment("s1", { seconds: 120 })]);
  time.setClock(-HOUR_MS);
  await time.tickAsync(200_000);
  assertEquals(bench.ended, []);
  time.setClock(120_000);
  await time.tickAsync(60_000);
  assertEquals(bench.ended, ["s1"]);
});

Deno.test("Expiry ends a run once", async () => {
  using time = new FakeTime();
  using bench = new Bench([deployment("s1", { seconds: 10 })]);
  await time.tickAsync(HOUR_MS);
  assertEquals(bench.ended, ["s1"]);
  bench.cache.put("deployment", deployment("s1", { seconds: 10, replicas: 0, version: 2 }));
  bench.ends[0]?.settle.resolve();
  await time.tickAsync(HOUR_MS);
  assertEquals(bench.ended, ["s1"]);
});

Deno.test("expiry reports a session that it ended, unless a stop cancelled it", async () => {
  using time = new FakeTime();
  using bench = new Bench([deployment("s1", { seconds: 10 }), deployment("s2", { seconds: 20 })]);
  await time.tickAsync(10_000);
  bench.ends[0]?.settle.resolve();
  await time.tickAsync(0);
  assertEquals(bench.reported, [statusOf("s1", "hibernated")]);
  await time.tickAsync(10_000);
  bench.cancel();
  bench.ends.at(-1)?.settle.resolve();
  await time.tickAsync(0);
  assertEquals(bench.ends.at(-1)?.request, { action: "hibernate_session", sessionId: "s2" });
  assertEquals(bench.reported.length, 1);
});

Deno.test("Expiry logs a failure and retries with growing pauses", async () => {
  using time = new FakeTime();
  using _random = new FixedRandom(1);
  using logs = new LogCapture();
  using bench = new Bench([deployment("s1", { seconds: 10 })]);
  await time.tickAsync(10_000);
  bench.ends[0]?.settle.reject(new Error("Kubernetes does not answer"));
  await time.tickAsync(4999);
  assertEquals(bench.ended.length, 1);
  await time.tickAsync(1);
  assertEquals(bench.ended.length, 2);
  bench.ends[1]?.settle.reject(new CommandError("cancelled", "cancelled by stop"));
  await time.tickAsync(9999);
  assertEquals(bench.ended.length, 2);
  await time.tickAsync(1);
  assertEquals(bench.ended.length, 3);
  assertEquals(logs.lines.map((line) => line.slice(line.indexOf("WARN"))), [
    "WARN: Cannot end the run of session s1: Kubernetes does not answer",
  ]);
});

/** A session that ends after 10 s without a stream. */
function idleSession(): V1Deployment {
  const { metadata, ...rest } = deployment("s1", { seconds: 3600 });
  const annotations = { ...metadata?.annotations, "stream.space/idle-timeout": "10s" };
  return { ...rest, metadata: { ...metadata, annotations } };
}

Deno.test("Expiry ends a session after its idle timeout, counted from the end of its last stream", async () => {
  using time = new FakeTime();
  using bench = new Bench([idleSession()]);
  await time.tickAsync(9000);
  const streams = [bench.activity.opened("s1"), bench.activity.opened("s1")];
  await time.tickAsync(60_000);
  streams[0]?.[Symbol.dispose]();
  await time.tickAsync(60_000);
  assertEquals(bench.ended, []);
  streams[1]?.[Symbol.dispose]();
  await time.tickAsync(9999);
  assertEquals(bench.ended, []);
  await time.tickAsync(1);
  assertEquals(bench.ends.map(({ request }) => request.action), ["stop_session"]);
});
