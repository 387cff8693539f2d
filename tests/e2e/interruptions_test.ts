import { assert, assertEquals } from "@std/assert";
import { type ClusterKind, MEMORY, type TestCluster } from "../support/clusters.ts";
import type { Proxies } from "../support/proxies.ts";
import { AGENT_ID, type AnyStage, killAndRestart, onEachCluster, Stage, START } from "../support/stage.ts";

/** A moment in the life of a command: lays the trap, and resolves when the command is in it. */
interface Moment {
  readonly name: string;
  readonly reach: (proxies: Proxies) => Promise<unknown>;
  /** Whether the agent has written the command down by then. @default {true} */
  readonly isWritten?: boolean;
}

/** An action, the state that it leads to, and the moments at which it can be interrupted. */
interface Action {
  readonly action: string;
  readonly before: readonly string[];
  readonly state: string;
  readonly kinds: readonly string[];
  readonly moments: readonly Moment[];
}

/** The server never hears of the request. */
function asking(what: string): Moment["reach"] {
  return (proxies) => proxies.hang(what);
}

/** The server has carried the request out, and the agent does not hear of it. */
function done(what: string): Moment["reach"] {
  return (proxies) => proxies.holdBack(what);
}

/** The request is answered, and of what follows from it the agent hears nothing. */
function waitingAfter(what: string): Moment["reach"] {
  return (proxies) => {
    proxies.api.silenceWatches();
    return proxies.holdBack(what, 0);
  };
}

const FIRST: readonly Moment[] = [
  { name: "before it is written down", reach: asking("patch configmaps"), isWritten: false },
  { name: "before its ack", reach: done("patch configmaps") },
];
const LAST: readonly Moment[] = [
  { name: "before its outcome is recorded", reach: asking("patch services") },
  { name: "before its answer is sent", reach: done("patch services") },
];

/** What can be interrupted between what is written down at first and at last, where replicas change from or to none. */
function scalingMoments(awaited: string): readonly Moment[] {
  return [
    { name: "before it scales", reach: asking("patch deployments") },
    { name: "after it scaled, of which it does not know", reach: done("patch deployments") },
    { name: `while it waits for ${awaited}`, reach: waitingAfter("patch deployments") },
  ];
}

const ACTIONS: readonly Action[] = [
  {
    action: "start_session",
    before: [],
    state: "running",
    kinds: ["Deployment", "Pod", "Service"],
    moments: [
      ...FIRST,
      {
        name: "after its first object",
        reach: both(waitingAfter("create services"), asking("create deployments")),
      },
      { name: "after its Deployment, of which it does not know", reach: done("create deployments") },
      { name: "while it waits for the pod", reach: waitingAfter("create deployments") },
      ...LAST,
    ],
  },
  {
    action: "hibernate_session",
    before: ["start_session"],
    state: "hibernated",
    kinds: ["Deployment", "Service"],
    moments: [...FIRST, ...scalingMoments("the end of the pod"), ...LAST],
  },
  {
    action: "wake_session",
    before: ["start_session", "hibernate_session"],
    state: "running",
    kinds: ["Deployment", "Pod", "Service"],
    moments: [...FIRST, ...scalingMoments("the pod"), ...LAST],
  },
  {
    action: "stop_session",
    before: ["start_session"],
    state: "terminated",
    kinds: [],
    moments: [
      ...FIRST,
      { name: "before it deletes", reach: asking("delete deployments") },
      { name: "after it deleted, of which it does not know", reach: done("delete deployments") },
      { name: "while it waits for the end of the objects", reach: waitingAfter("delete deployments") },
      {
        name: "before its answer is written down",
        reach: thenAsking("delete deployments", "patch configmaps"),
      },
    ],
  },
];

function both(one: Moment["reach"], other: Moment["reach"]): Moment["reach"] {
  return (proxies) => Promise.all([one(proxies), other(proxies)]);
}

/** The trap for the second request is laid once the first one came. */
function thenAsking(first: string, second: string): Moment["reach"] {
  return async (proxies) => {
    await proxies.next(first);
    await asking(second)(proxies);
  };
}

/** An action that was interrupted at a moment. */
interface Interrupted extends Action {
  readonly moment: Moment;
  readonly sessionId: string;
  readonly commandId: string;
}

/** Brings a session into the state that an action needs, and the action to a moment. */
async function interrupt(
  stage: AnyStage,
  { action, moment, sessionId }: { action: Action; moment: Moment; sessionId: string },
): Promise<Interrupted> {
  for (const earlier of action.before) await stage.command(earlier, { sessionId, ...START });
  const reached = moment.reach(stage.proxies);
  const commandId = stage.send(action.action, { sessionId, ...START });
  await reached;
  return { ...action, moment, sessionId, commandId };
}

/** Lets all requests and watches pass again. */
function release({ proxies: { api } }: AnyStage): void {
  api.clearFaults();
  api.endWatches();
}

/** The command has its answer, and session and Control Plane are where it leads. */
async function assertDone(
  stage: AnyStage,
  { state, kinds, sessionId, commandId }: Interrupted,
): Promise<void> {
  const { type, payload } = await stage.controlPlane.result(commandId, {
    signal: AbortSignal.timeout(30_000),
  });
  assertEquals(type, "complete", String(payload.error));
  await stage.untilState(sessionId, state);
  const left = (await stage.cluster.leftovers()).filter((name) =>
    name.split("/")[1]?.split("-")[0] === sessionId
  );
  assertEquals(left.map((name) => name.split("/")[0]), [...kinds]);
  // A second, different answer is a problem, as is an ack after an answer.
  assertEquals([...stage.controlPlane.problems], []);
}

/** Registers a test that interrupts an action at each of its moments. */
function interrupting<SomeStage extends AnyStage>(
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
    for (const [index, moment] of action.moments.entries()) {
      await context.step(moment.name, async () => {
        await then(stage, await interrupt(stage, { action, moment, sessionId: `s${index}` }));
      });
    }
  }, kinds);
}

for (const action of ACTIONS) {
  interrupting(action, {
    name: `R6 an agent killed in a ${action.action} leaves it to the next one`,
    open: Stage.startProcess,
    then: async (stage, interrupted) => {
      const { moment, action, sessionId, commandId } = interrupted;
      // What hangs is not let go: the server hears nothing more from an agent that is dead.
      await killAndRestart(stage);
      if (moment.isWritten === false) {
        const { controlPlane } = stage;
        assert(!controlPlane.messages.some(({ message }) => message.payload.commandId === commandId));
        // Of a command that was never acknowledged the Control Plane knows that, and sends it again.
        controlPlane.command(AGENT_ID, { action, sessionId, payload: START, commandId });
      }
      await assertDone(stage, interrupted);
    },
  });

  interrupting(action, {
    name: `R6 an agent told to stop in a ${action.action} finishes it first`,
    kinds: [MEMORY],
    open: (cluster, options) => Stage.start(cluster, { ...options, args: ["--drain-timeout=25s"] }),
    then: async (stage, interrupted) => {
      stage.agent.stop();
      await stage.agent.line(/Stopping: no new commands/);
      release(stage);
      await stage.agent.ended();
      await assertDone(stage, interrupted);
      const { length } = stage.controlPlane.messages;
      await stage.startNext();
      await stage.command("hibernate_session", { sessionId: "nobody" });
      // What was answered in the very last moment may be overwritten: it is said again, and is not done again.
      const later = stage.controlPlane.messages.slice(length).map(({ message }) => message)
        .filter(({ payload }) => payload.commandId === interrupted.commandId);
      assert(later.every(({ type }) => type === "complete"));
      assertEquals([...stage.controlPlane.problems], []);
    },
  });
}

onEachCluster(
  "R6 an agent killed after it answered two commands of one session repeats neither",
  async (cluster) => {
    await using stage = await Stage.startProcess(cluster, { throughProxies: true });
    const sessionId = "s1";
    await stage.command("start_session", { sessionId, ...START });
    const atWork = done("patch deployments")(stage.proxies);
    const ids = [stage.send("hibernate_session", { sessionId })];
    await atWork;
    ids.push(stage.send("wake_session", { sessionId }));
    await stage.controlPlane.waitFor(({ type, payload }) => type === "ack" && payload.commandId === ids[1]);
    release(stage);
    const results = await Promise.all(ids.map((id) => stage.controlPlane.result(id)));
    assertEquals(results.map(({ type }) => type), ["complete", "complete"]);
    const scaled = stage.requestCount("patch deployments");
    await killAndRestart(stage);
    // It has its turn after what the killed agent may have left.
    await stage.command("wake_session", { sessionId });
    assertEquals(stage.requestCount("patch deployments"), scaled);
    assertEquals([...stage.controlPlane.problems], []);
  },
);

onEachCluster(
  "R6 an agent that has no time to stop ends also where a command is still being written down",
  async (cluster) => {
    const args = ["--drain-timeout=0s", "--start-timeout=1h"];
    await using stage = await Stage.start(cluster, { throughProxies: true, args });
    const writing = asking("patch configmaps")(stage.proxies);
    const start = stage.send("start_session", { ...START, sessionId: "s1", template: "stuck" });
    await writing;
    stage.agent.stop();
    await stage.controlPlane.waitFor(({ payload }) => payload.status === "draining");
    release(stage);
    await stage.agent.ended();
    assertEquals(stage.results(start), []);
    await stage.startNext();
    await stage.command("stop_session", { sessionId: "s1" });
    assertEquals(stage.results(start), ["failed"]);
  },
);

onEachCluster(
  "R6 a start that is more than the next process may give fails, and leaves nothing behind",
  async (cluster) => {
    await using stage = await Stage.startProcess(cluster, { args: ["--max-cpu=4"] });
    const start = stage.send("start_session", { ...START, sessionId: "s1", template: "stuck", cpu: "3" });
    await stage.controlPlane.waitFor(() => stage.messages("s1").length > 0);
    await killAndRestart(stage, { args: ["--max-cpu=2"] });
    const { payload } = await stage.controlPlane.result(start);
    assertEquals(
      payload.error,
      'Cannot start session "s1": template "stuck": "cpu" must be at most 2 cores, the limit of this agent, but is "3"',
    );
    await stage.untilState("s1", "failed");
    await cluster.untilEmpty();
  },
);
