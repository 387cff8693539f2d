import { assertEquals, assertRejects } from "@std/assert";
import { Outage } from "../../lib/kubernetes/outage.ts";
import { FakeTime } from "../support/fake_time.ts";
import { FixedRandom } from "../support/fixed_random.ts";

const never = new AbortController().signal;

/** An outage whose probes get the given answers, and a wait of one minute. */
function waiting(...answers: boolean[]): { outage: Outage; ended: Promise<boolean>; probes: () => number } {
  let probes = 0;
  const outage = new Outage(() => Promise.resolve(answers[probes++] ?? false));
  return { outage, ended: outage.wait(60_000, never), probes: () => probes };
}

Deno.test("Outage.wait() ends as soon as the server responds again", async () => {
  using time = new FakeTime();
  using _random = new FixedRandom(1);
  const { outage, ended, probes } = waiting(false, false, true);
  using _ = outage;
  outage.onNoResponse();
  outage.onNoResponse();
  await time.tickAsync(400);
  assertEquals(probes(), 2);
  await time.tickAsync(200);
  assertEquals([await ended, probes()], [true, 3]);
  // The next outage is noticed, too.
  const next = outage.wait(60_000, never);
  outage.onNoResponse();
  await time.tickAsync(60_000);
  assertEquals([await next, probes()], [false, 303]);
  // After a minute, the probes are rarer.
  await time.tickAsync(60_000);
  assertEquals(probes(), 363);
});

Deno.test("Outage.wait() ends when a request succeeds, even if the probes do not", async () => {
  using time = new FakeTime();
  using _random = new FixedRandom(1);
  const { outage, ended, probes } = waiting();
  using _ = outage;
  outage.onNoResponse();
  await time.tickAsync(400);
  outage.onResponse();
  await time.tickAsync(200);
  assertEquals([await ended, probes()], [true, 2]);
});

Deno.test("Outage.wait() takes the whole time if the server refuses only some requests", async () => {
  using time = new FakeTime();
  const { outage, ended, probes } = waiting(true);
  using _ = outage;
  let isOver = false;
  void ended.then(() => isOver = true);
  outage.onNoResponse();
  await time.tickAsync(59_999);
  assertEquals([isOver, probes()], [false, 1]);
  await time.tickAsync(1);
  assertEquals(await ended, false);
});

Deno.test("Outage.wait() rejects when its signal is aborted", async () => {
  using outage = new Outage(() => Promise.resolve(true));
  await assertRejects(() => outage.wait(60_000, AbortSignal.abort(new Error("no wait"))), Error, "no wait");
});
