/**
 * Metrics and traces of commands: counts, durations, and the phases of starts and wakes. The phase is derived from the session's cached objects each
 * time they change, which needs no request.
 * @module
 */
import type { V1Pod } from "@kubernetes/client-node";
import type { CommandObserver, Operations } from "../commands/interfaces.ts";
import { COMMAND_FAILURES, failureCode } from "../common/errors.ts";
import { conditionOf, wantsPod } from "../kubernetes/objects.ts";
import type { SessionObjects } from "../kubernetes/session_cache.ts";
import { ACTIONS, type SessionRequest } from "../model/requests.ts";
import { CAUSES } from "../status/causes.ts";
import { currentPod, isReady } from "../status/readiness.ts";
import type { Meter } from "./metrics.ts";
import { CommandTrace } from "./traces.ts";

/**
 * Phases of a start or wake, in order: waiting for earlier commands and for a free slot; creating or scaling objects; waiting for a node; pulling images,
 * mounting volumes and starting containers; waiting for the running container to become ready.
 */
const START_PHASES = ["queue", "objects", "scheduling", "pulling", "ready"] as const;

/** One of the {@linkcode START_PHASES}. */
type StartPhase = (typeof START_PHASES)[number];

/** Phase of a session, or `served` after the last phase. */
type Progress = StartPhase | "served";

const PROGRESS: readonly string[] = [...START_PHASES, "served"];

/** Phase of a session whose start or wake is running, by its objects. */
export function phaseOf({ deployment, pods }: SessionObjects): Progress {
  if (!wantsPod(deployment)) return "objects";
  const pod = currentPod(pods);
  if (!pod || !isScheduled(pod)) return "scheduling";
  if (isReady(pod)) return "served";
  return isRunning(pod) ? "ready" : "pulling";
}

function isScheduled(pod: V1Pod): boolean {
  const condition = conditionOf(pod, "PodScheduled");
  return condition ? condition.status === "True" : Boolean(pod.spec?.nodeName);
}

function isRunning({ status }: V1Pod): boolean {
  const containers = status?.containerStatuses ?? [];
  return containers.length > 0 && containers.every(({ state }) => state?.running);
}

/** A command without a result. Times are those of `performance.now()`. */
interface OpenCommand {
  readonly action: string;
  readonly receivedAt: number;
  readonly trace: CommandTrace;
  sessionId: string;
  /** Start of each phase so far, in order; empty if the phases are not measured. */
  readonly phases: Array<{ readonly name: Progress; readonly since: number }>;
}

/** A command that was received longer ago was received by an earlier process, so that its phases are not known; milliseconds. */
const RECENT_MS = 1000;

/** Measures all commands. */
export class CommandTelemetry implements CommandObserver {
  readonly #meter: Meter;
  readonly #open = new Map<string, OpenCommand>();
  /** Session id → the start or wake that is running. */
  readonly #starting = new Map<string, OpenCommand>();

  constructor(meter: Meter) {
    this.#meter = meter;
    const action = [...ACTIONS, "unknown"];
    const outcome = ["complete", "failed", "handed_over"];
    const reason = [...Object.keys(CAUSES), ...COMMAND_FAILURES, "internal"];
    meter.initialize("commandsReceived", { action });
    meter.initialize("commands", { action, outcome });
    meter.initialize("commandFailures", { action, reason });
  }

  /** Number of commands without a result. */
  get open(): number {
    return this.#open.size;
  }

  received(commandId: string, command: { readonly action: string; readonly receivedAt: number }): void {
    // Only known actions become label values, as the action comes from a payload.
    const action = ACTIONS.find((known) => known === command.action) ?? "unknown";
    const now = performance.now();
    const ageMs = Math.max(0, Date.now() - command.receivedAt);
    const trace = new CommandTrace(action, { commandId, receivedAt: command.receivedAt });
    const open: OpenCommand = { action, receivedAt: now - ageMs, trace, sessionId: "", phases: [] };
    this.#open.set(commandId, open);
    this.#meter.count("commandsReceived", { action });
    if (isStart(action) && ageMs < RECENT_MS) enterPhase(open, "queue");
  }

  started(commandId: string, { sessionId }: SessionRequest): void {
    const open = this.#open.get(commandId);
    if (!open) return;
    open.sessionId = sessionId;
    open.trace.setSession(sessionId);
    if (open.phases.length > 0) this.#starting.set(sessionId, open);
  }

  admitted(commandId: string): void {
    const open = this.#open.get(commandId);
    if (open && open.phases.length > 0) enterPhase(open, "objects");
  }

  /** Wraps operations so that each one runs in the trace of its command, and its requests become child spans. */
  trace(operations: Operations): Operations {
    return {
      earlierOutcome: (request, commandId) => operations.earlierOutcome(request, commandId),
      reportFailedStart: (...args) => operations.reportFailedStart(...args),
      run: (request, context) => {
        const run = () => operations.run(request, context);
        return this.#open.get(context.commandId)?.trace.within(run) ?? run();
      },
    };
  }

  /** Updates the phase of a running start or wake after the objects of its session changed. */
  onSessionChange(sessionId: string, objects: () => SessionObjects): void {
    const open = this.#starting.get(sessionId);
    if (!open) return;
    const phase = phaseOf(objects());
    // The phase "objects" begins with admitted(): before that, the command waits in the queue.
    if (phase !== "objects") enterPhase(open, phase);
  }

  ended(commandId: string, outcome: "complete" | "failed" | "handed_over", error?: unknown): void {
    const open = this.#open.get(commandId);
    if (!open) return;
    this.#open.delete(commandId);
    if (this.#starting.get(open.sessionId) === open) this.#starting.delete(open.sessionId);
    const { action } = open;
    const seconds = (performance.now() - open.receivedAt) / 1000;
    this.#meter.count("commands", { action, outcome });
    if (outcome === "handed_over") return open.trace.end(outcome);
    this.#meter.observe("commandSeconds", { action, outcome }, { seconds });
    if (outcome === "failed") {
      const reason = failureCode(error);
      this.#meter.count("commandFailures", { action, reason });
      return open.trace.end(outcome, { reason, error });
    }
    this.#observePhases(open);
    open.trace.end(outcome);
  }

  /** Records the phases of a completed start; a phase that the watch did not show took no time. */
  #observePhases({ action, phases }: OpenCommand): void {
    if (phases.length === 0) return;
    const now = performance.now();
    const durationsMs = new Map(
      phases.map(({ name, since }, index) => [name, (phases[index + 1]?.since ?? now) - since]),
    );
    for (const phase of START_PHASES) {
      const seconds = (durationsMs.get(phase) ?? 0) / 1000;
      this.#meter.observe("phaseSeconds", { action, phase }, { seconds });
    }
  }
}

/** Advances to a later phase, never back to an earlier one, such as when a pod is replaced. */
function enterPhase({ phases, trace }: OpenCommand, name: Progress): void {
  const current = phases.at(-1)?.name;
  if (current !== undefined && PROGRESS.indexOf(name) <= PROGRESS.indexOf(current)) return;
  phases.push({ name, since: performance.now() });
  if (name === "served") trace.endPhase();
  else trace.startPhase(name);
}

function isStart(action: string): boolean {
  return action === "start_session" || action === "wake_session";
}
