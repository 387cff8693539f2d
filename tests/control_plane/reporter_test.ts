import { assertEquals } from "@std/assert";
import { Outbox } from "../../lib/control_plane/outbox.ts";
import { completed, failed } from "../../lib/control_plane/protocol.ts";
import { ReportedStatuses } from "../../lib/control_plane/reported_statuses.ts";
import { Reporter } from "../../lib/control_plane/reporter.ts";
import { statusOf } from "../../lib/status/status.ts";
import { CAPACITY, FakeWire } from "../support/fake_wire.ts";

function reporterOnWire(outbox: Outbox): { reporter: Reporter; wire: FakeWire } {
  const wire = new FakeWire();
  outbox.attach(wire);
  return { reporter: new Reporter(outbox, new ReportedStatuses()), wire };
}

Deno.test("Reporter sends one message per report", () => {
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
  reporter.result(completed("c1", { sessionId: "s1" }));
  reporter.result(failed("c2", "Cannot"));
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

Deno.test("Reporter includes the use of a session in its status, and repeats the last status when it changes", () => {
  using outbox = new Outbox();
  const wire = new FakeWire();
  outbox.attach(wire);
  const lastActivity = new Date("2026-01-01T12:00:00Z");
  let viewers = 1;
  const activityOf = (sessionId: string) => sessionId === "s1" ? { viewers, lastActivity } : undefined;
  const reporter = new Reporter(outbox, new ReportedStatuses(), { activityOf });
  const [one, other] = [statusOf("s1", "running"), statusOf("s2", "running")];
  reporter.activity("s1");
  reporter.status(one);
  reporter.status(other);
  viewers = 2;
  reporter.activity("s1");
  assertEquals(wire.messages.map(({ payload }) => payload), [
    { ...one, viewers: 1, lastActivity: "2026-01-01T12:00:00.000Z" },
    { ...other },
    { ...one, viewers: 2, lastActivity: "2026-01-01T12:00:00.000Z" },
  ]);
});

Deno.test("Reporter sends no status and no result of a replica that is not the leader any more", () => {
  using outbox = new Outbox();
  const wire = new FakeWire();
  outbox.attach(wire);
  const reported = new ReportedStatuses();
  let isLeading = true;
  const reporter = new Reporter(outbox, reported, { isLeading: () => isLeading });
  reporter.status(statusOf("s1", "pending"));
  isLeading = false;
  reporter.status(statusOf("s1", "failed"));
  reporter.result(failed("c1", "Cannot"));
  assertEquals(wire.messages, [{ type: "status", payload: statusOf("s1", "pending") }]);
  assertEquals(reported.get("s1")?.state, "pending");
});

Deno.test("ReportedStatuses.sessionIds() is sorted, and the same until a session is added or removed", () => {
  const reported = new ReportedStatuses();
  reported.set(statusOf("s2", "running"));
  reported.set(statusOf("s1", "pending"));
  const ids = reported.sessionIds();
  assertEquals(ids, ["s1", "s2"]);
  reported.set(statusOf("s1", "running"));
  reported.set(statusOf("s3", "failed"));
  assertEquals(reported.sessionIds() === ids, true);
  reported.set(statusOf("s1", "terminated"));
  assertEquals(reported.sessionIds(), ["s2"]);
  reported.set(statusOf("s0", "pending"));
  assertEquals(reported.sessionIds(), ["s0", "s2"]);
});
