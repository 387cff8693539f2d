import { assert, assertEquals, assertRejects } from "@std/assert";
import { Outbox } from "../../lib/control_plane/outbox.ts";
import type { Outbound } from "../../lib/control_plane/protocol.ts";
import { ReportedStatuses } from "../../lib/control_plane/reported_statuses.ts";
import { Reporter } from "../../lib/control_plane/reporter.ts";
import { messageOf } from "../../lib/common/errors.ts";
import { Dispatcher } from "../../lib/commands/dispatcher.ts";
import type { Journal, JournalEntry } from "../../lib/commands/journal.ts";
import { BusySessions } from "../../lib/status/busy_sessions.ts";
import { FakeOperations } from "../support/fake_operations.ts";
import { FakeTime } from "../support/fake_time.ts";
import { FakeWire } from "../support/fake_wire.ts";
import { LogCapture } from "../support/log_capture.ts";
import { MemoryJournalStore } from "../support/memory_journal.ts";

const FIELDS = { user: "alice", template: "firefox" };
const never = new AbortController().signal;

/** A dispatcher with operations that the test controls and a wire that records messages. */
class Bench implements Disposable {
  readonly operations = new FakeOperations();
  readonly wire = new FakeWire();
  readonly store: MemoryJournalStore;
  readonly journal: Journal;
  readonly dispatcher: Dispatcher;
  /** Calls of the observer. */
  readonly observed: string[] = [];
  readonly outbox = new Outbox();
  readonly busy = new BusySessions();
  isLeading = true;

  /** @param store the journal of the previous process */
  constructor(store = new MemoryJournalStore()) {
    this.store = store;
    this.journal = store.journal();
    this.dispatcher = new Dispatcher(this.operations, {
      journal: this.journal,
      reporter: new Reporter(this.outbox, new ReportedStatuses()),
      busy: this.busy,
      isLeading: () => this.isLeading,
      limits: { maxCpu: 4, maxMemory: 8 },
      cancelMs: 3000,
      observer: {
        received: (commandId, { action }) => this.observed.push(`${commandId} ${action}`),
        started: (commandId, { sessionId }) => this.observed.push(`${commandId} started on ${sessionId}`),
        admitted: (commandId) => this.observed.push(`${commandId} admitted`),
        ended: (commandId, outcome, error) =>
          this.observed.push(`${commandId} ${outcome}${error ? `: ${messageOf(error)}` : ""}`),
      },
    });
    this.outbox.attach(this.wire);
  }

  receive(commandId: string, action: string, payload: unknown): void {
    this.dispatcher.receive({ commandId, action, payload });
  }

  start(commandId: string, sessionId: string): void {
    this.receive(commandId, "start_session", { ...FIELDS, sessionId });
  }

  stop(commandId: string, sessionId: string): void {
    this.receive(commandId, "stop_session", { sessionId });
  }

  /** Lets the next running request succeed, and waits until its command has a result. */
  async finishNext(): Promise<string> {
    const { request, finish } = await this.operations.runs.next();
    finish();
    await settled();
    return `${request.action} ${request.sessionId}`;
  }

  /** The results that were sent for a command. */
  results(commandId: string): Outbound[] {
    return this.wire.messages.filter((one) =>
      (one.type === "complete" || one.type === "failed") && one.payload.commandId === commandId
    );
  }

  [Symbol.dispose](): void {
    this.journal[Symbol.dispose]();
    this.outbox[Symbol.dispose]();
  }
}

/** Waits for everything that happens without input or output. */
async function settled(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 0));
}

Deno.test("Dispatcher records a command in the journal before it acknowledges and runs it", async () => {
  const store = new MemoryJournalStore();
  store.behaviour = "hang";
  using bench = new Bench(store);
  bench.start("c0", "s0");
  await settled();
  assertEquals([bench.wire.told, bench.operations.active], [[], 0]);
});

Deno.test("Dispatcher acknowledges a command before it sends the result", async () => {
  using bench = new Bench();
  bench.start("c1", "s1");
  await bench.finishNext();
  assertEquals(bench.wire.told, ["ack c1", "complete c1", "status s1 running"]);
  assertEquals(bench.results("c1"), [
    { type: "complete", payload: { commandId: "c1", result: { sessionId: "s1", action: "start_session" } } },
  ]);
});

Deno.test("Dispatcher passes on the validated request, not the payload", async () => {
  using bench = new Bench();
  bench.receive("c1", "stop_session", { sessionId: "s1", deletePVC: true, namespace: "kube-system" });
  const { request, finish } = await bench.operations.runs.next();
  assertEquals(request, { action: "stop_session", sessionId: "s1", deletePVC: true });
  finish();
  await settled();
});

Deno.test("R4 Dispatcher runs the commands of one session one after the other, in order", async () => {
  using bench = new Bench();
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
  using bench = new Bench(store);
  bench.start("c1", "s1");
  await time.tickAsync(0);
  bench.receive("c2", "hibernate_session", { sessionId: "s1" });
  bench.receive("c3", "fly", { sessionId: "s1" });
  await time.tickAsync(5000);
  assertEquals(bench.wire.told, ["ack c1", "ack c2", "ack c3", "failed c3"]);
  assertEquals((await bench.operations.runs.next()).request.action, "start_session");
});

Deno.test("Dispatcher runs the commands of many sessions in parallel", async () => {
  using bench = new Bench();
  for (let nth = 0; nth < 100; nth++) bench.start(`c${nth}`, `s${nth}`);
  await settled();
  assertEquals(bench.operations.active, 100);
  for (let nth = 0; nth < 100; nth++) (await bench.operations.runs.next()).finish();
  await settled();
  assertEquals(bench.operations.active, 0);
  for (let nth = 0; nth < 100; nth++) assertEquals(bench.results(`c${nth}`).length, 1);
});

Deno.test("Dispatcher runs the next command of a session after a failed one", async () => {
  using bench = new Bench();
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
  using bench = new Bench();
  bench.start("c1", "s1");
  (await bench.operations.runs.next()).fail("no room");
  await settled();
  assertEquals(bench.results("c1"), [{ type: "failed", payload: { commandId: "c1", error: "no room" } }]);
});

Deno.test("R1 Dispatcher runs a repeated command once and repeats its result", async () => {
  using bench = new Bench();
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
  using bench = new Bench();
  for (let nth = 0; nth < 3; nth++) {
    bench.receive("c1", "start_session", { sessionId: "../x" });
    await settled();
  }
  assertEquals(bench.wire.told, ["ack c1", "failed c1", "failed c1", "failed c1"]);
});

Deno.test("Dispatcher does not forget a running command after ten thousand others", async () => {
  using bench = new Bench();
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
  using bench = new Bench();
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
  using bench = new Bench();
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
  using bench = new Bench();
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
    using bench = new Bench();
    bench.receive("c1", action, payload);
    await settled();
    assertEquals(bench.wire.told, ["ack c1", "failed c1"]);
    const [result] = bench.results("c1");
    assert(result?.type === "failed" && result.payload.error.includes(field), JSON.stringify(result));
    assertEquals(bench.operations.runs.size, 0);
  });
}

Deno.test("Dispatcher.drain() rejects new commands and waits for running and queued ones", async () => {
  using bench = new Bench();
  bench.start("c1", "s1");
  bench.receive("c2", "hibernate_session", { sessionId: "s1" });
  await settled();
  assertEquals(bench.dispatcher.isDraining, false);
  let isDrained = false;
  const drained = bench.dispatcher.drain(never).then(() => isDrained = true);
  assertEquals(bench.dispatcher.isDraining, true);
  bench.start("c3", "s3");
  await settled();
  assertEquals(bench.results("c3"), [
    {
      type: "failed",
      payload: { commandId: "c3", error: "The agent is stopping and accepts no more commands" },
    },
  ]);
  await bench.finishNext();
  assertEquals(isDrained, false);
  await bench.finishNext();
  await drained;
  assertEquals([bench.results("c1").length, bench.results("c2").length], [1, 1]);
});

Deno.test("Dispatcher.drain() leaves unfinished commands to the next process when its time is up", async () => {
  using bench = new Bench();
  for (const id of ["1", "2", "3"]) bench.start(`c${id}`, `s${id}`);
  bench.receive("c4", "hibernate_session", { sessionId: "s1" });
  await settled();
  const timeout = new AbortController();
  const drained = bench.dispatcher.drain(timeout.signal);
  timeout.abort();
  await drained;
  assertEquals(bench.wire.told, ["ack c1", "ack c2", "ack c3", "ack c4"]);

  using next = new Bench(bench.store);
  const { entries } = await next.journal.load(never);
  next.dispatcher.resume(entries);
  for (const _ of entries) await next.finishNext();
  for (const id of ["1", "2", "3", "4"]) assertEquals(next.results(`c${id}`).length, 1);
});

Deno.test("Dispatcher.drain() cancels commands that are not in the journal and sends a result for each", async () => {
  const store = new MemoryJournalStore();
  store.behaviour = "refuse";
  using bench = new Bench(store);
  bench.start("c1", "s1");
  bench.start("c2", "s2");
  await settled();
  await bench.dispatcher.drain(AbortSignal.abort());
  for (const id of ["1", "2"]) {
    const error = "cancelled because the agent is stopping";
    assertEquals(bench.results(`c${id}`), [{ type: "failed", payload: { commandId: `c${id}`, error } }]);
  }
});

Deno.test("Dispatcher.handOver() cancels all commands without a result", async () => {
  using bench = new Bench();
  bench.start("c1", "s1");
  const { signal } = await bench.operations.runs.next();
  bench.dispatcher.handOver();
  assert(signal.aborted);
  await bench.dispatcher.drain(AbortSignal.abort());
  assertEquals(bench.wire.told, ["ack c1"]);
});

Deno.test("Dispatcher.drain() returns immediately without commands", async () => {
  using bench = new Bench();
  await bench.dispatcher.drain(never);
  assertEquals(bench.wire.told, []);
});

Deno.test("Dispatcher.resume() sends recorded results again, and repeats them for repeated commands", async () => {
  const store = new MemoryJournalStore();
  using bench = new Bench(store);
  bench.start("c1", "s1");
  await bench.finishNext();
  using next = new Bench(store);
  next.dispatcher.resume((await next.journal.load(never)).entries);
  next.start("c1", "s1");
  await settled();
  assertEquals(next.operations.runs.size, 0);
  assertEquals(next.results("c1"), [...bench.results("c1"), ...bench.results("c1")]);
});

Deno.test("Dispatcher.resume() counts the age of a recorded result from when its command was received", async () => {
  const store = new MemoryJournalStore();
  using time = new FakeTime(1_000_000);
  using bench = new Bench(store);
  bench.receive("c1", "explode_session", { sessionId: "s1" });
  await time.tickAsync(7000);
  using next = new Bench(store);
  next.outbox.detach({ hasArrived: true });
  next.dispatcher.resume((await next.journal.load(never)).entries);
  assertEquals(next.outbox.backlog, { results: 1, statuses: 0, oldestMs: 7000 });
});

Deno.test("Dispatcher.resume() runs unfinished commands in order, with the time they have left", async () => {
  const store = new MemoryJournalStore();
  using time = new FakeTime(1_000_000);
  using bench = new Bench(store);
  bench.start("c1", "s1");
  bench.receive("c2", "hibernate_session", { sessionId: "s1" });
  await time.tickAsync(0);
  await time.tickAsync(7000);
  using next = new Bench(store);
  next.dispatcher.resume((await next.journal.load(never)).entries);
  const first = await next.operations.runs.next();
  assertEquals([first.request.action, first.spentMs], ["start_session", 7000]);
  first.finish();
  assertEquals((await next.operations.runs.next()).request.action, "hibernate_session");
});

Deno.test("Dispatcher.resume() lets an unfinished stop cancel the start before it", async () => {
  const store = new MemoryJournalStore();
  using bench = new Bench(store);
  bench.start("c1", "s1");
  bench.stop("c2", "s1");
  // The process is killed before either has a result.
  await bench.operations.runs.next();
  using next = new Bench(store);
  next.dispatcher.resume((await next.journal.load(never)).entries.filter(({ result }) => !result));
  assert((await next.operations.runs.next()).signal.aborted);
  assertEquals(await next.finishNext(), "stop_session s1");
  assertEquals(next.results("c1"), [
    { type: "failed", payload: { commandId: "c1", error: "cancelled by stop" } },
  ]);
});

Deno.test("Dispatcher.resume() runs a start that exceeds the limits of now, so that the operation cleans up", async () => {
  const store = new MemoryJournalStore();
  const request = {
    action: "start_session",
    sessionId: "s1",
    ...FIELDS,
    persistentHome: false,
    cpu: "8",
    memory: "16Gi",
  } as const;
  store.data["agent.0000000000000001"] = JSON.stringify({ commandId: "c1", receivedAt: 1, request });
  using bench = new Bench(store);
  bench.dispatcher.resume((await bench.journal.load(never)).entries);
  assertEquals((await bench.operations.runs.next()).request, request);
});

Deno.test("Dispatcher.resume() fails a journal entry without a valid request", async () => {
  const store = new MemoryJournalStore();
  const request = { action: "start_session", sessionId: "../x" };
  store.data["agent.0000000000000001"] = JSON.stringify({ commandId: "c1", receivedAt: 1, request });
  store.data["agent.0000000000000002"] = JSON.stringify({ commandId: "c2", receivedAt: 1 });
  using bench = new Bench(store);
  bench.dispatcher.resume((await bench.journal.load(never)).entries);
  await settled();
  assertEquals(bench.wire.told, ["failed c1", "failed c2"]);
});

Deno.test("Dispatcher does not report the status of a start whose stop arrives while its result is being recorded", async () => {
  using bench = new Bench();
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
  using bench = new Bench();
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
  using bench = new Bench();
  bench.stop("c1", "s1");
  assertEquals([bench.busy.has("s1"), bench.busy.has("s2")], [true, false]);
});

/** The journal of a process that was killed while it ran the stop `c1` of session `s1`. */
async function unfinishedStop(): Promise<readonly JournalEntry[]> {
  using bench = new Bench();
  bench.stop("c1", "s1");
  await bench.operations.runs.next();
  return (await bench.store.journal().load(never)).entries;
}

Deno.test("Dispatcher.resume() fails a command that a newer command of its session superseded", async () => {
  using bench = new Bench();
  bench.start("c2", "s1");
  await settled();
  bench.dispatcher.resume(await unfinishedStop());
  await settled();
  const error = "interrupted by a restart of the agent and superseded by a later command";
  assertEquals(bench.results("c1"), [{ type: "failed", payload: { commandId: "c1", error } }]);
  assertEquals(await bench.finishNext(), "start_session s1");
  assertEquals(bench.operations.runs.size, 0);
});

Deno.test("Dispatcher.resume() does not run a command again that arrived before the journal was read", async () => {
  using bench = new Bench();
  bench.stop("c1", "s1");
  await settled();
  bench.dispatcher.resume(await unfinishedStop());
  assertEquals(await bench.finishNext(), "stop_session s1");
  assertEquals(bench.results("c1").length, 1);
  assertEquals(bench.operations.runs.size, 0);
});

Deno.test("Dispatcher rejects commands and logs it while too many are pending", async () => {
  using logs = new LogCapture();
  using bench = new Bench();
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
  using bench = new Bench();
  const result = { sessionId: "s1", state: "running" };
  bench.operations.recorded.set("c1", { result, isRecorded: true });
  bench.start("c1", "s1");
  await settled();
  assertEquals(bench.wire.messages, [{ type: "complete", payload: { commandId: "c1", result } }]);
  assertEquals([bench.operations.runs.size, bench.store.writes.length], [0, 0]);
});

Deno.test("R7 Dispatcher sends no result of a command that finishes after leadership was lost", async () => {
  using bench = new Bench();
  bench.start("c1", "s1");
  const { finish } = await bench.operations.runs.next();
  bench.isLeading = false;
  finish();
  await settled();
  assertEquals(bench.wire.told, ["ack c1"]);
});

Deno.test("Dispatcher.insert() runs a request of the agent in the session's lane, without a result", async () => {
  using bench = new Bench();
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
  using bench = new Bench();
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

Deno.test("Dispatcher.drain() rejects requests of the agent and cancels running ones when its time is up", async () => {
  using bench = new Bench();
  const request = { action: "hibernate_session", sessionId: "s1" } as const;
  const stopping = new AbortController();
  const acting = assertRejects(() =>
    bench.dispatcher.insert(
      request,
      (signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
    )
  );
  await settled();
  const drained = bench.dispatcher.drain(stopping.signal);
  const refused = await assertRejects(() => bench.dispatcher.insert(request, () => Promise.resolve()));
  stopping.abort();
  await drained;
  const message = "cancelled because the agent is stopping";
  assertEquals([(refused as Error).message, (await acting as Error).message], [message, message]);
  assertEquals(bench.wire.messages, []);
});

Deno.test("Dispatcher calls its observer once for each step of a command", async () => {
  using bench = new Bench();
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
    'Unknown action "explode_session": known are start_session, stop_session, hibernate_session, wake_session';
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
  using earlier = new Bench(store);
  earlier.start("c1", "s1");
  await earlier.operations.runs.next();
  earlier.dispatcher.handOver();
  await settled();
  assertEquals(earlier.observed, ["c1 start_session", "c1 started on s1", "c1 handed_over"]);
  using later = new Bench(store);
  later.dispatcher.resume((await later.journal.load(never)).entries);
  await later.finishNext();
  assertEquals(later.observed, ["c1 start_session", "c1 started on s1", "c1 complete"]);
});
