import { assertEquals } from "@std/assert";
import type { V1Deployment, V1Service } from "@kubernetes/client-node";
import { KubernetesError } from "../../lib/common/errors.ts";
import { SessionCache, type SessionObjects } from "../../lib/kubernetes/session_cache.ts";
import {
  AnnotationRecorder,
  isCreatedBy,
  isInterrupted,
  isReportedBefore,
  isStartedBy,
  recordedOutcome,
  recordedStatus,
  statusAnnotation,
} from "../../lib/status/annotations.ts";
import type { SessionStatus } from "../../lib/control_plane/protocol.ts";
import { statusOf } from "../../lib/status/status.ts";
import { FakeTime } from "../support/fake_time.ts";
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
  const objects = recording({
    "stream.space/outcome": JSON.stringify({ commandId: "c1", result: RESULT }),
  });
  assertEquals(recordedOutcome(objects, "c1"), { result: RESULT, isEvident: true });
  assertEquals(recordedOutcome(objects, "c2"), undefined);
  assertEquals(recordedOutcome(NOTHING, "c1"), undefined);
});

Deno.test("recordedStatus() returns the reason, so that the next process does not report it again", () => {
  const detail = { reason: "OOMKilled", message: "its container needs more memory" };
  const status = recordedStatus("s1", recording(statusAnnotation(statusOf("s1", "pending", { detail }))));
  assertEquals(status?.platformMetadata, { podName: "", reason: "OOMKilled" });
});

Deno.test("recordedStatus() returns the state and the pod", () => {
  const status = recordedStatus("s1", recording(statusAnnotation(STATUS)));
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

Deno.test("isStartedBy() is true for a start whose Deployment was available once, and that is the session's last command", () => {
  const by = (commandId: string, reason = "NewReplicaSetAvailable") => ({
    metadata: { annotations: { "stream.space/command-id": commandId } },
    status: { conditions: [{ type: "Progressing", status: "True", reason }] },
  });
  const isStarted = (deployment: V1Deployment, { metadata }: V1Deployment) =>
    isStartedBy({ ...NOTHING, deployment, service: metadata ? { metadata } : {} }, "c1");
  assertEquals(isStarted(by("c1"), by("c1")), true);
  assertEquals(isStarted(by("c1", "ReplicaSetUpdated"), by("c1")), false);
  assertEquals(isStarted(by("c2"), by("c1")), false);
  assertEquals(isStarted(by("c1"), by("c2")), false);
});

Deno.test("isReportedBefore() is true for what the objects show and has not changed since", () => {
  const at = (resourceVersion: string) => ({ metadata: { name: "p1", resourceVersion } });
  const isReported = (status: SessionStatus, objects: Partial<SessionObjects>) =>
    isReportedBefore(status, { ...NOTHING, ...objects }, { pod: 20, deployment: 10 });
  const hibernated = statusOf("s1", "hibernated");
  assertEquals(isReported(STATUS, { pods: [at("20")] }), true);
  assertEquals(isReported(STATUS, { pods: [at("21")] }), false);
  assertEquals(isReported(STATUS, { pods: [] }), false);
  assertEquals(isReported(hibernated, { deployment: at("10") }), true);
  assertEquals(isReported(hibernated, { deployment: at("11") }), false);
  // What happened to a session while no process ran need not change its pod, such as the loss of its home volume.
  const detail = { reason: "VolumeGone", message: "its home volume was deleted" };
  assertEquals(isReported(statusOf("s1", "hibernated", { detail }), { deployment: at("10") }), false);
  assertEquals(isReported(statusOf("s1", "pending"), { pods: [at("20")], deployment: at("10") }), false);
});

/** Services of sessions in a cache, and a recorder whose writes wait. */
class Recording {
  readonly cache = new SessionCache("a1");
  readonly written: Array<[name: string, annotations: Readonly<Record<string, string | null>>]> = [];
  readonly recorder = new AnnotationRecorder({
    annotate: async (name, annotations) => {
      this.written.push([name, annotations]);
      await this.held;
      return this.put(name, annotations);
    },
    annotateClaim: () => Promise.reject(new Error("there is no claim")),
  }, this.cache);
  held: Promise<void> = Promise.resolve();
  #version = 0;

  put(name: string, annotations: Readonly<Record<string, string | null>> = {}): V1Service {
    const kept = Object.entries(annotations).flatMap(([key, value]) => value === null ? [] : [[key, value]]);
    const labels = { app: "streamspace-session", session: name };
    const metadata = { name, uid: name, resourceVersion: String(++this.#version), labels };
    const service = { metadata: { ...metadata, annotations: Object.fromEntries(kept) } };
    this.cache.put("service", service);
    return service;
  }
}

const PENDING = statusOf("s1", "pending", {
  detail: { reason: "OOMKilled", message: "its container needs more memory" },
});
const REMOVED = { "stream.space/status": null, "stream.space/outcome": null };

Deno.test("AnnotationRecorder records what the objects do not show, and removes the record when they do", async () => {
  const recording = new Recording();
  recording.put("s1");
  const { recorder, written } = recording;
  for (const status of [STATUS, PENDING, STATUS, STATUS]) await recorder.recordStatus(status);
  assertEquals(written, [["s1", statusAnnotation(PENDING)], ["s1", REMOVED]]);
});

Deno.test("AnnotationRecorder removes a record that is still being written when the session runs again", async () => {
  const recording = new Recording();
  recording.put("s1");
  const { promise, resolve } = Promise.withResolvers<void>();
  recording.held = promise;
  const records = [PENDING, STATUS].map((status) => recording.recorder.recordStatus(status));
  resolve();
  await Promise.all(records);
  assertEquals(recording.written, [["s1", statusAnnotation(PENDING)], ["s1", REMOVED]]);
});

Deno.test("AnnotationRecorder.recordStatus() takes at most five seconds", async () => {
  using time = new FakeTime();
  const recording = new Recording();
  const ids = Array.from({ length: 17 }, (_, index) => `s${index}`);
  for (const id of ids) recording.put(id);
  recording.held = new Promise(() => {});
  const records = ids.map((id) => recording.recorder.recordStatus(statusOf(id, "pending")));
  await time.tickAsync(5000);
  await Promise.all(records);
});

Deno.test("AnnotationRecorder records 16 statuses at the same time, and only the last one of a session that waits", async () => {
  const recording = new Recording();
  const ids = Array.from({ length: 18 }, (_, index) => `s${index}`);
  for (const id of ids) recording.put(id);
  const { promise, resolve } = Promise.withResolvers<void>();
  recording.held = promise;
  const records = ids.map((id) => recording.recorder.recordStatus(statusOf(id, "pending")));
  assertEquals(recording.written.map(([name]) => name), ids.slice(0, 16));
  records.push(recording.recorder.recordStatus(statusOf("s17", "running")));
  resolve();
  await Promise.all(records);
  assertEquals(recording.written.map(([name]) => name), ids.slice(0, 17));
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
  for (let i = 0; i < 2; i++) await recorder.recordStatus(statusOf("s1", "pending"));
  assertEquals(log.lines.map((line) => line.replace(/^.*?WARN: /, "")), [
    `Cannot record statuses on Services, the next process may repeat them: ${message}`,
  ]);
});
