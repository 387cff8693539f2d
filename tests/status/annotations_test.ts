import { assertEquals } from "@std/assert";
import type { V1Service } from "@kubernetes/client-node";
import type { SessionObjects } from "../../lib/kubernetes/session_cache.ts";
import {
  isCreatedBy,
  isInterrupted,
  outcomeAnnotations,
  recordedOutcome,
  recordedStatus,
  statusAnnotation,
} from "../../lib/status/annotations.ts";
import { statusOf } from "../../lib/status/status.ts";

const RESULT = { sessionId: "s1", podName: "p1", state: "running" };
const STATUS = {
  ...statusOf("s1", "running"),
  platformMetadata: { podName: "p1", podIP: "10.0.0.1", nodeName: "n1" },
};
const NOTHING: SessionObjects = {
  deployment: undefined,
  service: undefined,
  claim: undefined,
  policy: undefined,
  pods: [],
  events: [],
};

function remembering(annotations: Record<string, string>): SessionObjects {
  const service: V1Service = { metadata: { name: "s1", annotations } };
  return { ...NOTHING, service };
}

Deno.test("recordedOutcome() gives back the outcome of the last command, and of no other", () => {
  const objects = remembering(outcomeAnnotations("c1", { result: RESULT, status: STATUS }));
  assertEquals(recordedOutcome(objects, "c1"), { result: RESULT, isRecorded: true });
  assertEquals(recordedOutcome(objects, "c2"), undefined);
  assertEquals(recordedOutcome(NOTHING, "c1"), undefined);
});

Deno.test("recordedStatus() gives back the reason that was told, so that the next process does not tell it again", () => {
  const detail = { reason: "OOMKilled", message: "its container needs more memory" };
  const told = recordedStatus("s1", remembering(statusAnnotation(statusOf("s1", "pending", { detail }))));
  assertEquals(told?.platformMetadata, { podName: "", reason: "OOMKilled" });
});

Deno.test("recordedStatus() gives back the state and the pod that were told", () => {
  const told = recordedStatus(
    "s1",
    remembering(outcomeAnnotations("c1", { result: RESULT, status: STATUS })),
  );
  assertEquals([told?.state, told?.platformMetadata.podName], ["running", "p1"]);
  const later = remembering(statusAnnotation(statusOf("s1", "failed")));
  assertEquals(recordedStatus("s1", later)?.state, "failed");
  assertEquals(recordedStatus("s1", NOTHING), undefined);
});

for (
  const text of ["", "{", "null", "[]", '"running"', '{"commandId":"c1"}', '{"commandId":"c1","result":[]}']
) {
  Deno.test(`annotations that say ${text || "nothing"} are no memory`, () => {
    const objects = remembering({ "stream.space/outcome": text, "stream.space/status": text });
    assertEquals(recordedOutcome(objects, "c1"), undefined);
    assertEquals(recordedStatus("s1", objects), undefined);
  });
}

Deno.test("isInterrupted() knows the command that last changed the Deployment", () => {
  const deployment = { metadata: { annotations: { "stream.space/command-id": "c1" } } };
  assertEquals(isInterrupted({ ...NOTHING, deployment }, "c1"), true);
  assertEquals(isInterrupted({ ...NOTHING, deployment }, "c2"), false);
  assertEquals(isInterrupted(NOTHING, "c1"), false);
});

Deno.test("isCreatedBy() tells the start that created a session from a later one that woke it", () => {
  const by = (commandId: string) => ({ metadata: { annotations: { "stream.space/command-id": commandId } } });
  assertEquals(isCreatedBy({ ...NOTHING, deployment: by("c1"), service: by("c1") }, "c1"), true);
  assertEquals(isCreatedBy({ ...NOTHING, deployment: by("c2"), service: by("c1") }, "c2"), false);
  // Interrupted before the Service was there.
  assertEquals(isCreatedBy({ ...NOTHING, deployment: by("c1") }, "c1"), true);
  assertEquals(isCreatedBy(NOTHING, "c1"), false);
});
