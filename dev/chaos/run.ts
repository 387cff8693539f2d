/**
 * One run: executes the plan, ends all faults, and checks the result.
 * @module
 */
import { delay } from "@std/async";
import { JOURNAL } from "../../lib/kubernetes/stores.ts";
import { check, type Evidence, type Findings, unanswered, type Violation } from "./checks.ts";
import { type Footprint, footprint, type Sample } from "./footprint.ts";
import { History } from "./history.ts";
import { Performer } from "./performer.ts";
import { nameOfRun } from "./logbook.ts";
import { makePlan } from "./plan.ts";
import { SESSION_IDS } from "./planned_commands.ts";
import { Random } from "./random.ts";
import { AGENT_ID, type Stage } from "./stage.ts";
import { type StreamCounts, StreamProbe } from "./stream_probe.ts";

/** Options of a run. */
export interface RunOptions {
  readonly seed: number;
  readonly durationMs: number;
  readonly log: (line: string) => void;
  /** Aborts the run. */
  readonly signal: AbortSignal;
}

/** The outcome of a run. */
export interface RunOutcome extends Findings {
  readonly performer: Performer;
  readonly streams: StreamCounts;
  readonly history: History;
  readonly before: Footprint;
  readonly after: Footprint | undefined;
  /** Footprints of the leader during the plan. */
  readonly samples: readonly Sample[];
}

/**
 * Longest time from the end of the faults until all results and statuses are received: a stalled watch is detected after 40 s, and a stop
 * waits up to 2 minutes.
 */
const SETTLE_MS = 200_000;
/** Longest time for the last stops and the garbage collection after them. */
const CLEAR_MS = 150_000;
/** Time between two checks, in milliseconds. */
const CHECK_INTERVAL_MS = 1000;
const IDLE_MS = 5000;
/** Longest time until the leader has no more open files than a fresh process. */
const IDLE_TIMEOUT_MS = 60_000;
/** Connections to the API server vary by a few, for example when a lease is renewed or a watch restarts. */
const SPARE_FILES = 4;
/** A heap that grew under load does not shrink immediately; 100 concurrent sessions take 95 MB more. */
const SPARE_MB = 80;

/** Longest and shortest time between two samples of the footprint; in short runs there are six. */
const MAX_SAMPLE_MS = 300_000;
const MIN_SAMPLE_MS = 10_000;
const SAMPLES = 6;

/** Results are removed from the journal a minute after they arrived; an entry of a command without one is unfinished. */
const UNFINISHED = /^\{"commandId":(?!.*"result":)/;

/** Executes a plan and checks the outcome. */
export async function runChaos(stage: Stage, options: RunOptions): Promise<RunOutcome> {
  const { seed, durationMs, log, signal } = options;
  const history = new History(stage.controlPlane.messages);
  await using performer = new Performer(stage, { history, log });
  const before = await footprintAtRest(stage, signal) ??
    { openFiles: NaN, memoryMb: NaN, anonymousMb: NaN };
  log(`A fresh agent has ${before.openFiles} open files and ${before.memoryMb} MB`);

  const probe = new StreamProbe(stage.controlPlane, { agentId: AGENT_ID, random: new Random(seed) });
  probe.start();
  const startedAt = performance.now();
  const samples: Sample[] = [];
  const intervalMs = Math.min(MAX_SAMPLE_MS, Math.max(MIN_SAMPLE_MS, durationMs / SAMPLES));
  for (
    const { atMs, event } of makePlan({ seed, durationMs, canFreezeServer: stage.apiServer !== undefined })
  ) {
    while ((samples.length + 1) * intervalMs <= atMs) {
      const nextMs = (samples.length + 1) * intervalMs;
      await delay(Math.max(0, startedAt + nextMs - performance.now()), { signal });
      samples.push({ atMs: nextMs, leader: await leaderUsage(stage) });
    }
    await delay(Math.max(0, startedAt + atMs - performance.now()), { signal });
    performer.perform(event);
  }
  await performer.settled();
  stage.apiServer?.heal();
  for (const replica of stage.replicas) replica.heal();
  await probe.stop();
  log("All faults end");

  const context = { stage, history, performer, log, signal };
  const findings = await settle(context);
  await probe.check();
  const violations = [...findings.violations, ...probe.violations, ...await clear(context)];
  const after = await rest(before, context);
  violations.push(...checkFootprint(before, after));
  return {
    violations,
    excused: findings.excused,
    performer,
    streams: probe.counts,
    history,
    before,
    after,
    samples,
  };
}

interface Context {
  readonly stage: Stage;
  readonly history: History;
  readonly performer: Performer;
  readonly log: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Checks until there are no violations, or until the timeout. */
async function settle(context: Context): Promise<Findings> {
  const { stage, history, log, signal } = context;
  const deadline = performance.now() + SETTLE_MS;
  let logged = "";
  while (true) {
    // First, so that the agent has received what was sent before.
    const isConnected = await isAlive(stage);
    const findings = check(await evidence(context));
    const open = unanswered(history);
    const violations = isConnected
      ? findings.violations
      : [...findings.violations, { text: "The agent does not answer a ping of the Control Plane" }];
    if (open.length === 0 && violations.length === 0) {
      log("All commands have results, and the cluster has the expected state");
      return findings;
    }
    const summary = violations.map(({ text }) => text).join("\n");
    if (summary !== logged) log(`Waiting, because of ${violations.length} violations:\n${summary}`);
    logged = summary;
    const isFinal = open.length === 0 && violations.every((violation) => violation.isFinal);
    if (isFinal || performance.now() > deadline) return { ...findings, violations };
    await delay(CHECK_INTERVAL_MS, { signal });
  }
}

/** Stops all sessions and waits until no object is left. */
async function clear(context: Context): Promise<Violation[]> {
  const { stage, history, log, signal } = context;
  log("Stopping all sessions");
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
        text: `One of the last stops failed: ${payload.error}`,
        commandId: String(payload.commandId),
      }));
    return [...failed, ...await waitUntilEmpty(stage, timeout)];
  } catch (error) {
    signal.throwIfAborted();
    return [{ text: `The last stops did not finish: ${error instanceof Error ? error.message : error}` }];
  }
}

async function waitUntilEmpty(stage: Stage, timeout: AbortSignal): Promise<Violation[]> {
  while (true) {
    const left = await leftovers(stage);
    if (left.length === 0) return [];
    try {
      await delay(CHECK_INTERVAL_MS, { signal: timeout });
    } catch {
      return left;
    }
  }
}

async function leftovers({ administrator }: Stage): Promise<Violation[]> {
  const [sessions, journal] = [await administrator.sessions(), await administrator.configMap(JOURNAL)];
  return [
    ...[...sessions.keys()].map((sessionId) => ({
      text: `Session ${sessionId} has objects left after its stop`,
      sessionId,
    })),
    ...Object.values(journal).filter((entry) => UNFINISHED.test(entry))
      .map((entry) => ({ text: `The journal has a command without a result: ${entry}` })),
  ];
}

/** Waits until the leader has the footprint of a fresh process, or until the timeout. */
async function rest(before: Footprint, { stage, log, signal }: Context): Promise<Footprint | undefined> {
  log("Waiting until the agent is idle");
  const deadline = performance.now() + IDLE_TIMEOUT_MS;
  while (true) {
    const after = await footprintAtRest(stage, signal);
    const isDone = after && after.openFiles <= before.openFiles + SPARE_FILES &&
      after.memoryMb <= before.memoryMb + SPARE_MB;
    if (isDone || performance.now() > deadline) return after;
  }
}

function checkFootprint(before: Footprint, after: Footprint | undefined): Violation[] {
  if (!after) return [{ text: "No replica is the leader at the end" }];
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
 * The footprint of the leader after some idle seconds. The proxy to the API server uses HTTP/1.1, where each request of a burst has its own
 * connection, which stays open for minutes. They are cut first, so that only the connections of the agent itself are counted.
 */
async function footprintAtRest(stage: Stage, signal: AbortSignal): Promise<Footprint | undefined> {
  stage.find("leader")?.apiConnection.cut();
  await delay(IDLE_MS, { signal });
  const pid = stage.find("leader")?.pid;
  return pid === undefined ? undefined : await footprint(pid);
}

/** The footprint of the leader at this moment. */
async function leaderUsage(stage: Stage): Promise<Sample["leader"]> {
  const { run, pid } = stage.find("leader") ?? {};
  if (!run || pid === undefined) return undefined;
  try {
    return { name: nameOfRun(run), usage: await footprint(pid) };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined; // It was killed at this moment.
    throw error;
  }
}

async function evidence({ stage, history, performer }: Context): Promise<Evidence> {
  return {
    history,
    logbook: stage.logbook,
    problems: stage.controlPlane.problems,
    sessions: await stage.administrator.sessions(),
    stalledAt: performer.stalledAt,
  };
}

/** Whether the agent is connected and answers a ping. */
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
