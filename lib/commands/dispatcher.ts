/**
 * Receives commands, records each in the journal, acknowledges it and runs it: the commands of one session one after the other, sessions in
 * parallel. Every command gets exactly one result. A command that is not finished when the process ends stays in the journal, and the next
 * process resumes it.
 * @module
 */
import { abortable, deadline } from "@std/async";
import { type Command, completed, failed } from "../control_plane/protocol.ts";
import type { Reporter } from "../control_plane/reporter.ts";
import { CommandError, failureCode, messageOf } from "../common/errors.ts";
import { log } from "../common/log.ts";
import { formatDuration } from "../common/quantities.ts";
import type { RequestLimits } from "../model/settings.ts";
import { CommandResults } from "./command_results.ts";
import type { Journal, JournalEntry } from "./journal.ts";
import type { CommandObserver, CommandTask, Operations, RepairRequest, Task } from "./interfaces.ts";
import { Lanes } from "./lanes.ts";
import { PendingStops } from "./pending_stops.ts";
import type { BusySessions } from "../status/busy_sessions.ts";
import { parseRequest, sessionIdOf } from "../sessions/requests.ts";
import type { SessionRequest } from "../model/requests.ts";

/** What a dispatcher needs. */
export interface DispatcherOptions {
  readonly journal: Journal;
  readonly reporter: Reporter;
  /** Where the sessions of queued and running commands are marked. */
  readonly busy: BusySessions;
  readonly limits: RequestLimits;
  /** Longest wait for cancelled commands to clean up, in milliseconds. */
  readonly cancelMs: number;
  /** Whether this process is still the leader; if not, another process sends the results. @default {always} */
  readonly isLeading?: () => boolean;
  readonly observer?: CommandObserver;
}

/** Limits for resumed commands: they were accepted, so that the operation decides, fails if it must, and removes what it created. */
const NO_LIMITS: RequestLimits = { maxCpu: Infinity, maxMemory: Infinity };

const stopping = () => new CommandError("draining", "cancelled because the agent is stopping");
const handedOver = () => new CommandError("handed_over", "left to the agent's next process");

/** Turns commands into operations and their outcomes into reports. */
export class Dispatcher {
  readonly #operations: Operations;
  readonly #options: DispatcherOptions;
  readonly #lanes: Lanes<Task>;
  readonly #results: CommandResults;
  /** Stops that the journal is writing, and those that are left to the next process. */
  readonly #pendingStops: PendingStops;
  /** Commands that the journal is writing. */
  readonly #accepting = new Set<Promise<void>>();
  /** Settles once the newest command is accepted or rejected. */
  #lastAccepted: Promise<void> = Promise.resolve();
  #isDraining = false;
  #isHandedOver = false;

  constructor(operations: Operations, options: DispatcherOptions) {
    this.#operations = operations;
    this.#options = options;
    const { journal, reporter, busy, observer } = options;
    this.#results = new CommandResults({
      journal,
      reporter,
      onResult: ({ type, payload }, error) => observer?.ended(payload.commandId, type, error),
    });
    this.#lanes = new Lanes(busy);
    this.#pendingStops = new PendingStops({ busy, reporter });
  }

  /** Whether new commands are left to the next process. */
  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** Accepts a command; returns before it is recorded or run. A repeated command only repeats its result. */
  receive(command: Command): void {
    const { commandId, action } = command;
    const { reporter, observer } = this.#options;
    const known = this.#results.get(commandId);
    reporter.commandReceived(commandId);
    if (known === "pending") return;
    if (known) return reporter.result(known);
    log.info("Command {commandId}: {action}", { commandId, action });
    observer?.received(commandId, { action, receivedAt: Date.now() });
    this.#results.add(commandId);
    const accepted = this.#accept(command, this.#lastAccepted).finally(() =>
      this.#accepting.delete(accepted)
    );
    this.#accepting.add(accepted);
    this.#lastAccepted = accepted;
  }

  /**
   * Queues a request of the agent itself. Like a command, it runs after the earlier commands of its session, and a later stop cancels it.
   *
   * @throws what `work` throws, or a {@linkcode CommandError} with failure `draining`
   */
  async insert(
    request: SessionRequest | RepairRequest,
    work: (signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    if (this.#isDraining) throw stopping();
    const cancel = new AbortController();
    // An infinite `spentMs` marks it as older than every command, so that it never supersedes a resumed one.
    const task = { commandId: "", request, spentMs: Infinity, cancel };
    await this.#lanes.take(request.sessionId, task, async () => {
      cancel.signal.throwIfAborted();
      using _work = this.#options.busy.markUnrecordedWork();
      await work(cancel.signal);
    });
  }

  /** Queues a repair of a session, like {@linkcode insert}. */
  async insertRepair(sessionId: string, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    await this.insert({ action: "repair_session", sessionId }, work);
  }

  /** Resumes the commands of the previous process: sends results that may not have arrived, and runs what was not finished. */
  resume(entries: readonly JournalEntry[]): void {
    for (const { commandId, receivedAt, request, result } of entries) {
      // The Control Plane sent it again before the journal could be read.
      if (this.#results.get(commandId)) continue;
      this.#results.add(commandId, result);
      if (result) {
        this.#options.reporter.result(result, { waitedMs: Math.max(0, Date.now() - receivedAt) });
        continue;
      }
      log.info("Command {commandId}: {action}, resumed from the previous process", {
        commandId,
        action: request?.action ?? "unknown",
      });
      this.#options.observer?.received(commandId, { action: String(request?.action), receivedAt });
      this.#resumeOne(commandId, { receivedAt, request });
    }
  }

  /** Reports sessions whose starts failed at the previous process, which may have ended before it reported them. */
  reportFailedStarts(errors: ReadonlyMap<string, CommandError>): void {
    for (const [sessionId, error] of errors) this.#reportFailedStart(sessionId, error);
  }

  /**
   * Leaves new commands to the next process, and waits for the queued and running ones. When the signal is aborted, it leaves these, too, cancels
   * those that the journal does not hold, and waits at most `cancelMs` more, because a request to Kubernetes may hang.
   */
  async drain(signal: AbortSignal): Promise<void> {
    this.#isDraining = true;
    const { journal, cancelMs } = this.#options;
    const idle = this.#idle();
    await abortable(idle, signal).catch(() => {});
    if (!signal.aborted) return;
    for (const { commandId, cancel } of this.#lanes.all()) {
      cancel.abort(journal.isPersisted(commandId) ? handedOver() : stopping());
    }
    await deadline(idle, cancelMs).catch(() => {});
    for (const { commandId } of this.#lanes.all()) {
      if (!journal.isPersisted(commandId)) await this.#results.fail(commandId, stopping());
    }
  }

  /** Waits until the commands that have arrived are recorded and acknowledged; rejects with the signal's reason. */
  async recorded(signal: AbortSignal): Promise<void> {
    await abortable(Promise.all(this.#accepting), signal);
  }

  /** Leaves all commands to the process that leads now: cancels them without a result. */
  handOver(): void {
    this.#isDraining = true;
    this.#isHandedOver = true;
    for (const { cancel } of this.#lanes.all()) cancel.abort(handedOver());
  }

  /** Waits for the commands of before the drain, but not for those that the journal is writing for the next process. */
  async #idle(): Promise<void> {
    await Promise.all(this.#accepting);
    while (!this.#lanes.isEmpty) await this.#lanes.done();
  }

  /** Never rejects. Commands are acknowledged in the order they came, each once the journal holds it. */
  async #accept(command: Command, before: Promise<void>): Promise<void> {
    const { commandId } = command;
    const { journal, reporter } = this.#options;
    const receivedAt = Date.now();
    const isLeft = this.#isDraining;
    try {
      const request = parseRequest(
        command,
        this.#options.limits,
        (problem) =>
          log.warn("Command {commandId}: ignored a field of the payload: {problem}", { commandId, problem }),
      );
      const earlier = this.#operations.earlierOutcome(request, commandId);
      // Its result was sent long ago, and an ack after the result would undo it.
      if (earlier) return this.#results.send(completed(commandId, earlier.result));
      journal.checkCapacity({ commandId, receivedAt, request });
      using _pending = request.action === "stop_session"
        ? this.#pendingStops.add(request.sessionId)
        : undefined;
      await journal.add({ commandId, receivedAt, request });
      // The wait for the journal ends early after a failure, so that a later command could be recorded first.
      await before;
      if (this.#isHandedOver) return;
      reporter.ack(commandId);
      if (isLeft) await this.#leave(commandId, request);
      else this.#enqueue({ commandId, request, spentMs: 0, cancel: new AbortController() });
    } catch (error) {
      await this.#reject(command, error, { receivedAt, before });
    }
  }

  /** Answers a command that cannot be accepted. */
  async #reject(
    { commandId, action, payload }: Command,
    error: unknown,
    { receivedAt, before }: { receivedAt: number; before: Promise<void> },
  ): Promise<void> {
    const { journal, reporter } = this.#options;
    const sessionId = action === "start_session" ? sessionIdOf(payload) : undefined;
    const request = sessionId === undefined
      ? {}
      : { request: { action: "start_session", sessionId } as const };
    const result = failed(commandId, messageOf(error));
    if (failureCode(error) !== "busy") await journal.add({ commandId, receivedAt, ...request, result });
    await before;
    if (this.#isHandedOver) return;
    reporter.ack(commandId);
    this.#results.send(result, error);
    if (sessionId !== undefined) this.#reportFailedStart(sessionId, error);
  }

  /** Leaves a command to the next process. Without a usable journal that would not know it, so the command fails. */
  async #leave(commandId: string, request: SessionRequest): Promise<void> {
    const { action, sessionId } = request;
    if (!this.#options.journal.isPersisted(commandId)) {
      const refused = new CommandError("draining", "The agent is stopping and accepts no more commands");
      await this.#results.fail(commandId, refused);
      if (action === "start_session") this.#reportFailedStart(sessionId, refused);
      return;
    }
    if (action === "stop_session") {
      // Never disposed: for as long as this process lives, it must not report the session any more.
      this.#pendingStops.add(sessionId);
      cancelForStop(this.#lanes.of(sessionId));
    }
    this.#handedOver(commandId);
  }

  #handedOver(commandId: string): void {
    log.info("Command {commandId} is left to the next process", { commandId });
    this.#options.observer?.ended(commandId, "handed_over");
  }

  /** Reports the status of a session whose start failed before it ran, after the earlier commands of the session. */
  #reportFailedStart(sessionId: string, error: unknown): void {
    const cancel = new AbortController();
    const request = { action: "start_session", sessionId } as const;
    const failure = error instanceof CommandError ? error : new CommandError("invalid", messageOf(error));
    // Like a request of the agent itself, it supersedes no command.
    void this.#lanes.take(
      sessionId,
      { commandId: "", request, spentMs: Infinity, cancel },
      () => this.#operations.reportFailedStart(request, failure, cancel.signal),
    );
  }

  #resumeOne(commandId: string, entry: Pick<JournalEntry, "receivedAt" | "request">): void {
    const { request: payload, receivedAt } = entry;
    try {
      const request = parseRequest({ commandId, action: String(payload?.action), payload }, NO_LIMITS);
      const spentMs = Math.max(1, Date.now() - receivedAt);
      if (this.#hasNewer(request.sessionId)) {
        throw new CommandError(
          "cancelled",
          "interrupted by a restart of the agent and superseded by a later command",
        );
      }
      this.#enqueue({ commandId, request, spentMs, cancel: new AbortController() });
    } catch (error) {
      void this.#results.fail(commandId, error);
      const isSuperseded = failureCode(error) === "cancelled";
      const sessionId = sessionIdOf(payload);
      if (payload?.action === "start_session" && sessionId !== undefined && !isSuperseded) {
        this.#reportFailedStart(sessionId, error);
      }
    }
  }

  /** Whether this process received commands of the session before it could read the journal. */
  #hasNewer(sessionId: string): boolean {
    return this.#lanes.of(sessionId).some(({ spentMs }) => spentMs === 0);
  }

  #enqueue(task: CommandTask): void {
    const { sessionId, action } = task.request;
    if (action === "stop_session") {
      cancelForStop(this.#lanes.of(sessionId));
      this.#options.reporter.discardStatus(sessionId);
    }
    void this.#lanes.take(sessionId, task, () => this.#run(task));
  }

  /** Never rejects: every outcome becomes the command's result, unless the next process resumes it. */
  async #run({ commandId, request, spentMs, cancel }: CommandTask): Promise<void> {
    const { signal } = cancel;
    const { journal, reporter, observer, isLeading = () => true } = this.#options;
    const startedAt = performance.now();
    observer?.started(commandId, request);
    try {
      const onAdmitted = () => observer?.admitted(commandId);
      const outcome = await this.#operations.run(request, { commandId, spentMs, signal, onAdmitted });
      const result = completed(commandId, outcome.result);
      await journal.setResult(result, outcome);
      if (!isLeading()) throw handedOver();
      // The result first: of two short messages sent at once, the network may delay the second.
      this.#results.send(result);
      // A stop that came meanwhile will change the status, which would undo the stop.
      const isOutdated = signal.aborted || this.#pendingStops.has(request.sessionId);
      if (outcome.status && !isOutdated) reporter.status(outcome.status);
      const durationMs = Math.round(performance.now() - startedAt);
      log.info("Command {commandId}: {action} of session {sessionId} complete after {duration}", {
        commandId,
        action: request.action,
        sessionId: request.sessionId,
        duration: formatDuration(durationMs),
        durationMs,
      });
    } catch (error) {
      if (isHandedOver(error) || isHandedOver(signal.reason)) this.#handedOver(commandId);
      else await this.#results.fail(commandId, error);
    }
  }
}

/** A stop cancels everything that its session is waiting for. */
function cancelForStop(tasks: readonly Task[]): void {
  for (const { request, cancel } of tasks) {
    if (request.action !== "stop_session") cancel.abort(new CommandError("cancelled", "cancelled by stop"));
  }
}

function isHandedOver(error: unknown): boolean {
  return error instanceof CommandError && error.failure === "handed_over";
}
