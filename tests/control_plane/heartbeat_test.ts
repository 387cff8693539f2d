import { assertEquals } from "@std/assert";
import { runHeartbeat } from "../../lib/control_plane/heartbeat.ts";
import { FakeTime } from "../support/fake_time.ts";

Deno.test("runHeartbeat() beats at once and then at its interval until the link is down", async () => {
  using time = new FakeTime();
  const down = new AbortController();
  const beats: number[] = [];
  const running = runHeartbeat(() => beats.push(Date.now()), { intervalMs: 10_000, signal: down.signal });
  assertEquals(beats, [0]);
  await time.tickAsync(9999);
  assertEquals(beats, [0]);
  await time.tickAsync(20_001);
  assertEquals(beats, [0, 10_000, 20_000, 30_000]);
  down.abort();
  await running;
  await time.tickAsync(60_000);
  assertEquals(beats.length, 4);
  assertEquals(time.pending, []);
});

Deno.test("runHeartbeat() does not beat on a link that is down already", async () => {
  let beats = 0;
  await runHeartbeat(() => beats += 1, { intervalMs: 10_000, signal: AbortSignal.abort() });
  assertEquals(beats, 0);
});

Deno.test("runHeartbeat() tells each beat how late it is", async () => {
  using time = new FakeTime();
  const down = new AbortController();
  const late: number[] = [];
  const running = runHeartbeat((lateMs) => late.push(lateMs), { intervalMs: 10_000, signal: down.signal });
  await time.tickAsync(10_000);
  time.jump(13_000);
  await time.tickAsync(0);
  assertEquals(late, [0, 0, 3000]);
  down.abort();
  await running;
});
