import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Campaign, leads, LEASE_MS, RENEW_DEADLINE_MS, RETRY_MS } from "../support/campaign.ts";
import { refusal } from "../support/fake_leases.ts";

Deno.test("Leadership that is given up goes to the next candidate at its next look", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  const b = await campaign.enter("b");
  await a.leadership?.[Symbol.asyncDispose]();
  assertEquals([leads(a), campaign.leases.holder], [false, ""]);
  await campaign.time.tickAsync(RETRY_MS);
  assert(leads(b));
  assertEquals(campaign.leases.spec?.leaseTransitions, 1);
  assertStringIncludes(await campaign.logs.line("given up"), "Leading no more: leadership was given up");
});

const OUTAGES = [
  ["hang", "did not answer within 5s"],
  ["refuse", "refused to write a lease: leases is forbidden"],
] as const;

for (const [behaviour, why] of OUTAGES) {
  Deno.test(`R7 Leadership is lost before the lease expires when requests ${behaviour}`, async () => {
    await using campaign = new Campaign();
    const { time } = campaign;
    const a = await campaign.enter("a");
    const b = await campaign.enter("b");
    await time.tickAsync(RETRY_MS);
    a.connection.behaviour = behaviour;
    await time.tickAsync(RENEW_DEADLINE_MS - 1);
    assert(leads(a));
    await time.tickAsync(1);
    assertEquals([leads(a), leads(b)], [false, false]);
    const told = `the lease could not be renewed within 10s: Kubernetes ${why}`;
    assertEquals(a.leadership?.lost.reason.message, `Leadership was lost: ${told}`);
    assertStringIncludes(await campaign.logs.line("WARN"), `Leading no more: ${told}`);
    await time.tickAsync(LEASE_MS - RENEW_DEADLINE_MS + RETRY_MS);
    assert(leads(b));
  });
}

Deno.test("Leadership counts from when a renewal was sent, not from its answer", async () => {
  await using campaign = new Campaign();
  const { leases, time } = campaign;
  const a = await campaign.enter("a");
  a.connection.replace = async (lease) => {
    const answer = await leases.replace(lease);
    a.connection.replace = () => new Promise(() => {});
    await new Promise((resolve) => setTimeout(resolve, 4000));
    return answer;
  };
  await time.tickAsync(RETRY_MS + RENEW_DEADLINE_MS - 1);
  assert(leads(a));
  await time.tickAsync(1);
  assert(!leads(a));
});

Deno.test("Leadership goes on when a renewal came through but its answer did not", async () => {
  await using campaign = new Campaign();
  const { leases, time } = campaign;
  const a = await campaign.enter("a");
  const { replace } = a.connection;
  a.connection.replace = async (lease) => {
    await leases.replace(lease);
    a.connection.replace = replace;
    throw new Error("The connection broke");
  };
  await time.tickAsync(2 * LEASE_MS);
  assertEquals([leads(a), campaign.told("WARN")], [true, 0]);
});

Deno.test("Leadership outlives a failure that is over before the renew deadline", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  for (let nth = 0; nth < 5; nth++) {
    a.connection.behaviour = "hang";
    await campaign.time.tickAsync(RETRY_MS + 1000);
    a.connection.behaviour = "answer";
    await campaign.time.tickAsync(RENEW_DEADLINE_MS / 2 + RETRY_MS);
  }
  assert(leads(a));
  assertEquals(campaign.told("WARN"), 0);
});

Deno.test("R9 Leadership is lost at the next renewal when another holds the lease", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  campaign.leases.edit((spec) => ({ ...spec, holderIdentity: "z" }));
  await campaign.time.tickAsync(RETRY_MS);
  assert(!leads(a));
  assertEquals(a.leadership?.lost.reason.message, "Leadership was lost: z is the leader");
  await a.leadership?.[Symbol.asyncDispose]();
  assertEquals([campaign.leases.holder, campaign.told("given up")], ["z", 0]);
});

Deno.test("Leadership is lost when others write the lease all the time", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  a.connection.behaviour = "refuse";
  await campaign.time.tickAsync(RETRY_MS);
  a.connection.behaviour = "answer";
  await campaign.time.tickAsync(RETRY_MS);
  a.connection.replace = () => Promise.reject(refusal(409, "Conflict"));
  await campaign.time.tickAsync(RENEW_DEADLINE_MS);
  const reason = "Leadership was lost: the lease could not be renewed within 10s";
  assertEquals(a.leadership?.lost.reason.message, reason);
});

Deno.test("R9 Leadership goes on with a new lease when the old one was deleted", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  campaign.leases.remove();
  await campaign.time.tickAsync(RETRY_MS);
  assertEquals([leads(a), campaign.leases.holder], [true, "a"]);
});

Deno.test("R9 Leadership is lost when the lease was deleted and another took it first", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  campaign.leases.remove();
  const b = await campaign.enter("b");
  await campaign.time.tickAsync(RETRY_MS);
  assertEquals([leads(a), leads(b)], [false, true]);
});

Deno.test("R9 Leadership goes on after an edit, and keeps what was edited", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  campaign.leases.edit((spec) => ({ ...spec, leaseDurationSeconds: 99 }), { labels: { team: "x" } });
  await campaign.time.tickAsync(RETRY_MS);
  assert(leads(a));
  const { metadata, spec } = campaign.leases.lease ?? {};
  assertEquals([metadata?.labels, spec?.leaseDurationSeconds], [{ team: "x" }, 15]);
});

Deno.test("Leadership that is given up in the middle of an outage ends, and says that the next one waits", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  a.connection.behaviour = "refuse";
  await a.leadership?.[Symbol.asyncDispose]();
  assertStringIncludes(await campaign.logs.line("WARN"), "the next leader waits until the lease expires");
});

Deno.test("Leadership that is given up waits for a renewal under way, and releases what that has written", async () => {
  await using campaign = new Campaign();
  const { leases, time } = campaign;
  const a = await campaign.enter("a");
  const { replace } = a.connection;
  a.connection.replace = async (lease) => {
    a.connection.replace = replace;
    await new Promise((resolve) => setTimeout(resolve, 1000));
    return await leases.replace(lease);
  };
  await time.tickAsync(RETRY_MS);
  const given = a.leadership?.[Symbol.asyncDispose]();
  assert(!leads(a));
  await time.tickAsync(999);
  assertEquals(leases.holder, "a");
  await time.tickAsync(1);
  await given;
  assertEquals([leases.holder, time.pending], ["", []]);
});

Deno.test("Leadership that is given up leaves a lease that another has by now", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  campaign.leases.edit((spec) => ({ ...spec, holderIdentity: "z" }));
  await a.leadership?.[Symbol.asyncDispose]();
  assertEquals(campaign.leases.holder, "z");
});

Deno.test("Leadership that is given up releases a lease that was edited since", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  campaign.leases.edit((spec) => spec, { labels: { team: "x" } });
  await a.leadership?.[Symbol.asyncDispose]();
  assertEquals(campaign.leases.holder, "");
});

Deno.test("Leadership that is given up after its lease was deleted leaves none", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  campaign.leases.remove();
  await a.leadership?.[Symbol.asyncDispose]();
  assertEquals(campaign.leases.lease, undefined);
});

Deno.test("R7 Leadership of a process that was frozen is over before its timers say so", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  assertEquals(a.leadership?.isHeld(), true);
  const { now } = performance;
  performance.now = () => now.call(performance) + RENEW_DEADLINE_MS;
  assertEquals([leads(a), a.leadership?.isHeld()], [true, false]);
  performance.now = now;
});

Deno.test("an election tells at each turn of its loop how the candidate stands", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  const b = await campaign.enter("b");
  await campaign.time.tickAsync(RETRY_MS);
  assertEquals([a.turns, b.turns], [["leading", "leading"], ["standing_by", "standing_by", "standing_by"]]);
  b.connection.behaviour = "refuse";
  await campaign.time.tickAsync(RETRY_MS / 2);
  assertEquals(b.turns.at(-1), "unknown");
});
