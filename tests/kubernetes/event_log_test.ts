import { assertEquals } from "@std/assert";
import { EVENT_REASONS, EventLog } from "../../lib/kubernetes/event_log.ts";

/** An event in the form of the API. */
function event(fields: Record<string, unknown> = {}): object {
  return {
    metadata: { name: "e", resourceVersion: "1" },
    involvedObject: { kind: "Pod", uid: "p1" },
    reason: "FailedMount",
    message: "timed out",
    ...fields,
  };
}

function track(log: EventLog, uid: string, onEvent = () => {}): void {
  log.track({ metadata: { uid } }, { onEvent });
}

function logOf(...events: object[]): EventLog {
  const log = new EventLog();
  track(log, "p1");
  for (const one of events) log.put(one);
  return log;
}

function version(version: number): { metadata: object } {
  return { metadata: { name: `e${version}`, resourceVersion: String(version) } };
}

Deno.test("EventLog keeps the newest event of each reason and ignores older ones that arrive late", () => {
  const log = logOf(
    event({ ...version(9), message: "new" }),
    event({ ...version(8), message: "late" }),
    event({ ...version(10), reason: "Pulling", message: 'Pulling image "x"' }),
    event({ ...version(11), involvedObject: { kind: "Pod", uid: "p2" } }),
  );
  assertEquals(log.eventsOf(["p1"]).map((one) => one.message), ["new", 'Pulling image "x"']);
});

Deno.test("EventLog keeps the failed probes of each container", () => {
  const unhealthy = (version_: number, fieldPath?: string) =>
    event({
      ...version(version_),
      reason: "Unhealthy",
      message: `failed ${version_}`,
      involvedObject: { kind: "Pod", uid: "p1", ...(fieldPath ? { fieldPath } : {}) },
    });
  const log = logOf(
    unhealthy(1, "spec.containers{session}"),
    unhealthy(2, "spec.initContainers{istio-proxy}"),
    unhealthy(3, "spec.containers{session}"),
    unhealthy(4),
    unhealthy(5, "spec.volumes{x}"),
  );
  assertEquals(log.eventsOf(["p1"]).map(({ message, container }) => [message, container]), [
    ["failed 2", "istio-proxy"],
    ["failed 3", "session"],
    ["failed 5", undefined],
  ]);
});

Deno.test("EventLog keeps the reason of a failed mount beside the kubelet's summary", () => {
  const summary = "Unable to attach or mount volumes: unmounted volumes=[home]: context deadline exceeded";
  const log = logOf(
    event({ ...version(1), message: "driver name x not found in the list of registered CSI drivers" }),
    event({ ...version(2), message: summary }),
    event({ ...version(3), message: summary }),
  );
  assertEquals(log.eventsOf(["p1"]).map((one) => one.version), [1, 3]);
});

Deno.test("EventLog keeps a bounded number of events per object", () => {
  const log = new EventLog();
  track(log, "p1");
  for (let nth = 1; nth <= 1000; nth++) {
    const involvedObject = { kind: "Pod", uid: "p1", fieldPath: `spec.containers{c${nth}}` };
    log.put(event({ ...version(nth), reason: "Unhealthy", involvedObject }));
  }
  assertEquals(log.eventsOf(["p1"]).length, 64);
});

const VARIANTS: ReadonlyArray<[name: string, fields: Record<string, unknown>]> = [
  ["a count of 0 and no timestamps", { count: 0, firstTimestamp: null, lastTimestamp: null }],
  ["a series", {
    series: { count: 3, lastObservedTime: "2026-01-01T00:00:00.000000Z" },
    lastTimestamp: null,
  }],
  ["an eventTime", { eventTime: "2026-01-01T00:00:00.000000Z", count: null }],
  ["neither count nor series nor timestamp", {}],
];

for (const [name, fields] of VARIANTS) {
  Deno.test(`K24 EventLog orders an event with ${name} by its resource version`, () => {
    const log = logOf(
      event({ ...version(1), lastTimestamp: "2030-01-01T00:00:00Z" }),
      event({ ...version(2), ...fields, message: "new" }),
    );
    assertEquals(log.eventsOf(["p1"]), [{
      objectUid: "p1",
      reason: "FailedMount",
      message: "new",
      version: 2,
    }]);
  });
}

const IRRELEVANT: ReadonlyArray<[name: string, fields: Record<string, unknown>]> = [
  ["about a node", { involvedObject: { kind: "Node", uid: "p1" } }],
  ["without an object", { involvedObject: undefined }],
  ["about an object without a uid", { involvedObject: { kind: "Pod" } }],
  ["without a reason", { reason: undefined }],
  ["without a message", { message: undefined }],
  ["with a reason that is not in the list", { reason: "SandboxChanged" }],
  ["that repeats the pod's status", { reason: "Failed", message: "Error: ErrImagePull" }],
];

for (const [name, fields] of IRRELEVANT) {
  Deno.test(`EventLog ignores an event ${name}`, () => {
    assertEquals(logOf(event(fields)).eventsOf(["p1"]), []);
  });
}

Deno.test("EventLog calls onEvent only for new events of tracked objects", () => {
  let calls = 0;
  const log = new EventLog();
  track(log, "p1", () => calls++);
  log.put(event(version(2)));
  log.put(event(version(2)));
  log.put(event({ ...version(3), involvedObject: { kind: "Pod", uid: "p2" } }));
  assertEquals(calls, 1);
});

Deno.test("EventLog bounds its memory in a namespace with 100,000 events", () => {
  const log = logOf();
  const message = "x".repeat(10_000);
  for (let nth = 1; nth <= 100_000; nth++) {
    const uid = nth % 2 === 0 ? "p1" : `unknown-${nth}`;
    const reason = EVENT_REASONS[Math.floor(nth / 2) % EVENT_REASONS.length];
    log.put(event({ ...version(nth), involvedObject: { kind: "Pod", uid }, reason, message }));
  }
  assertEquals(log.eventsOf(["p1"]).map((one) => one.message.length), EVENT_REASONS.map(() => 1000));
  // Only the newest objects that were unknown at the time of their event still have it.
  const unknown = Array.from({ length: 50_000 }, (_, nth) => `unknown-${2 * nth + 1}`);
  for (const uid of unknown) track(log, uid);
  assertEquals(log.eventsOf(unknown).length, 128);
});

Deno.test("EventLog drops the events of an object that was deleted or replaced", () => {
  const log = logOf(event());
  log.untrack("p1");
  track(log, "p1");
  assertEquals(log.eventsOf(["p1"]), []);
  log.put(event());
  log.track({ metadata: { uid: "p2" } }, { replaces: { metadata: { uid: "p1" } }, onEvent: () => {} });
  assertEquals(log.eventsOf(["p1"]), []);
});
