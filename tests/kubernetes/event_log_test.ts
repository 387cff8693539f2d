import { assertEquals } from "@std/assert";
import { EVENT_REASONS, EventLog } from "../../lib/kubernetes/event_log.ts";

/** An event as the API gives it. */
function event(fields: Record<string, unknown> = {}): object {
  return {
    metadata: { name: "e", resourceVersion: "1" },
    involvedObject: { kind: "Pod", uid: "p1" },
    reason: "FailedMount",
    message: "timed out",
    ...fields,
  };
}

function know(log: EventLog, uid: string, onNews = () => {}): void {
  log.know({ metadata: { uid } }, { onNews });
}

function logOf(...events: object[]): EventLog {
  const log = new EventLog();
  know(log, "p1");
  for (const one of events) log.put(one);
  return log;
}

function version(version: number): { metadata: object } {
  return { metadata: { name: `e${version}`, resourceVersion: String(version) } };
}

Deno.test("event log keeps the newest event of each reason, whatever comes late", () => {
  const log = logOf(
    event({ ...version(9), message: "new" }),
    event({ ...version(8), message: "late" }),
    event({ ...version(10), reason: "Pulling", message: 'Pulling image "x"' }),
    event({ ...version(11), involvedObject: { kind: "Pod", uid: "p2" } }),
  );
  assertEquals(log.about(["p1"]).map((one) => one.message), ["new", 'Pulling image "x"']);
});

const VARIANTS: ReadonlyArray<[name: string, fields: Record<string, unknown>]> = [
  ["a count of 0 and no time", { count: 0, firstTimestamp: null, lastTimestamp: null }],
  ["a series", {
    series: { count: 3, lastObservedTime: "2026-01-01T00:00:00.000000Z" },
    lastTimestamp: null,
  }],
  ["a time of its own", { eventTime: "2026-01-01T00:00:00.000000Z", count: null }],
  ["neither count nor series nor time", {}],
];

for (const [name, fields] of VARIANTS) {
  Deno.test(`K24 event log takes an event with ${name} as the newest by its version`, () => {
    const log = logOf(
      event({ ...version(1), lastTimestamp: "2030-01-01T00:00:00Z" }),
      event({ ...version(2), ...fields, message: "new" }),
    );
    assertEquals(log.about(["p1"]), [{ about: "p1", reason: "FailedMount", message: "new", version: 2 }]);
  });
}

const WORTHLESS: ReadonlyArray<[name: string, fields: Record<string, unknown>]> = [
  ["about a node", { involvedObject: { kind: "Node", uid: "p1" } }],
  ["about nothing", { involvedObject: undefined }],
  ["about an object without uid", { involvedObject: { kind: "Pod" } }],
  ["without reason", { reason: undefined }],
  ["without message", { message: undefined }],
  ["that nobody reads, such as one between two of a kind", { reason: "SandboxChanged" }],
  ["that echoes the pod's status", { reason: "Failed", message: "Error: ErrImagePull" }],
];

for (const [name, fields] of WORTHLESS) {
  Deno.test(`event log lets go of an event ${name}`, () => {
    assertEquals(logOf(event(fields)).about(["p1"]), []);
  });
}

Deno.test("event log tells of news about objects that somebody knows, and of nothing else", () => {
  let news = 0;
  const log = new EventLog();
  know(log, "p1", () => news++);
  log.put(event(version(2)));
  log.put(event(version(2)));
  log.put(event({ ...version(3), involvedObject: { kind: "Pod", uid: "p2" } }));
  assertEquals(news, 1);
});

Deno.test("event log stays small in a namespace of 100,000 events", () => {
  const log = logOf();
  const message = "x".repeat(10_000);
  for (let nth = 1; nth <= 100_000; nth++) {
    const uid = nth % 2 === 0 ? "p1" : `stranger-${nth}`;
    const reason = EVENT_REASONS[Math.floor(nth / 2) % EVENT_REASONS.length];
    log.put(event({ ...version(nth), involvedObject: { kind: "Pod", uid }, reason, message }));
  }
  assertEquals(log.about(["p1"]).map((one) => one.message.length), EVENT_REASONS.map(() => 1000));
  // Of those that nobody knew in time, the newest are there once they are known.
  const strangers = Array.from({ length: 50_000 }, (_, nth) => `stranger-${2 * nth + 1}`);
  for (const uid of strangers) know(log, uid);
  assertEquals(log.about(strangers).length, 128);
});

Deno.test("event log forgets what was told about an object that is gone", () => {
  const log = logOf(event());
  log.forget("p1");
  know(log, "p1");
  assertEquals(log.about(["p1"]), []);
  log.put(event());
  log.know({ metadata: { uid: "p2" } }, { instead: { metadata: { uid: "p1" } }, onNews: () => {} });
  assertEquals(log.about(["p1"]), []);
});
