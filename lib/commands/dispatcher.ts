/**
 * Commands come in, are written down and acknowledged; those of one session are carried out one after the other, sessions side by side.
 * Each command ends in exactly one result. What is not finished when the process ends is in the journal, from which the next process goes on.
 * @module
 */
import { type Command, completed, failed } from "../control_plane/protocol.ts";
import type { Reporter } from "../control_plane/reporter.ts";
import { CommandError, failureCode, messageOf } from "../common/errors.ts";
import { log } from "../common/log.ts";
import { formatDuration } from "../common/quantities.ts";
import type { RequestLimits } from "../templates/amounts.ts";
import { Answers } from "./answers.ts";
import type { Journal, JournalEntry } from "./journal.ts";
import { Lanes } from "./lanes.ts";
import type { CommandContext } from "../sessions/command_context.ts";
import type { Outcome } from "../status/annotations.ts";
import { parseRequest } from "../sessions/requests.ts";
import type { SessionRequest } from "../model/requests.ts";

/** Carries out one request at a time for each session. */
export interface Operations {
  run(request: SessionRequest, context: CommandContext): Promise<Outcome>;
  /** The outcome of a command that the session's annotations have, possibly from an earlier process. */
  recordedOutcome(sessionId: string, commandId: string): Outcome | undefined;
}

/** Told what becomes of each command. */
export interface CommandObserver {
  /** @param receivedAt milliseconds since 1970; long ago for a command that an earlier process received */
  received(commandId: string, command: { readonly action: string; readonly receivedAt: number }): void;
  /** No earlier command of its session is left. */
  begun(commandId: string, request: SessionRequest): void;
  /** Its turn to change the cluster has come. */
  turned(commandId: string): void;
  /** @param error why it failed */
  ended(commandId: string, outcome: "complete" | "failed" | "handed_over", error?: unknown): void;
}

/** What a dispatcher needs. */
export interface DispatcherOptions {
  readonly journal: Journal;
  readonly reporter: Reporter;
  readonly limits: RequestLimits;
  /** Longest wait for cancelled commands to clean up, in milliseconds. */
  readonly cancelMs: number;
  /** Told when no command of a session is left. */
  readonly onIdle?: (sessionId: string) => void;
  readonly observer?: CommandObserver;
}

/** A command that waits for its turn or is being carried out. */
interface Task {
  /** Empty for what the agent does by itself. */
  readonly commandId: string;
  readonly request: SessionRequest;
  readonly spentMs: number;
  readonly cancel: AbortController;
}

/** For what an earlier process was let do: with less to give away by now, it is the operation that fails, and removes what it made. */
const NO_LIMITS: RequestLimits = { maxCpu: Infinity, maxMemory: Infinity };

const STOPPING = new CommandError("draining", "cancelled because the agent is stopping");
const HANDED_OVER = new CommandError("handed_over", "left to the agent's next process");

/** From messages to operations to reports. */
export class Dispatcher {
  readonly #operations: Operations;
  readonly #options: DispatcherOptions;
  readonly #lanes: Lanes<Task>;
  readonly #answers: Answers;
  /** Stops that are being written down. */
  readonly #stops = new Set<SessionRequest>();
  /** Commands that are being written down. */
  readonly #accepting = new Set<Promise<void>>();
  /** The acceptance of the newest command. */
  #lastAccepted: Promise<void> = Promise.resolve();
  #isDraining = false;
  #isHandedOver = false;
  #mayAct: () => boolean = () => true;

  constructor(operations: Operations, options: DispatcherOptions) {
    this.#operations = operations;
    this.#options = options;
    const { journal, reporter, observer } = options;
    this.#answers = new Answers({
      journal,
      reporter,
      onAnswer: ({ type, payload }, error) => observer?.ended(payload.commandId, type, error),
    });
    this.#lanes = new Lanes((sessionId) => options.onIdle?.(sessionId));
  }

  /** Whether new commands are refused. */
  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** Whether a command of the session is at work or waits for its turn. */
  isBusy(sessionId: string): boolean {
    return this.#lanes.of(sessionId).length > 0 || this.#isToStop(sessionId);
  }

  /** From now on, nothing is answered unless this says that it may be: otherwise another process answers it. */
  guard(mayAct: () => boolean): void {
    this.#mayAct = mayAct;
  }

  /** Takes a command; returns before any work is done. */
  receive(command: Command): void {
    const { commandId, action } = command;
    const known = this.#answers.of(commandId);
    if (known === "open") return;
    if (known) {
      this.#options.reporter.result(known);
      return;
    }
    log.info("Command {commandId}: {action}", { commandId, action });
    this.#options.observer?.received(commandId, { action, receivedAt: Date.now() });
    this.#answers.expect(commandId);
    const accepted = this.#accept(command, this.#lastAccepted).finally(() =>
      this.#accepting.delete(accepted)
    );
    this.#accepting.add(accepted);
    this.#lastAccepted = accepted;
  }

  /**
   * Lets the agent itself do something to a session in its lane: after the commands that came before, and cancelled by a stop that comes
   * meanwhile, as the command that it is like would be.
   *
   * @throws what `work` throws, or a {@linkcode CommandError} with failure `draining`
   */
  async insert(request: SessionRequest, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    if (this.#isDraining) throw STOPPING;
    const cancel = new AbortController();
    // It is not newer than any command, so that none of an earlier process is overtaken by it.
    const task = { commandId: "", request, spentMs: Infinity, cancel };
    await this.#lanes.take(request.sessionId, task, async () => {
      cancel.signal.throwIfAborted();
      await work(cancel.signal);
    });
  }

  /** Goes on with what an earlier process left: sends the results that may not have arrived, and finishes what was not finished. */
  resume(entries: readonly JournalEntry[]): void {
    for (const { commandId, receivedAt, request, result } of entries) {
      // It was sent again before the journal could be read.
      if (this.#answers.of(commandId)) continue;
      this.#answers.expect(commandId, result);
      if (result) {
        this.#options.reporter.result(result, { waitedMs: Math.max(0, Date.now() - receivedAt) });
        continue;
      }
      log.info("Command {commandId}: {action}, begun by an earlier process", {
        commandId,
        action: request?.action ?? "unknown",
      });
      this.#options.observer?.received(commandId, { action: String(request?.action), receivedAt });
      this.#resumeOne(commandId, { receivedAt, request });
    }
  }

  /**
   * Refuses new commands and waits until those at work are done. When the signal is aborted they are left to the next process; what the
   * journal does not hold is cancelled. What then still hangs, in a request that nobody answers, is left alone.
   */
  async drain(signal: AbortSignal): Promise<void> {
    this.#isDraining = true;
    const { promise: abandoned, resolve: abandon } = Promise.withResolvers<void>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const stop = () => {
      for (const { commandId, cancel } of this.#lanes.all()) {
        cancel.abort(this.#options.journal.holds(commandId) ? HANDED_OVER : STOPPING);
      }
      timer = setTimeout(abandon, this.#options.cancelMs);
    };
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    await Promise.race([this.#idle(), abandoned]);
    signal.removeEventListener("abort", stop);
    clearTimeout(timer);
    for (const { commandId } of this.#lanes.all()) {
      if (!this.#options.journal.holds(commandId)) await this.#answers.fail(commandId, STOPPING);
    }
  }

  /** Leaves everything as it is, at once: another process goes on with it now. */
  handOver(): void {
    this.#isDraining = true;
    this.#isHandedOver = true;
    for (const { cancel } of this.#lanes.all()) cancel.abort(HANDED_OVER);
  }

  async #idle(): Promise<void> {
    while (this.#accepting.size > 0 || !this.#lanes.isEmpty) {
      await Promise.all([...this.#accepting, this.#lanes.done()]);
    }
  }

  /** Never rejects. Commands are acknowledged in the order they came, each once the next process would know of it. */
  async #accept(command: Command, before: Promise<void>): Promise<void> {
    const { commandId } = command;
    const { journal, reporter } = this.#options;
    const entry = { commandId, receivedAt: Date.now() };
    try {
      if (this.#isDraining) {
        throw new CommandError("draining", "The agent is stopping and takes no more commands");
      }
      const request = parseRequest(command, this.#options.limits);
      const earlier = this.#operations.recordedOutcome(request.sessionId, commandId);
      // It was answered long ago: an ack would undo that.
      if (earlier) return this.#answers.give(completed(commandId, earlier.result));
      journal.checkRoom({ ...entry, request });
      if (request.action === "stop_session") this.#announceStop(request);
      await journal.open({ ...entry, request });
      // The journal may wait for one command and, once it is in trouble, not for the next.
      await before;
      if (this.#isHandedOver) return;
      reporter.ack(commandId);
      this.#enqueue({ commandId, request, spentMs: 0, cancel: new AbortController() });
    } catch (error) {
      const result = failed(commandId, messageOf(error));
      if (failureCode(error) !== "busy") await journal.open({ ...entry, result });
      await before;
      if (this.#isHandedOver) return;
      reporter.ack(commandId);
      this.#answers.give(result, error);
    }
  }

  /** Says nothing more of a session, though the stop may have its turn only later: it would undo what the Control Plane shows by now. */
  #announceStop(request: SessionRequest): void {
    this.#stops.add(request);
    this.#options.reporter.stopReceived(request.sessionId);
  }

  #isToStop(sessionId: string): boolean {
    return [...this.#stops].some((stop) => stop.sessionId === sessionId);
  }

  #resumeOne(commandId: string, entry: Pick<JournalEntry, "receivedAt" | "request">): void {
    const { request: payload, receivedAt } = entry;
    try {
      const request = parseRequest({ commandId, action: String(payload?.action), payload }, NO_LIMITS);
      const spentMs = Math.max(1, Date.now() - receivedAt);
      if (this.#hasNewer(request.sessionId)) {
        throw new CommandError(
          "cancelled",
          "interrupted by a restart of the agent, and overtaken by a later command",
        );
      }
      this.#enqueue({ commandId, request, spentMs, cancel: new AbortController() });
    } catch (error) {
      void this.#answers.fail(commandId, error);
    }
  }

  /** Whether a session has commands that this process received, which it did before the journal could be read. */
  #hasNewer(sessionId: string): boolean {
    return this.#lanes.of(sessionId).some(({ spentMs }) => spentMs === 0);
  }

  #enqueue(task: Task): void {
    const { sessionId, action } = task.request;
    if (action === "stop_session") {
      cancelForStop(this.#lanes.of(sessionId));
      this.#options.reporter.stopReceived(sessionId);
      this.#stops.delete(task.request);
    }
    void this.#lanes.take(sessionId, task, () => this.#carryOut(task));
  }

  /** Never rejects: whatever happens becomes the command's result, unless the next process is to find it. */
  async #carryOut({ commandId, request, spentMs, cancel }: Task): Promise<void> {
    const { signal } = cancel;
    const startedAt = performance.now();
    this.#options.observer?.begun(commandId, request);
    try {
      const onTurn = () => this.#options.observer?.turned(commandId);
      const outcome = await this.#operations.run(request, { commandId, spentMs, signal, onTurn });
      const result = completed(commandId, outcome.result);
      await this.#options.journal.close(result, outcome);
      if (!this.#mayAct()) throw HANDED_OVER;
      // The result first: of two short messages sent at once, the network may hold the second back for a moment.
      this.#answers.give(result);
      // What a stop that came meanwhile will change is not worth a word, and would undo it.
      const isOutdated = signal.aborted || this.#isToStop(request.sessionId);
      if (outcome.status && !isOutdated) this.#options.reporter.status(outcome.status);
      const durationMs = Math.round(performance.now() - startedAt);
      log.info("Command {commandId}: {action} of session {sessionId} complete after {duration}", {
        commandId,
        action: request.action,
        sessionId: request.sessionId,
        duration: formatDuration(durationMs),
        durationMs,
      });
    } catch (error) {
      if (error === HANDED_OVER || signal.reason === HANDED_OVER) {
        log.info("Command {commandId} is left to the next process", { commandId });
        this.#options.observer?.ended(commandId, "handed_over");
      } else await this.#answers.fail(commandId, error);
    }
  }
}

/** A stop makes everything pointless that its session still waits for. */
function cancelForStop(tasks: readonly Task[]): void {
  for (const { request, cancel } of tasks) {
    if (request.action !== "stop_session") cancel.abort(new CommandError("cancelled", "cancelled by stop"));
  }
}
