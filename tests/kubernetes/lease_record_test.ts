import { type V1LeaseSpec, V1MicroTime } from "@kubernetes/client-node";
import { assertEquals } from "@std/assert";
import { claimed, LeaseObserver, released } from "../../lib/kubernetes/lease_record.ts";

const NOW = new Date("2030-01-02T03:04:05.678Z");
const MICROS = "2030-01-02T03:04:05.678000Z";
const A = { identity: "a", leaseMs: 15_000, now: NOW };
const HOUR_MS = 3_600_000;

/** A record as it goes over the wire. */
function wire(spec: V1LeaseSpec): unknown {
  return JSON.parse(JSON.stringify(spec));
}

function heldByB(renewedAt: Date): V1LeaseSpec {
  return { holderIdentity: "b", leaseDurationSeconds: 15, renewTime: new V1MicroTime(renewedAt) };
}

Deno.test("claimed() makes the first record, with times in microseconds", () => {
  assertEquals(wire(claimed(undefined, A)), {
    holderIdentity: "a",
    leaseDurationSeconds: 15,
    acquireTime: MICROS,
    renewTime: MICROS,
    leaseTransitions: 0,
  });
});

Deno.test("claimed() renews only the time of a record that is the candidate's own", () => {
  const first = claimed(undefined, { ...A, now: new Date(0) });
  assertEquals(wire(claimed({ ...first, leaseTransitions: 7 }, A)), {
    holderIdentity: "a",
    leaseDurationSeconds: 15,
    acquireTime: "1970-01-01T00:00:00.000000Z",
    renewTime: MICROS,
    leaseTransitions: 7,
  });
});

Deno.test("claimed() counts a transition for each new holder, after a release too", () => {
  const first = claimed(undefined, { ...A, now: new Date(0) });
  const second = claimed(first, { ...A, identity: "b" });
  assertEquals([second.leaseTransitions, second.acquireTime?.toISOString()], [1, MICROS]);
  assertEquals(claimed(released(second, NOW), A).leaseTransitions, 2);
  assertEquals(claimed(released(second, NOW), { ...A, identity: "b" }).leaseTransitions, 2);
});

Deno.test("claimed() rounds a lease up to whole seconds and keeps what it does not know", () => {
  const spec = claimed({ preferredHolder: "c" }, { ...A, leaseMs: 1001 });
  assertEquals([spec.leaseDurationSeconds, spec.preferredHolder], [2, "c"]);
});

Deno.test("released() leaves a lease that nobody holds", () => {
  const spec = released(claimed(undefined, { ...A, now: new Date(0) }), NOW);
  assertEquals([spec.holderIdentity, spec.leaseDurationSeconds, spec.leaseTransitions], ["", 1, 0]);
});

Deno.test("LeaseObserver finds a lease free that has no record or no holder", () => {
  const observer = new LeaseObserver(A);
  for (const spec of [undefined, {}, { holderIdentity: "" }]) {
    assertEquals(observer.judge(spec, 0), { kind: "free" });
  }
});

Deno.test("LeaseObserver finds a candidate's own lease its own, however old it is", () => {
  const observer = new LeaseObserver(A);
  const spec = claimed(undefined, { ...A, now: new Date(0) });
  assertEquals(observer.judge(spec, 0), { kind: "ours" });
  assertEquals(observer.judge(spec, HOUR_MS), { kind: "ours" });
});

for (const skewMs of [-HOUR_MS, 0, HOUR_MS]) {
  Deno.test(`K25 LeaseObserver counts from when it saw a change, with the holder's clock ${skewMs} ms off`, () => {
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
  Deno.test(`LeaseObserver waits ${expiresInMs} ms where the record says ${seconds} s and it itself 15 s`, () => {
    const spec = { holderIdentity: "b", ...(seconds ? { leaseDurationSeconds: seconds } : {}) };
    const standing = new LeaseObserver(A).judge(spec, 0);
    assertEquals(standing, { kind: "taken", holder: "b", expiresInMs: expiresInMs ?? 0 });
  });
}
