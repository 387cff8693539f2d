import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { electionIdentity, LeaderElection, replicaName } from "../../lib/kubernetes/leader_election.ts";
import { Campaign, leads, LEASE_MS, RENEW_DEADLINE_MS, RETRY_MS } from "../support/campaign.ts";
import { refusal } from "../support/fake_leases.ts";
import { FixedRandom } from "../support/fixed_random.ts";

const never = new AbortController().signal;

Deno.test("acquire() creates a missing lease and logs the leadership", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  assert(leads(a));
  assertEquals(campaign.leases.holder, "a");
  assertStringIncludes(await campaign.logs.line("Leading"), "Leading as a (lease agent, transition 0)");
});

Deno.test("acquire() waits while the leader renews and logs that once", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  const b = await campaign.enter("b");
  await campaign.time.tickAsync(10 * LEASE_MS);
  assertEquals([leads(a), leads(b)], [true, false]);
  assertEquals(campaign.logged("Waiting for leadership: a is the leader"), 1);
  assertEquals(campaign.logs.lines.length, 2);
});

Deno.test("acquire() retries after half the period plus up to 10% jitter", async () => {
  await using campaign = new Campaign();
  await campaign.enter("a");
  using _random = new FixedRandom(1);
  await campaign.enter("b");
  assert(campaign.time.pending.includes(RETRY_MS / 2 * 1.1), String(campaign.time.pending));
});

Deno.test("acquire() takes over from a dead leader when its lease expires, not earlier", async () => {
  await using campaign = new Campaign();
  const { leases, time } = campaign;
  leases.edit(() => ({ holderIdentity: "dead", leaseDurationSeconds: 15, leaseTransitions: 3 }));
  const b = await campaign.enter("b");
  await time.tickAsync(LEASE_MS - 1);
  assert(!leads(b));
  await time.tickAsync(1);
  assert(leads(b));
  assertEquals(leases.spec?.leaseTransitions, 4);
});

for (const skewMs of [-3_600_000, 3_600_000]) {
  Deno.test(`R9 acquire() takes over at the same time from a leader whose clock is ${skewMs} ms off`, async () => {
    await using campaign = new Campaign();
    const { leases, time } = campaign;
    const renew = () => {
      const renewTime = new Date(Date.now() + skewMs);
      leases.edit((spec) => ({ ...spec, holderIdentity: "a", leaseDurationSeconds: 15, renewTime }));
    };
    renew();
    const b = await campaign.enter("b");
    for (let nth = 0; nth < 10; nth++) {
      await time.tickAsync(RENEW_DEADLINE_MS);
      renew();
    }
    assert(!leads(b));
    await time.tickAsync(LEASE_MS + RETRY_MS);
    assert(leads(b));
  });
}

Deno.test("acquire() ignores changes to the metadata of an expiring lease", async () => {
  await using campaign = new Campaign();
  const { leases, time } = campaign;
  leases.edit(() => ({ holderIdentity: "dead", leaseDurationSeconds: 15 }));
  const b = await campaign.enter("b");
  for (let nth = 0; nth < 8; nth++) {
    await time.tickAsync(RETRY_MS);
    leases.edit((spec) => spec, { annotations: { nth: String(nth) } });
  }
  assert(leads(b));
});

Deno.test("acquire() logs the holder again when it waits after a leadership", async () => {
  await using campaign = new Campaign();
  const { leases, time } = campaign;
  const dead = { holderIdentity: "z", leaseDurationSeconds: 15 };
  leases.edit(() => dead);
  const a = await campaign.enter("a");
  await time.tickAsync(LEASE_MS);
  leases.edit((spec) => ({ ...spec, ...dead }));
  await time.tickAsync(RETRY_MS);
  const stop = new AbortController();
  const waiting = a.election.acquire(stop.signal);
  await time.tickAsync(0);
  stop.abort(new Error("enough"));
  await assertRejects(() => waiting, Error, "enough");
  assertEquals(campaign.logged("Waiting for leadership: z is the leader"), 2);
});

Deno.test("acquire() takes back its own lease after a loss without a transition", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  a.connection.behaviour = "hang";
  await campaign.time.tickAsync(LEASE_MS);
  assert(!leads(a));
  a.connection.behaviour = "answer";
  await using again = await a.election.acquire(never);
  assertEquals([again.lost.aborted, campaign.leases.spec?.leaseTransitions], [false, 0]);
});

Deno.test("acquire() takes a lease without a record", async () => {
  await using campaign = new Campaign();
  campaign.leases.edit(() => ({}));
  assert(leads(await campaign.enter("a")));
});

Deno.test("acquire() logs once that the lease cannot be read, and retries", async () => {
  await using campaign = new Campaign();
  const election = campaign.leases.connection();
  election.behaviour = "refuse";
  const waiting = new LeaderElection({ leases: election, name: "agent", identity: "a" }).acquire(never);
  await campaign.time.tickAsync(10 * RETRY_MS);
  assertEquals(campaign.logged("WARN: Cannot read the lease, retrying: Kubernetes refused"), 1);
  assertEquals(campaign.logged("(run k8s-agent doctor for details)"), 1);
  election.behaviour = "answer";
  await campaign.time.tickAsync(RETRY_MS);
  await using leadership = await waiting;
  assert(!leadership.lost.aborted);
});

Deno.test("acquire() logs that the namespace of the lease is missing", async () => {
  await using campaign = new Campaign();
  const connection = campaign.leases.connection();
  connection.create = () => Promise.reject(refusal(404, "namespaces not found"));
  const stop = new AbortController();
  const election = new LeaderElection({ leases: connection, name: "agent", identity: "a" });
  const waiting = election.acquire(stop.signal);
  assertStringIncludes(await campaign.logs.line("WARN"), "namespaces not found");
  stop.abort(new Error("enough"));
  await assertRejects(() => waiting, Error, "enough");
});

for (const behaviour of ["answer", "hang"] as const) {
  Deno.test(`acquire() stops waiting on abort while requests ${behaviour}`, async () => {
    await using campaign = new Campaign();
    await campaign.enter("a");
    const stop = new AbortController();
    const connection = campaign.leases.connection();
    connection.behaviour = behaviour;
    const timers = campaign.time.pending.length;
    const election = new LeaderElection({ leases: connection, name: "agent", identity: "b" });
    const waiting = election.acquire(stop.signal);
    await campaign.time.tickAsync(1);
    stop.abort(new Error("enough"));
    await assertRejects(() => waiting, Error, "enough");
    assertEquals(campaign.time.pending.length, timers);
  });
}

Deno.test("acquire() releases the lease if it is aborted while taking it", async () => {
  await using campaign = new Campaign();
  const stop = new AbortController();
  const { leases } = campaign;
  const connection = leases.connection();
  connection.create = (lease) => {
    stop.abort(new Error("enough"));
    return leases.create(lease);
  };
  const election = new LeaderElection({ leases: connection, name: "agent", identity: "a" });
  await assertRejects(() => election.acquire(stop.signal), Error, "enough");
  assertEquals(leases.holder, "");
});

Deno.test("a released leadership passes to the next candidate at its next attempt", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  const b = await campaign.enter("b");
  await a.leadership?.[Symbol.asyncDispose]();
  assertEquals([leads(a), campaign.leases.holder], [false, ""]);
  await campaign.time.tickAsync(RETRY_MS);
  assert(leads(b));
  assertEquals(campaign.leases.spec?.leaseTransitions, 1);
  assertStringIncludes(await campaign.logs.line("Released"), "Released leadership");
});

const OUTAGES = [
  ["hang", "did not answer within 5s"],
  ["refuse", "refused to write a lease: leases is forbidden"],
] as const;

for (const [behaviour, why] of OUTAGES) {
  Deno.test(`R7 leadership is lost before the lease expires when requests ${behaviour}`, async () => {
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
    const reason = `the lease could not be renewed within 10s: Kubernetes ${why}`;
    assertEquals(a.leadership?.lost.reason.message, `Lost leadership: ${reason}`);
    assertStringIncludes(await campaign.logs.line("WARN"), `Lost leadership: ${reason}`);
    await time.tickAsync(LEASE_MS - RENEW_DEADLINE_MS + RETRY_MS);
    assert(leads(b));
  });
}

Deno.test("leadership lasts from when a renewal was sent, not from its response", async () => {
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

Deno.test("leadership continues when only the response to a renewal is lost", async () => {
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
  assertEquals([leads(a), campaign.logged("WARN")], [true, 0]);
});

Deno.test("leadership survives failures that end before the renew deadline", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  for (let nth = 0; nth < 5; nth++) {
    a.connection.behaviour = "hang";
    await campaign.time.tickAsync(RETRY_MS + 1000);
    a.connection.behaviour = "answer";
    await campaign.time.tickAsync(RENEW_DEADLINE_MS / 2 + RETRY_MS);
  }
  assert(leads(a));
  assertEquals(campaign.logged("WARN"), 0);
});

Deno.test("R9 leadership is lost at the next renewal when another candidate holds the lease", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  campaign.leases.edit((spec) => ({ ...spec, holderIdentity: "z" }));
  await campaign.time.tickAsync(RETRY_MS);
  assert(!leads(a));
  assertEquals(a.leadership?.lost.reason.message, "Lost leadership: z is the leader");
  await a.leadership?.[Symbol.asyncDispose]();
  assertEquals([campaign.leases.holder, campaign.logged("Released")], ["z", 0]);
});

Deno.test("leadership is lost when every renewal conflicts", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  a.connection.behaviour = "refuse";
  await campaign.time.tickAsync(RETRY_MS);
  a.connection.behaviour = "answer";
  await campaign.time.tickAsync(RETRY_MS);
  a.connection.replace = () => Promise.reject(refusal(409, "Conflict"));
  await campaign.time.tickAsync(RENEW_DEADLINE_MS);
  const reason = "Lost leadership: the lease could not be renewed within 10s";
  assertEquals(a.leadership?.lost.reason.message, reason);
});

Deno.test("R9 leadership continues with a new lease when the lease was deleted", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  campaign.leases.remove();
  await campaign.time.tickAsync(RETRY_MS);
  assertEquals([leads(a), campaign.leases.holder], [true, "a"]);
});

Deno.test("R9 leadership is lost when the lease was deleted and another candidate created it", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  campaign.leases.remove();
  const b = await campaign.enter("b");
  await campaign.time.tickAsync(RETRY_MS);
  assertEquals([leads(a), leads(b)], [false, true]);
});

Deno.test("R9 leadership continues after the lease was edited, and keeps the edited fields", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  campaign.leases.edit((spec) => ({ ...spec, leaseDurationSeconds: 99 }), { labels: { team: "x" } });
  await campaign.time.tickAsync(RETRY_MS);
  assert(leads(a));
  const { metadata, spec } = campaign.leases.lease ?? {};
  assertEquals([metadata?.labels, spec?.leaseDurationSeconds], [{ team: "x" }, 15]);
});

Deno.test("a leadership that cannot be released ends with a warning", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  a.connection.behaviour = "refuse";
  await a.leadership?.[Symbol.asyncDispose]();
  assertStringIncludes(await campaign.logs.line("WARN"), "the next leader waits until it expires");
});

Deno.test("releasing a leadership waits for a running renewal and releases its result", async () => {
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
  const released = a.leadership?.[Symbol.asyncDispose]();
  assert(!leads(a));
  await time.tickAsync(999);
  assertEquals(leases.holder, "a");
  await time.tickAsync(1);
  await released;
  assertEquals([leases.holder, time.pending], ["", []]);
});

Deno.test("releasing a leadership keeps a lease that another candidate holds", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  campaign.leases.edit((spec) => ({ ...spec, holderIdentity: "z" }));
  await a.leadership?.[Symbol.asyncDispose]();
  assertEquals(campaign.leases.holder, "z");
});

Deno.test("releasing a leadership releases a lease that was edited", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  campaign.leases.edit((spec) => spec, { labels: { team: "x" } });
  await a.leadership?.[Symbol.asyncDispose]();
  assertEquals(campaign.leases.holder, "");
});

Deno.test("releasing a leadership does not create a lease that was deleted", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  campaign.leases.remove();
  await a.leadership?.[Symbol.asyncDispose]();
  assertEquals(campaign.leases.lease, undefined);
});

Deno.test("R7 isHeld() is false after a suspended process resumes, before its timers run", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  assertEquals(a.leadership?.isHeld(), true);
  const { now } = performance;
  performance.now = () => now.call(performance) + RENEW_DEADLINE_MS;
  assertEquals([leads(a), a.leadership?.isHeld()], [true, false]);
  performance.now = now;
});

Deno.test("onTick() receives the status at each iteration of the loop", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  const b = await campaign.enter("b");
  await campaign.time.tickAsync(RETRY_MS);
  assertEquals([a.ticks, b.ticks], [["leading", "leading"], ["standby", "standby", "standby"]]);
  b.connection.behaviour = "refuse";
  await campaign.time.tickAsync(RETRY_MS / 2);
  assertEquals(b.ticks.at(-1), "unknown");
});

Deno.test("electionIdentity() is unique for each process, and replicaName() returns its name", () => {
  const [first, second] = [electionIdentity("agent-0"), electionIdentity("agent-0")];
  assert(first !== second);
  assertEquals([first, second, "agent-0", "host_name"].map(replicaName), [
    "agent-0",
    "agent-0",
    "agent-0",
    "host_name",
  ]);
});
