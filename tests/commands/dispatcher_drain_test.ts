import { assert, assertEquals, assertRejects } from "@std/assert";
import { DispatcherBench, settled } from "../support/dispatcher_bench.ts";
import { FakeTime } from "../support/fake_time.ts";
import { MemoryJournalStore } from "../support/memory_journal.ts";

const never = new AbortController().signal;

Deno.test("Dispatcher.drain() leaves new commands to the next process and waits for running and queued ones", async () => {
  using bench = new DispatcherBench();
  bench.start("c1", "s1");
  bench.receive("c2", "hibernate_session", { sessionId: "s1" });
  await settled();
  assertEquals(bench.dispatcher.isDraining, false);
  let isDrained = false;
  const drained = bench.dispatcher.drain(never).then(() => isDrained = true);
  assertEquals(bench.dispatcher.isDraining, true);
  bench.start("c3", "s3");
  bench.receive("c4", "hibernate_session", { sessionId: "s1" });
  bench.start("c3", "s3");
  bench.receive("c5", "hibernate_session", { sessionId: 7 });
  await settled();
  assertEquals(bench.wire.sent.slice(2), ["ack c3", "ack c4", "ack c5", "failed c5"]);
  await bench.finishNext();
  assertEquals(isDrained, false);
  await bench.finishNext();
  await drained;
  assertEquals(["c1", "c2", "c3", "c4"].map((id) => bench.results(id).length), [1, 1, 0, 0]);
  assertEquals(bench.observed.filter((line) => line.includes("handed_over")), [
    "c3 handed_over",
    "c4 handed_over",
  ]);

  using next = new DispatcherBench(bench.store);
  const { entries } = await next.journal.load(never);
  next.dispatcher.resume(entries.filter(({ result }) => !result));
  assertEquals([await next.finishNext(), await next.finishNext()], [
    "start_session s3",
    "hibernate_session s1",
  ]);
  assertEquals(["c3", "c4"].map((id) => next.results(id).length), [1, 1]);
});

for (const behaviour of ["reject", "fail"] as const) {
  Deno.test(`Dispatcher.drain() refuses new commands without a usable journal (writes ${behaviour})`, async () => {
    using time = new FakeTime();
    using bench = new DispatcherBench();
    bench.store.behaviour = behaviour;
    const drained = bench.dispatcher.drain(never);
    bench.start("c1", "s1");
    bench.stop("c2", "s2");
    await time.tickAsync(5000);
    await drained;
    await bench.dispatcher.recorded(never);
    assertEquals(bench.wire.sent, ["ack c1", "failed c1", "ack c2", "failed c2"]);
    const message = "The agent is stopping and accepts no more commands";
    assertEquals(bench.operations.failedStarts, [`s1: ${message}`]);
    bench.store.behaviour = "answer";
    await time.tickAsync(60_000);
    // The next process does not run what has failed.
    const { entries } = await bench.store.journal().load(never);
    assertEquals(entries.map(({ commandId, result }) => [commandId, result?.type]), [
      ["c1", "failed"],
      ["c2", "failed"],
    ]);
  });
}

Deno.test("Dispatcher.drain() cancels the start whose stop it leaves to the next process", async () => {
  using bench = new DispatcherBench();
  bench.start("c1", "s1");
  bench.start("c2", "s2");
  await settled();
  const [first, second] = [await bench.operations.runs.next(), await bench.operations.runs.next()];
  const drained = bench.dispatcher.drain(never);
  bench.stop("c3", "s1");
  bench.stop("c4", "s2");
  // This start has already succeeded when the stop arrives.
  second.finish();
  await drained;
  await bench.dispatcher.recorded(never);
  assert(first.signal.aborted);
  assertEquals(bench.wire.sent.toSorted(), [
    "ack c1",
    "ack c2",
    "ack c3",
    "ack c4",
    "complete c2",
    "failed c1",
  ]);
  assertEquals([bench.busy.has("s1"), bench.busy.has("s2")], [true, true]);
});

Deno.test("Dispatcher.drain() leaves unfinished commands to the next process when its time is up", async () => {
  using bench = new DispatcherBench();
  for (const id of ["1", "2", "3"]) bench.start(`c${id}`, `s${id}`);
  bench.receive("c4", "hibernate_session", { sessionId: "s1" });
  await settled();
  const timeout = new AbortController();
  const drained = bench.dispatcher.drain(timeout.signal);
  timeout.abort();
  await drained;
  assertEquals(bench.wire.sent, ["ack c1", "ack c2", "ack c3", "ack c4"]);

  using next = new DispatcherBench(bench.store);
  const { entries } = await next.journal.load(never);
  next.dispatcher.resume(entries);
  for (const _ of entries) await next.finishNext();
  for (const id of ["1", "2", "3", "4"]) assertEquals(next.results(`c${id}`).length, 1);
});

Deno.test("Dispatcher.drain() cancels commands that are not in the journal and sends a result for each", async () => {
  const store = new MemoryJournalStore();
  store.behaviour = "reject";
  using bench = new DispatcherBench(store);
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
  using bench = new DispatcherBench();
  bench.start("c1", "s1");
  const { signal } = await bench.operations.runs.next();
  bench.dispatcher.handOver();
  assert(signal.aborted);
  await bench.dispatcher.drain(AbortSignal.abort());
  assertEquals(bench.wire.sent, ["ack c1"]);
});

Deno.test("Dispatcher.drain() returns immediately without commands", async () => {
  using bench = new DispatcherBench();
  await bench.dispatcher.drain(never);
  assertEquals(bench.wire.sent, []);
});

Deno.test("R7 Dispatcher sends no result of a command that finishes after leadership was lost", async () => {
  using bench = new DispatcherBench();
  bench.start("c1", "s1");
  const { finish } = await bench.operations.runs.next();
  bench.isLeading = false;
  finish();
  await settled();
  assertEquals(bench.wire.sent, ["ack c1"]);
});

Deno.test("Dispatcher.drain() rejects requests of the agent and cancels running ones when its time is up", async () => {
  using bench = new DispatcherBench();
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
  const rejected = await assertRejects(() => bench.dispatcher.insert(request, () => Promise.resolve()));
  stopping.abort();
  await drained;
  const message = "cancelled because the agent is stopping";
  assertEquals([(rejected as Error).message, (await acting as Error).message], [message, message]);
  assertEquals(bench.wire.messages, []);
});
