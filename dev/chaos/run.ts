/**
 * One run: the plan is carried out on the stage, everything heals, and what is left is checked.
 * @module
 */
import { delay } from "@std/async";
import { check, type Evidence, type Findings, unanswered, type Violation } from "./checks.ts";
import { type Footprint, footprint } from "./footprint.ts";
import { History } from "./history.ts";
import { Performer } from "./performer.ts";
import { makePlan } from "./plan.ts";
import { SESSION_IDS } from "./planned_commands.ts";
import { AGENT_ID, type Stage } from "./stage.ts";

/** How a run is to be. */
export interface RunOptions {
  readonly seed: number;
  readonly durationMs: number;
  readonly tell: (line: string) => void;
  /** Ends the run. */
  readonly signal: AbortSignal;
}

/** What came of a run. */
export interface RunOutcome extends Findings {
  readonly performer: Performer;
  readonly history: History;
  readonly before: Footprint;
  readonly after: Footprint | undefined;
}

/**
 * Longest time from the end of the faults until all is answered and told: a watch that fell silent is given up after 40 s, a stop waits up
 * to 2 minutes.
 */
const SETTLE_MS = 200_000;
/** Longest time for the last stops, and for what then goes away by itself. */
const CLEAR_MS = 150_000;
/** Time between two looks at the cluster, in milliseconds. */
const LOOK_MS = 1000;
const IDLE_MS = 5000;
/** Longest time for the open files to become as few as those of a fresh agent. */
const REST_MS = 60_000;
/** Connections to the API server come and go by ones: the renewal of the lease, a watch that begins anew. */
const SPARE_FILES = 4;
/** A heap that grew under load is not given back at once; 100 sessions at a time take 95 MB more. */
const SPARE_MB = 80;

const JOURNAL = "k8s-agent-journal";
/** An answer that surely arrived is struck out a minute later; open is what has no answer. */
const RESULT = /"result":/;

/** Carries out a plan and checks what came of it. */
export async function runChaos(stage: Stage, options: RunOptions): Promise<RunOutcome> {
  const { seed, durationMs, tell, signal } = options;
  const history = new History(stage.controlPlane.messages);
  await using performer = new Performer(stage, { history, tell });
  const before = await footprintAtRest(stage, signal) ?? { openFiles: NaN, memoryMb: NaN };
  tell(`A fresh agent has ${before.openFiles} open files and ${before.memoryMb} MB`);

  const startedAt = performance.now();
  for (
    const { atMs, event } of makePlan({ seed, durationMs, freezesServer: stage.apiServer !== undefined })
  ) {
    await delay(Math.max(0, startedAt + atMs - performance.now()), { signal });
    performer.perform(event);
  }
  await performer.settled();
  stage.apiServer?.heal();
  for (const replica of stage.replicas) replica.heal();
  tell("Everything heals");

  const context = { stage, history, performer, tell, signal };
  const findings = await settle(context);
  const violations = [...findings.violations, ...await clear(context)];
  const after = await rest(before, context);
  violations.push(...checkFootprint(before, after));
  return { violations, excused: findings.excused, performer, history, before, after };
}

interface Context {
  readonly stage: Stage;
  readonly history: History;
  readonly performer: Performer;
  readonly tell: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Looks until nothing is wrong any more, or the time is up. */
async function settle(context: Context): Promise<Findings> {
  const { stage, history, tell, signal } = context;
  const deadline = performance.now() + SETTLE_MS;
  let told = "";
  while (true) {
    const findings = check(await evidence(context));
    const open = unanswered(history);
    const isConnected = await isAlive(stage);
    const violations = isConnected
      ? findings.violations
      : [...findings.violations, { text: "The agent does not answer a ping of the Control Plane" }];
    if (open.length === 0 && violations.length === 0) {
      tell("All is answered, and the cluster is as it should be");
      return findings;
    }
    const news = violations.map(({ text }) => text).join("\n");
    if (news !== told) tell(`Waiting, as ${violations.length} things are amiss:\n${news}`);
    told = news;
    const isFinal = open.length === 0 && violations.every((violation) => violation.isFinal);
    if (isFinal || performance.now() > deadline) return { ...findings, violations };
    await delay(LOOK_MS, { signal });
  }
}

/** Stops all sessions and waits until nothing is left. */
async function clear(context: Context): Promise<Violation[]> {
  const { stage, history, tell, signal } = context;
  tell("All sessions are stopped");
  const stops = SESSION_IDS.map((sessionId) => ({
    commandId: `c-last-${sessionId}`,
    action: "stop_session",
    sessionId,
    payload: { sessionId, deletePVC: true },
  }));
  const timeout = AbortSignal.any([signal, AbortSignal.timeout(CLEAR_MS)]);
  try {
    await stage.controlPlane.waitForConnection(AGENT_ID, { signal: timeout });
    stage.controlPlane.commandFrame(AGENT_ID, stops);
    for (const stop of stops) history.sent(stop);
    const results = await Promise.all(
      stops.map(({ commandId }) => stage.controlPlane.result(commandId, { signal: timeout })),
    );
    const failed = results.filter(({ type }) => type === "failed")
      .map(({ payload }) => ({
        text: `A last stop failed: ${payload.error}`,
        commandId: String(payload.commandId),
      }));
    return [...failed, ...await untilEmpty(stage, timeout)];
  } catch (error) {
    signal.throwIfAborted();
    return [{ text: `The last stops did not end: ${error instanceof Error ? error.message : error}` }];
  }
}

async function untilEmpty(stage: Stage, timeout: AbortSignal): Promise<Violation[]> {
  while (true) {
    const left = await leftovers(stage);
    if (left.length === 0) return [];
    try {
      await delay(LOOK_MS, { signal: timeout });
    } catch {
      return left;
    }
  }
}

async function leftovers({ administrator }: Stage): Promise<Violation[]> {
  const [sessions, journal] = [await administrator.sessions(), await administrator.configMap(JOURNAL)];
  return [
    ...[...sessions.keys()].map((sessionId) => ({
      text: `Something of session ${sessionId} is left after its stop`,
      sessionId,
    })),
    ...Object.values(journal).filter((entry) => entry.startsWith("{") && !RESULT.test(entry))
      .map((entry) => ({ text: `The journal holds a command without an answer: ${entry}` })),
  ];
}

/** Lets the leader rest until its files are those of a fresh one, or the time is up. */
async function rest(before: Footprint, { stage, tell, signal }: Context): Promise<Footprint | undefined> {
  tell("The agent rests");
  const deadline = performance.now() + REST_MS;
  while (true) {
    const after = await footprintAtRest(stage, signal);
    const isDone = after && after.openFiles <= before.openFiles + SPARE_FILES &&
      after.memoryMb <= before.memoryMb + SPARE_MB;
    if (isDone || performance.now() > deadline) return after;
  }
}

function checkFootprint(before: Footprint, after: Footprint | undefined): Violation[] {
  if (!after) return [{ text: "No agent leads at the end" }];
  const texts = [];
  if (after.openFiles > before.openFiles + SPARE_FILES) {
    texts.push(`The leader has ${after.openFiles} open files, a fresh one ${before.openFiles}`);
  }
  if (after.memoryMb > before.memoryMb + SPARE_MB) {
    texts.push(`The leader has ${after.memoryMb} MB, a fresh one ${before.memoryMb}`);
  }
  return texts.map((text) => ({ text }));
}

/**
 * What the leader holds after some idle seconds. The way to the API server is HTTP/1.1, on which each request of a burst has a connection of
 * its own that is kept for minutes: they are cut first, so that only what the agent itself holds is counted.
 */
async function footprintAtRest(stage: Stage, signal: AbortSignal): Promise<Footprint | undefined> {
  stage.find("leader")?.apiWay.cut();
  await delay(IDLE_MS, { signal });
  const pid = stage.find("leader")?.pid;
  return pid === undefined ? undefined : await footprint(pid);
}

async function evidence({ stage, history, performer }: Context): Promise<Evidence> {
  return {
    history,
    logbook: stage.logbook,
    problems: stage.controlPlane.problems,
    sessions: await stage.administrator.sessions(),
    silencedAt: performer.silencedAt,
  };
}

/** Whether the agent is connected and answers. */
async function isAlive({ controlPlane }: Stage): Promise<boolean> {
  const sentAt = controlPlane.messages.length;
  try {
    controlPlane.send(AGENT_ID, { type: "ping" });
    let seen = 0;
    await controlPlane.waitFor(({ type }) => seen++ >= sentAt && type === "pong", {
      signal: AbortSignal.timeout(5000),
    });
    return true;
  } catch {
    return false;
  }
}
