import { assertEquals } from "@std/assert";
import { SessionActivity } from "../../lib/status/session_activity.ts";
import { FakeTime } from "../support/fake_time.ts";

/** Activity whose publications are recorded as numbers of viewers. */
function recorded(): { activity: SessionActivity; published: (number | undefined)[] } {
  const activity = new SessionActivity({ publishIntervalMs: 60_000 });
  const published: (number | undefined)[] = [];
  activity.onPublish((sessionId) => published.push(activity.of(sessionId)?.viewers));
  return { activity, published };
}

Deno.test("SessionActivity publishes a change at once, further ones a minute later, and open streams every minute", () => {
  using time = new FakeTime();
  const { activity, published } = recorded();
  const streams = [activity.opened("s1"), activity.opened("s1")];
  assertEquals(published, [1]);
  time.tick(60_000);
  assertEquals(published, [1, 2]);
  time.tick(120_000);
  assertEquals(published, [1, 2, 2, 2]);
  for (const stream of streams) stream[Symbol.dispose]();
  const closedAt = new Date();
  time.tick(3_600_000);
  assertEquals(published, [1, 2, 2, 2, 0]);
  assertEquals(activity.of("s1"), { viewers: 0, lastActivity: closedAt });
  assertEquals(time.pending, []);
});

Deno.test("SessionActivity takes over what the previous process recorded, whose streams have ended", () => {
  using time = new FakeTime();
  const { activity, published } = recorded();
  const lastActivity = new Date(Date.now() - 5000);
  const startedAt = new Date();
  time.tick(1000);
  activity.restore("unused", { viewers: 0, lastActivity });
  activity.restore("used", { viewers: 3, lastActivity });
  assertEquals(activity.of("unused"), { viewers: 0, lastActivity });
  assertEquals(activity.of("used"), { viewers: 0, lastActivity: startedAt });
  assertEquals(activity.idleSince("unused"), lastActivity.getTime());
  assertEquals(published, [0]);
  activity[Symbol.dispose]();
  assertEquals(time.pending, []);
});

Deno.test("SessionActivity forgets a session that has ended after its streams", () => {
  using time = new FakeTime();
  const { activity } = recorded();
  const stream = activity.opened("s1");
  activity.forget("s1");
  assertEquals(activity.of("s1")?.viewers, 1);
  stream[Symbol.dispose]();
  assertEquals(activity.of("s1"), undefined);
  assertEquals(time.pending, []);
});

Deno.test("SessionActivity.restore() does not replace a later use", () => {
  using _time = new FakeTime();
  using activity = new SessionActivity();
  activity.opened("s1")[Symbol.dispose]();
  activity.restore("s1", { viewers: 0, lastActivity: new Date(0) });
  assertEquals(activity.of("s1"), { viewers: 0, lastActivity: new Date() });
});
