import { assertEquals } from "@std/assert";
import { Outbox } from "../../lib/control_plane/outbox.ts";
import { Reporter } from "../../lib/control_plane/reporter.ts";
import { CommandError } from "../../lib/errors.ts";
import { FakeWire } from "../support/fake_wire.ts";

const CAPACITY = { maxCpu: 1, maxMemory: 1, maxSessions: 1, cpu: "1 cores", memory: "1Gi" };

function reporterOnWire(outbox: Outbox): { reporter: Reporter; wire: FakeWire } {
  const wire = new FakeWire();
  outbox.attach(wire);
  return { reporter: new Reporter(outbox), wire };
}

Deno.test("reporter makes a message of each thing that it is told", () => {
  using outbox = new Outbox();
  const { reporter, wire } = reporterOnWire(outbox);
  const status = {
    sessionId: "s1",
    state: "running",
    vncReady: true,
    vncPort: 3000,
    platformMetadata: { podName: "p1" },
  } as const;
  reporter.ack("c1");
  reporter.status(status);
  reporter.heartbeat({ isDraining: false, activeSessions: 2, capacity: CAPACITY });
  reporter.heartbeat({ isDraining: true, activeSessions: 0, capacity: CAPACITY });
  reporter.pong();
  reporter.complete("c1", { sessionId: "s1" });
  reporter.failed("c2", new CommandError("invalid", "Cannot"));
  assertEquals(wire.messages, [
    { type: "ack", payload: { commandId: "c1" } },
    { type: "status", payload: status },
    { type: "heartbeat", payload: { status: "online", activeSessions: 2, capacity: CAPACITY } },
    { type: "heartbeat", payload: { status: "draining", activeSessions: 0, capacity: CAPACITY } },
    { type: "pong", payload: {} },
    { type: "complete", payload: { commandId: "c1", result: { sessionId: "s1" } } },
    { type: "failed", payload: { commandId: "c2", error: "Cannot" } },
  ]);
});

Deno.test("reporter gives results back so that they can be said again", () => {
  using outbox = new Outbox();
  const { reporter, wire } = reporterOnWire(outbox);
  const result = reporter.complete("c1", { a: 1 });
  assertEquals(reporter.repeat(result), result);
  assertEquals(wire.messages, [result, result]);
});

Deno.test("reporter cuts an error of a mebibyte and leaves out its stack", () => {
  using outbox = new Outbox();
  const { reporter } = reporterOnWire(outbox);
  const long = reporter.failed("c1", new Error("x".repeat(2 ** 20)));
  assertEquals(long.type === "failed" && long.payload.error.length, 4000);
  const cause = new Error("inner");
  const short = reporter.failed("c2", new Error("Outer", { cause }));
  assertEquals(short.type === "failed" && short.payload.error, "Outer");
});

for (const [thrown, text] of [["text", "text"], [undefined, "undefined"], [5, "5"]] as const) {
  Deno.test(`reporter makes a sentence of ${text} when that is what was thrown`, () => {
    using outbox = new Outbox();
    const { reporter } = reporterOnWire(outbox);
    const result = reporter.failed("c1", thrown);
    assertEquals(result.type === "failed" && result.payload.error, text);
  });
}
