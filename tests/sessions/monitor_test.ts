import { assertEquals } from "@std/assert";
import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import { Outbox } from "../../lib/control_plane/outbox.ts";
import { Reporter } from "../../lib/control_plane/reporter.ts";
import { SessionCache } from "../../lib/kubernetes/session_cache.ts";
import { Monitor } from "../../lib/sessions/monitor.ts";
import { FakeTime } from "../support/fake_time.ts";

const LABELS = { app: "streamspace-session", session: "s1" };

function deployment(replicas: number, version: number): V1Deployment {
  return {
    metadata: { name: "s1", uid: "deployment", resourceVersion: String(version), labels: LABELS },
    spec: { replicas, selector: {}, template: {} },
  };
}

function pod(name: string, options: { version: number; isReady: boolean; isLeaving?: boolean }): V1Pod {
  const { version, isReady, isLeaving = false } = options;
  return {
    metadata: {
      name,
      uid: name,
      resourceVersion: String(version),
      labels: LABELS,
      ...(isLeaving ? { deletionTimestamp: new Date() } : {}),
    },
    status: { phase: "Running", conditions: [{ type: "Ready", status: isReady ? "True" : "False" }] },
  };
}

/** A session that runs in pod p1, a monitor that knows it, and what the monitor tells. */
function watchedSession(
  isBusy = () => false,
): { cache: SessionCache; told: () => string[]; monitor: Monitor } {
  const cache = new SessionCache("agent");
  cache.put("deployment", deployment(1, 1));
  cache.put("pod", pod("p1", { version: 2, isReady: true }));
  const sent: string[] = [];
  const outbox = new Outbox();
  outbox.attach({ send: (text) => sent.push(text) });
  const remember = () => Promise.resolve();
  const monitor = new Monitor({ cache, reporter: new Reporter(outbox), isBusy, remember });
  monitor.begin([]);
  const told = () =>
    sent.map((text) => JSON.parse(text).payload).map((one) =>
      `${one.state} ${one.platformMetadata.podName}`.trim()
    );
  return { cache, told, monitor };
}

Deno.test("monitor tells nothing of sessions as it finds them", () => {
  using time = new FakeTime();
  const { told, monitor } = watchedSession();
  using _ = monitor;
  time.tick(10_000);
  assertEquals(told(), []);
});

Deno.test("K20 monitor tells a new pod as soon as it serves, and not the moment between", () => {
  using time = new FakeTime();
  const { cache, told, monitor } = watchedSession();
  using _ = monitor;
  cache.put("pod", pod("p1", { version: 3, isReady: true, isLeaving: true }));
  time.tick(500);
  cache.put("pod", pod("p2", { version: 4, isReady: true }));
  time.tick(10_000);
  assertEquals(told(), ["running p2"]);
});

Deno.test("K21 monitor tells that a session is not ready once that has lasted", () => {
  using time = new FakeTime();
  const { cache, told, monitor } = watchedSession();
  using _ = monitor;
  cache.put("pod", pod("p1", { version: 3, isReady: false }));
  time.tick(1999);
  assertEquals(told(), []);
  time.tick(1);
  assertEquals(told(), ["pending"]);
  cache.put("pod", pod("p1", { version: 4, isReady: true }));
  assertEquals(told(), ["pending", "running p1"]);
});

Deno.test("monitor tells hibernation by others, and no end before the end", () => {
  const { cache, told, monitor } = watchedSession();
  using _ = monitor;
  cache.put("deployment", deployment(0, 3));
  assertEquals(told(), ["hibernated"]);
  const leaving = deployment(0, 4);
  cache.put("deployment", { ...leaving, metadata: { ...leaving.metadata, deletionTimestamp: new Date() } });
  assertEquals(told(), ["hibernated"]);
});

Deno.test("monitor leaves a session to the command that is at work on it", () => {
  let isBusy = true;
  const { cache, told, monitor } = watchedSession(() => isBusy);
  using _ = monitor;
  cache.put("deployment", deployment(0, 3));
  assertEquals(told(), []);
  isBusy = false;
  monitor.look("s1");
  assertEquals(told(), ["hibernated"]);
});
