import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { completed, failed } from "../../lib/control_plane/protocol.ts";
import { CommandError } from "../../lib/common/errors.ts";
import type { SessionRequest } from "../../lib/model/requests.ts";
import { FakeTime } from "../support/fake_time.ts";
import { FixedRandom } from "../support/fixed_random.ts";
import { LogCapture } from "../support/log_capture.ts";
import { MemoryJournalStore } from "../support/memory_journal.ts";

const never = new AbortController().signal;
const REQUEST: SessionRequest = { action: "wake_session", sessionId: "s1" };

function entry(commandId: string, receivedAt = 1000) {
  return { commandId, receivedAt, request: REQUEST };
}

/** A key of the journal's agent. */
function key(nth: number): string {
  return `agent.${String(nth).padStart(16, "0")}`;
}

/** What the next process recovers. */
async function recovered(store: MemoryJournalStore) {
  using journal = store.journal();
  return await journal.load(never);
}

Deno.test("Journal has the format that earlier and later versions read", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal({ sessionIds: () => ["s2", "s1"] });
  await journal.add(entry("c1"));
  await journal.add(entry("c2"));
  await journal.setResult(completed("c2", { state: "running" }), { isEvident: false });
  const request = '"request":{"action":"wake_session","sessionId":"s1"}';
  const result = '"result":{"type":"complete","payload":{"commandId":"c2","result":{"state":"running"}}}';
  assertEquals(store.data, {
    "agent.0000000001000000": `{"commandId":"c1","receivedAt":1000,${request}}`,
    "agent.0000000001000001": `{"commandId":"c2","receivedAt":1000,${request},${result}}`,
    "agent.sessions": "s1\ns2",
  });
});

Deno.test("Journal writes commands together that keep coming, but waits for at most five times as long", async () => {
  using time = new FakeTime();
  const store = new MemoryJournalStore();
  using journal = store.journal({ collectMs: 2 });
  const added = [journal.add(entry("c1"))];
  for (const commandId of ["c2", "c3", "c4"]) {
    await time.tickAsync(1.5);
    added.push(journal.add(entry(commandId)));
  }
  assertEquals(store.writes.length, 0);
  await time.tickAsync(4);
  assertEquals(store.writes.map((write) => Object.keys(write).length), [4]);
  await time.tickAsync(10);
  await Promise.all(added);
  for (let count = 0; count < 12; count++) {
    added.push(journal.add(entry(`d${count}`)));
    await time.tickAsync(1);
  }
  assertEquals(store.writes.map((write) => Object.keys(write).length), [4, 10]);
  await time.tickAsync(10);
  await Promise.all(added);
});

Deno.test("Journal.load() returns pending commands in the order they were received", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  // Two are received in the same millisecond; the clock is set back before the third.
  await Promise.all([journal.add(entry("c2")), journal.add(entry("c1"))]);
  await journal.add(entry("c3", 500));
  assertEquals((await recovered(store)).entries, [entry("c2"), entry("c1"), entry("c3", 500)]);
});

Deno.test("Journal takes over the entries of adopted agents, and leaves those of others", async () => {
  const store = new MemoryJournalStore();
  const digits = (nth: number) => String(nth).padStart(16, "0");
  store.data[`old.${digits(1)}`] = JSON.stringify(entry("c1"));
  store.data[`agent.${digits(2)}`] = JSON.stringify(entry("c2"));
  store.data[`old.${digits(3)}`] = JSON.stringify(entry("c3"));
  store.data["old.sessions"] = "s1\ns2";
  const other = { [`older.${digits(4)}`]: JSON.stringify(entry("c4")), "older.sessions": "s4" };
  Object.assign(store.data, other);
  using journal = store.journal({ sessionIds: () => ["s1", "s2"], adoptedPrefixes: ["old"] });
  const { entries, sessionIds } = await journal.load(never);
  assertEquals(entries.map(({ commandId }) => commandId), ["c1", "c2", "c3"]);
  assertEquals(sessionIds, ["s1", "s2"]);
  journal.forget(["c1", "c2", "c3"]);
  await journal.flush(never);
  assertEquals(store.data, { ...other, "agent.sessions": "s1\ns2" });
});

Deno.test("Journal.add() numbers entries after those of the previous process", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  await journal.add(entry("c1", 2000));
  using next = store.journal();
  await next.load(never);
  await next.add(entry("c2", 1000));
  assertEquals((await recovered(store)).entries.map(({ commandId }) => commandId), ["c1", "c2"]);
});

Deno.test("Journal writes entries that are added together with one request", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  await Promise.all(Array.from({ length: 100 }, (_, nth) => journal.add(entry(`c${nth}`))));
  assertEquals(store.writes.length, 1);
  assertEquals((await recovered(store)).entries.length, 100);
});

Deno.test("Journal keeps a result until it is forgotten", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  await journal.add(entry("c1"));
  const result = failed("c1", "no");
  await journal.setResult(result, { isEvident: false });
  assertEquals((await recovered(store)).entries, [{ ...entry("c1"), result }]);
  journal.forget(["c1"]);
  await journal.flush(never);
  assertEquals(store.data, {});
});

Deno.test("Journal.setResult() keeps only the action and session of the request", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  const request: SessionRequest = { action: "stop_session", sessionId: "s1", deletePVC: true };
  await journal.add({ ...entry("c1"), request });
  assertEquals((await recovered(store)).entries, [{ ...entry("c1"), request }]);
  const result = failed("c1", "no");
  await journal.setResult(result, { isEvident: false });
  assertEquals((await recovered(store)).entries, [
    { ...entry("c1"), request: { action: "stop_session", sessionId: "s1" }, result },
  ]);
});

Deno.test("Journal.setResult() does not wait for the write of a result that the session's objects show", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  await journal.add(entry("c1"));
  const held = Promise.withResolvers<void>();
  store.held = held.promise;
  const result = completed("c1", {});
  await journal.setResult(result, { isEvident: true });
  held.resolve();
  await journal.flush(never);
  assertEquals((await recovered(store)).entries, [{ ...entry("c1"), result }]);
});

Deno.test("Journal records up to which resource versions changes were reported", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal({ upTo: { pod: 20, deployment: 10 } });
  await journal.add(entry("c1"));
  assertEquals((await recovered(store)).reportedUpTo, { pod: 20, deployment: 10 });
  store.data["agent.reported"] = "{";
  assertEquals((await recovered(store)).reportedUpTo, undefined);
});

Deno.test("Journal records changes of sessions without a command after a while", async () => {
  const store = new MemoryJournalStore();
  const sessionIds = ["s1"];
  using journal = store.journal({ sessionIds: () => sessionIds, refreshMs: 1 });
  await journal.load(never);
  while (store.writes.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  assertEquals((await recovered(store)).sessionIds, ["s1"]);
});

Deno.test("R6 Journal.setResult() waits for the write of a result if the session has another command, which changes the objects", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  await journal.add(entry("c1"));
  await journal.add(entry("c2"));
  await journal.add({ ...entry("c3"), request: { ...REQUEST, sessionId: "s2" } });
  for (const id of ["c1", "c2", "c3"]) await journal.setResult(completed(id, {}), { isEvident: true });
  const left = (await recovered(store)).entries.filter(({ result }) => !result);
  assertEquals(left.map(({ commandId }) => commandId), ["c2", "c3"]);
});

Deno.test("Journal ignores results of unknown commands", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  await journal.setResult(completed("c1", {}), { isEvident: false });
  journal.forget(["c1"]);
  await journal.flush(never);
  assertEquals([store.writes.length, journal.isPersisted("c1")], [0, false]);
});

Deno.test("Journal writes the ids of the sessions with every other change", async () => {
  const store = new MemoryJournalStore();
  let sessions = ["s2", "s1"];
  using journal = store.journal({ sessionIds: () => sessions });
  await journal.add(entry("c1"));
  assertEquals((await recovered(store)).sessionIds, ["s1", "s2"]);
  sessions = [];
  journal.forget(["c1"]);
  await journal.flush(never);
  assertEquals((await recovered(store)).sessionIds, []);
});

Deno.test("Journal leaves foreign keys alone and ignores invalid entries", async () => {
  const store = new MemoryJournalStore();
  const foreign = { "other.1": JSON.stringify(entry("c0")), [key(2)]: "{", [key(3)]: '{"commandId":5}' };
  const forged = { [key(4)]: JSON.stringify({ ...entry("c4"), result: { type: "shutdown" } }) };
  Object.assign(store.data, foreign, forged);
  using journal = store.journal();
  assertEquals(await journal.load(never), { entries: [], sessionIds: [], reportedUpTo: undefined });
  await journal.add(entry("c1"));
  journal.forget(["c1"]);
  await journal.flush(never);
  assertEquals(store.data, { ...foreign, ...forged });
});

Deno.test("Journal ignores the entries of an agent whose id starts with its own", async () => {
  const store = new MemoryJournalStore();
  const foreign = {
    "agent.prod.0000000000000001": JSON.stringify(entry("c1")),
    "agent.prod.sessions": "s1",
  };
  Object.assign(store.data, foreign);
  using journal = store.journal();
  assertEquals(await journal.load(never), { entries: [], sessionIds: [], reportedUpTo: undefined });
  await journal.add(entry("c1"));
  journal.forget(["c1"]);
  await journal.flush(never);
  assertEquals(store.data, foreign);
});

Deno.test("Journal.load() removes the older of two entries of one command", async () => {
  const store = new MemoryJournalStore();
  store.data[key(1)] = JSON.stringify(entry("c1"));
  using journal = store.journal();
  await journal.add(entry("c1", 2000));
  await journal.add(entry("c2", 2000));
  assertEquals((await journal.load(never)).entries, [entry("c1", 2000), entry("c2", 2000)]);
  journal.forget(["c1"]);
  await journal.flush(never);
  assertEquals((await recovered(store)).entries, [entry("c2", 2000)]);
});

Deno.test("Journal.isPersisted() is true once the cluster holds the command", async () => {
  const store = new MemoryJournalStore();
  store.behaviour = "reject";
  using journal = store.journal();
  await journal.add(entry("c1"));
  assertEquals(journal.isPersisted("c1"), false);
  store.behaviour = "answer";
  await journal.flush(never);
  assertEquals(journal.isPersisted("c1"), true);
});

Deno.test("Journal does not delay commands when Kubernetes rejects its writes, and logs it once", async () => {
  using logs = new LogCapture();
  const store = new MemoryJournalStore();
  store.behaviour = "reject";
  using journal = store.journal();
  await journal.add(entry("c1"));
  await journal.add(entry("c2"));
  await journal.setResult(completed("c1", {}), { isEvident: false });
  assertEquals(logs.lines.filter((line) => line.includes("The journal cannot be written")).length, 1);
});

Deno.test("Journal retries a rejected write after 30 seconds", async () => {
  using time = new FakeTime();
  using logs = new LogCapture();
  const store = new MemoryJournalStore();
  store.behaviour = "reject";
  using journal = store.journal();
  await journal.add(entry("c1"));
  store.behaviour = "answer";
  await time.tickAsync(30_000);
  assertEquals(journal.isPersisted("c1"), true);
  await logs.line("The journal can be written again");
});

Deno.test("Journal waits up to five seconds for a write, then not again until one succeeds", async () => {
  using time = new FakeTime();
  const store = new MemoryJournalStore();
  store.behaviour = "hang";
  using journal = store.journal();
  let isAdded = false;
  const added = journal.add(entry("c1")).then(() => isAdded = true);
  await time.tickAsync(4999);
  assertEquals(isAdded, false);
  await time.tickAsync(1);
  await added;
  await journal.add(entry("c2"));
});

Deno.test("Journal with an infinite write timeout waits until a command is written", async () => {
  using time = new FakeTime();
  const store = new MemoryJournalStore();
  store.behaviour = "fail";
  using journal = store.journal({ writeTimeoutMs: Infinity });
  let isAdded = false;
  const added = journal.add(entry("c1")).then(() => isAdded = true);
  await time.tickAsync(600_000);
  assertEquals(isAdded, false);
  store.behaviour = "answer";
  await time.tickAsync(10_000);
  await added;
  assertEquals(journal.isPersisted("c1"), true);
});

Deno.test("Journal.load() retries until the cluster answers", async () => {
  using time = new FakeTime();
  const store = new MemoryJournalStore();
  store.data[key(1)] = JSON.stringify(entry("c1"));
  store.behaviour = "fail";
  using journal = store.journal();
  const loaded = journal.load(never);
  await time.tickAsync(60_000);
  store.behaviour = "answer";
  await time.tickAsync(10_000);
  assertEquals((await loaded).entries, [entry("c1")]);
});

Deno.test("Journal recovers from a failed read", async () => {
  using time = new FakeTime();
  using logs = new LogCapture();
  const store = new MemoryJournalStore();
  store.behaviour = "fail";
  using journal = store.journal();
  const loaded = journal.load(never);
  await time.tickAsync(0);
  assertEquals(journal.usage.isFailing, true);
  const message =
    "ERROR: The journal cannot be read, unfinished commands of the previous process have to wait: Kubernetes refused to change configmaps";
  assertEquals(logs.lines.map((line) => line.replace(/^.* \[K8sAgent\] /, "")), [message]);
  store.behaviour = "answer";
  await time.tickAsync(500);
  await loaded;
  assertEquals(journal.usage.isFailing, false);
  store.behaviour = "hang";
  let isAdded = false;
  const added = journal.add(entry("c1")).then(() => isAdded = true);
  await time.tickAsync(4999);
  assertEquals(isAdded, false);
  await time.tickAsync(1);
  await added;
});

Deno.test("Journal.load() returns nothing after several rejections, not after the first", async () => {
  using time = new FakeTime();
  using _random = new FixedRandom(1);
  const store = new MemoryJournalStore();
  store.data[key(1)] = JSON.stringify(entry("c1"));
  store.behaviour = "reject";
  using journal = store.journal();
  const loaded = journal.load(never);
  await time.tickAsync(1000);
  store.behaviour = "answer";
  await time.tickAsync(2000);
  assertEquals((await loaded).entries.length, 1);
  store.behaviour = "reject";
  using other = store.journal();
  const rejected = other.load(never);
  await time.tickAsync(10_000);
  assertEquals(await rejected, { entries: [], sessionIds: [], reportedUpTo: undefined });
});

Deno.test("Journal.load() rejects with the reason of an aborted signal", async () => {
  const store = new MemoryJournalStore();
  store.behaviour = "hang";
  using journal = store.journal();
  const stop = new AbortController();
  const loaded = journal.load(stop.signal);
  stop.abort(new Error("enough"));
  await assertRejects(() => loaded, Error, "enough");
});

Deno.test("Journal that is full removes results, logs it, and keeps every pending command", async () => {
  using logs = new LogCapture();
  const store = new MemoryJournalStore();
  using journal = store.journal();
  const large = "x".repeat(4000);
  for (let nth = 0; journal.usage.bytes < 780_000; nth++) {
    await journal.add(entry(`c${nth}`));
    if (nth % 2 === 0) await journal.setResult(failed(`c${nth}`, large), { isEvident: false });
  }
  for (let nth = 0; nth < 100; nth++) await journal.add(entry(`last${nth}`));
  assert(journal.usage.bytes <= 768 * 1024);
  assert(!journal.isPersisted("c0"));
  assert(journal.isPersisted("c1") && journal.isPersisted("last99"));
  await logs.line("The journal is full");
});

Deno.test("Journal.checkCapacity() allows half a mebibyte of pending commands in UTF-8", () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  const request: SessionRequest = {
    action: "start_session",
    sessionId: "s1",
    user: "alice",
    template: "firefox",
    persistentHome: false,
    env: { TEXT: "字".repeat(30_000) },
  };
  for (let nth = 0; nth < 5; nth++) {
    journal.checkCapacity({ ...entry(`c${nth}`), request });
    void journal.add({ ...entry(`c${nth}`), request });
  }
  assertThrows(
    () => journal.checkCapacity({ ...entry("last"), request }),
    CommandError,
    "The agent has too many pending commands",
  );
  const huge = { ...request, env: { TEXT: "字".repeat(200_000) } };
  assertThrows(
    () => journal.checkCapacity({ ...entry("huge"), request: huge }),
    CommandError,
    "The command is too large: 600169 bytes, at most 524288 are allowed",
  );
});

Deno.test("Journal writes all entries but the one that does not fit into the ConfigMap", async () => {
  using logs = new LogCapture();
  const store = new MemoryJournalStore();
  using journal = store.journal({ sessionIds: () => ["s1"] });
  await journal.add(entry("c0"));
  store.capacity = 1000;
  const large = { ...entry("large"), request: { ...REQUEST, sessionId: "s".repeat(1000) } };
  const added = [journal.add(large), ...["c1", "c2", "c3"].map((id) => journal.add(entry(id)))];
  journal.forget(["c0"]);
  await Promise.all(added);
  assertEquals(["c0", "c1", "c2", "c3", "large"].map((id) => journal.isPersisted(id)), [
    false,
    true,
    true,
    true,
    false,
  ]);
  await logs.line(
    "The journal cannot be written, pending commands would be lost if this process ended: ",
  );
  assert(journal.usage.isFailing);
  store.capacity = Infinity;
  await journal.flush(never);
  assertEquals([journal.isPersisted("large"), journal.usage.isFailing], [true, false]);
});

Deno.test("Journal.usage shows entries, bytes and whether writing fails", async () => {
  using _logs = new LogCapture();
  const store = new MemoryJournalStore();
  using journal = store.journal();
  assertEquals(journal.usage, { entries: 0, bytes: 0, isFailing: false });
  await journal.add(entry("c1"));
  assertEquals(journal.usage, {
    entries: 1,
    bytes: JSON.stringify(entry("c1")).length,
    isFailing: false,
  });
  store.behaviour = "reject";
  await journal.add(entry("c2"));
  assertEquals([journal.usage.entries, journal.usage.isFailing], [2, true]);
});

Deno.test("Journal.recordSessions() writes the ids of the sessions if they changed", async () => {
  const store = new MemoryJournalStore();
  const sessionIds = ["s1", "s2"];
  using journal = store.journal({ sessionIds: () => sessionIds });
  await journal.add(entry("c1"));
  sessionIds.pop();
  for (const _ of [1, 2]) {
    journal.recordSessions();
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  assertEquals((await recovered(store)).sessionIds, ["s1"]);
  assertEquals(store.writes.length, 2);
});
