import { assertEquals } from "@std/assert";
import { liveness, readiness, type Report, type Signs } from "../../lib/telemetry/health_report.ts";

const WORKING: Signs = { standing: "alone", sinceTurnMs: 0, link: "up", unsynced: [], isStopping: false };

/** The checks that fail. */
function failing({ checks }: Report): Record<string, string> {
  const failed = Object.entries(checks).filter(([, { ok }]) => !ok);
  return Object.fromEntries(failed.map(([name, { reason }]) => [name, reason]));
}

const UNREACHABLE = "the Control Plane cannot be reached: it waits to try again, see the log";

const CASES: ReadonlyArray<[name: string, signs: Partial<Signs>, failing: Record<string, string>]> = [
  ["that works", {}, {}],
  ["that leads", { standing: "leading" }, {}],
  ["that stands by, of which nothing else is expected", {
    standing: "standing_by",
    link: undefined,
    unsynced: ["pods"],
  }, {}],
  ["that does not know who leads", { standing: "unknown", link: undefined, unsynced: ["pods"] }, {
    leadership: "it is unknown who leads, see the log",
    registered: "it has not begun to connect",
    link: "it has not begun to connect",
    watches: "not in sync: pods",
  }],
  ["that registers", { link: "registering" }, {
    registered: "it registers with the Control Plane",
    link: "it registers with the Control Plane",
  }],
  ["that waits for approval", { link: "pending" }, {
    registered: "an administrator of the Control Plane has to approve this agent",
    link: "an administrator of the Control Plane has to approve this agent",
  }],
  ["that was rejected", { link: "rejected" }, {
    registered: "an administrator of the Control Plane rejected this agent",
    link: "an administrator of the Control Plane rejected this agent",
  }],
  ["that is registered and connects", { link: "connecting" }, { link: "it connects to the Control Plane" }],
  ["that waits to try again", { link: "waiting" }, { registered: UNREACHABLE, link: UNREACHABLE }],
  ["whose view may be old", { unsynced: ["pods", "services"] }, { watches: "not in sync: pods, services" }],
  ["that is stopping", { isStopping: true }, { commands: "it is stopping" }],
];

for (const [name, signs, expected] of CASES) {
  const isReady = Object.keys(expected).length === 0;
  Deno.test(`an agent ${name} is ${isReady ? "ready" : "not ready"}`, () => {
    const report = readiness({ ...WORKING, ...signs });
    assertEquals([report.ok, failing(report)], [isReady, expected]);
  });
}

Deno.test("an agent is alive for as long as its lease loop comes round", () => {
  const late: Signs = { ...WORKING, standing: "leading", sinceTurnMs: 30_000 };
  assertEquals(liveness(late), {
    ok: true,
    checks: {
      eventLoop: { ok: true, reason: "it turns" },
      leaseLoop: { ok: true, reason: "it came round 30s ago" },
    },
  });
  const tooLate = liveness({ ...late, sinceTurnMs: 45_000 });
  assertEquals([tooLate.ok, failing(tooLate)], [false, { leaseLoop: "it has not come round for 45s" }]);
});

Deno.test("an agent without an election has no lease loop that could stop", () => {
  assertEquals(failing(liveness({ ...WORKING, sinceTurnMs: 1_000_000 })), {});
});
