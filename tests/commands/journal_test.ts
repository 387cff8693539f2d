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

/** What the next process finds. */
async function legacy(store: MemoryJournalStore) {
  using journal = store.journal();
  return await journal.load(never);
}

Deno.test("journal gives the next process what is open, in the order in which it came", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  // Both came in one millisecond, and the clock was set back before the third.
  await Promise.all([journal.open(entry("c2")), journal.open(entry("c1"))]);
  await journal.open(entry("c3", 500));
  assertEquals((await legacy(store)).entries, [entry("c2"), entry("c1"), entry("c3", 500)]);
});

Deno.test("journal goes on after the entries of an earlier process", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  await journal.open(entry("c1", 2000));
  using next = store.journal();
  await next.load(never);
  await next.open(entry("c2", 1000));
  assertEquals((await legacy(store)).entries.map(({ commandId }) => commandId), ["c1", "c2"]);
});

Deno.test("journal writes what comes together at once", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  await Promise.all(Array.from({ length: 100 }, (_, nth) => journal.open(entry(`c${nth}`))));
  assertEquals(store.writes.length, 1);
  assertEquals((await legacy(store)).entries.length, 100);
});

Deno.test("journal keeps a result until it is forgotten", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  await journal.open(entry("c1"));
  const result = failed("c1", "no");
  await journal.close(result, { isRecorded: false });
  assertEquals((await legacy(store)).entries, [{ ...entry("c1"), result }]);
  journal.forget(["c1"]);
  await journal.flush(never);
  assertEquals(store.data, {});
});

Deno.test("journal keeps of a command that is answered only which session it was about", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  const request: SessionRequest = { action: "stop_session", sessionId: "s1", deletePVC: true };
  await journal.open({ ...entry("c1"), request });
  assertEquals((await legacy(store)).entries, [{ ...entry("c1"), request }]);
  const result = failed("c1", "no");
  await journal.close(result, { isRecorded: false });
  assertEquals((await legacy(store)).entries, [
    { ...entry("c1"), request: { action: "stop_session", sessionId: "s1" }, result },
  ]);
});

Deno.test("journal writes a result that is recorded elsewhere only along with something else", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  await journal.open(entry("c1"));
  const result = completed("c1", {});
  await journal.close(result, { isRecorded: true });
  assertEquals((await legacy(store)).entries, [entry("c1")]);
  await journal.open(entry("c2"));
  assertEquals((await legacy(store)).entries, [{ ...entry("c1"), result }, entry("c2")]);
});

Deno.test("R6 journal writes a recorded result at once where the next command of its session will be recorded in its place", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  await journal.open(entry("c1"));
  await journal.open(entry("c2"));
  await journal.open({ ...entry("c3"), request: { ...REQUEST, sessionId: "s2" } });
  for (const id of ["c1", "c2", "c3"]) await journal.close(completed(id, {}), { isRecorded: true });
  const left = (await legacy(store)).entries.filter(({ result }) => !result);
  assertEquals(left.map(({ commandId }) => commandId), ["c2", "c3"]);
});

Deno.test("journal knows nothing of a command that it forgot or never had", async () => {
  const store = new MemoryJournalStore();
  using journal = store.journal();
  await journal.close(completed("c1", {}), { isRecorded: false });
  journal.forget(["c1"]);
  await journal.flush(never);
  assertEquals([store.writes.length, journal.holds("c1")], [0, false]);
});

Deno.test("journal writes down which sessions there are, along with what else it writes", async () => {
  const store = new MemoryJournalStore();
  let sessions = ["s2", "s1"];
  using journal = store.journal({ sessionIds: () => sessions });
  await journal.open(entry("c1"));
  assertEquals((await legacy(store)).sessionIds, ["s1", "s2"]);
  sessions = [];
  journal.forget(["c1"]);
  await journal.flush(never);
  assertEquals((await legacy(store)).sessionIds, []);
});

Deno.test("journal leaves the entries of other agents alone, and reads past what is no entry", async () => {
  const store = new MemoryJournalStore();
  const foreign = { "other.1": JSON.stringify(entry("c0")), [key(2)]: "{", [key(3)]: '{"commandId":5}' };
  const forged = { [key(4)]: JSON.stringify({ ...entry("c4"), result: { type: "shutdown" } }) };
  Object.assign(store.data, foreign, forged);
  using journal = store.journal();
  assertEquals(await journal.load(never), { entries: [], sessionIds: [] });
  await journal.open(entry("c1"));
  journal.forget(["c1"]);
  await journal.flush(never);
  assertEquals(store.data, { ...foreign, ...forged });
});

Deno.test("journal does not take the entries of an agent whose id begins with this one's", async () => {
  const store = new MemoryJournalStore();
  const foreign = {
    "agent.prod.0000000000000001": JSON.stringify(entry("c1")),
    "agent.prod.sessions": "s1",
  };
  Object.assign(store.data, foreign);
  using journal = store.journal();
  assertEquals(await journal.load(never), { entries: [], sessionIds: [] });
  await journal.open(entry("c1"));
  journal.forget(["c1"]);
  await journal.flush(never);
  assertEquals(store.data, foreign);
});

Deno.test("journal strikes a command out that it wrote down again before it could read it", async () => {
  const store = new MemoryJournalStore();
  store.data[key(1)] = JSON.stringify(entry("c1"));
  using journal = store.journal();
  await journal.open(entry("c1", 2000));
  await journal.open(entry("c2", 2000));
  assertEquals((await journal.load(never)).entries, [entry("c1", 2000), entry("c2", 2000)]);
  journal.forget(["c1"]);
  await journal.flush(never);
  assertEquals((await legacy(store)).entries, [entry("c2", 2000)]);
});

Deno.test("journal says whether the next process would know of a command", async () => {
  const store = new MemoryJournalStore();
  store.behaviour = "refuse";
  using journal = store.journal();
  await journal.open(entry("c1"));
  assertEquals(journal.holds("c1"), false);
  store.behaviour = "answer";
  await journal.flush(never);
  assertEquals(journal.holds("c1"), true);
});

Deno.test("journal does not hold commands up where the cluster refuses it, and says so once", async () => {
  using logs = new LogCapture();
  const store = new MemoryJournalStore();
  store.behaviour = "refuse";
  using journal = store.journal();
  await journal.open(entry("c1"));
  await journal.open(entry("c2"));
  await journal.close(completed("c1", {}), { isRecorded: false });
  assertEquals(logs.lines.filter((line) => line.includes("The journal cannot be written")).length, 1);
});

Deno.test("journal asks a cluster that refused it again after half a minute", async () => {
  using time = new FakeTime();
  using logs = new LogCapture();
  const store = new MemoryJournalStore();
  store.behaviour = "refuse";
  using journal = store.journal();
  await journal.open(entry("c1"));
  store.behaviour = "answer";
  await time.tickAsync(30_000);
  assertEquals(journal.holds("c1"), true);
  await logs.line("The journal is written again");
});

Deno.test("journal waits five seconds for a cluster that does not answer, and then not again until it does", async () => {
  using time = new FakeTime();
  const store = new MemoryJournalStore();
  store.behaviour = "hang";
  using journal = store.journal();
  let isOpen = false;
  const opened = journal.open(entry("c1")).then(() => isOpen = true);
  await time.tickAsync(4999);
  assertEquals(isOpen, false);
  await time.tickAsync(1);
  await opened;
  await journal.open(entry("c2"));
});

Deno.test("journal with all the patience there is begins nothing that is not written down", async () => {
  using time = new FakeTime();
  const store = new MemoryJournalStore();
  store.behaviour = "fail";
  using journal = store.journal({ patienceMs: Infinity });
  let isOpen = false;
  const opened = journal.open(entry("c1")).then(() => isOpen = true);
  await time.tickAsync(600_000);
  assertEquals(isOpen, false);
  store.behaviour = "answer";
  await time.tickAsync(10_000);
  await opened;
  assertEquals(journal.holds("c1"), true);
});

Deno.test("journal is read again and again until the cluster answers", async () => {
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

Deno.test("journal that was read at the second attempt fails no more, and waits for its writes", async () => {
  using time = new FakeTime();
  using logs = new LogCapture();
  const store = new MemoryJournalStore();
  store.behaviour = "fail";
  using journal = store.journal();
  const loaded = journal.load(never);
  await time.tickAsync(0);
  assertEquals(journal.extent.isFailing, true);
  const words =
    "ERROR: The journal cannot be read, what an earlier process did not answer has to wait: Kubernetes refused to change configmaps";
  assertEquals(logs.lines.map((line) => line.replace(/^.* \[K8sAgent\] /, "")), [words]);
  store.behaviour = "answer";
  await time.tickAsync(500);
  await loaded;
  assertEquals(journal.extent.isFailing, false);
  store.behaviour = "hang";
  let isOpen = false;
  const opened = journal.open(entry("c1")).then(() => isOpen = true);
  await time.tickAsync(4999);
  assertEquals(isOpen, false);
  await time.tickAsync(1);
  await opened;
});

Deno.test("journal that may not be read is empty, but not at the first refusal", async () => {
  using time = new FakeTime();
  using _random = new FixedRandom(1);
  const store = new MemoryJournalStore();
  store.data[key(1)] = JSON.stringify(entry("c1"));
  store.behaviour = "refuse";
  using journal = store.journal();
  const loaded = journal.load(never);
  await time.tickAsync(1000);
  store.behaviour = "answer";
  await time.tickAsync(2000);
  assertEquals((await loaded).entries.length, 1);
  store.behaviour = "refuse";
  using other = store.journal();
  const refused = other.load(never);
  await time.tickAsync(10_000);
  assertEquals(await refused, { entries: [], sessionIds: [] });
});

Deno.test("journal stops to read when it is told to", async () => {
  const store = new MemoryJournalStore();
  store.behaviour = "hang";
  using journal = store.journal();
  const stop = new AbortController();
  const loaded = journal.load(stop.signal);
  stop.abort(new Error("enough"));
  await assertRejects(() => loaded, Error, "enough");
});

Deno.test("journal that is full strikes out sent results first, loudly, and holds every open command", async () => {
  using logs = new LogCapture();
  const store = new MemoryJournalStore();
  using journal = store.journal();
  const large = "x".repeat(4000);
  for (let nth = 0; journal.extent.bytes < 780_000; nth++) {
    await journal.open(entry(`c${nth}`));
    if (nth % 2 === 0) await journal.close(failed(`c${nth}`, large), { isRecorded: false });
  }
  for (let nth = 0; nth < 100; nth++) await journal.open(entry(`last${nth}`));
  assert(journal.extent.bytes <= 768 * 1024);
  assert(!journal.holds("c0"));
  assert(journal.holds("c1") && journal.holds("last99"));
  await logs.line("The journal is full");
});

Deno.test("journal has room for half a mebibyte of open commands, however their texts are written", () => {
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
  const most = 5;
  for (let nth = 0; nth < most; nth++) {
    journal.checkRoom({ ...entry(`c${nth}`), request });
    void journal.open({ ...entry(`c${nth}`), request });
  }
  assertThrows(
    () => journal.checkRoom({ ...entry("last"), request }),
    CommandError,
    "The agent has too many commands that are not answered yet",
  );
  const huge = { ...request, env: { TEXT: "字".repeat(200_000) } };
  assertThrows(
    () => journal.checkRoom({ ...entry("huge"), request: huge }),
    CommandError,
    "The command is too large: its 600169 bytes are more than 524288",
  );
});

Deno.test("journal that finds no room in the cluster, loudly keeps out only what does not fit", async () => {
  using logs = new LogCapture();
  const store = new MemoryJournalStore();
  using journal = store.journal({ sessionIds: () => ["s1"] });
  await journal.open(entry("c0"));
  store.capacity = 1000;
  const large = { ...entry("large"), request: { ...REQUEST, sessionId: "s".repeat(1000) } };
  const opened = [journal.open(large), ...["c1", "c2", "c3"].map((id) => journal.open(entry(id)))];
  journal.forget(["c0"]);
  await Promise.all(opened);
  assertEquals(["c0", "c1", "c2", "c3", "large"].map((id) => journal.holds(id)), [
    false,
    true,
    true,
    true,
    false,
  ]);
  await logs.line(
    "The journal cannot be written, what is not answered yet would be lost with this process: ",
  );
  assert(journal.extent.isFailing);
  store.capacity = Infinity;
  await journal.flush(never);
  assertEquals([journal.holds("large"), journal.extent.isFailing], [true, false]);
});

Deno.test("journal tells how much it holds, and whether it cannot be written", async () => {
  using _logs = new LogCapture();
  const store = new MemoryJournalStore();
  using journal = store.journal();
  assertEquals(journal.extent, { entries: 0, bytes: 0, isFailing: false });
  await journal.open(entry("c1"));
  assertEquals(journal.extent, {
    entries: 1,
    bytes: JSON.stringify(entry("c1")).length,
    isFailing: false,
  });
  store.behaviour = "refuse";
  await journal.open(entry("c2"));
  assertEquals([journal.extent.entries, journal.extent.isFailing], [2, true]);
});
