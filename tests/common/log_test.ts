import { assert, assertEquals, assertMatch } from "@std/assert";
import { log, type LogFields, RepeatFilter } from "../../lib/common/log.ts";
import { Secret } from "../../lib/common/secret.ts";
import { FakeTime } from "../support/fake_time.ts";
import { LogCapture } from "../support/log_capture.ts";

// deno-lint-ignore no-control-regex -- characters that a line must not contain
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u2028-\u202e\u2066-\u2069\ufeff]/;

/** A line without its timestamp. */
function untimed(line: string | undefined): string {
  return line?.replace(/^\S+Z /, "") ?? "";
}

Deno.test("log writes text lines with time, prefix and any level other than info", () => {
  using capture = new LogCapture();
  log.info("Registered successfully: {agentId} (status: {status})", { agentId: "a1", status: "online" });
  log.warn("Low on {resource}", { resource: "memory" });
  log.error("Failed");
  log.debug("Detail");
  assertMatch(capture.lines[0] ?? "", /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[K8sAgent\] /);
  assertEquals(capture.lines.map(untimed), [
    "[K8sAgent] Registered successfully: a1 (status: online)",
    "[K8sAgent] WARN: Low on memory",
    "[K8sAgent] ERROR: Failed",
    "[K8sAgent] DEBUG: Detail",
  ]);
});

Deno.test("log writes JSON lines with fixed field names", () => {
  using capture = new LogCapture({ format: "json" });
  log.warn("Session {sessionId} is {state}", { sessionId: "s1", state: "failed", attempt: 2 });
  const { time, ...fields } = JSON.parse(capture.lines[0] ?? "");
  assertMatch(time, /^\d{4}-.*Z$/);
  assertEquals(fields, {
    level: "warn",
    message: "Session s1 is failed",
    sessionId: "s1",
    state: "failed",
    attempt: 2,
  });
});

Deno.test("log discards lines below its level", () => {
  using capture = new LogCapture({ level: "warn" });
  log.debug("one");
  log.info("two");
  log.warn("three");
  log.error("four");
  assertEquals(capture.lines.map(untimed), ["[K8sAgent] WARN: three", "[K8sAgent] ERROR: four"]);
});

for (const format of ["text", "json"] as const) {
  Deno.test(`log escapes control characters of a value in a ${format} line`, () => {
    using capture = new LogCapture({ format });
    const value =
      "a\nb\r\n2026-01-01 [K8sAgent] forged\u001b[31m\u0000\u0085\u2028\u2029\u007f\t\u202e\u2066\ufeff\u061c";
    log.info("Value: {name}", { name: value });
    log.error("{reason}", { reason: new Error(value) });
    assertEquals(capture.lines.length, 2);
    for (const line of capture.lines) {
      assert(
        !UNPRINTABLE.test(line),
        JSON.stringify(line),
      );
      assert(line.includes("forged"));
    }
  });
}

Deno.test("log truncates a long value", () => {
  using capture = new LogCapture();
  log.info("Value: {name}", { name: "x".repeat(2 ** 20) });
  const line = capture.lines[0] ?? "";
  assert(line.length < 1200, String(line.length));
  assert(line.endsWith("…"));
});

Deno.test("log does not replace placeholders in a value", () => {
  using capture = new LogCapture();
  log.info("Value: {name}", { name: "{reason} {name} {{x}}", reason: "s3cret" });
  assertEquals(untimed(capture.lines[0]), "[K8sAgent] Value: {reason} {name} {{x}}");
});

for (const format of ["text", "json"] as const) {
  Deno.test(`log redacts a secret in a ${format} line`, () => {
    using capture = new LogCapture({ format });
    log.info("Key: {name}", { name: new Secret("s3cret") });
    assert(capture.lines[0]?.includes("[redacted]"));
    assert(!capture.lines[0]?.includes("s3cret"));
  });
}

Deno.test("log does not let a field override time, level, message or agent id of a JSON line", () => {
  using capture = new LogCapture({ format: "json", agentId: "a1" });
  const fields = { message: "forged", level: "forged", time: "forged", agentId: "forged" };
  log.info("Message: {message}", fields as LogFields);
  const line = JSON.parse(capture.lines[0] ?? "");
  assertEquals([line.level, line.message, line.agentId], ["info", "Message: forged", "a1"]);
  assertMatch(line.time, /^\d{4}-/);
});

Deno.test("RepeatFilter lets a text pass once until it changes or is reset", () => {
  const filter = new RepeatFilter();
  assertEquals([filter.isActive, filter.reset()], [false, false]);
  assertEquals(["one", "one", "two", "one"].map((text) => filter.isNew(text)), [true, false, true, true]);
  assertEquals([filter.isActive, filter.reset(), filter.isActive], [true, true, false]);
  assertEquals(filter.isNew("one"), true);
});

Deno.test("RepeatFilter lets the same text pass again after the reminder interval", () => {
  using time = new FakeTime();
  const filter = new RepeatFilter({ reminderMs: 1000 });
  assertEquals(filter.isNew("one"), true);
  time.tick(999);
  assertEquals(filter.isNew("one"), false);
  time.tick(1);
  assertEquals(filter.isNew("one"), true);
});
