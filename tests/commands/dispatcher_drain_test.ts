import { assert, assertEquals, assertRejects } from "@std/assert";
import { DispatcherBench, settled } from "../support/dispatcher_bench.ts";
import { MemoryJournalStore } from "../support/memory_journal.ts";

const never = new AbortController().signal;

Deno.test("Dispatcher.drain() rejects new commands and waits for running and queued ones", async () => {
  using bench = new DispatcherBench();
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
