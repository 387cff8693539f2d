import { assertEquals } from "@std/assert";
import type { JournalEntry } from "../../lib/commands/journal.ts";
import { failedStarts, uncertainSessions } from "../../lib/recovery.ts";
import { completed, failed } from "../../lib/control_plane/protocol.ts";
import { DispatcherBench, FIELDS, settled } from "../support/dispatcher_bench.ts";
import { LogCapture } from "../support/log_capture.ts";
import { MemoryJournalStore } from "../support/memory_journal.ts";

const never = new AbortController().signal;

Deno.test("Dispatcher reports the session of a rejected start, if the payload names one", async () => {
  using bench = new DispatcherBench();
  bench.receive("c1", "start_session", { ...FIELDS, sessionId: "s1", memory: "banana" });
  bench.receive("c2", "start_session", { ...FIELDS, sessionId: "", memory: "banana" });
  bench.receive("c3", "hibernate_session", { sessionId: 7 });
  await settled();
  assertEquals(bench.wire.sent, ["ack c1", "failed c1", "ack c2", "failed c2", "ack c3", "failed c3"]);
  const [result] = bench.results("c1");
  assertEquals(bench.operations.failedStarts, [`s1: ${result?.type === "failed" && result.payload.error}`]);
});

Deno.test("Dispatcher reports a rejected start after the earlier commands of its session, unless a stop follows", async () => {
  using bench = new DispatcherBench();
  for (const sessionId of ["s1", "s2"]) {
    bench.start(`c-${sessionId}`, sessionId);
    bench.receive(`bad-${sessionId}`, "start_session", { sessionId });
  }
  bench.stop("stop", "s2");
  await settled();
  assertEquals(bench.operations.failedStarts, []);
  while (bench.operations.runs.size > 0) await bench.finishNext();
  assertEquals(bench.operations.failedStarts, ['s1: "user" is required']);
  assertEquals(bench.busy.has("s1"), false);
});

Deno.test("Dispatcher reports the session of a start in the journal that is not valid any more", async () => {
  const store = new MemoryJournalStore();
  const request = { action: "start_session", sessionId: "s1" };
  store.data["agent.0000000000000001"] = JSON.stringify({ commandId: "c1", receivedAt: 1, request });
  using bench = new DispatcherBench(store);
  bench.dispatcher.resume((await bench.journal.load(never)).entries);
  await settled();
  assertEquals(bench.operations.failedStarts, ['s1: "user" is required']);
});

Deno.test("Dispatcher reports rejected starts again after the previous process ended", async () => {
  const store = new MemoryJournalStore();
  using bench = new DispatcherBench(store);
  bench.receive("c1", "start_session", { ...FIELDS, sessionId: "s1", cpu: "banana" });
  await settled();
  using next = new DispatcherBench(store);
  const { entries } = await next.journal.load(never);
  next.dispatcher.reportFailedStarts(failedStarts(entries));
  await settled();
  assertEquals(next.operations.failedStarts, bench.operations.failedStarts);
});

function entry(
  sessionId: string,
  action: "start_session" | "stop_session" | "wake_session",
  isOk?: boolean,
): JournalEntry {
  const unfinished: JournalEntry = { commandId: "c", receivedAt: 1, request: { action, sessionId } };
  if (isOk === undefined) return unfinished;
  return { ...unfinished, result: isOk ? completed("c", {}) : failed("c", `no ${sessionId}`) };
}

Deno.test("failedStarts() finds sessions whose last effective command is a start that failed", () => {
  const { request, ...noSession } = entry("", "start_session", false);
  assertEquals(request?.sessionId, "");
  const errors = failedStarts([
    noSession,
    entry("s1", "start_session", true),
    entry("s1", "start_session", false),
    entry("s2", "start_session", false),
    entry("s2", "stop_session", true),
    entry("s3", "stop_session", false),
    entry("s4", "start_session", false),
    entry("s4", "start_session", true),
    entry("s5", "start_session", false),
    entry("s5", "wake_session", false),
    entry("s6", "start_session", false),
    entry("s6", "wake_session"),
    entry("s7", "start_session", false),
    entry("s7", "wake_session", true),
    { ...entry("s8", "start_session", false), reason: "ImagePull" },
  ]);
  assertEquals([...errors].map(([sessionId, { message, reason }]) => [sessionId, message, reason]), [
    ["s1", "no s1", ""],
    ["s5", "no s5", ""],
    ["s6", "no s6", ""],
    ["s8", "no s8", "ImagePull"],
  ]);
});

Deno.test("uncertainSessions() leaves out unknown sessions that could not be scaled", () => {
  const entries = [
    entry("s1", "start_session"),
    entry("s2", "stop_session", false),
    entry("s3", "wake_session"),
    entry("s4", "wake_session", false),
    entry("s5", "wake_session", false),
    entry("s6", "wake_session", true),
  ];
  assertEquals(uncertainSessions(entries, (sessionId) => sessionId === "s5"), ["s1", "s2", "s5", "s6"]);
});

Deno.test("Dispatcher warns of a field that it ignores", async () => {
  using logs = new LogCapture();
  using bench = new DispatcherBench();
  bench.receive("c1", "start_session", { ...FIELDS, sessionId: "s1", idleTimeout: "banana" });
  await logs.line('WARN: Command c1: ignored a field of the payload: "idleTimeout" must be a duration');
  assertEquals(await bench.finishNext(), "start_session s1");
});
