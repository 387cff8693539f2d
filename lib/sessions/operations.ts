/**
 * Executes session requests: creates, scales or deletes Kubernetes objects, waits for the cluster, and returns the outcome. Every step is
 * idempotent, so that an interrupted command can be executed again.
 * @module
 */
import type { SessionStatus } from "../control_plane/protocol.ts";
import { CommandError, KubernetesError } from "../common/errors.ts";
import { log } from "../common/log.ts";
import { isAlive } from "../kubernetes/objects.ts";
import type { CheckResult, SessionCache } from "../kubernetes/session_cache.ts";
import type { ScaleRequest, SessionRequest, StopRequest } from "../model/requests.ts";
import { DEFAULT_TIMINGS } from "../model/timings.ts";
import { type Outcome, recordedOutcome } from "../status/annotations.ts";
import { type EndCause, endDetail } from "../status/end_of_run.ts";
import { observedStatus } from "../status/observed.ts";
import { statusOf } from "../status/status.ts";
import {
  type CommandContext,
  isCancelledByStop,
  isContinuedElsewhere,
  requestError,
  statusDetail,
} from "./command_context.ts";
import { ScaleOperations, type ScaleOptions } from "./hibernate_wake.ts";
import { HomeDeletion } from "./home_deletion.ts";
import { Provisioner, type ProvisionerOptions } from "./provisioner.ts";
import { SessionFinder } from "./session_finder.ts";
import { SessionRepair, type SessionRepairOptions } from "./session_repair.ts";
import { StartOperation, type StartOptions } from "./start.ts";
import { StopOperation } from "./stop.ts";
import type { OperationTimings } from "./waiting.ts";

/** What the operations need. */
export type OperationsOptions =
  & Omit<
    ProvisionerOptions & StartOptions & ScaleOptions & SessionRepairOptions,
    "timings" | "finder" | "provisioner"
  >
  & {
    /** @default {DEFAULT_TIMINGS} */
    readonly timings?: OperationTimings;
  };

/** Executes requests. Requests of one session must not overlap. */
export class SessionOperations {
  readonly repair: SessionRepair;
  readonly #cache: SessionCache;
  readonly #finder: SessionFinder;
  readonly #starting: StartOperation;
  readonly #stopping: StopOperation;
  readonly #scaling: ScaleOperations;
  readonly #onStatus: (status: SessionStatus) => void;
  readonly #syncTimeoutMs: number;

  constructor({ timings = DEFAULT_TIMINGS, ...others }: OperationsOptions) {
    const options = { ...others, timings };
    const { client, cache, startTimeoutMs } = options;
    const finder = new SessionFinder(client, cache);
    const homes = new HomeDeletion(client, cache);
    const provisioner = new Provisioner({ ...options, finder });
    this.#cache = cache;
    this.#finder = finder;
    this.repair = new SessionRepair({ ...options, finder, provisioner });
    this.#scaling = new ScaleOperations(options, { provisioner, repair: this.repair });
    this.#starting = new StartOperation(options, { provisioner, homes, scaling: this.#scaling });
    this.#stopping = new StopOperation({ ...options, finder, provisioner, homes });
    this.#onStatus = options.onStatus;
    this.#syncTimeoutMs = startTimeoutMs;
  }

  /**
   * Executes one request. A command that an earlier process began is continued, and one that it completed is not repeated.
   *
   * @throws {CommandError} with a message for the sender of the command
   */
  async run(request: SessionRequest, context: CommandContext): Promise<Outcome> {
    const { sessionId } = request;
    const { commandId, signal } = context;
    let isBegun = false;
    try {
      await this.#waitUntilSynced(sessionId, signal);
      // The outcome may have been reported already, so a later stop does not cancel it.
      const earlier = this.earlierOutcome(request, commandId);
      if (earlier) return earlier;
      signal.throwIfAborted();
      isBegun = true;
      switch (request.action) {
        case "start_session":
          this.#finder.rejectForeign(sessionId);
          return await this.#starting.start(request, context);
        case "stop_session":
          return await this.#stopping.stop(request, signal);
        case "hibernate_session":
          await this.#finder.reveal(sessionId);
          return await this.#scaling.hibernate(sessionId, context);
        case "wake_session":
          await this.#finder.reveal(sessionId);
          return await this.#scaling.wake(request, context);
      }
    } catch (error) {
      const failure = requestError(request, error);
      // A start that has begun reports its failure itself, unless it found an existing session.
      const isReported = isBegun && !(failure.failure === "conflict" && this.#exists(sessionId));
      if (request.action === "start_session" && !isReported) this.#reportFailed(request, failure, signal);
      throw failure;
    }
  }

  /**
   * Reports that a start failed before it was executed, as the Control Plane shows the session as pending until it gets a status. If the session
   * exists, its current status is reported instead.
   *
   * @param signal aborted when a later stop or the next process reports
   */
  async reportFailedStart(
    request: Pick<SessionRequest, "sessionId">,
    error: CommandError,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#waitUntilSynced(request.sessionId, signal).catch(() => {});
    this.#reportFailed(request, error, signal);
  }

  /**
   * Hibernates or stops a session whose run has ended.
   *
   * @returns the status to report, or `undefined` if the session is gone
   * @throws {CommandError} if objects are left
   */
  async expire(
    request: StopRequest | ScaleRequest,
    { cause, signal }: { readonly cause: EndCause; readonly signal: AbortSignal },
  ): Promise<SessionStatus | undefined> {
    const { sessionId } = request;
    const { deployment } = this.#cache.session(sessionId);
    if (!deployment) return undefined;
    const detail = endDetail(deployment, cause);
    log.info("The run of session {sessionId} ends: {reason}", { sessionId, reason: detail.message });
    const isStop = request.action === "stop_session";
    if (isStop) await this.#stopping.stop(request, signal);
    else await this.#scaling.scaleToZero(sessionId, { commandId: cause, signal });
    return statusOf(sessionId, isStop ? "terminated" : "hibernated", { deployment, detail });
  }

  /** The outcome of a command that an earlier process completed, if it was the session's last and the session's objects show it. */
  earlierOutcome({ action, sessionId }: SessionRequest, commandId: string): Outcome | undefined {
    return recordedOutcome(this.#cache.session(sessionId), commandId) ??
      (action === "start_session" ? this.#scaling.startOutcome(sessionId, commandId) : undefined);
  }

  #exists(sessionId: string): boolean {
    return isAlive(this.#cache.session(sessionId).deployment);
  }

  #reportFailed(
    { sessionId }: Pick<SessionRequest, "sessionId">,
    error: CommandError,
    signal: AbortSignal,
  ): void {
    // Another agent reports its sessions.
    const isForeign = this.#cache.foreign.agentOfSession(sessionId) !== undefined && !this.#exists(sessionId);
    if (isForeign || isContinuedElsewhere(signal)) return;
    const objects = this.#cache.session(sessionId);
    const status = this.#exists(sessionId)
      ? observedStatus(sessionId, { objects, lastReported: undefined, disruption: undefined })
      : statusOf(sessionId, "failed", { detail: statusDetail(error) });
    if (status) this.#onStatus(status);
  }

  async #waitUntilSynced(sessionId: string, signal: AbortSignal): Promise<void> {
    const timeout = AbortSignal.timeout(this.#syncTimeoutMs);
    const check = (): CheckResult<void> => this.#cache.isSynced ? { value: undefined } : {};
    const synced = (signal: AbortSignal) => this.#cache.waitFor(sessionId, { check, signal });
    try {
      await synced(AbortSignal.any([signal, timeout])).catch((error) => {
        // Only the synced cache shows whether a command that a stop cancels has a recorded outcome.
        if (!isCancelledByStop(signal)) throw error;
        return synced(timeout);
      });
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof KubernetesError) throw error;
      const message = "the agent cannot list the sessions in the cluster, see its log";
      throw new CommandError("cluster", message, { cause: error });
    }
  }
}
