import { assertEquals } from "@std/assert";
import { Outbox } from "../../lib/control_plane/outbox.ts";
import type { Outbound, SessionState } from "../../lib/control_plane/protocol.ts";
import { FakeTime } from "../support/fake_time.ts";
import { CAPACITY, FakeWire } from "../support/fake_wire.ts";
import { LogCapture } from "../support/log_capture.ts";

function ack(commandId: string): Outbound {
  return { type: "ack", payload: { commandId } };
}

function complete(commandId: string): Outbound {
  return { type: "complete", payload: { commandId, result: {} } };
}

function failed(commandId: string): Outbound {
  return { type: "failed", payload: { commandId, error: "no" } };
}

function status(sessionId: string, state: SessionState): Outbound {
  return { type: "status", payload: { sessionId, state, vncReady: false, vncPort: 0, platformMetadata: {} } };
}

const PONG: Outbound = { type: "pong", payload: {} };
const HEARTBEAT: Outbound = {
  type: "heartbeat",
  payload: { status: "online", activeSessions: 0, capacity: CAPACITY },
};

Deno.test("outbox sends at once and in order while a link is up", () => {
  using outbox = new Outbox();
  const wire = new FakeWire();
  outbox.attach(wire);
  for (const message of [ack("c1"), status("s1", "pending"), HEARTBEAT, PONG, complete("c1")]) {
    outbox.send(message);
  }
  assertEquals(wire.told, ["ack c1", "status s1 pending", "heartbeat", "pong", "complete c1"]);
  assertEquals(outbox.waiting, 0);
});

Deno.test("C5 outbox keeps results in order and the newest status of each session for the next link", () => {
  using outbox = new Outbox();
  for (
    const message of [
      ack("c1"),
      status("s1", "pending"),
      status("s2", "pending"),
      complete("c1"),
      status("s1", "running"),
      HEARTBEAT,
      PONG,
      failed("c2"),
    ]
  ) outbox.send(message);
  assertEquals(outbox.waiting, 4);
  const wire = new FakeWire();
  outbox.attach(wire);
  assertEquals(wire.told, ["complete c1", "failed c2", "status s1 running", "status s2 pending"]);
  assertEquals(outbox.waiting, 0);
});

Deno.test("C5 outbox never sends an ack that is late", () => {
  using outbox = new Outbox();
  outbox.send(ack("c1"));
  const wire = new FakeWire();
  outbox.attach(wire);
  outbox.send(complete("c1"));
  assertEquals(wire.told, ["complete c1"]);
});

Deno.test("outbox says a result again that came within a second of its ack, once and two seconds later", async () => {
  using time = new FakeTime();
  using outbox = new Outbox();
  const wire = new FakeWire();
  outbox.attach(wire);
  outbox.send(ack("c1"));
  time.tick(999);
  outbox.send(complete("c1"));
  await time.tickAsync(1999);
  assertEquals(wire.told, ["ack c1", "complete c1"]);
  await time.tickAsync(60_000);
  assertEquals(wire.told, ["ack c1", "complete c1", "complete c1"]);
});

Deno.test("outbox says a result again whose command was not acknowledged on this link, and none that waited for the link", async () => {
  using time = new FakeTime();
  using outbox = new Outbox();
  const wire = new FakeWire();
  outbox.send(complete("c1"));
  outbox.attach(wire);
  outbox.send(complete("c2"));
  await time.tickAsync(60_000);
  assertEquals(wire.told, ["complete c1", "complete c2", "complete c2"]);
});

Deno.test("outbox keeps a result that is still to be said again, though it has arrived", async () => {
  using time = new FakeTime();
  const arrived: string[] = [];
  using outbox = new Outbox({ forget: (commandIds) => arrived.push(...commandIds) });
  outbox.attach(new FakeWire());
  outbox.send(ack("slow"));
  time.tick(1000);
  for (const message of [complete("slow"), ack("fast"), failed("fast"), status("s1", "running")]) {
    outbox.send(message);
  }
  outbox.detach({ hasArrived: true });
  assertEquals([arrived, outbox.waiting], [["slow"], 1]);
  const wire = new FakeWire();
  outbox.attach(wire);
  await time.tickAsync(60_000);
  assertEquals(wire.told, ["failed fast"]);
});

Deno.test("outbox says a result that took a second once", async () => {
  using time = new FakeTime();
  using outbox = new Outbox();
  const wire = new FakeWire();
  outbox.attach(wire);
  outbox.send(ack("c1"));
  time.tick(1000);
  outbox.send(failed("c1"));
  await time.tickAsync(60_000);
  assertEquals(wire.told, ["ack c1", "failed c1"]);
});

Deno.test("C5 outbox sends results of the last minute again after a loss", () => {
  using time = new FakeTime();
  using outbox = new Outbox();
  outbox.attach(new FakeWire());
  outbox.send(complete("c1"));
  time.tick(60_001);
  outbox.send(complete("c2"));
  time.tick(5000);
  outbox.send(failed("c3"));
  outbox.detach({ hasArrived: false });
  outbox.send(complete("c4"));
  const wire = new FakeWire();
  outbox.attach(wire);
  assertEquals(wire.told, ["complete c2", "failed c3", "complete c4"]);
});

Deno.test("outbox sends the newest status of a session of the last minute again after a loss", () => {
  using time = new FakeTime();
  using outbox = new Outbox();
  outbox.attach(new FakeWire());
  outbox.send(status("s1", "running"));
  time.tick(60_001);
  outbox.send(status("s2", "pending"));
  outbox.send(status("s3", "pending"));
  outbox.send(status("s2", "running"));
  outbox.detach({ hasArrived: false });
  outbox.send(status("s3", "terminated"));
  const wire = new FakeWire();
  outbox.attach(wire);
  assertEquals(wire.told, ["status s2 running", "status s3 terminated"]);
});

Deno.test("outbox repeats nothing on a link that came after the one it was said on", async () => {
  using time = new FakeTime();
  using outbox = new Outbox();
  outbox.attach(new FakeWire());
  outbox.send(ack("c1"));
  outbox.send(complete("c1"));
  outbox.detach({ hasArrived: false });
  await time.tickAsync(60_000);
  const wire = new FakeWire();
  outbox.attach(wire);
  assertEquals(wire.told, ["complete c1"]);
  await time.tickAsync(60_000);
  assertEquals(wire.told, ["complete c1"]);
});

Deno.test("outbox repeats at once what an end of the link would cut off, but for what was said just now", () => {
  using time = new FakeTime();
  const arrived: string[] = [];
  using outbox = new Outbox({ forget: (commandIds) => arrived.push(...commandIds) });
  const wire = new FakeWire();
  outbox.attach(wire);
  outbox.send(complete("c1"));
  time.tick(200);
  outbox.send(complete("c2"));
  outbox.repeatNow();
  assertEquals(wire.told, ["complete c1", "complete c2", "complete c1"]);
  outbox.detach({ hasArrived: true });
  assertEquals([arrived, outbox.waiting], [["c1"], 1]);
});

Deno.test("outbox leaves no timer behind when it is disposed", () => {
  const outbox = new Outbox();
  outbox.attach(new FakeWire());
  for (const id of ["c1", "c2", "c3"]) {
    outbox.send(ack(id));
    outbox.send(complete(id));
  }
  outbox[Symbol.dispose]();
});

Deno.test("outbox tells which results have arrived: those of a minute ago, or all once the peer agreed to the end", () => {
  using time = new FakeTime();
  const arrived: string[] = [];
  using outbox = new Outbox({ forget: (commandIds) => arrived.push(...commandIds) });
  outbox.attach(new FakeWire());
  outbox.send(complete("c1"));
  time.tick(1);
  outbox.send(failed("c2"));
  time.tick(59_999);
  outbox.send(HEARTBEAT);
  assertEquals(arrived, ["c1"]);
  outbox.send(complete("c3"));
  time.tick(2000);
  outbox.detach({ hasArrived: true });
  assertEquals(arrived, ["c1", "c2", "c3"]);
  assertEquals(outbox.waiting, 0);
});

for (const hasArrived of [true, false]) {
  const also = hasArrived ? "" : ", after what may not have arrived";
  Deno.test(`C5 outbox keeps what a closing link does not take${also}`, async () => {
    using time = new FakeTime();
    using logs = new LogCapture();
    const arrived: string[] = [];
    using outbox = new Outbox({ forget: (commandIds) => arrived.push(...commandIds) });
    const closing = new FakeWire();
    outbox.attach(closing);
    outbox.send(complete("c1"));
    // It is said twice by then.
    time.tick(2000);
    outbox.send(status("s1", "pending"));
    closing.isClosing = true;
    assertEquals([complete("c2"), status("s1", "running"), HEARTBEAT].map((one) => outbox.send(one)), [
      false,
      false,
      false,
    ]);
    outbox.detach({ hasArrived });
    assertEquals(arrived, hasArrived ? ["c1"] : []);
    await logs.line("The result of command c2 waits for a link");
    const wire = new FakeWire();
    outbox.attach(wire);
    const again = hasArrived ? [] : ["complete c1"];
    assertEquals(wire.told, [...again, "complete c2", "status s1 running"]);
  });
}

Deno.test("outbox that waits for a link is not empty after one that closed at once", async () => {
  using outbox = new Outbox();
  outbox.send(complete("c1"));
  const told: string[] = [];
  const empty = outbox.empty(new AbortController().signal).then(() => told.push("empty"));
  const closing = new FakeWire();
  closing.isClosing = true;
  outbox.attach(closing);
  await Promise.resolve();
  assertEquals([outbox.waiting, told], [1, []]);
  outbox.detach({ hasArrived: false });
  outbox.attach(new FakeWire());
  await empty;
});

Deno.test("outbox takes no notice of a clock that is set", () => {
  using time = new FakeTime();
  const arrived: string[] = [];
  using outbox = new Outbox({ forget: (commandIds) => arrived.push(...commandIds) });
  outbox.attach(new FakeWire());
  outbox.send(complete("c1"));
  time.setClock(3_600_000);
  outbox.send(HEARTBEAT);
  outbox.detach({ hasArrived: false });
  assertEquals(arrived, []);
  assertEquals(outbox.waiting, 1);
});

Deno.test("outbox takes a flood without end: the older half of ten thousand results is taken to have arrived, loudly", async () => {
  using time = new FakeTime();
  using logs = new LogCapture();
  let arrived = 0;
  using outbox = new Outbox({ forget: (commandIds) => arrived += commandIds.length });
  outbox.attach(new FakeWire());
  for (let nth = 0; nth <= 10_000; nth++) {
    time.tick(1);
    outbox.send(complete(`c${nth}`));
  }
  assertEquals(arrived, 5001);
  await logs.line("ERROR: More than 10000 results and statuses within a minute");
});

Deno.test("outbox tells what waits for a link, and since when", async () => {
  using time = new FakeTime();
  using outbox = new Outbox();
  assertEquals(outbox.backlog, { results: 0, statuses: 0, oldestMs: 0 });
  outbox.send(complete("c1"));
  await time.tickAsync(5000);
  for (const message of [failed("c2"), status("s1", "pending"), status("s1", "running"), ack("c3"), PONG]) {
    outbox.send(message);
  }
  await time.tickAsync(1000);
  assertEquals(outbox.backlog, { results: 2, statuses: 1, oldestMs: 6000 });
  outbox.attach(new FakeWire());
  assertEquals(outbox.backlog, { results: 0, statuses: 0, oldestMs: 0 });
  outbox.detach({ hasArrived: false });
  await time.tickAsync(2000);
  assertEquals(outbox.backlog, { results: 2, statuses: 1, oldestMs: 2000 });
});
