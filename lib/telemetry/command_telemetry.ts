/**
 * What becomes of each command, counted, timed and traced. How far a start has come is read from the sessions' objects as they change, which
 * costs no request and is as exact as the watch is fast. Of a command that an earlier process received no phases are timed.
 * @module
 */
import { CAUSES } from "../status/causes.ts";
import { COMMAND_FAILURES, failureCode } from "../common/errors.ts";
import type { SessionObjects } from "../kubernetes/session_cache.ts";
import type { CommandObserver, Operations } from "../commands/dispatcher.ts";
import { ACTIONS, type SessionRequest } from "../model/requests.ts";
import { CommandTrace } from "./command_trace.ts";
import type { Meter } from "./meter.ts";
import { phaseOf, START_PHASES, type StartPhase } from "./start_phase.ts";

/** A command that has no answer yet. */
interface OpenCommand {
  readonly action: string;
  /** By `performance.now()`, as all times here. */
  readonly receivedAt: number;
  readonly trace: CommandTrace;
  sessionId: string;
  /** When each phase began, in order. */
  readonly phases: Array<{ readonly name: StartPhase | "served"; readonly since: number }>;
}

/** Older ones are of an earlier process, in milliseconds. */
const JUST_RECEIVED_MS = 1000;

/** Sees all commands. */
export class CommandTelemetry implements CommandObserver {
  readonly #meter: Meter;
  readonly #open = new Map<string, OpenCommand>();
  /** Session id → the start or wake that is at work on it. */
  readonly #starting = new Map<string, OpenCommand>();

  constructor(meter: Meter) {
    this.#meter = meter;
    const action = [...ACTIONS, "unknown"];
    const outcome = ["complete", "failed", "handed_over"];
    const reason = [...Object.keys(CAUSES), ...COMMAND_FAILURES, "internal"];
    meter.begin("commandsReceived", { action });
    meter.begin("commands", { action, outcome });
    meter.begin("commandFailures", { action, reason });
  }

  /** How many commands are not answered yet. */
  get open(): number {
    return this.#open.size;
  }

  received(commandId: string, command: { readonly action: string; readonly receivedAt: number }): void {
    const action = ACTIONS.find((known) => known === command.action) ?? "unknown";
    const now = performance.now();
    const agoMs = Math.max(0, Date.now() - command.receivedAt);
    const trace = new CommandTrace(action, { commandId, receivedAt: command.receivedAt });
    const open: OpenCommand = { action, receivedAt: now - agoMs, trace, sessionId: "", phases: [] };
    this.#open.set(commandId, open);
    this.#meter.count("commandsReceived", { action });
    if (isStart(action) && agoMs < JUST_RECEIVED_MS) enter(open, "queue");
  }

  started(commandId: string, { sessionId }: SessionRequest): void {
    const open = this.#open.get(commandId);
    if (!open) return;
    open.sessionId = sessionId;
    open.trace.session(sessionId);
    if (open.phases.length > 0) this.#starting.set(sessionId, open);
  }

  admitted(commandId: string): void {
    const open = this.#open.get(commandId);
    if (open && open.phases.length > 0) enter(open, "objects");
  }

  /** Does a command's work as a part of its trace. */
  within<T>(commandId: string, work: () => T): T {
    return this.#open.get(commandId)?.trace.within(work) ?? work();
  }

  /** Wraps operations so that each one runs as a part of its command's trace. */
  trace(operations: Operations): Operations {
    return {
      recordedOutcome: (sessionId, commandId) => operations.recordedOutcome(sessionId, commandId),
      run: (request, context) => this.within(context.commandId, () => operations.run(request, context)),
    };
  }

  /** A session's objects changed. */
  look(sessionId: string, objects: () => SessionObjects): void {
    const open = this.#starting.get(sessionId);
    if (!open) return;
    const phase = phaseOf(objects());
    // Until its turn comes, it waits for that.
    if (phase !== "objects") enter(open, phase);
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

  /** Those of a start that came to its end; one that was over before it could be seen took no time. */
  #observePhases({ action, phases }: OpenCommand): void {
    if (phases.length === 0) return;
    const now = performance.now();
    const spentMs = new Map(
      phases.map(({ name, since }, index) => [name, (phases[index + 1]?.since ?? now) - since]),
    );
    for (const phase of START_PHASES) {
      const seconds = (spentMs.get(phase) ?? 0) / 1000;
      this.#meter.observe("phaseSeconds", { action, phase }, { seconds });
    }
  }
}

const ORDER: readonly string[] = [...START_PHASES, "served"];

/** Goes on to a later phase; never back, such as when a pod is replaced. */
function enter({ phases, trace }: OpenCommand, name: StartPhase | "served"): void {
  const current = phases.at(-1)?.name;
  if (current !== undefined && ORDER.indexOf(name) <= ORDER.indexOf(current)) return;
  phases.push({ name, since: performance.now() });
  if (name === "served") trace.endPhase();
  else trace.phase(name);
}

function isStart(action: string): boolean {
  return action === "start_session" || action === "wake_session";
}
