/**
 * Commands come in and are acknowledged at once; those of one session are carried out one after the other, sessions side by side.
 * Each command ends in exactly one result, and the same command again gets the same result. The memory of results is this process's own.
 * @module
 */
import type { Reporter } from "../control_plane/reporter.ts";
import type { Command, Result } from "../control_plane/protocol.ts";
import { CommandError, messageOf } from "../errors.ts";
import { log } from "../log.ts";
import { formatDuration } from "../quantities.ts";
import type { Outcome } from "./operations.ts";
import { parseRequest, type RequestLimits, type SessionRequest } from "./requests.ts";

/** Carries out one request at a time for each session. */
export interface Operations {
  run(request: SessionRequest, signal: AbortSignal): Promise<Outcome>;
}

/** What a dispatcher needs. */
export interface DispatcherOptions {
  readonly reporter: Reporter;
  readonly limits: RequestLimits;
  /** Told when no command of a session is left. */
  readonly onIdle?: (sessionId: string) => void;
}

/** A command that waits for its turn or is being carried out. */
interface Task {
  readonly commandId: string;
  readonly request: SessionRequest;
  readonly cancel: AbortController;
}

/** The commands of one session, in order. */
interface Lane {
  readonly tasks: Set<Task>;
  end: Promise<void>;
}

/** Results that are remembered, so that a repeated command is answered and not repeated. */
const REMEMBERED_RESULTS = 10_000;

/** Longest wait for cancelled commands to clean up, in milliseconds. */
const CANCEL_MS = 3000;

const STOPPING = new CommandError("draining", "cancelled because the agent is stopping");

/** From messages to operations to reports. */
export class Dispatcher {
  readonly #operations: Operations;
  readonly #reporter: Reporter;
  readonly #limits: RequestLimits;
  readonly #lanes = new Map<string, Lane>();
  readonly #results = new Map<string, Result | "running">();
  readonly #onIdle: (sessionId: string) => void;
  #isDraining = false;

  constructor(operations: Operations, options: DispatcherOptions) {
    this.#operations = operations;
    this.#reporter = options.reporter;
    this.#limits = options.limits;
    this.#onIdle = options.onIdle ?? (() => {});
  }

  /** Whether new commands are refused. */
  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** Whether a command of the session is at work or waits for its turn. */
  isBusy(sessionId: string): boolean {
    return this.#lanes.has(sessionId);
  }

  /** Takes a command; returns before any work is done. */
  receive(command: Command): void {
    const { commandId } = command;
    const known = this.#results.get(commandId);
    if (known === "running") return;
    if (known) {
      this.#reporter.repeat(known);
      return;
    }
    this.#reporter.ack(commandId);
    log.info("Command {commandId}: {action}", { commandId, action: command.action });
    this.#remember(commandId, "running");
    try {
      if (this.#isDraining) {
        throw new CommandError("draining", "The agent is stopping and takes no more commands");
      }
      this.#enqueue(commandId, parseRequest(command, this.#limits));
    } catch (error) {
      this.#fail(commandId, error);
    }
  }

  /**
   * Refuses new commands and waits until those at work are done. When the signal is aborted they are cancelled; what then still hangs, in a
   * request that nobody answers, is answered in its place and left alone.
   */
  async drain(signal: AbortSignal): Promise<void> {
    this.#isDraining = true;
    const { promise: abandoned, resolve: abandon } = Promise.withResolvers<void>();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const cancelAll = () => {
      for (const { cancel } of this.#tasks()) cancel.abort(STOPPING);
      timer = setTimeout(abandon, CANCEL_MS);
    };
    if (signal.aborted) cancelAll();
    signal.addEventListener("abort", cancelAll, { once: true });
    await Promise.race([Promise.all([...this.#lanes.values()].map((lane) => lane.end)), abandoned]);
    signal.removeEventListener("abort", cancelAll);
    clearTimeout(timer);
    for (const { commandId } of this.#tasks()) this.#fail(commandId, STOPPING);
  }

  #tasks(): Task[] {
    return [...this.#lanes.values()].flatMap((lane) => [...lane.tasks]);
  }

  #enqueue(commandId: string, request: SessionRequest): void {
    const { sessionId } = request;
    const lane = this.#lanes.get(sessionId) ?? { tasks: new Set(), end: Promise.resolve() };
    if (request.action === "stop_session") {
      cancelForStop(lane);
      this.#reporter.stopReceived(sessionId);
    }
    const task = { commandId, request, cancel: new AbortController() };
    lane.tasks.add(task);
    lane.end = lane.end.then(() => this.#carryOut(task)).finally(() => {
      lane.tasks.delete(task);
      if (lane.tasks.size > 0) return;
      this.#lanes.delete(sessionId);
      this.#onIdle(sessionId);
    });
    this.#lanes.set(sessionId, lane);
  }

  /** Never rejects: whatever happens becomes the command's result. */
  async #carryOut({ commandId, request, cancel }: Task): Promise<void> {
    const startedAt = performance.now();
    try {
      const { result, status } = await this.#operations.run(request, cancel.signal);
      if (!this.#isOpen(commandId)) return;
      // The result first: of two short messages sent at once, the network may hold the second back for a moment.
      this.#remember(commandId, this.#reporter.complete(commandId, result));
      this.#reporter.status(status);
      log.info("Command {commandId}: {action} of session {sessionId} complete after {duration}", {
        commandId,
        action: request.action,
        sessionId: request.sessionId,
        duration: formatDuration(performance.now() - startedAt),
      });
    } catch (error) {
      if (this.#isOpen(commandId)) this.#fail(commandId, error);
    }
  }

  /** Whether the command has no answer yet. */
  #isOpen(commandId: string): boolean {
    return this.#results.get(commandId) === "running";
  }

  #fail(commandId: string, error: unknown): void {
    this.#remember(commandId, this.#reporter.failed(commandId, error));
    log.warn("Command {commandId} failed: {reason}", { commandId, reason: messageOf(error) });
  }

  #remember(commandId: string, result: Result | "running"): void {
    this.#results.set(commandId, result);
    if (this.#results.size <= REMEMBERED_RESULTS) return;
    for (const [id, remembered] of this.#results) {
      if (remembered === "running") continue;
      this.#results.delete(id);
      return;
    }
  }
}

/** A stop makes everything pointless that its session still waits for. */
function cancelForStop(lane: Lane): void {
  for (const { request, cancel } of lane.tasks) {
    if (request.action !== "stop_session") cancel.abort(new CommandError("cancelled", "cancelled by stop"));
  }
}
