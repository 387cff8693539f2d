/**
 * How a session comes into the cluster: its template is found, its objects are made and created, and it is waited for. Where that fails, all is
 * removed again but for a home that holds data.
 * @module
 */
import type { V1Deployment } from "@kubernetes/client-node";
import { CommandError, messageOf } from "../common/errors.ts";
import type { CustomCollection } from "../kubernetes/custom_collection.ts";
import { isAlive } from "../kubernetes/objects.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { log } from "../common/log.ts";
import type { SessionCapacity } from "./capacity.ts";
import { type CommandContext, isLeftToOthers } from "./command_context.ts";
import { failureOf, noteOf } from "./failure.ts";
import { chooseHome } from "../manifests/home.ts";
import {
  buildManifests,
  type SessionManifests,
  type SessionSettings,
  specHash,
} from "../manifests/manifests.ts";
import { homeClaimName, SPEC_HASH_ANNOTATION } from "../model/names.ts";
import { isCreatedBy, type Outcome } from "../status/outcome.ts";
import type { Provisioner } from "./provisioner.ts";
import type { StartRequest } from "../model/requests.ts";
import type { RunOperations } from "./hibernate_wake.ts";
import type { Note } from "../status/status.ts";
import { resolveTemplate, type TemplateSources } from "../templates/sources.ts";
import { type OperationTimings, waitUntil } from "./waiting.ts";

/** What a start needs. */
export interface StartOptions {
  readonly cache: SessionCache;
  /** The Template objects of the cluster. */
  readonly catalog: Pick<CustomCollection, "synced">;
  readonly capacity: SessionCapacity;
  readonly settings: SessionSettings;
  readonly templates: TemplateSources;
  /** Longest time for a session to become ready, in milliseconds. */
  readonly startTimeoutMs: number;
  readonly timings: OperationTimings;
}

/** Starts sessions. */
export class StartOperation {
  readonly #options: StartOptions;
  readonly #cache: SessionCache;
  readonly #provisioner: Provisioner;
  readonly #runs: RunOperations;

  constructor(options: StartOptions, stages: { provisioner: Provisioner; runs: RunOperations }) {
    this.#options = options;
    this.#cache = options.cache;
    this.#provisioner = stages.provisioner;
    this.#runs = stages.runs;
  }

  /** Creates a session and waits until it serves. */
  async start(request: StartRequest, context: CommandContext): Promise<Outcome> {
    const { sessionId } = request;
    const { commandId, signal } = context;
    if (!request.templateManifest) await this.#options.catalog.synced(signal);
    const objects = this.#cache.session(sessionId);
    if (isAlive(objects.deployment) && !isCreatedBy(objects, commandId)) {
      return await this.#startAgain(request, { deployment: objects.deployment, context });
    }
    try {
      const manifests = this.#manifests(request, commandId);
      using _place = this.#options.capacity.reserve(sessionId, manifests.deployment);
      this.#runs.report(sessionId, "pending", { deployment: manifests.deployment });
      const timeoutMs = this.#options.startTimeoutMs;
      const { onTurn } = context;
      await this.#provisioner.create(manifests, { sessionId, user: request.user, signal, timeoutMs, onTurn });
      return await this.#runs.running(sessionId, context);
    } catch (error) {
      // Also where nothing was begun: an earlier process may have, with a template or settings that are no more.
      if (!isLeftToOthers(signal)) {
        await this.#rollBack(sessionId, { signal, note: noteOf(failureOf(request, error)) });
      }
      throw error;
    }
  }

  #manifests(request: StartRequest, commandId: string): SessionManifests {
    const { sessionId } = request;
    const { settings, templates } = this.#options;
    warnOfNamespace(request, settings);
    const template = resolveTemplate(request, templates);
    const hasOwn = this.#cache.session(sessionId).claim?.metadata?.name === homeClaimName(sessionId);
    const home = chooseHome(request, { settings, overrides: template.storage ?? {}, hasOwn });
    return buildManifests({ request, template, settings, commandId, home, startedAt: new Date() });
  }

  /** The same start again is a success; another one under the same id is refused and changes nothing. */
  async #startAgain(
    request: StartRequest,
    { deployment, context }: { deployment: V1Deployment; context: CommandContext },
  ): Promise<Outcome> {
    if (deployment.metadata?.annotations?.[SPEC_HASH_ANNOTATION] !== specHash(request)) {
      throw new CommandError("conflict", "it exists already, and was started with other settings");
    }
    return await this.#runs.wake(request, context);
  }

  /** A failed start leaves nothing behind but the home. */
  async #rollBack(
    sessionId: string,
    { signal, note }: { signal: AbortSignal; note: Note },
  ): Promise<void> {
    const { deployment, service, claim, policy } = this.#cache.session(sessionId);
    try {
      await this.#provisioner.delete({ deployment, service });
      // So that the session's next command does not find it alive, and as long as a pod lives, just those reach it who may.
      await waitUntil(this.#cache, sessionId, {
        signal,
        timeoutMs: this.#options.timings.rollBackTimeoutMs,
        isDone: (objects) =>
          ![objects.deployment, objects.service].some((object) => isAlive(object)) &&
          (!policy || objects.pods.length === 0),
        left: () => "",
      }).catch(() => {});
      await this.#provisioner.delete({ policy });
      // A home that never came to be holds nothing, and would keep a wrong storage class for the next start.
      if ((claim?.status?.phase ?? "Pending") === "Pending") {
        await this.#provisioner.delete({ claim: this.#provisioner.unshared(claim, sessionId) });
      }
    } catch (error) {
      const message = "What is left of session {sessionId} could not be removed: {reason}";
      log.error(message, { sessionId, reason: messageOf(error) });
    }
    this.#runs.report(sessionId, "failed", { note, deployment });
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
