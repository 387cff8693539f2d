import { assert, assertEquals } from "@std/assert";
import type { JournalEntry } from "../../lib/commands/journal.ts";
import { DispatcherBench, FIELDS, settled } from "../support/dispatcher_bench.ts";
import { FakeTime } from "../support/fake_time.ts";
import { MemoryJournalStore } from "../support/memory_journal.ts";

const never = new AbortController().signal;

Deno.test("Dispatcher.resume() sends recorded results again, and repeats them for repeated commands", async () => {
  const store = new MemoryJournalStore();
  using bench = new DispatcherBench(store);
  bench.start("c1", "s1");
  await bench.finishNext();
  using next = new DispatcherBench(store);
  next.dispatcher.resume((await next.journal.load(never)).entries);
  next.start("c1", "s1");
  await settled();
  assertEquals(next.operations.runs.size, 0);
  assertEquals(next.results("c1"), [...bench.results("c1"), ...bench.results("c1")]);
});

Deno.test("Dispatcher.resume() counts the age of a recorded result from when its command was received", async () => {
  const store = new MemoryJournalStore();
  using time = new FakeTime(1_000_000);
  using bench = new DispatcherBench(store);
  bench.receive("c1", "explode_session", { sessionId: "s1" });
  await time.tickAsync(7000);
  using next = new DispatcherBench(store);
  next.outbox.detach({ isDelivered: true });
  next.dispatcher.resume((await next.journal.load(never)).entries);
  assertEquals(next.outbox.backlog, { results: 1, statuses: 0, oldestMs: 7000 });
});

Deno.test("Dispatcher.resume() runs unfinished commands in order, with the time they have left", async () => {
  const store = new MemoryJournalStore();
  using time = new FakeTime(1_000_000);
  using bench = new DispatcherBench(store);
  bench.start("c1", "s1");
  bench.receive("c2", "hibernate_session", { sessionId: "s1" });
  await time.tickAsync(0);
  await time.tickAsync(7000);
  using next = new DispatcherBench(store);
  next.dispatcher.resume((await next.journal.load(never)).entries);
  const first = await next.operations.runs.next();
  assertEquals([first.request.action, first.spentMs], ["start_session", 7000]);
  first.finish();
  assertEquals((await next.operations.runs.next()).request.action, "hibernate_session");
});

Deno.test("Dispatcher.resume() lets an unfinished stop cancel the start before it", async () => {
  const store = new MemoryJournalStore();
  using bench = new DispatcherBench(store);
  bench.start("c1", "s1");
  bench.stop("c2", "s1");
  // The process is killed before either has a result.
  await bench.operations.runs.next();
  using next = new DispatcherBench(store);
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
  using bench = new DispatcherBench(store);
  bench.dispatcher.resume((await bench.journal.load(never)).entries);
  assertEquals((await bench.operations.runs.next()).request, request);
});

Deno.test("Dispatcher.resume() fails a journal entry without a valid request", async () => {
  const store = new MemoryJournalStore();
  const request = { action: "start_session", sessionId: "../x" };
  store.data["agent.0000000000000001"] = JSON.stringify({ commandId: "c1", receivedAt: 1, request });
  store.data["agent.0000000000000002"] = JSON.stringify({ commandId: "c2", receivedAt: 1 });
  using bench = new DispatcherBench(store);
  bench.dispatcher.resume((await bench.journal.load(never)).entries);
  await settled();
  assertEquals(bench.wire.sent, ["failed c1", "failed c2"]);
});

/** The journal of a process that was killed while it ran the stop `c1` of session `s1`. */
async function unfinishedStop(): Promise<readonly JournalEntry[]> {
  using bench = new DispatcherBench();
  bench.stop("c1", "s1");
  await bench.operations.runs.next();
  return (await bench.store.journal().load(never)).entries;
}

Deno.test("Dispatcher.resume() fails a command that a newer command of its session superseded", async () => {
  using bench = new DispatcherBench();
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
  using bench = new DispatcherBench();
  bench.stop("c1", "s1");
  await settled();
  bench.dispatcher.resume(await unfinishedStop());
  assertEquals(await bench.finishNext(), "stop_session s1");
  assertEquals(bench.results("c1").length, 1);
  assertEquals(bench.operations.runs.size, 0);
});
