/**
 * The four commands as Kubernetes calls: a request goes in, objects are created, scaled or deleted, what the cluster makes of them is
 * awaited, and a result or an error comes out. Each step can be done again without harm.
 * @module
 */
import type { SessionStatus } from "../control_plane/protocol.ts";
import { CommandError } from "../common/errors.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { log } from "../common/log.ts";
import { type CommandContext, isCancelledByStop } from "./command_context.ts";
import { failureOf } from "./failure.ts";
import { endOfRun, MAX_DURATION, maxDurationNote } from "../status/max_duration.ts";
import { type Outcome, recallOutcome } from "../status/outcome.ts";
import { Provisioner, type ProvisionerOptions } from "./provisioner.ts";
import type { ScaleRequest, SessionRequest, StopRequest } from "../model/requests.ts";
import { RunOperations, type RunOptions } from "./hibernate_wake.ts";
import { StartOperation, type StartOptions } from "./start.ts";
import { DEFAULT_TIMINGS } from "../model/timings.ts";
import { statusOf } from "../status/status.ts";
import { StopOperation } from "./stop.ts";
import type { OperationTimings } from "./waiting.ts";

/** What operations need to work. */
export type OperationsOptions = Omit<ProvisionerOptions & StartOptions & RunOptions, "timings"> & {
  /** @default {DEFAULT_TIMINGS} */
  readonly timings?: OperationTimings;
};

/** Carries out requests; those of one session must come one after the other. */
export class SessionOperations {
  readonly #cache: SessionCache;
  readonly #starts: StartOperation;
  readonly #stops: StopOperation;
  readonly #runs: RunOperations;
  readonly #patienceMs: number;

  constructor({ timings = DEFAULT_TIMINGS, ...others }: OperationsOptions) {
    const options = { ...others, timings };
    const provisioner = new Provisioner(options);
    this.#cache = options.cache;
    this.#runs = new RunOperations(options, provisioner);
    this.#starts = new StartOperation(options, { provisioner, runs: this.#runs });
    this.#stops = new StopOperation(options.cache, { provisioner, timeoutMs: timings.terminationTimeoutMs });
    this.#patienceMs = options.startTimeoutMs;
  }

  /**
   * Carries out one request. A command that an earlier process was at work on is finished, and one whose outcome the session remembers is
   * not repeated.
   *
   * @throws {CommandError} whose message is for the person who gave the command
   */
  async run(request: SessionRequest, context: CommandContext): Promise<Outcome> {
    const { sessionId } = request;
    try {
      await this.#untilClusterIsKnown(context.signal);
      // What is recorded may have been told already: a stop that came later does not take it back.
      const earlier = this.recall(sessionId, context.commandId);
      if (earlier) return earlier;
      // A command that was cancelled while it waited for its turn does nothing at all.
      context.signal.throwIfAborted();
      switch (request.action) {
        case "start_session":
          return await this.#starts.start(request, context);
        case "stop_session":
          return await this.#stops.stop(request, context.signal);
        case "hibernate_session":
          return await this.#runs.hibernate(sessionId, context);
        case "wake_session":
          return await this.#runs.wake(request, context);
      }
    } catch (error) {
      throw failureOf(request, error);
    }
  }

  /**
   * Puts a session to sleep, or removes it, if it is still past its maximal duration.
   *
   * @returns what to tell of it; nothing where there was nothing to do
   * @throws {CommandError} that says what is left
   */
  async expire(request: StopRequest | ScaleRequest, signal: AbortSignal): Promise<SessionStatus | undefined> {
    const { sessionId } = request;
    const { deployment } = this.#cache.session(sessionId);
    const endsAt = endOfRun(deployment);
    if (!deployment || endsAt === undefined || Date.now() < endsAt) return undefined;
    log.info("Session {sessionId} is past its maximal duration", { sessionId });
    if (request.action === "stop_session") await this.#stops.stop(request, signal);
    else await this.#runs.fallAsleep(sessionId, { commandId: MAX_DURATION, signal });
    const state = request.action === "stop_session" ? "terminated" : "hibernated";
    return statusOf(sessionId, state, { deployment, note: maxDurationNote(deployment) });
  }

  /** The outcome of a command that the session remembers as its last. */
  recall(sessionId: string, commandId: string): Outcome | undefined {
    return recallOutcome(this.#cache.session(sessionId), commandId);
  }

  async #untilClusterIsKnown(signal: AbortSignal): Promise<void> {
    const timeout = AbortSignal.timeout(this.#patienceMs);
    try {
      await this.#cache.synced(AbortSignal.any([signal, timeout])).catch((error) => {
        // What a stop cancels may be recorded all the same, which only the cluster can tell.
        if (!isCancelledByStop(signal)) throw error;
        return this.#cache.synced(timeout);
      });
    } catch (error) {
      signal.throwIfAborted();
      const problem = "the Kubernetes API does not tell what the cluster holds, see the agent's log";
      throw new CommandError("cluster", problem, { cause: error });
    }
  }
}
