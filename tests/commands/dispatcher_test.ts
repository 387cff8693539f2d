import { assert, assertEquals, assertRejects } from "@std/assert";
import { DispatcherBench, FIELDS, settled } from "../support/dispatcher_bench.ts";
import { FakeTime } from "../support/fake_time.ts";
import { LogCapture } from "../support/log_capture.ts";
import { MemoryJournalStore } from "../support/memory_journal.ts";

const never = new AbortController().signal;

Deno.test("Dispatcher records a command in the journal before it acknowledges and runs it", async () => {
  const store = new MemoryJournalStore();
  store.behaviour = "hang";
  using bench = new DispatcherBench(store);
  bench.start("c0", "s0");
  await settled();
  assertEquals([bench.wire.told, bench.operations.active], [[], 0]);
});

Deno.test("Dispatcher acknowledges a command before it sends the result", async () => {
  using bench = new DispatcherBench();
  bench.start("c1", "s1");
  await bench.finishNext();
  assertEquals(bench.wire.told, ["ack c1", "complete c1", "status s1 running"]);
  assertEquals(bench.results("c1"), [
    { type: "complete", payload: { commandId: "c1", result: { sessionId: "s1", action: "start_session" } } },
  ]);
});

Deno.test("Dispatcher passes on the validated request, not the payload", async () => {
  using bench = new DispatcherBench();
  bench.receive("c1", "stop_session", { sessionId: "s1", deletePVC: true, namespace: "kube-system" });
  const { request, finish } = await bench.operations.runs.next();
  assertEquals(request, { action: "stop_session", sessionId: "s1", deletePVC: true });
  finish();
  await settled();
});

Deno.test("R4 Dispatcher runs the commands of one session one after the other, in order", async () => {
  using bench = new DispatcherBench();
  bench.start("c1", "s1");
  bench.receive("c2", "hibernate_session", { sessionId: "s1" });
  bench.receive("c3", "wake_session", { sessionId: "s1" });
  await settled();
  assertEquals([bench.operations.active, bench.operations.runs.size], [1, 1]);
  const order = [await bench.finishNext(), await bench.finishNext(), await bench.finishNext()];
  assertEquals(order, ["start_session s1", "hibernate_session s1", "wake_session s1"]);
  const results = bench.wire.told.filter((one) => one.startsWith("complete"));
  assertEquals(results, ["complete c1", "complete c2", "complete c3"]);
});

Deno.test("Dispatcher keeps the order of commands if the journal waits for one but not for the next", async () => {
  using time = new FakeTime();
  const store = new MemoryJournalStore();
  store.behaviour = "fail";
  using bench = new DispatcherBench(store);
  bench.start("c1", "s1");
  await time.tickAsync(0);
  bench.receive("c2", "hibernate_session", { sessionId: "s1" });
  bench.receive("c3", "fly", { sessionId: "s1" });
  await time.tickAsync(5000);
  assertEquals(bench.wire.told, ["ack c1", "ack c2", "ack c3", "failed c3"]);
  assertEquals((await bench.operations.runs.next()).request.action, "start_session");
});

Deno.test("Dispatcher runs the commands of many sessions in parallel", async () => {
  using bench = new DispatcherBench();
  for (let nth = 0; nth < 100; nth++) bench.start(`c${nth}`, `s${nth}`);
  await settled();
  assertEquals(bench.operations.active, 100);
  for (let nth = 0; nth < 100; nth++) (await bench.operations.runs.next()).finish();
  await settled();
  assertEquals(bench.operations.active, 0);
  for (let nth = 0; nth < 100; nth++) assertEquals(bench.results(`c${nth}`).length, 1);
});

Deno.test("Dispatcher runs the next command of a session after a failed one", async () => {
  using bench = new DispatcherBench();
  bench.start("c1", "s1");
  bench.receive("c2", "hibernate_session", { sessionId: "s1" });
  (await bench.operations.runs.next()).fail(new Error("Cannot start: no room"));
  await bench.finishNext();
  assertEquals(bench.results("c1"), [
    { type: "failed", payload: { commandId: "c1", error: "Cannot start: no room" } },
  ]);
  assertEquals(bench.results("c2").length, 1);
});

Deno.test("Dispatcher reports a thrown value that is not an Error", async () => {
  using bench = new DispatcherBench();
  bench.start("c1", "s1");
  (await bench.operations.runs.next()).fail("no room");
  await settled();
  assertEquals(bench.results("c1"), [{ type: "failed", payload: { commandId: "c1", error: "no room" } }]);
});

Deno.test("R1 Dispatcher runs a repeated command once and repeats its result", async () => {
  using bench = new DispatcherBench();
  bench.start("c1", "s1");
  bench.start("c1", "s1");
  await bench.finishNext();
  assertEquals(bench.results("c1").length, 1);
  bench.start("c1", "s1");
  await settled();
  assertEquals(bench.operations.runs.size, 0);
  const [first, second] = bench.results("c1");
  assertEquals(second, first);
  // An ack after the result would undo it.
  assertEquals(bench.wire.told.filter((one) => one === "ack c1").length, 1);
});

Deno.test("Dispatcher repeats the failure of a repeated command", async () => {
  using bench = new DispatcherBench();
  for (let nth = 0; nth < 3; nth++) {
    bench.receive("c1", "start_session", { sessionId: "../x" });
    await settled();
  }
  assertEquals(bench.wire.told, ["ack c1", "failed c1", "failed c1", "failed c1"]);
});

Deno.test("Dispatcher does not forget a running command after ten thousand others", async () => {
  using bench = new DispatcherBench();
  bench.start("c1", "s1");
  const { finish } = await bench.operations.runs.next();
  for (let nth = 0; nth < 10_001; nth++) bench.receive(`bad${nth}`, "nonsense", {});
  bench.start("c1", "s1");
  finish();
  await settled();
  assertEquals(bench.results("c1").length, 1);
  assertEquals(bench.operations.runs.size, 0);
});

Deno.test("R2 Dispatcher cancels running and queued starts for a stop, but not another stop", async () => {
  using bench = new DispatcherBench();
  bench.stop("c0", "s1");
  bench.start("c1", "s1");
  const { signal: stopSignal, finish } = await bench.operations.runs.next();
  bench.stop("c2", "s1");
  await settled();
  assert(!stopSignal.aborted);
  finish();
  await settled();
  const cancelled = await bench.operations.runs.next();
  assertEquals([cancelled.request.action, cancelled.signal.aborted], ["start_session", true]);
  assertEquals(await bench.finishNext(), "stop_session s1");
  assertEquals(bench.wire.told, [
    "ack c0",
    "ack c1",
    "ack c2",
    "complete c0",
    "status s1 terminated",
    "failed c1",
    "complete c2",
    "status s1 terminated",
  ]);
});

Deno.test("Dispatcher cancels a start immediately when a stop arrives", async () => {
  using bench = new DispatcherBench();
  bench.start("c1", "s1");
  bench.start("c2", "s2");
  const first = await bench.operations.runs.next();
  const second = await bench.operations.runs.next();
  bench.stop("c3", "s1");
  await settled();
  assertEquals([first.signal.aborted, second.signal.aborted], [true, false]);
  assertEquals(await bench.finishNext(), "stop_session s1");
  assertEquals(bench.results("c1"), [
    { type: "failed", payload: { commandId: "c1", error: "cancelled by stop" } },
  ]);
  assert(!bench.wire.told.includes("status s1 running"));
  second.finish();
  await settled();
});

Deno.test("R3 Dispatcher runs a start that follows a stop of the same session", async () => {
  using bench = new DispatcherBench();
  bench.stop("c1", "s1");
  bench.start("c2", "s1");
  assertEquals(await bench.finishNext(), "stop_session s1");
  assertEquals(await bench.finishNext(), "start_session s1");
  assertEquals(bench.wire.told.slice(-2), ["complete c2", "status s1 running"]);
});

const BAD_COMMANDS: Array<[name: string, action: string, payload: unknown, field: string]> = [
  ["an id of 300 characters", "stop_session", { sessionId: "x".repeat(300) }, '"sessionId"'],
  ["an id of half a character", "wake_session", { sessionId: "\ud800" }, '"sessionId"'],
  ["a bad quantity", "start_session", { ...FIELDS, sessionId: "s1", memory: "2GB" }, '"memory"'],
  ["no payload", "start_session", undefined, '"payload"'],
  ["a payload of text", "stop_session", '{"sessionId":"s1"}', '"payload"'],
  ["no user", "start_session", { sessionId: "s1", template: "firefox" }, '"user"'],
  ["an unknown action", "explode", { sessionId: "s1" }, 'action "explode"'],
  ["no action", "", { sessionId: "s1" }, 'action ""'],
];

for (const [name, action, payload, field] of BAD_COMMANDS) {
  Deno.test(`Dispatcher answers a command with ${name} with one failed result that names the problem, and runs nothing`, async () => {
    using bench = new DispatcherBench();
    bench.receive("c1", action, payload);
    await settled();
    assertEquals(bench.wire.told, ["ack c1", "failed c1"]);
    const [result] = bench.results("c1");
    assert(result?.type === "failed" && result.payload.error.includes(field), JSON.stringify(result));
    assertEquals(bench.operations.runs.size, 0);
  });
}

Deno.test("Dispatcher does not report the status of a start whose stop arrives while its result is being recorded", async () => {
  using bench = new DispatcherBench();
  bench.start("c1", "s1");
  const { finish } = await bench.operations.runs.next();
  finish();
  bench.stop("c2", "s1");
  await settled();
  assertEquals(bench.wire.told, ["ack c1", "ack c2", "complete c1"]);
  assertEquals(
    await bench.operations.runs.next().then(({ request, finish }) => (finish(), request.action)),
    "stop_session",
  );
  await settled();
});

Deno.test("Dispatcher reports no status of a session once its stop has arrived", async () => {
  using bench = new DispatcherBench();
  bench.start("c1", "s1");
  const { finish } = await bench.operations.runs.next();
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  bench.store.held = held;
  finish();
  await settled();
  // The stop waits for the write of the start's result.
  bench.stop("c2", "s1");
  release();
  await bench.finishNext();
  assertEquals(bench.wire.told, [
    "ack c1",
    "complete c1",
    "ack c2",
    "complete c2",
    "status s1 terminated",
  ]);
});

Deno.test("Dispatcher marks a session busy as soon as its stop arrives", () => {
  using bench = new DispatcherBench();
  bench.stop("c1", "s1");
  assertEquals([bench.busy.has("s1"), bench.busy.has("s2")], [true, false]);
});

Deno.test("Dispatcher rejects commands and logs it while too many are pending", async () => {
  using logs = new LogCapture();
  using bench = new DispatcherBench();
  for (let nth = 0; bench.journal.usage.bytes < 512 * 1024 - 200; nth++) {
    bench.start(`c${nth}`, `s${nth}`);
    if (nth % 100 === 0 || bench.journal.usage.bytes > 500_000) await settled();
  }
  bench.start("last", "s".repeat(200));
  await logs.line("WARN: Command last failed: The agent has too many pending commands");
  assertEquals(bench.results("last").length, 1);
  assert(bench.operations.active > 1000, `only ${bench.operations.active} commands`);
});

Deno.test("R1 Dispatcher repeats the outcome on a session's objects without another ack", async () => {
  using bench = new DispatcherBench();
  const result = { sessionId: "s1", state: "running" };
  bench.operations.recorded.set("c1", { result, isRecorded: true });
  bench.start("c1", "s1");
  await settled();
  assertEquals(bench.wire.messages, [{ type: "complete", payload: { commandId: "c1", result } }]);
  assertEquals([bench.operations.runs.size, bench.store.writes.length], [0, 0]);
});

Deno.test("Dispatcher.insert() runs a request of the agent in the session's lane, without a result", async () => {
  using bench = new DispatcherBench();
  const request = { action: "hibernate_session", sessionId: "s1" } as const;
  bench.start("c1", "s1");
  const start = await bench.operations.runs.next();
  const acted = Promise.withResolvers<void>();
  const done = bench.dispatcher.insert(request, () => acted.promise);
  bench.receive("c2", "wake_session", { sessionId: "s1" });
  start.finish();
  await settled();
  assertEquals(bench.operations.active, 0);
  acted.resolve();
  await done;
  assertEquals(await bench.finishNext(), "wake_session s1");
  assertEquals(bench.busy.has("s1"), false);
  const answered = bench.wire.messages.filter(({ type }) => type === "complete" || type === "failed");
  assertEquals(answered.length, 2);
});

Deno.test("Dispatcher.insert() is cancelled by a stop, running or queued", async () => {
  using bench = new DispatcherBench();
  const request = { action: "hibernate_session", sessionId: "s1" } as const;
  const started: AbortSignal[] = [];
  const first = assertRejects(() =>
    bench.dispatcher.insert(request, async (signal) => {
      started.push(signal);
      await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    })
  );
  const second = assertRejects(() =>
    bench.dispatcher.insert(request, (signal) => Promise.resolve(void started.push(signal)))
  );
  await settled();
  bench.stop("c1", "s1");
  assertEquals((await first as Error).message, "cancelled by stop");
  assertEquals((await second as Error).message, "cancelled by stop");
  assertEquals(started.length, 1);
  assertEquals(await bench.finishNext(), "stop_session s1");
  assertEquals(bench.results("c1").length, 1);
});

Deno.test("Dispatcher calls its observer once for each step of a command", async () => {
  using bench = new DispatcherBench();
  bench.start("c1", "s1");
  bench.start("c1", "s1");
  bench.receive("c2", "explode_session", { sessionId: "s1" });
  await bench.finishNext();
  bench.start("c3", "s1");
  const { fail } = await bench.operations.runs.next();
  fail(new Error("no"));
  await settled();
  bench.start("c3", "s1");
  const unknown =
    'Unknown action "explode_session": must be one of start_session, stop_session, hibernate_session, wake_session';
  assertEquals(bench.observed, [
    "c1 start_session",
    "c2 explode_session",
    "c1 started on s1",
    `c2 failed: ${unknown}`,
    "c1 complete",
    "c3 start_session",
    "c3 started on s1",
    "c3 failed: no",
  ]);
});

Deno.test("Dispatcher calls its observer for resumed and handed-over commands", async () => {
  const store = new MemoryJournalStore();
  using earlier = new DispatcherBench(store);
  earlier.start("c1", "s1");
  await earlier.operations.runs.next();
  earlier.dispatcher.handOver();
  await settled();
  assertEquals(earlier.observed, ["c1 start_session", "c1 started on s1", "c1 handed_over"]);
  using later = new DispatcherBench(store);
  later.dispatcher.resume((await later.journal.load(never)).entries);
  await later.finishNext();
  assertEquals(later.observed, ["c1 start_session", "c1 started on s1", "c1 complete"]);
});
