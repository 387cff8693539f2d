/**
 * The four commands as Kubernetes calls: a request goes in, objects are created, scaled or deleted, what the cluster makes of them is
 * awaited, and a result or an error comes out. Each step can be done again without harm.
 * @module
 */
import type { V1Deployment, V1PersistentVolumeClaim } from "@kubernetes/client-node";
import type { CommandResult, SessionState, SessionStatus } from "../control_plane/protocol.ts";
import { CommandError, messageOf } from "../errors.ts";
import type { SessionClient } from "../kubernetes/client.ts";
import type { CustomCollection } from "../kubernetes/custom_collection.ts";
import { mountedClaim, type SessionCache, type SessionObjects } from "../kubernetes/session_cache.ts";
import { log } from "../log.ts";
import type { SessionCapacity } from "./capacity.ts";
import { failureOf, noteOf } from "./failure.ts";
import { chooseHome } from "./home.ts";
import { buildManifests, type SessionSettings, specHash } from "./manifests.ts";
import { endOfRun, MAX_DURATION, maxDurationNote } from "./max_duration.ts";
import { homeClaimName, SPEC_HASH_ANNOTATION } from "./names.ts";
import { isCreatedBy, isInterrupted, type Outcome, recallOutcome } from "./outcome.ts";
import { Provisioner } from "./provisioner.ts";
import { hasEnded } from "./readiness.ts";
import type { Recorder } from "./recorder.ts";
import type { ScaleRequest, SessionRequest, StartRequest, StopRequest } from "./requests.ts";
import { displayPort, type Note, podFields, statusOf, type StatusSource } from "./status.ts";
import { resolveTemplate, type TemplateSources } from "./template_sources.ts";
import { waitUntil, waitUntilReady } from "./waiting.ts";

/** The command that brought a request. */
export interface CommandContext {
  readonly commandId: string;
  /** How long an earlier process was at work on it, in milliseconds; 0 for a new command. */
  readonly spentMs: number;
  /** Cancels between two steps; its reason is what is thrown. */
  readonly signal: AbortSignal;
}

/** What operations need to work. */
export interface OperationsOptions {
  readonly client: SessionClient;
  readonly cache: SessionCache;
  /** The Template objects of the cluster. */
  readonly catalog: Pick<CustomCollection, "synced">;
  readonly recorder: Recorder;
  readonly capacity: SessionCapacity;
  readonly settings: SessionSettings;
  readonly templates: TemplateSources;
  /** How many sessions' objects may be created, or scaled up, at once. */
  readonly maxConcurrentStarts: number;
  /** Longest time for a session to become ready, in milliseconds. */
  readonly startTimeoutMs: number;
  /** Told of each change of a session's state but the last, which is part of the outcome. */
  readonly onStatus: (status: SessionStatus) => void;
}

/** Longest time for a session's pods and volumes to go, in milliseconds. */
const STOP_TIMEOUT_MS = 120_000;

/** Longest wait for the deletion of a failed start's objects to be seen, in milliseconds. */
const ROLL_BACK_TIMEOUT_MS = 5000;

/** Carries out requests; those of one session must come one after the other. */
export class SessionOperations {
  readonly #cache: SessionCache;
  readonly #provisioner: Provisioner;
  readonly #options: OperationsOptions;

  constructor(options: OperationsOptions) {
    this.#cache = options.cache;
    this.#provisioner = new Provisioner(options);
    this.#options = options;
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
          return await this.#start(request, context);
        case "stop_session":
          return await this.#stop(request, context.signal);
        case "hibernate_session":
          return await this.#hibernate(sessionId, context);
        case "wake_session":
          return await this.#wake(request, context);
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
    if (request.action === "stop_session") await this.#stop(request, signal);
    else await this.#fallAsleep(sessionId, { commandId: MAX_DURATION, signal });
    const state = request.action === "stop_session" ? "terminated" : "hibernated";
    return statusOf(sessionId, state, { deployment, note: maxDurationNote(deployment) });
  }

  /** The outcome of a command that the session remembers as its last. */
  recall(sessionId: string, commandId: string): Outcome | undefined {
    return recallOutcome(this.#cache.session(sessionId), commandId);
  }

  async #untilClusterIsKnown(signal: AbortSignal): Promise<void> {
    const timeout = AbortSignal.timeout(this.#options.startTimeoutMs);
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

  async #start(request: StartRequest, context: CommandContext): Promise<Outcome> {
    const { sessionId } = request;
    const { commandId, signal } = context;
    if (!request.templateManifest) await this.#options.catalog.synced(signal);
    const objects = this.#cache.session(sessionId);
    if (isAlive(objects.deployment) && !isCreatedBy(objects, commandId)) {
      return await this.#startAgain(request, { deployment: objects.deployment, context });
    }
    const { settings, templates } = this.#options;
    warnOfNamespace(request, settings);
    const template = resolveTemplate(request, templates);
    const hasOwn = objects.claim?.metadata?.name === homeClaimName(sessionId);
    const home = chooseHome(request, { settings, overrides: template.storage ?? {}, hasOwn });
    const manifests = buildManifests({ request, template, settings, commandId, home, startedAt: new Date() });
    using _place = this.#options.capacity.reserve(sessionId, manifests.deployment);
    this.#report(sessionId, "pending", { deployment: manifests.deployment });
    try {
      const timeoutMs = this.#options.startTimeoutMs;
      await this.#provisioner.create(manifests, { sessionId, user: request.user, signal, timeoutMs });
      return await this.#running(sessionId, context);
    } catch (error) {
      if (!isLeftToOthers(signal)) {
        await this.#rollBack(sessionId, { signal, note: noteOf(failureOf(request, error)) });
      }
      throw error;
    }
  }

  /** The same start again is a success; another one under the same id is refused and changes nothing. */
  async #startAgain(
    request: StartRequest,
    { deployment, context }: { deployment: V1Deployment; context: CommandContext },
  ): Promise<Outcome> {
    if (deployment.metadata?.annotations?.[SPEC_HASH_ANNOTATION] !== specHash(request)) {
      throw new CommandError("conflict", "it exists already, and was started with other settings");
    }
    return await this.#wake(request, context);
  }

  /** A failed start leaves nothing behind but the home. */
  async #rollBack(
    sessionId: string,
    { signal, note }: { signal: AbortSignal; note: Note },
  ): Promise<void> {
    const { deployment, service, claim, policy } = this.#cache.session(sessionId);
    // A home that never came to be holds nothing, and would keep a wrong storage class for the next start.
    const stillborn = claim?.status?.phase === "Bound" ? undefined : this.#unshared(claim, sessionId);
    try {
      await this.#provisioner.delete({ deployment, service, policy, claim: stillborn });
      // So that the session's next command does not find it alive.
      await waitUntil(this.#cache, sessionId, {
        signal,
        timeoutMs: ROLL_BACK_TIMEOUT_MS,
        isDone: (objects) =>
          ![objects.deployment, objects.service, objects.policy].some((object) => isAlive(object)),
        left: () => "",
      }).catch(() => {});
    } catch (error) {
      const message = "What is left of session {sessionId} could not be removed: {reason}";
      log.error(message, { sessionId, reason: messageOf(error) });
    }
    this.#report(sessionId, "failed", { note, deployment });
  }

  async #stop(request: StopRequest, signal: AbortSignal): Promise<Outcome> {
    const { sessionId, deletePVC } = request;
    const { deployment, service, claim, policy } = this.#cache.session(sessionId);
    const home = deletePVC ? this.#unshared(claim, sessionId) : undefined;
    const doomed = { deployment, service, policy, claim: home };
    await this.#provisioner.delete(doomed);
    const remaining = (objects: SessionObjects) =>
      [
        objects.deployment,
        objects.service,
        objects.policy,
        ...objects.pods,
        home && !this.#cache.isGone(home, sessionId) ? home : undefined,
      ].flatMap((object) => object ? [`"${nameOf(object)}"`] : []);
    await waitUntil(this.#cache, sessionId, {
      signal,
      isDone: (objects) => remaining(objects).length === 0,
      timeoutMs: STOP_TIMEOUT_MS,
      left: (objects) => `${remaining(objects).join(", ")} is still being deleted`,
    });
    const deleted = Object.entries(doomed)
      .flatMap(([kind, object]) => isAlive(object) ? [`${kind}/${nameOf(object)}`] : []);
    // The status is told even when there was nothing: the Control Plane ends a session only on it.
    const result = { sessionId, state: "terminated", deleted };
    return { result, status: statusOf(sessionId, "terminated"), isRecorded: false };
  }

  /** A home that may go with the session: not where other sessions of the user are at home in it, too. */
  #unshared(
    claim: V1PersistentVolumeClaim | undefined,
    sessionId: string,
  ): V1PersistentVolumeClaim | undefined {
    return claim && this.#cache.isShared(nameOf(claim), sessionId) ? undefined : claim;
  }

  async #hibernate(sessionId: string, context: CommandContext): Promise<Outcome> {
    await this.#fallAsleep(sessionId, context);
    const result = { ...this.#objectNames(sessionId), state: "hibernated" };
    return await this.#options.recorder.record(context.commandId, {
      result,
      status: statusOf(sessionId, "hibernated", { deployment: this.#cache.session(sessionId).deployment }),
    });
  }

  async #fallAsleep(
    sessionId: string,
    { commandId, signal }: Pick<CommandContext, "commandId" | "signal">,
  ): Promise<void> {
    const deployment = this.#existing(sessionId);
    if (deployment.spec?.replicas !== 0) {
      await this.#provisioner.scale(nameOf(deployment), { replicas: 0, commandId });
    }
    await waitUntil(this.#cache, sessionId, {
      signal,
      isDone: isHibernated,
      timeoutMs: STOP_TIMEOUT_MS,
      left: ({ pods }) =>
        `pod ${
          pods.filter((pod) => !hasEnded(pod)).map((pod) => `"${nameOf(pod)}"`).join(", ")
        } is still there`,
    });
  }

  async #wake(request: SessionRequest, context: CommandContext): Promise<Outcome> {
    const { sessionId } = request;
    const deployment = this.#existing(sessionId);
    const { commandId, signal } = context;
    const isAwake = deployment.spec?.replicas !== 0;
    if (isAwake && !isInterrupted(this.#cache.session(sessionId), commandId)) {
      return await this.#running(sessionId, context);
    }
    using _place = this.#options.capacity.reserve(sessionId, deployment);
    this.#report(sessionId, "pending", { deployment });
    try {
      if (!isAwake) await this.#provisioner.scale(nameOf(deployment), { replicas: 1, commandId, signal });
      return await this.#running(sessionId, context);
    } catch (error) {
      const note = noteOf(failureOf(request, error));
      if (!isLeftToOthers(signal)) await this.#fallAsleepAgain(sessionId, { commandId, note });
      throw error;
    }
  }

  async #fallAsleepAgain(
    sessionId: string,
    { commandId, note }: { commandId: string; note: Note },
  ): Promise<void> {
    try {
      const deployment = this.#existing(sessionId);
      await this.#provisioner.scale(nameOf(deployment), { replicas: 0, commandId });
      this.#report(sessionId, "hibernated", { note, deployment });
    } catch (error) {
      const message = "Session {sessionId} could not be put to sleep again: {reason}";
      log.error(message, { sessionId, reason: messageOf(error) });
    }
  }

  #existing(sessionId: string): V1Deployment {
    const { deployment } = this.#cache.session(sessionId);
    if (!isAlive(deployment)) throw new CommandError("not_found", "it does not exist");
    return deployment;
  }

  async #running(sessionId: string, context: CommandContext): Promise<Outcome> {
    const { commandId, spentMs, signal } = context;
    const pod = await waitUntilReady(this.#cache, sessionId, {
      timeoutMs: Math.max(0, this.#options.startTimeoutMs - spentMs),
      signal,
      onProgress: (note) => {
        const { deployment } = this.#cache.session(sessionId);
        this.#report(sessionId, "pending", { note, deployment });
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

  #report(sessionId: string, state: SessionState, source: StatusSource): void {
    this.#options.onStatus(statusOf(sessionId, state, source));
  }
}

/** The Control Plane names one in every start. */
function warnOfNamespace({ sessionId, namespace }: StartRequest, settings: SessionSettings): void {
  if (namespace === undefined || namespace === settings.namespace) return;
  log.warn("Session {sessionId} was asked for in namespace {asked}, and starts in {namespace} as all do", {
    sessionId,
    asked: JSON.stringify(namespace),
    namespace: settings.namespace,
  });
}

/** Whether somebody else goes on with what was begun: the stop that cancelled it, or the next process. */
function isLeftToOthers(signal: AbortSignal): boolean {
  const isHandedOver = signal.reason instanceof CommandError && signal.reason.failure === "handed_over";
  return isHandedOver || isCancelledByStop(signal);
}

function isCancelledByStop({ reason }: AbortSignal): boolean {
  return reason instanceof CommandError && reason.failure === "cancelled";
}

/** Whether an object exists and is not on its way out. */
function isAlive<T extends Pick<V1Deployment, "metadata">>(object: T | undefined): object is T {
  return object !== undefined && !object.metadata?.deletionTimestamp;
}

function nameOf(object: Pick<V1Deployment, "metadata">): string {
  return object.metadata?.name ?? "";
}

/** The Deployment's controller has seen that no pod is wanted, and no pod is left, so that a volume is free to move. */
function isHibernated({ deployment, pods }: SessionObjects): boolean {
  if (!isAlive(deployment)) throw new CommandError("not_found", "it was deleted meanwhile");
  const { generation = 0 } = deployment.metadata ?? {};
  const { observedGeneration = 0, replicas = 0 } = deployment.status ?? {};
  return observedGeneration >= generation && replicas === 0 && pods.every(hasEnded);
}
