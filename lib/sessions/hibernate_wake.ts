/**
 * The operations `hibernate_session` and `wake_session`: scale a Deployment, and wait for the cluster.
 * @module
 */
import type { V1Deployment, V1Pod } from "@kubernetes/client-node";
import { CommandError, messageOf } from "../common/errors.ts";
import { log } from "../common/log.ts";
import type { CommandResult, SessionState, SessionStatus } from "../control_plane/protocol.ts";
import { isAlive, mountedClaim, nameOf } from "../kubernetes/objects.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { buildPolicy, type IngressSettings } from "../manifests/manifests.ts";
import type { SessionRequest } from "../model/requests.ts";
import { type AnnotationRecorder, isInterrupted, isStartedBy, type Outcome } from "../status/annotations.ts";
import { problem } from "../status/causes.ts";
import { LOST_HOME_ADVICE, NEW_HOME_ADVICE } from "../status/observed.ts";
import { currentPod, isHibernated, podsHoldingVolumes } from "../status/readiness.ts";
import { displayPort, podFields, type StatusDetail, statusOf, type StatusSource } from "../status/status.ts";
import { checkImage, type ImageRules } from "../templates/rules.ts";
import type { SessionCapacity } from "./capacity.ts";
import { type CommandContext, isContinuedElsewhere, requestError, statusDetail } from "./command_context.ts";
import type { Provisioner } from "./provisioner.ts";
import type { SessionRepair } from "./session_repair.ts";
import { type OperationTimings, waitUntil, waitUntilReady } from "./waiting.ts";

/** What these operations need. */
export interface ScaleOptions {
  readonly cache: SessionCache;
  readonly recorder: AnnotationRecorder;
  readonly capacity: SessionCapacity;
  readonly settings: IngressSettings;
  readonly templates: { readonly rules: ImageRules };
  /** Longest time for a session to become ready, in milliseconds. */
  readonly startTimeoutMs: number;
  /** Called with each change of a session's status except the final one, which is part of the outcome. */
  readonly onStatus: (status: SessionStatus) => void;
  readonly timings: OperationTimings;
}

/** So often a start or wake restores parts of its session while somebody else removes them. */
const MAX_REPAIRS = 5;

/** Scales sessions to zero and up again. */
export class ScaleOperations {
  readonly #options: ScaleOptions;
  readonly #cache: SessionCache;
  readonly #provisioner: Provisioner;
  readonly #repair: SessionRepair;

  constructor(options: ScaleOptions, next: { provisioner: Provisioner; repair: SessionRepair }) {
    this.#options = options;
    this.#cache = options.cache;
    this.#provisioner = next.provisioner;
    this.#repair = next.repair;
  }

  /** Hibernates a session. */
  async hibernate(sessionId: string, context: CommandContext): Promise<Outcome> {
    await this.scaleToZero(sessionId, context);
    const result = { ...this.#objectNames(sessionId), state: "hibernated" };
    const { deployment } = this.#cache.session(sessionId);
    const status = statusOf(sessionId, "hibernated", { deployment });
    await this.#options.recorder.recordStatus(status);
    return { result, status, isEvident: false };
  }

  /** Scales a session to zero and waits until its pod is gone and its volume is released. */
  async scaleToZero(
    sessionId: string,
    { commandId, signal }: Pick<CommandContext, "commandId" | "signal">,
  ): Promise<void> {
    const deployment = this.#existing(sessionId);
    if (deployment.spec?.replicas !== 0) {
      await this.#provisioner.scale(nameOf(deployment), { replicas: 0, commandId });
    }
    await this.#waitUntilHibernated(sessionId, signal);
  }

  /** Wakes a session and waits until it is ready. If that fails, the session is hibernated again. */
  async wake(request: SessionRequest, context: CommandContext): Promise<Outcome> {
    const { sessionId } = request;
    const { commandId, signal } = context;
    const deployment = this.#existing(sessionId);
    const isScaledUp = deployment.spec?.replicas !== 0;
    if (isScaledUp && !isInterrupted(this.#cache.session(sessionId), commandId)) {
      return await this.awaitReady(sessionId, context);
    }
    if (!isScaledUp) this.#checkImages(deployment);
    using _reservation = this.#options.capacity.reserve(sessionId, deployment);
    this.report(sessionId, "pending", { deployment });
    try {
      if (!isScaledUp) {
        await this.#checkHomeVolume(sessionId, deployment);
        await this.#reconcilePolicy(sessionId, { deployment, signal });
        await this.#repair.repair({ sessionId, signal, timeoutMs: this.#options.startTimeoutMs });
        await this.#provisioner.scale(nameOf(deployment), { ...context, replicas: 1 });
      }
      return await this.awaitReady(sessionId, context);
    } catch (error) {
      const detail = statusDetail(requestError(request, error));
      if (!isContinuedElsewhere(signal)) await this.#rollBack(sessionId, { commandId, signal, detail });
      throw error;
    }
  }

  /** Waits until a session is ready and its Service leads to it, and reports its progress. */
  async awaitReady(sessionId: string, context: CommandContext): Promise<Outcome> {
    const { signal } = context;
    let pod = await this.#awaitPod(sessionId, context);
    for (let repairs = 0; this.#repair.isIncomplete(sessionId); repairs += 1) {
      if (repairs === MAX_REPAIRS) {
        throw new CommandError("cluster", "its objects are changed again and again");
      }
      await this.#repair.repair({ sessionId, signal, timeoutMs: this.#options.startTimeoutMs });
      pod = await this.#awaitPod(sessionId, context);
    }
    // A stop that arrived just now takes precedence.
    signal.throwIfAborted();
    const status = statusOf(sessionId, "running", { pod });
    await this.#options.recorder.recordStatus(status);
    return { result: this.#startResult(sessionId, pod), status, isEvident: false };
  }

  /** The outcome of a start that an earlier process completed, without the session's status, which may have changed since. */
  startOutcome(sessionId: string, commandId: string): Outcome | undefined {
    const objects = this.#cache.session(sessionId);
    if (!isStartedBy(objects, commandId)) return undefined;
    return { result: this.#startResult(sessionId, currentPod(objects.pods)), isEvident: true };
  }

  #startResult(sessionId: string, pod: V1Pod | undefined): CommandResult {
    const podResult = pod && { ...podFields(pod), vncPort: displayPort(pod) };
    return { ...this.#objectNames(sessionId), ...podResult, state: "running" };
  }

  async #awaitPod(sessionId: string, { spentMs, signal }: CommandContext): Promise<V1Pod> {
    return await this.#whileVisible(sessionId, () =>
      waitUntilReady(this.#cache, sessionId, {
        timeoutMs: this.#options.startTimeoutMs,
        spentMs,
        signal,
        timings: this.#options.timings,
        onProgress: (detail) => {
          const { deployment } = this.#cache.session(sessionId);
          this.report(sessionId, "pending", { detail, deployment });
        },
      }));
  }

  /** Repeats a wait that failed because somebody changed the labels of the Deployment, after they are restored. */
  async #whileVisible<T>(sessionId: string, wait: () => Promise<T>): Promise<T> {
    for (let repairs = 0;; repairs += 1) {
      try {
        return await wait();
      } catch (error) {
        if (this.#cache.session(sessionId).deployment || repairs === MAX_REPAIRS) throw error;
        await this.#repair.reveal(sessionId);
        if (!isAlive(this.#cache.session(sessionId).deployment)) throw error;
      }
    }
  }

  /** Reports a status that is not part of the outcome. */
  report(sessionId: string, state: SessionState, source: StatusSource): void {
    this.#options.onStatus(statusOf(sessionId, state, source));
  }

  async #waitUntilHibernated(sessionId: string, signal: AbortSignal): Promise<void> {
    await this.#whileVisible(sessionId, () => this.#waitForScale(sessionId, signal));
  }

  async #waitForScale(sessionId: string, signal: AbortSignal): Promise<void> {
    await waitUntil(this.#cache, sessionId, {
      signal,
      timeoutMs: this.#options.timings.terminationTimeoutMs,
      isDone: (objects) => {
        if (!isAlive(objects.deployment)) {
          throw new CommandError("not_found", "it was deleted in the meantime");
        }
        return isHibernated(objects);
      },
      pending: ({ pods }) => {
        const names = podsHoldingVolumes(pods).map((pod) => `"${nameOf(pod)}"`);
        return names.length > 0
          ? `pod ${names.join(", ")} still exists`
          : "its Deployment still has replicas";
      },
    });
  }

  /** Scales a session to zero after a failed wake, and reports why. */
  async #rollBack(
    sessionId: string,
    { commandId, signal, detail }: { commandId: string; signal: AbortSignal; detail: StatusDetail },
  ): Promise<void> {
    try {
      const deployment = this.#existing(sessionId);
      await this.#provisioner.scale(nameOf(deployment), { replicas: 0, commandId });
      await this.#waitUntilHibernated(sessionId, signal);
      this.report(sessionId, "hibernated", { detail, deployment });
    } catch (error) {
      if (error === signal.reason) return;
      const reason = messageOf(error);
      log.error("Cannot hibernate session {sessionId} again after a failed wake: {reason}", {
        sessionId,
        reason,
      });
    }
  }

  /** Rejects images that the current settings no longer allow. */
  #checkImages({ spec }: V1Deployment): void {
    for (const { image = "" } of spec?.template.spec?.containers ?? []) {
      checkImage(image, this.#options.templates.rules);
    }
  }

  /**
   * Fails if the home volume was deleted while the session was hibernated: its pod would only wait for it. The volume is read if the cache does
   * not have it, such as one that another agent created.
   */
  async #checkHomeVolume(sessionId: string, deployment: V1Deployment): Promise<void> {
    const name = mountedClaim(deployment);
    if (name === undefined) return;
    const { claim: cached } = this.#cache.session(sessionId);
    const claim = cached && nameOf(cached) === name ? cached : await this.#provisioner.readClaim(name);
    if (isAlive(claim)) return;
    const details = claim
      ? `it is being deleted; ${NEW_HOME_ADVICE} once it is gone`
      : `it was deleted while the session was hibernated; ${LOST_HOME_ADVICE}`;
    const { reason, message } = problem("VolumeGone", { volume: JSON.stringify(name), details });
    throw new CommandError("start_failed", message, { reason });
  }

  /** Applies ingress settings that changed while the session was hibernated. */
  async #reconcilePolicy(
    sessionId: string,
    { deployment, signal }: { deployment: V1Deployment; signal: AbortSignal },
  ): Promise<void> {
    const { settings, startTimeoutMs: timeoutMs } = this.#options;
    const policy = buildPolicy(settings, deployment);
    await this.#provisioner.reconcilePolicy(policy, { sessionId, signal, timeoutMs });
  }

  #existing(sessionId: string): V1Deployment {
    const { deployment } = this.#cache.session(sessionId);
    if (!isAlive(deployment)) throw new CommandError("not_found", "it does not exist");
    return deployment;
  }

  #objectNames(sessionId: string): CommandResult {
    const { deployment, service } = this.#cache.session(sessionId);
    const pvc = mountedClaim(deployment);
    return {
      sessionId,
      deployment: deployment?.metadata?.name,
      service: service?.metadata?.name,
      ...(pvc ? { pvc } : {}),
    };
  }
}
