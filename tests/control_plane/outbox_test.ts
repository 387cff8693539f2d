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

Deno.test("Outbox sends immediately and in order while a link is up", () => {
  using outbox = new Outbox();
  const wire = new FakeWire();
  outbox.attach(wire);
  for (const message of [ack("c1"), status("s1", "pending"), HEARTBEAT, PONG, complete("c1")]) {
    outbox.send(message);
  }
  assertEquals(wire.sent, ["ack c1", "status s1 pending", "heartbeat", "pong", "complete c1"]);
  assertEquals(outbox.waiting, 0);
});

Deno.test("C5 Outbox keeps results in order, and the latest status of each session, for the next link", () => {
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
  assertEquals(wire.sent, ["complete c1", "failed c2", "status s1 running", "status s2 pending"]);
  assertEquals(outbox.waiting, 0);
});

Deno.test("C5 Outbox drops an ack while there is no link", () => {
  using outbox = new Outbox();
  outbox.send(ack("c1"));
  const wire = new FakeWire();
  outbox.attach(wire);
  outbox.send(complete("c1"));
  assertEquals(wire.sent, ["complete c1"]);
});

Deno.test("Outbox holds a result until 200 ms after its command arrived", async () => {
  using time = new FakeTime();
  using outbox = new Outbox();
  const wire = new FakeWire();
  outbox.attach(wire);
  outbox.commandReceived("c1");
  outbox.send(ack("c1"));
  time.tick(50);
  assertEquals(outbox.send(complete("c1")), false);
  outbox.send(status("s1", "running"));
  await time.tickAsync(149);
  assertEquals(wire.sent, ["ack c1", "status s1 running"]);
  await time.tickAsync(1);
  assertEquals(wire.sent, ["ack c1", "status s1 running", "complete c1"]);
  await time.tickAsync(60_000);
  assertEquals(wire.sent.length, 3);
});

Deno.test("Outbox sends a result at once if its command arrived 200 ms ago, or at an earlier process", () => {
  using time = new FakeTime();
  using outbox = new Outbox();
  const wire = new FakeWire();
  outbox.attach(wire);
  outbox.commandReceived("c1");
  time.tick(200);
  assertEquals([complete("c1"), failed("c2")].map((one) => outbox.send(one)), [true, true]);
  assertEquals(wire.sent, ["complete c1", "failed c2"]);
});

Deno.test("Outbox sends held results in the order in which their commands arrived", async () => {
  using time = new FakeTime();
  using outbox = new Outbox();
  const wire = new FakeWire();
  outbox.attach(wire);
  for (const commandId of ["c1", "c2", "c3", "c4"]) {
    outbox.commandReceived(commandId);
    time.tick(0.3);
  }
  for (const commandId of ["c1", "c3", "c2"]) {
    outbox.send(complete(commandId));
    time.tick(40.7);
  }
  // The process was frozen: the timer is late.
  time.jump(500);
  outbox.send(complete("c4"));
  await time.tickAsync(0);
  assertEquals(wire.sent, ["complete c1", "complete c2", "complete c3", "complete c4"]);
});

Deno.test("Outbox sends a result once if its command arrives again while it is held", async () => {
  using time = new FakeTime();
  using outbox = new Outbox();
  const wire = new FakeWire();
  outbox.attach(wire);
  outbox.commandReceived("c1");
  outbox.send(complete("c1"));
  time.tick(150);
  outbox.commandReceived("c1");
  outbox.send(complete("c1"));
  await time.tickAsync(199);
  assertEquals(wire.sent, []);
  await time.tickAsync(60_000);
  assertEquals(wire.sent, ["complete c1"]);
});

Deno.test("C5 Outbox keeps a held result for the next link if the link ends before it is due", async () => {
  using time = new FakeTime();
  const delivered: string[] = [];
  using outbox = new Outbox({ forget: (commandIds) => delivered.push(...commandIds) });
  outbox.attach(new FakeWire());
  outbox.commandReceived("c1");
  outbox.commandReceived("c2");
  outbox.send(complete("c1"));
  outbox.detach({ isDelivered: true });
  await time.tickAsync(200);
  assertEquals([delivered, outbox.waiting], [[], 1]);
  outbox.send(failed("c2"));
  const wire = new FakeWire();
  outbox.attach(wire);
  assertEquals(wire.sent, ["complete c1", "failed c2"]);
});

Deno.test("Outbox.released() and Outbox.empty() wait for held results", async () => {
  using time = new FakeTime();
  using outbox = new Outbox();
  const wire = new FakeWire();
  outbox.attach(wire);
  await outbox.released();
  outbox.commandReceived("c1");
  outbox.send(complete("c1"));
  const waits = [outbox.empty(new AbortController().signal), outbox.released()];
  await time.tickAsync(199);
  assertEquals(wire.sent, []);
  await time.tickAsync(1);
  await Promise.all(waits);
  assertEquals(wire.sent, ["complete c1"]);
});

Deno.test("C5 Outbox sends the results of the last minute again after a disconnect", () => {
  using time = new FakeTime();
  using outbox = new Outbox();
  outbox.attach(new FakeWire());
  outbox.send(complete("c1"));
  time.tick(60_001);
  outbox.send(complete("c2"));
  time.tick(5000);
  outbox.send(failed("c3"));
  outbox.detach({ isDelivered: false });
  outbox.send(complete("c4"));
  const wire = new FakeWire();
  outbox.attach(wire);
  assertEquals(wire.sent, ["complete c2", "failed c3", "complete c4"]);
});

Deno.test("Outbox sends the latest status of the last minute again after a disconnect", () => {
  using time = new FakeTime();
  using outbox = new Outbox();
  outbox.attach(new FakeWire());
  outbox.send(status("s1", "running"));
  time.tick(60_001);
  outbox.send(status("s2", "pending"));
  outbox.send(status("s3", "pending"));
  outbox.send(status("s2", "running"));
  outbox.detach({ isDelivered: false });
  outbox.send(status("s3", "terminated"));
  const wire = new FakeWire();
  outbox.attach(wire);
  assertEquals(wire.sent, ["status s2 running", "status s3 terminated"]);
});

Deno.test("Outbox clears its timer when it is disposed", () => {
  const outbox = new Outbox();
  outbox.attach(new FakeWire());
  for (const id of ["c1", "c2", "c3"]) {
    outbox.commandReceived(id);
    outbox.send(complete(id));
  }
  outbox[Symbol.dispose]();
});

Deno.test("Outbox reports results as delivered after a minute, or all after a closing handshake", () => {
  using time = new FakeTime();
  const delivered: string[] = [];
  using outbox = new Outbox({ forget: (commandIds) => delivered.push(...commandIds) });
  outbox.attach(new FakeWire());
  outbox.send(complete("c1"));
  time.tick(1);
  outbox.send(failed("c2"));
  time.tick(59_999);
  outbox.send(HEARTBEAT);
  assertEquals(delivered, ["c1"]);
  outbox.send(complete("c3"));
  outbox.detach({ isDelivered: true });
  assertEquals(delivered, ["c1", "c2", "c3"]);
  assertEquals(outbox.waiting, 0);
});

for (const isDelivered of [true, false]) {
  const also = isDelivered ? "" : ", after those that may not have arrived";
  Deno.test(`C5 Outbox keeps messages that a closing link does not accept${also}`, async () => {
    using _time = new FakeTime();
    using logs = new LogCapture();
    const delivered: string[] = [];
    using outbox = new Outbox({ forget: (commandIds) => delivered.push(...commandIds) });
    const closing = new FakeWire();
    outbox.attach(closing);
    outbox.send(complete("c1"));
    outbox.send(status("s1", "pending"));
    closing.isClosing = true;
    assertEquals([complete("c2"), status("s1", "running"), HEARTBEAT].map((one) => outbox.send(one)), [
      false,
      false,
      false,
    ]);
    outbox.detach({ isDelivered });
    assertEquals(delivered, isDelivered ? ["c1"] : []);
    await logs.line("Queued the result of command c2 until the link is up");
    const wire = new FakeWire();
    outbox.attach(wire);
    const again = isDelivered ? [] : ["complete c1"];
    assertEquals(wire.sent, [...again, "complete c2", "status s1 running"]);
  });
}

Deno.test("Outbox.backlog keeps the age of messages that a closing link does not accept", () => {
  using time = new FakeTime();
  using outbox = new Outbox();
  outbox.send(complete("c1"));
  time.tick(5000);
  const closing = new FakeWire();
  closing.isClosing = true;
  outbox.attach(closing);
  assertEquals(outbox.backlog.oldestMs, 5000);
  time.tick(1000);
  outbox.detach({ isDelivered: false });
  assertEquals(outbox.backlog.oldestMs, 6000);
});

Deno.test("Outbox.empty() does not resolve for a link that closes immediately", async () => {
  using outbox = new Outbox();
  outbox.send(complete("c1"));
  const done: string[] = [];
  const empty = outbox.empty(new AbortController().signal).then(() => done.push("empty"));
  const closing = new FakeWire();
  closing.isClosing = true;
  outbox.attach(closing);
  await Promise.resolve();
  assertEquals([outbox.waiting, done], [1, []]);
  outbox.detach({ isDelivered: false });
  outbox.attach(new FakeWire());
  await empty;
});

Deno.test("Outbox is not affected by changes of the system clock", () => {
  using time = new FakeTime();
  const delivered: string[] = [];
  using outbox = new Outbox({ forget: (commandIds) => delivered.push(...commandIds) });
  outbox.attach(new FakeWire());
  outbox.send(complete("c1"));
  time.setClock(3_600_000);
  outbox.send(HEARTBEAT);
  outbox.detach({ isDelivered: false });
  assertEquals(delivered, []);
  assertEquals(outbox.waiting, 1);
});

Deno.test("Outbox counts the older half of 10,000 results within a minute as delivered, and logs an error", async () => {
  using time = new FakeTime();
  using logs = new LogCapture();
  let delivered = 0;
  using outbox = new Outbox({ forget: (commandIds) => delivered += commandIds.length });
  outbox.attach(new FakeWire());
  for (let nth = 0; nth <= 10_000; nth++) {
    if (nth % 1000 === 0) time.tick(1);
    outbox.send(complete(`c${nth}`));
  }
  assertEquals(delivered, 6000);
  await logs.line("ERROR: More than 10000 results and statuses within a minute");
});

Deno.test("Outbox.backlog counts the waiting messages and the age of the oldest", async () => {
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
  outbox.detach({ isDelivered: false });
  await time.tickAsync(2000);
  assertEquals(outbox.backlog, { results: 2, statuses: 1, oldestMs: 2000 });
});

Deno.test("Outbox.send() calls onSent when a status is sent, unless a later status replaced it", () => {
  using outbox = new Outbox();
  const sent: string[] = [];
  const send = (state: SessionState, sessionId = "s1") =>
    outbox.send(status(sessionId, state), { onSent: () => sent.push(`${sessionId} ${state}`) });
  send("pending");
  send("running");
  outbox.detach({ isDelivered: false });
  assertEquals(sent, []);
  outbox.attach(new FakeWire());
  assertEquals(sent, ["s1 running"]);
  send("hibernated", "s2");
  assertEquals(sent, ["s1 running", "s2 hibernated"]);
  outbox.detach({ isDelivered: false });
  outbox.attach(new FakeWire());
  assertEquals(sent, ["s1 running", "s2 hibernated"]);
});
