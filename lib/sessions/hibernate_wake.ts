/**
 * How sessions come to run, and to sleep: a Deployment is scaled, what the cluster makes of it is awaited, and remembered.
 * @module
 */
import type { V1Deployment } from "@kubernetes/client-node";
import type { CommandResult, SessionState, SessionStatus } from "../control_plane/protocol.ts";
import { CommandError, messageOf } from "../common/errors.ts";
import { isAlive, mountedClaim, nameOf } from "../kubernetes/objects.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { log } from "../common/log.ts";
import { buildPolicy, type IngressSettings } from "../manifests/network_policy.ts";
import { checkImage, type ImageRules } from "../templates/rules.ts";
import type { SessionCapacity } from "./capacity.ts";
import { type CommandContext, isLeftToOthers } from "./command_context.ts";
import { failureOf, noteOf } from "./failure.ts";
import { isInterrupted, type Outcome } from "../status/outcome.ts";
import type { Provisioner } from "./provisioner.ts";
import { holders, isAsleep } from "../status/readiness.ts";
import type { Recorder } from "../status/recorder.ts";
import type { SessionRequest } from "../model/requests.ts";
import { displayPort, type Note, podFields, statusOf, type StatusSource } from "../status/status.ts";
import { type OperationTimings, waitUntil, waitUntilReady } from "./waiting.ts";

/** What it takes to let sessions run and sleep. */
export interface RunOptions {
  readonly cache: SessionCache;
  readonly recorder: Recorder;
  readonly capacity: SessionCapacity;
  readonly settings: IngressSettings;
  readonly templates: { readonly rules: ImageRules };
  /** Longest time for a session to become ready, in milliseconds. */
  readonly startTimeoutMs: number;
  /** Told of each change of a session's state but the last, which is part of the outcome. */
  readonly onStatus: (status: SessionStatus) => void;
  readonly timings: OperationTimings;
}

/** Hibernates and wakes. */
export class RunOperations {
  readonly #options: RunOptions;
  readonly #cache: SessionCache;
  readonly #provisioner: Provisioner;

  constructor(options: RunOptions, provisioner: Provisioner) {
    this.#options = options;
    this.#cache = options.cache;
    this.#provisioner = provisioner;
  }

  /** Gives a session's pod back to the cluster. */
  async hibernate(sessionId: string, context: CommandContext): Promise<Outcome> {
    await this.fallAsleep(sessionId, context);
    const result = { ...this.#objectNames(sessionId), state: "hibernated" };
    return await this.#options.recorder.record(context.commandId, {
      result,
      status: statusOf(sessionId, "hibernated", { deployment: this.#cache.session(sessionId).deployment }),
    });
  }

  /** Waits until a session's pod is gone, and its volume free to move. */
  async fallAsleep(
    sessionId: string,
    { commandId, signal }: Pick<CommandContext, "commandId" | "signal">,
  ): Promise<void> {
    const deployment = this.#existing(sessionId);
    if (deployment.spec?.replicas !== 0) {
      await this.#provisioner.scale(nameOf(deployment), { replicas: 0, commandId });
    }
    await this.#untilAsleep(sessionId, signal);
  }

  /** Lets a session have a pod again. One that has is waited for. */
  async wake(request: SessionRequest, context: CommandContext): Promise<Outcome> {
    const { sessionId } = request;
    const deployment = this.#existing(sessionId);
    const { commandId, signal } = context;
    const isAwake = deployment.spec?.replicas !== 0;
    if (isAwake && !isInterrupted(this.#cache.session(sessionId), commandId)) {
      return await this.running(sessionId, context);
    }
    if (!isAwake) this.#checkImages(deployment);
    using _place = this.#options.capacity.reserve(sessionId, deployment);
    this.report(sessionId, "pending", { deployment });
    try {
      if (!isAwake) {
        await this.#renewPolicy(sessionId, { deployment, signal });
        await this.#provisioner.scale(nameOf(deployment), { ...context, replicas: 1 });
      }
      return await this.running(sessionId, context);
    } catch (error) {
      const note = noteOf(failureOf(request, error));
      if (!isLeftToOthers(signal)) await this.#fallAsleepAgain(sessionId, { commandId, signal, note });
      throw error;
    }
  }

  /** Waits for a session to serve, and lets it remember that. */
  async running(sessionId: string, context: CommandContext): Promise<Outcome> {
    const { commandId, spentMs, signal } = context;
    const pod = await waitUntilReady(this.#cache, sessionId, {
      timeoutMs: this.#options.startTimeoutMs,
      spentMs,
      signal,
      timings: this.#options.timings,
      onProgress: (note) => {
        const { deployment } = this.#cache.session(sessionId);
        this.report(sessionId, "pending", { note, deployment });
      },
    });
    // A stop that came in this moment has the last word.
    signal.throwIfAborted();
    const names = this.#objectNames(sessionId);
    const result = { ...names, ...podFields(pod), vncPort: displayPort(pod), state: "running" };
    return await this.#options.recorder.record(commandId, {
      result,
      status: statusOf(sessionId, "running", { pod }),
    });
  }

  /** Tells a state that is not the outcome. */
  report(sessionId: string, state: SessionState, source: StatusSource): void {
    this.#options.onStatus(statusOf(sessionId, state, source));
  }

  async #untilAsleep(sessionId: string, signal: AbortSignal): Promise<void> {
    await waitUntil(this.#cache, sessionId, {
      signal,
      timeoutMs: this.#options.timings.terminationTimeoutMs,
      isDone: (objects) => {
        if (!isAlive(objects.deployment)) throw new CommandError("not_found", "it was deleted meanwhile");
        return isAsleep(objects);
      },
      left: ({ pods }) => `pod ${holders(pods).map((pod) => `"${nameOf(pod)}"`).join(", ")} is still there`,
    });
  }

  async #fallAsleepAgain(
    sessionId: string,
    { commandId, signal, note }: { commandId: string; signal: AbortSignal; note: Note },
  ): Promise<void> {
    try {
      const deployment = this.#existing(sessionId);
      await this.#provisioner.scale(nameOf(deployment), { replicas: 0, commandId });
      await this.#untilAsleep(sessionId, signal);
      this.report(sessionId, "hibernated", { note, deployment });
    } catch (error) {
      // Whoever ended the wait sees to the session.
      if (error === signal.reason) return;
      const message = "Session {sessionId} could not be put to sleep again: {reason}";
      log.error(message, { sessionId, reason: messageOf(error) });
    }
  }

  /** What was allowed at the start may be no more. */
  #checkImages({ spec }: V1Deployment): void {
    for (const { image = "" } of spec?.template.spec?.containers ?? []) {
      checkImage(image, this.#options.templates.rules);
    }
  }

  /** Who may reach the session may have been chosen anew since it ran. */
  async #renewPolicy(
    sessionId: string,
    { deployment, signal }: { deployment: V1Deployment; signal: AbortSignal },
  ): Promise<void> {
    const { settings, startTimeoutMs: timeoutMs } = this.#options;
    await this.#provisioner.renewPolicy(buildPolicy(settings, deployment), { sessionId, signal, timeoutMs });
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
