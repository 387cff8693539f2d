import { type V1LeaseSpec, V1MicroTime } from "@kubernetes/client-node";
import { assertEquals } from "@std/assert";
import { claimedSpec, LeaseObserver, releasedSpec } from "../../lib/kubernetes/lease.ts";

const NOW = new Date("2030-01-02T03:04:05.678Z");
const MICROS = "2030-01-02T03:04:05.678000Z";
const A = { identity: "a", leaseMs: 15_000, now: NOW };
const HOUR_MS = 3_600_000;

/** A record as it is sent to the API. */
function wire(spec: V1LeaseSpec): unknown {
  return JSON.parse(JSON.stringify(spec));
}

function heldByB(renewedAt: Date): V1LeaseSpec {
  return { holderIdentity: "b", leaseDurationSeconds: 15, renewTime: new V1MicroTime(renewedAt) };
}

Deno.test("claimedSpec() creates the first record, with times in microseconds", () => {
  assertEquals(wire(claimedSpec(undefined, A)), {
    holderIdentity: "a",
    leaseDurationSeconds: 15,
    acquireTime: MICROS,
    renewTime: MICROS,
    leaseTransitions: 0,
  });
});

Deno.test("claimedSpec() changes only the renew time of the candidate's own record", () => {
  const first = claimedSpec(undefined, { ...A, now: new Date(0) });
  assertEquals(wire(claimedSpec({ ...first, leaseTransitions: 7 }, A)), {
    holderIdentity: "a",
    leaseDurationSeconds: 15,
    acquireTime: "1970-01-01T00:00:00.000000Z",
    renewTime: MICROS,
    leaseTransitions: 7,
  });
});

Deno.test("claimedSpec() counts a transition for each change of holder, also after a release", () => {
  const first = claimedSpec(undefined, { ...A, now: new Date(0) });
  const second = claimedSpec(first, { ...A, identity: "b" });
  assertEquals([second.leaseTransitions, second.acquireTime?.toISOString()], [1, MICROS]);
  assertEquals(claimedSpec(releasedSpec(second, NOW), A).leaseTransitions, 2);
  assertEquals(claimedSpec(releasedSpec(second, NOW), { ...A, identity: "b" }).leaseTransitions, 2);
});

Deno.test("claimedSpec() rounds the duration up to whole seconds and keeps other fields", () => {
  const spec = claimedSpec({ preferredHolder: "c" }, { ...A, leaseMs: 1001 });
  assertEquals([spec.leaseDurationSeconds, spec.preferredHolder], [2, "c"]);
});

Deno.test("releasedSpec() returns a record without a holder", () => {
  const spec = releasedSpec(claimedSpec(undefined, { ...A, now: new Date(0) }), NOW);
  assertEquals([spec.holderIdentity, spec.leaseDurationSeconds, spec.leaseTransitions], ["", 1, 0]);
});

Deno.test("LeaseObserver.judge() regards a lease without a record or holder as free", () => {
  const observer = new LeaseObserver(A);
  for (const spec of [undefined, {}, { holderIdentity: "" }]) {
    assertEquals(observer.judge(spec, 0), { kind: "free" });
  }
});

Deno.test("LeaseObserver.judge() regards the candidate's own lease as its own at any age", () => {
  const observer = new LeaseObserver(A);
  const spec = claimedSpec(undefined, { ...A, now: new Date(0) });
  assertEquals(observer.judge(spec, 0), { kind: "ours" });
  assertEquals(observer.judge(spec, HOUR_MS), { kind: "ours" });
});

for (const skewMs of [-HOUR_MS, 0, HOUR_MS]) {
  Deno.test(`K25 LeaseObserver.judge() counts from the last observed change when the holder's clock is ${skewMs} ms off`, () => {
    const observer = new LeaseObserver(A);
    const first = heldByB(new Date(Date.now() + skewMs));
    const taken = (expiresInMs: number) => ({ kind: "taken" as const, holder: "b", expiresInMs });
    assertEquals(observer.judge(first, 1000), taken(15_000));
    assertEquals(observer.judge({ ...first }, 15_999), taken(1));
    const second = heldByB(new Date(Date.now() + skewMs + 10_000));
    assertEquals(observer.judge(second, 15_999), taken(15_000));
    assertEquals(observer.judge(second, 30_998), taken(1));
    assertEquals(observer.judge(second, 30_999), { kind: "free" });
  });
}

for (const [seconds, expiresInMs] of [[60, 60_000], [1, 15_000], [undefined, 15_000]]) {
  Deno.test(`LeaseObserver.judge() returns ${expiresInMs} ms for a record of ${seconds} s and its own lease of 15 s`, () => {
    const spec = { holderIdentity: "b", ...(seconds ? { leaseDurationSeconds: seconds } : {}) };
    const ownership = new LeaseObserver(A).judge(spec, 0);
    assertEquals(ownership, { kind: "taken", holder: "b", expiresInMs: expiresInMs ?? 0 });
  });
}
