/**
 * The operation `start_session`: resolves the template, creates the session's objects and waits until it is ready. If that fails, everything is
 * deleted again except a home volume with data.
 * @module
 */
import type { V1Deployment } from "@kubernetes/client-node";
import { CommandError, messageOf } from "../common/errors.ts";
import { log } from "../common/log.ts";
import type { CustomCollection } from "../kubernetes/custom_collection.ts";
import { isAlive } from "../kubernetes/objects.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import { chooseHomeVolume } from "../manifests/home.ts";
import {
  buildManifests,
  type SessionManifests,
  type SessionSettings,
  specHash,
} from "../manifests/manifests.ts";
import { homeClaimName, SPEC_HASH_ANNOTATION } from "../model/names.ts";
import type { StartRequest } from "../model/requests.ts";
import { isCreatedBy, type Outcome } from "../status/annotations.ts";
import type { StatusDetail } from "../status/status.ts";
import { resolveTemplate, type TemplateSources } from "../templates/sources.ts";
import type { SessionCapacity } from "./capacity.ts";
import { type CommandContext, isContinuedElsewhere, requestError, statusDetail } from "./command_context.ts";
import type { ScaleOperations } from "./hibernate_wake.ts";
import type { HomeDeletion } from "./home_deletion.ts";
import { HiddenSessionError } from "./object_creation.ts";
import type { Provisioner } from "./provisioner.ts";
import { ForeignSessionError } from "./session_finder.ts";
import { type OperationTimings, waitUntil } from "./waiting.ts";

/** What a start needs. */
export interface StartOptions {
  readonly cache: SessionCache;
  /** The Template objects of the cluster. */
  readonly templateObjects: Pick<CustomCollection, "synced">;
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
  readonly #homes: HomeDeletion;
  readonly #scaling: ScaleOperations;

  constructor(
    options: StartOptions,
    next: { provisioner: Provisioner; homes: HomeDeletion; scaling: ScaleOperations },
  ) {
    this.#options = options;
    this.#cache = options.cache;
    this.#provisioner = next.provisioner;
    this.#homes = next.homes;
    this.#scaling = next.scaling;
  }

  /** Creates a session and waits until it is ready. */
  async start(request: StartRequest, context: CommandContext): Promise<Outcome> {
    const { sessionId } = request;
    const { commandId, signal } = context;
    if (!request.templateManifest) await this.#options.templateObjects.synced(signal);
    const objects = this.#cache.session(sessionId);
    if (isAlive(objects.deployment) && !isCreatedBy(objects, commandId)) {
      return await this.#startExisting(request, { deployment: objects.deployment, context });
    }
    try {
      const manifests = this.#buildManifests(request, commandId);
      using _reservation = this.#options.capacity.reserve(sessionId, manifests.deployment);
      this.#scaling.report(sessionId, "pending", { deployment: manifests.deployment });
      const timeoutMs = this.#options.startTimeoutMs;
      const { onAdmitted } = context;
      await this.#provisioner.create(manifests, {
        sessionId,
        signal,
        timeoutMs,
        onAdmitted,
      });
      return { ...await this.#scaling.awaitReady(sessionId, context), isEvident: true };
    } catch (error) {
      const { deployment } = this.#cache.session(sessionId);
      if (error instanceof HiddenSessionError && isAlive(deployment)) {
        return await this.#startExisting(request, { deployment, context });
      }
      // Even if nothing was created now, an earlier process may have created objects with other settings.
      if (!isContinuedElsewhere(signal)) {
        const detail = statusDetail(requestError(request, error));
        const isForeign = error instanceof ForeignSessionError;
        await this.#rollBack(sessionId, { signal, detail, isReported: !isForeign });
      }
      throw error;
    }
  }

  #buildManifests(request: StartRequest, commandId: string): SessionManifests {
    const { sessionId } = request;
    const { settings, templates } = this.#options;
    warnOfNamespace(request, settings);
    const template = resolveTemplate(request, templates);
    const hasOwn = this.#cache.session(sessionId).claim?.metadata?.name === homeClaimName(sessionId);
    const homeVolume = chooseHomeVolume(request, { settings, overrides: template.storage ?? {}, hasOwn });
    return buildManifests({ request, template, settings, commandId, homeVolume, startedAt: new Date() });
  }

  /** A repeated start of an existing session succeeds; one with other settings is rejected. */
  async #startExisting(
    request: StartRequest,
    { deployment, context }: { deployment: V1Deployment; context: CommandContext },
  ): Promise<Outcome> {
    if (deployment.metadata?.annotations?.[SPEC_HASH_ANNOTATION] !== specHash(request)) {
      throw new CommandError("conflict", "it already exists with other settings");
    }
    return await this.#scaling.wake(request, context);
  }

  /** Deletes what a failed start created, except a home volume with data, and reports why it failed. */
  async #rollBack(
    sessionId: string,
    { signal, detail, isReported }: { signal: AbortSignal; detail: StatusDetail; isReported: boolean },
  ): Promise<void> {
    const { deployment, service, claim, policy } = this.#cache.session(sessionId);
    try {
      await this.#provisioner.delete({ deployment, service });
      await this.#waitUntilDeleted(sessionId, signal);
      await this.#provisioner.delete({ policy });
      // A volume that was never bound has no data, and its storage class may be the wrong one for the next start.
      if ((claim?.status?.phase ?? "Pending") === "Pending") {
        const isShared = claim && (await this.#homes.mounting(claim, sessionId)).length > 0;
        if (!isShared) await this.#provisioner.delete({ claim });
      }
    } catch (error) {
      const reason = messageOf(error);
      log.error("Cannot clean up after the failed start of session {sessionId}: {reason}", {
        sessionId,
        reason,
      });
    }
    if (isReported) this.#scaling.report(sessionId, "failed", { detail, deployment });
  }

  /**
   * Waits for a while until the session's next command no longer sees its objects as existing. The policy protects the pods, so it has to stay
   * until they are gone.
   */
  async #waitUntilDeleted(sessionId: string, signal: AbortSignal): Promise<void> {
    const hasPolicy = this.#cache.session(sessionId).policy !== undefined;
    await waitUntil(this.#cache, sessionId, {
      signal,
      timeoutMs: this.#options.timings.rollBackTimeoutMs,
      isDone: ({ deployment, service, pods }) =>
        !isAlive(deployment) && !isAlive(service) && (!hasPolicy || pods.length === 0),
      pending: () => "",
    }).catch(() => {});
  }
}

/** The Control Plane sends a namespace with every start, but the agent has only one. */
function warnOfNamespace({ sessionId, namespace }: StartRequest, settings: SessionSettings): void {
  if (namespace === undefined || namespace === settings.namespace) return;
  log.warn("Session {sessionId} requests namespace {requested}, but starts in {namespace}", {
    sessionId,
    requested: JSON.stringify(namespace),
    namespace: settings.namespace,
  });
}
