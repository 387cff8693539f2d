import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { LeaderElection } from "../../lib/kubernetes/leader_election.ts";
import { Campaign, leads, LEASE_MS, RENEW_DEADLINE_MS, RETRY_MS } from "../support/campaign.ts";
import { refusal } from "../support/fake_leases.ts";
import { FixedRandom } from "../support/fixed_random.ts";

const never = new AbortController().signal;

Deno.test("LeaderElection takes a lease that is not there, and says so", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  assert(leads(a));
  assertEquals(campaign.leases.holder, "a");
  assertStringIncludes(await campaign.logs.line("Leading"), "Leading as a (lease agent, transition 0)");
});

Deno.test("LeaderElection lets others wait for as long as the leader renews, and says so once", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  const b = await campaign.enter("b");
  await campaign.time.tickAsync(10 * LEASE_MS);
  assertEquals([leads(a), leads(b)], [true, false]);
  assertEquals(campaign.told("Waiting to lead: a is the leader"), 1);
  assertEquals(campaign.logs.lines.length, 2);
});

Deno.test("LeaderElection looks again after its period and a tenth of it by chance", async () => {
  await using campaign = new Campaign();
  await campaign.enter("a");
  using _random = new FixedRandom(1);
  await campaign.enter("b");
  assert(campaign.time.pending.includes(RETRY_MS / 2 * 1.1), String(campaign.time.pending));
});

Deno.test("LeaderElection takes over from a silent leader when its lease has expired, not before", async () => {
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
  Deno.test(`R9 LeaderElection waits for a leader whose clock is ${skewMs} ms off, and no longer`, async () => {
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

Deno.test("LeaderElection is not held up by writes that do not touch the record", async () => {
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

Deno.test("LeaderElection says again whom it waits for after it has led", async () => {
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
  assertEquals(campaign.told("Waiting to lead: z is the leader"), 2);
});

Deno.test("LeaderElection takes back what is still its own after a loss", async () => {
  await using campaign = new Campaign();
  const a = await campaign.enter("a");
  a.connection.behaviour = "hang";
  await campaign.time.tickAsync(LEASE_MS);
  assert(!leads(a));
  a.connection.behaviour = "answer";
  await using again = await a.election.acquire(never);
  assertEquals([again.lost.aborted, campaign.leases.spec?.leaseTransitions], [false, 0]);
});

Deno.test("LeaderElection takes a lease that somebody made without a record", async () => {
  await using campaign = new Campaign();
  campaign.leases.edit(() => ({}));
  assert(leads(await campaign.enter("a")));
});

Deno.test("LeaderElection says once why it cannot tell who leads, and goes on", async () => {
  await using campaign = new Campaign();
  const election = campaign.leases.connection();
  election.behaviour = "refuse";
  const waiting = new LeaderElection({ leases: election, name: "agent", identity: "a" }).acquire(never);
  await campaign.time.tickAsync(10 * RETRY_MS);
  assertEquals(campaign.told("WARN: Waiting to lead: it is unknown who leads: Kubernetes refused"), 1);
  election.behaviour = "answer";
  await campaign.time.tickAsync(RETRY_MS);
  await using leadership = await waiting;
  assert(!leadership.lost.aborted);
});

Deno.test("LeaderElection says that the namespace for the lease is missing", async () => {
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
  Deno.test(`LeaderElection stops to wait when it is told to, while requests ${behaviour}`, async () => {
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

Deno.test("LeaderElection that is told to stop while it takes the lease leaves it free", async () => {
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
