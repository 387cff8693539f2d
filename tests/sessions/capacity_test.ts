import { assertEquals, assertThrows } from "@std/assert";
import type { V1Deployment } from "@kubernetes/client-node";
import fc from "fast-check";
import { CommandError } from "../../lib/common/errors.ts";
import { SessionCache } from "../../lib/kubernetes/session_cache.ts";
import { type CapacityLimits, SessionCapacity } from "../../lib/sessions/capacity.ts";

const LIMITS = { maxSessions: 10, maxCpu: 10, maxMemory: 10 };

/** What differs between the Deployments of the tests. */
interface Session {
  readonly agent?: string;
  readonly cpu?: string;
  readonly memory?: string;
  readonly replicas?: number;
  readonly isDeleted?: boolean;
  readonly version?: number;
  /** Whether it has limits and no requests. */
  readonly hasLimitsOnly?: boolean;
}

function deployment(id: string, session: Session = {}): V1Deployment {
  const { agent, cpu = "1", memory = "1Gi", replicas = 1, isDeleted = false, version = 1 } = session;
  const amounts = session.hasLimitsOnly ? { limits: { cpu, memory } } : { requests: { cpu, memory } };
  return {
    metadata: {
      name: id,
      uid: id,
      resourceVersion: String(version),
      labels: {
        app: "streamspace-session",
        session: id,
        ...(agent === undefined ? {} : { "stream.space/agent": agent }),
      },
      ...(isDeleted ? { deletionTimestamp: new Date() } : {}),
    },
    spec: {
      replicas,
      selector: {},
      template: { spec: { containers: [{ name: "session", resources: amounts }] } },
    },
  };
}

function capacityWith(
  sessions: Readonly<Record<string, Session>>,
  limits: Partial<CapacityLimits> = {},
): { cache: SessionCache; capacity: SessionCapacity } {
  const cache = new SessionCache("a1");
  for (const [id, session] of Object.entries(sessions)) cache.put("deployment", deployment(id, session));
  return { cache, capacity: new SessionCapacity(cache, { ...LIMITS, ...limits }) };
}

function rejection(capacity: SessionCapacity, session: Session = {}): string {
  const error = assertThrows(() => capacity.reserve("new", deployment("new", session)), CommandError);
  assertEquals(error.failure, "at_capacity");
  return error.message;
}

const COUNTED: readonly { name: string; session: Session; used: readonly [number, number, number] }[] = [
  {
    name: "a running session",
    session: { agent: "a1", cpu: "1500m", memory: "512Mi" },
    used: [1, 1.5, 0.5],
  },
  { name: "a session of the Go agent", session: {}, used: [1, 1, 1] },
  { name: "a session with limits only", session: { hasLimitsOnly: true, cpu: "2" }, used: [1, 2, 1] },
  { name: "a hibernated session", session: { replicas: 0 }, used: [0, 0, 0] },
  { name: "a session that is being deleted", session: { isDeleted: true }, used: [0, 0, 0] },
  { name: "a session of another agent", session: { agent: "a2" }, used: [0, 0, 0] },
];

for (const { name, session, used: [usedSessions, usedCpu, usedMemory] } of COUNTED) {
  Deno.test(`SessionCapacity counts ${name} as ${usedSessions}`, () => {
    const { capacity } = capacityWith({ s1: session });
    assertEquals(capacity.usage(), { usedSessions, usedCpu, usedMemory });
  });
}

Deno.test("SessionCapacity says which limit is reached", () => {
  const two = { s1: { cpu: "250m", memory: "1536Mi" }, s2: {} };
  assertEquals(rejection(capacityWith(two, { maxSessions: 2 }).capacity), "at capacity: 2 of 2 sessions");
  assertEquals(
    rejection(capacityWith(two, { maxCpu: 2 }).capacity),
    "at capacity: 1 core requested, 1.25 of 2 in use",
  );
  assertEquals(
    rejection(capacityWith(two, { maxCpu: 2 }).capacity, { cpu: "1500m" }),
    "at capacity: 1.5 cores requested, 1.25 of 2 in use",
  );
  assertEquals(
    rejection(capacityWith(two, { maxMemory: 3 }).capacity, { memory: "2Gi" }),
    "at capacity: 2Gi of memory requested, 2.5Gi of 3Gi in use",
  );
});

Deno.test("SessionCapacity admits a session that fits exactly", () => {
  const tenths = Object.fromEntries(
    Array.from({ length: 9 }, (_, index) => [`s${index}`, { cpu: "0.1", memory: "0.5Gi" }]),
  );
  const { capacity } = capacityWith(tenths, { maxCpu: 1, maxMemory: 5 });
  using _reservation = capacity.reserve("new", deployment("new", { cpu: "100m", memory: "512Mi" }));
  assertEquals(capacity.usage(), { usedSessions: 10, usedCpu: 1, usedMemory: 5 });
});

Deno.test("SessionCapacity counts a reservation until it is disposed, and a session once", () => {
  const { cache, capacity } = capacityWith({}, { maxSessions: 1 });
  {
    using _reservation = capacity.reserve("s1", deployment("s1"));
    assertEquals(rejection(capacity), "at capacity: 1 of 1 sessions");
    cache.put("deployment", deployment("s1"));
    assertEquals(capacity.usage().usedSessions, 1);
  }
  assertEquals(capacity.usage().usedSessions, 1);
  cache.put("deployment", deployment("s1", { replicas: 0, version: 2 }));
  assertEquals(capacity.usage().usedSessions, 0);
});

Deno.test("SessionCapacity admits a session that runs already, even beyond the limits", () => {
  const { capacity } = capacityWith({ s1: {}, s2: {} }, { maxSessions: 1, maxCpu: 1, maxMemory: 1 });
  using _reservation = capacity.reserve("s1", deployment("s1"));
  assertEquals(capacity.usage().usedSessions, 2);
  assertEquals(rejection(capacity), "at capacity: 2 of 1 sessions");
});

/** What can happen to a session: a command reserves, creates or wakes the Deployment, and releases; or the session ends. */
type Step = "reserve" | "create" | "release" | "hibernate" | "delete";

Deno.test("SessionCapacity is exact for any sequence of events", () => {
  const steps = fc.array(
    fc.record({
      id: fc.integer({ min: 0, max: 7 }).map((number) => `s${number}`),
      step: fc.constantFrom<Step>("reserve", "create", "release", "hibernate", "delete"),
      cpu: fc.integer({ min: 1, max: 4 }).map((number) => `${number * 250}m`),
    }),
    { maxLength: 200 },
  );
  fc.assert(fc.property(steps, (events) => {
    const { cache, capacity } = capacityWith({}, { maxSessions: 4, maxCpu: 2 });
    const reservations = new Map<string, { reservation: Disposable; cpu: string }>();
    const running = new Map<string, string>();
    let version = 1;
    for (const { id, step, cpu } of events) {
      version += 1;
      const held = reservations.get(id);
      if (step === "reserve" && !held) {
        try {
          reservations.set(id, { reservation: capacity.reserve(id, deployment(id, { cpu })), cpu });
        } catch (error) {
          if (!(error instanceof CommandError)) throw error;
        }
      } else if (step === "create" && held) {
        cache.put("deployment", deployment(id, { cpu: running.get(id) ?? held.cpu, version }));
        running.set(id, running.get(id) ?? held.cpu);
      } else if (step === "release" && held) {
        held.reservation[Symbol.dispose]();
        reservations.delete(id);
      } else if ((step === "hibernate" || step === "delete") && running.has(id) && !held) {
        const end = step === "delete" ? { isDeleted: true } : { replicas: 0 };
        cache.put("deployment", deployment(id, { ...end, version }));
        running.delete(id);
      }
      const expected = new Map([
        ...[...reservations].map(([key, { cpu }]) => [key, cpu] as const),
        ...running,
      ]);
      const cores = [...expected.values()].reduce((sum, text) => sum + parseInt(text) / 1000, 0);
      const { usedSessions, usedCpu } = capacity.usage();
      assertEquals([usedSessions, usedCpu], [expected.size, cores]);
      if (usedSessions > 4 || usedCpu > 2) throw new Error(`${usedSessions} sessions use ${usedCpu} cores`);
    }
  }));
});
