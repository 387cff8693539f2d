import { assertEquals } from "@std/assert";
import type { V1Deployment } from "@kubernetes/client-node";
import { causeOfHibernation, endDetail, endOfRun } from "../../lib/status/end_of_run.ts";

const SINCE = "2026-01-02T03:04:05.000Z";

function deployment(annotations: Record<string, string>, replicas = 1): V1Deployment {
  return { metadata: { annotations }, spec: { replicas, selector: {}, template: {} } };
}

function annotations(duration: string, since = SINCE): Record<string, string> {
  return { "stream.space/max-session-duration": duration, "stream.space/running-since": since };
}

Deno.test("endOfRun() adds the maximum duration to the time of the last start or wake", () => {
  assertEquals(endOfRun(deployment(annotations("28800s")))?.at, Date.parse("2026-01-02T11:04:05.000Z"));
  assertEquals(endOfRun(deployment(annotations("1.5s")))?.at, Date.parse("2026-01-02T03:04:06.500Z"));
});

const ENDLESS: readonly { name: string; deployment: V1Deployment | undefined }[] = [
  { name: "a session that does not exist", deployment: undefined },
  { name: "a hibernated session", deployment: deployment(annotations("1s"), 0) },
  {
    name: "a session that is being deleted",
    deployment: {
      ...deployment({}),
      metadata: { annotations: annotations("1s"), deletionTimestamp: new Date() },
    },
  },
  { name: "a session without a duration", deployment: deployment({ "stream.space/running-since": SINCE }) },
  { name: "a session with an unreadable duration", deployment: deployment(annotations("soon")) },
  { name: "a session with an unreadable start", deployment: deployment(annotations("1s", "yesterday")) },
  {
    name: "a session without a start",
    deployment: deployment({ "stream.space/max-session-duration": "1s" }),
  },
];

for (const { name, deployment } of ENDLESS) {
  Deno.test(`endOfRun() is undefined for ${name}`, () => assertEquals(endOfRun(deployment), undefined));
}

Deno.test("endOfRun() adds the idle timeout to the end of the last use, or to a later start", () => {
  const since = Date.parse(SINCE);
  const idle = deployment({ "stream.space/idle-timeout": "60s", "stream.space/running-since": SINCE });
  assertEquals(endOfRun(idle, since + 5000), { at: since + 65_000, cause: "idle-timeout" });
  assertEquals(endOfRun(idle, since - 5000), { at: since + 60_000, cause: "idle-timeout" });
  assertEquals(endOfRun(idle), undefined);
});

Deno.test("endOfRun() is the earlier of both ends", () => {
  const since = Date.parse(SINCE);
  const both = deployment({ ...annotations("100s"), "stream.space/idle-timeout": "60s" });
  assertEquals(endOfRun(both, since)?.cause, "idle-timeout");
  assertEquals(endOfRun(both, since + 50_000), { at: since + 100_000, cause: "max-duration" });
});

Deno.test("causeOfHibernation() has a value until the next command", () => {
  const causeOf = (commandId: string, replicas: number) =>
    causeOfHibernation(deployment({ "stream.space/command-id": commandId }, replicas));
  assertEquals(
    [causeOf("max-duration", 0), causeOf("idle-timeout", 0), causeOf("c1", 0), causeOf("max-duration", 1)],
    ["max-duration", "idle-timeout", undefined, undefined],
  );
});

Deno.test("endDetail() has the limit", () => {
  assertEquals(endDetail(deployment(annotations("90s"), 0), "max-duration"), {
    reason: "MaxDuration",
    message: "it reached its maximum duration of 1m30s",
  });
  assertEquals(endDetail(deployment({ "stream.space/idle-timeout": "90s" }, 0), "idle-timeout"), {
    reason: "IdleTimeout",
    message: "nobody used it for 1m30s",
  });
});
