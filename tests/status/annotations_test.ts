import { assertEquals } from "@std/assert";
import type { V1Service } from "@kubernetes/client-node";
import { KubernetesError } from "../../lib/common/errors.ts";
import { SessionCache, type SessionObjects } from "../../lib/kubernetes/session_cache.ts";
import {
  AnnotationRecorder,
  isCreatedBy,
  isInterrupted,
  outcomeAnnotations,
  recordedOutcome,
  recordedStatus,
  statusAnnotation,
} from "../../lib/status/annotations.ts";
import { statusOf } from "../../lib/status/status.ts";
import { LogCapture } from "../support/log_capture.ts";

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

function recording(annotations: Record<string, string>): SessionObjects {
  const service: V1Service = { metadata: { name: "s1", annotations } };
  return { ...NOTHING, service };
}

Deno.test("recordedOutcome() returns the outcome of the last command only", () => {
  const objects = recording(outcomeAnnotations("c1", { result: RESULT, status: STATUS }));
  assertEquals(recordedOutcome(objects, "c1"), { result: RESULT, isRecorded: true });
  assertEquals(recordedOutcome(objects, "c2"), undefined);
  assertEquals(recordedOutcome(NOTHING, "c1"), undefined);
});

Deno.test("recordedStatus() returns the reason, so that the next process does not report it again", () => {
  const detail = { reason: "OOMKilled", message: "its container needs more memory" };
  const status = recordedStatus("s1", recording(statusAnnotation(statusOf("s1", "pending", { detail }))));
  assertEquals(status?.platformMetadata, { podName: "", reason: "OOMKilled" });
});

Deno.test("recordedStatus() returns the state and the pod", () => {
  const status = recordedStatus(
    "s1",
    recording(outcomeAnnotations("c1", { result: RESULT, status: STATUS })),
  );
  assertEquals([status?.state, status?.platformMetadata.podName], ["running", "p1"]);
  const later = recording(statusAnnotation(statusOf("s1", "failed")));
  assertEquals(recordedStatus("s1", later)?.state, "failed");
  assertEquals(recordedStatus("s1", NOTHING), undefined);
});

for (
  const text of ["", "{", "null", "[]", '"running"', '{"commandId":"c1"}', '{"commandId":"c1","result":[]}']
) {
  Deno.test(`annotations with ${text || "no text"} are ignored`, () => {
    const objects = recording({ "stream.space/outcome": text, "stream.space/status": text });
    assertEquals(recordedOutcome(objects, "c1"), undefined);
    assertEquals(recordedStatus("s1", objects), undefined);
  });
}

Deno.test("isInterrupted() is true for the command that last changed the Deployment", () => {
  const deployment = { metadata: { annotations: { "stream.space/command-id": "c1" } } };
  assertEquals(isInterrupted({ ...NOTHING, deployment }, "c1"), true);
  assertEquals(isInterrupted({ ...NOTHING, deployment }, "c2"), false);
  assertEquals(isInterrupted(NOTHING, "c1"), false);
});

Deno.test("isCreatedBy() is true for the start that created a session, not for a later one that woke it", () => {
  const by = (commandId: string) => ({ metadata: { annotations: { "stream.space/command-id": commandId } } });
  assertEquals(isCreatedBy({ ...NOTHING, deployment: by("c1"), service: by("c1") }, "c1"), true);
  assertEquals(isCreatedBy({ ...NOTHING, deployment: by("c2"), service: by("c1") }, "c2"), false);
  // Interrupted before the Service was created.
  assertEquals(isCreatedBy({ ...NOTHING, deployment: by("c1") }, "c1"), true);
  assertEquals(isCreatedBy(NOTHING, "c1"), false);
});

Deno.test("AnnotationRecorder warns once when annotating is forbidden, and says which right is missing", async () => {
  using log = new LogCapture({ level: "info" });
  const cache = new SessionCache("a1");
  cache.put("service", {
    metadata: {
      name: "s1",
      uid: "u1",
      resourceVersion: "1",
      labels: { app: "streamspace-session", session: "s1" },
    },
  });
  const message = 'Kubernetes refused to change services s1: User "a" cannot patch resource "services"';
  const annotate = () => Promise.reject(new KubernetesError(message, { status: 403, reason: "Forbidden" }));
  const recorder = new AnnotationRecorder({ annotate, annotateClaim: annotate }, cache);
  const status = statusOf("s1", "running");
  assertEquals((await recorder.recordOutcome("c1", { result: {}, status })).isRecorded, false);
  await recorder.recordStatus(status);
  assertEquals(log.lines.map((line) => line.replace(/^.*?WARN: /, "")), [
    `Cannot record statuses on Services, the next process may repeat them: ${message}`,
  ]);
});
