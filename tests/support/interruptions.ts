/**
 * Commands that are interrupted at a chosen point: the agent's next request is held by a proxy while the test kills or stops the agent.
 * @module
 */
import { assertEquals } from "@std/assert";
import type { ClusterKind, TestCluster } from "./clusters.ts";
import type { Proxies } from "./proxies.ts";
import { type AnyStage, onEachCluster, START } from "./stage.ts";

/** A point in the execution of a command. */
interface Point {
  readonly name: string;
  /** Holds the request at that point, and resolves when the command has reached it. */
  readonly hold: (proxies: Proxies) => Promise<unknown>;
  /** Whether the command is in the journal at that point. @default {true} */
  readonly isRecorded?: boolean;
}

/** An action and the points at which it can be interrupted. */
interface Action {
  readonly action: string;
  /** Actions that bring a session into the state that this one needs. */
  readonly before: readonly string[];
  /** State of the session afterwards. */
  readonly state: string;
  /** Kinds of the session's objects afterwards. */
  readonly kinds: readonly string[];
  readonly points: readonly Point[];
}

/** An action that was interrupted. */
export interface Interrupted extends Action {
  readonly point: Point;
  readonly sessionId: string;
  readonly commandId: string;
}

/** The request does not reach the server. */
export function beforeRequest(kind: string): Point["hold"] {
  return (proxies) => proxies.hang(kind);
}

/** The server has carried out the request, and the response does not reach the agent. */
export function afterRequest(kind: string): Point["hold"] {
  return (proxies) => proxies.holdBack(kind);
}

/** The agent has the response, and no watch event reaches it. */
function waitingAfter(kind: string): Point["hold"] {
  return (proxies) => {
    proxies.api.silenceWatches();
    return proxies.holdBack(kind, 0);
  };
}

function both(one: Point["hold"], other: Point["hold"]): Point["hold"] {
  return (proxies) => Promise.all([one(proxies), other(proxies)]);
}

/** Holds as the second point does, after the request was sent. */
function later(request: string, hold: Point["hold"]): Point["hold"] {
  return async (proxies) => {
    await proxies.next(request);
    await hold(proxies);
  };
}

/** The end of a command whose result is in the journal before it is sent. */
function last(request: string): readonly Point[] {
  return [
    { name: "before its result is recorded", hold: later(request, beforeRequest("patch configmaps")) },
    { name: "before its result is sent", hold: later(request, afterRequest("patch configmaps")) },
  ];
}

const FIRST: readonly Point[] = [
  { name: "before it is recorded", hold: beforeRequest("patch configmaps"), isRecorded: false },
  { name: "before its ack", hold: afterRequest("patch configmaps") },
];

function scalingPoints(awaited: string): readonly Point[] {
  return [
    { name: "before it scales", hold: beforeRequest("patch deployments") },
    { name: "after it scaled, without the response", hold: afterRequest("patch deployments") },
    { name: `while it waits for ${awaited}`, hold: waitingAfter("patch deployments") },
  ];
}

/** All four actions. */
export const ACTIONS: readonly Action[] = [
  {
    action: "start_session",
    before: [],
    state: "running",
    kinds: ["Deployment", "Pod", "Service"],
    points: [
      ...FIRST,
      {
        name: "after its first object",
        hold: both(waitingAfter("create services"), beforeRequest("create deployments")),
      },
      { name: "after its Deployment, without the response", hold: afterRequest("create deployments") },
      { name: "while it waits for the pod", hold: waitingAfter("create deployments") },
    ],
  },
  {
    action: "hibernate_session",
    before: ["start_session"],
    state: "hibernated",
    kinds: ["Deployment", "Service"],
    points: [...FIRST, ...scalingPoints("the end of the pod"), ...last("patch deployments")],
  },
  {
    action: "wake_session",
    before: ["start_session", "hibernate_session"],
    state: "running",
    kinds: ["Deployment", "Pod", "Service"],
    points: [...FIRST, ...scalingPoints("the pod"), ...last("patch deployments")],
  },
  {
    action: "stop_session",
    before: ["start_session"],
    state: "terminated",
    kinds: [],
    points: [
      ...FIRST,
      { name: "before it deletes", hold: beforeRequest("delete deployments") },
      { name: "after it deleted, without the response", hold: afterRequest("delete deployments") },
      { name: "while it waits for the end of the objects", hold: waitingAfter("delete deployments") },
      ...last("delete deployments"),
    ],
  },
];

/** Registers a test that interrupts an action at each of its points, one after the other. */
export function testInterruptions<SomeStage extends AnyStage>(
  action: Action,
  { name, kinds, open, then }: {
    name: string;
    kinds?: readonly ClusterKind[];
    open: (cluster: TestCluster, options: { throughProxies: true }) => Promise<SomeStage>;
    then: (stage: SomeStage, interrupted: Interrupted) => Promise<void>;
  },
): void {
  onEachCluster(name, async (cluster, context) => {
    await using stage = await open(cluster, { throughProxies: true });
    for (const [index, point] of action.points.entries()) {
      await context.step(point.name, async () => {
        await then(stage, await interrupt(stage, { action, point, sessionId: `s${index}` }));
      });
    }
  }, kinds);
}

async function interrupt(
  stage: AnyStage,
  { action, point, sessionId }: { action: Action; point: Point; sessionId: string },
): Promise<Interrupted> {
  for (const earlier of action.before) await stage.command(earlier, { sessionId, ...START });
  const reached = point.hold(stage.proxies);
  const commandId = stage.send(action.action, { sessionId, ...START });
  await reached;
  return { ...action, point, sessionId, commandId };
}

/** Lets all requests and watch events pass again. */
export function release({ proxies: { api } }: AnyStage): void {
  api.clearFaults();
  api.endWatches();
}

/** Asserts that the command has one result, and that cluster and Control Plane agree on the session's state. */
export async function assertCompleted(
  stage: AnyStage,
  { state, kinds, sessionId, commandId }: Interrupted,
): Promise<void> {
  const { type, payload } = await stage.controlPlane.result(commandId);
  assertEquals(type, "complete", String(payload.error));
  await stage.untilState(sessionId, state);
  const left = (await stage.cluster.leftovers()).filter((name) =>
    name.split("/")[1]?.split("-")[0] === sessionId
  );
  assertEquals(left.map((name) => name.split("/")[0]), [...kinds]);
  // A second, different result is a problem, as is an ack after a result.
  assertEquals([...stage.controlPlane.problems], []);
}
