import { assertEquals } from "@std/assert";
import type { V1Deployment } from "@kubernetes/client-node";
import { endOfRun, isHibernatedByMaxDuration, maxDurationDetail } from "../../lib/status/max_duration.ts";

const SINCE = "2026-01-02T03:04:05.000Z";

function deployment(annotations: Record<string, string>, replicas = 1): V1Deployment {
  return { metadata: { annotations }, spec: { replicas, selector: {}, template: {} } };
}

function annotations(duration: string, since = SINCE): Record<string, string> {
  return { "stream.space/max-session-duration": duration, "stream.space/running-since": since };
}

Deno.test("endOfRun() adds the maximum duration to the time of the last start or wake", () => {
  assertEquals(endOfRun(deployment(annotations("28800s"))), Date.parse("2026-01-02T11:04:05.000Z"));
  assertEquals(endOfRun(deployment(annotations("1.5s"))), Date.parse("2026-01-02T03:04:06.500Z"));
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

Deno.test("isHibernatedByMaxDuration() is true until the next command", () => {
  const isHibernated = (commandId: string, replicas: number) =>
    isHibernatedByMaxDuration(deployment({ "stream.space/command-id": commandId }, replicas));
  assertEquals([isHibernated("max-duration", 0), isHibernated("c1", 0), isHibernated("max-duration", 1)], [
    true,
    false,
    false,
  ]);
});

Deno.test("maxDurationDetail() has the duration", () => {
  assertEquals(maxDurationDetail(deployment(annotations("90s"), 0)), {
    reason: "MaxDuration",
    message: "it reached its maximum duration of 1m30s",
  });
});
