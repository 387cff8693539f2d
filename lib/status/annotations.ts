/**
 * What a session's objects say about its last command and its last reported status, so that the next process knows both. A status that the
 * objects do not show, such as a failure, is recorded in an annotation: on the Service, because no controller reconciles it on every change, or on
 * the home volume that the Go agent left of a session.
 * @module
 */
import { deadline } from "@std/async";
import type { CommandResult, SessionState, SessionStatus } from "../control_plane/protocol.ts";
import { hasStatus, messageOf } from "../common/errors.ts";
import { asRecord, parseRecord } from "../common/json.ts";
import { log, RepeatFilter } from "../common/log.ts";
import type { KubernetesObject } from "@kubernetes/client-node";
import type { SessionClient } from "../kubernetes/client.ts";
import { conditionOf, isAlive, nameOf } from "../kubernetes/objects.ts";
import { agentOf } from "../kubernetes/ownership.ts";
import { Semaphore } from "../kubernetes/semaphore.ts";
import type { ObservedVersions, SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import {
  ACTIVITY_ANNOTATION,
  COMMAND_ANNOTATION,
  OUTCOME_ANNOTATION,
  STATUS_ANNOTATION,
} from "../model/names.ts";
import type { Activity } from "./session_activity.ts";
import { statusOf } from "./status.ts";

/** The outcome of a request: the result for the command, and the session's new status. */
export interface Outcome {
  readonly result: CommandResult;
  /** Absent if nothing changed. */
  readonly status?: SessionStatus;
  /** Whether the session's objects show it, so that the next process would find the same outcome. */
  readonly isEvident: boolean;
}

/** New values; `null` removes an annotation. */
type Annotations = Readonly<Record<string, string | null>>;

/** New annotations of an object. */
interface Change {
  readonly kind: "claim" | "service";
  readonly object: KubernetesObject;
  readonly annotations: Annotations;
}

/** Number of statuses that are recorded at the same time. */
const CONCURRENT_RECORDS = 16;

const STATES: readonly unknown[] = [
  "pending",
  "running",
  "hibernated",
  "terminated",
  "failed",
] satisfies SessionState[];

/** Records statuses. Never throws: without a record, the next process repeats a status. */
export class AnnotationRecorder {
  readonly #client: Pick<SessionClient, "annotate" | "annotateClaim">;
  readonly #cache: SessionCache;
  readonly #timeoutMs: number;
  readonly #refusals = new RepeatFilter();
  readonly #slots = new Semaphore(CONCURRENT_RECORDS);
  /** Session id → the status that is being recorded, or the one that will be next. */
  readonly #recordings = new Map<string, { status: SessionStatus; written: Promise<void> }>();

  /** @param options.timeoutMs longest wait for a write, in milliseconds. @default {5000} */
  constructor(
    client: Pick<SessionClient, "annotate" | "annotateClaim">,
    cache: SessionCache,
    { timeoutMs = 5000 }: { readonly timeoutMs?: number } = {},
  ) {
    this.#client = client;
    this.#cache = cache;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Records the status that was reported to the Control Plane. For a state that the objects show, only an earlier record is removed. When many
   * sessions change at once, most records wait: they must not delay the statuses of the others. Resolves when the status is recorded, or after the
   * timeout.
   */
  async recordStatus(status: SessionStatus): Promise<void> {
    const { sessionId } = status;
    const current = this.#recordings.get(sessionId);
    if (!current && !this.#change(status)) return;
    const recording = current ?? { status, written: Promise.resolve() };
    recording.status = status;
    this.#recordings.set(sessionId, recording);
    if (!current) recording.written = this.#slots.run(() => this.#record(recording));
    await deadline(recording.written, this.#timeoutMs).catch(() => {});
  }

  /** Writes a status, and those that replace it meanwhile. */
  async #record(recording: { readonly status: SessionStatus }): Promise<void> {
    const { sessionId } = recording.status;
    try {
      let written: SessionStatus | undefined;
      while (written !== recording.status) {
        written = recording.status;
        const change = this.#change(written);
        if (change) await this.#annotate(sessionId, change);
      }
    } finally {
      this.#recordings.delete(sessionId);
    }
  }

  /** The change that records a status; `undefined` if none is needed. */
  #change(status: SessionStatus): Change | undefined {
    const { service, claim } = this.#cache.session(status.sessionId);
    const [kind, object] = isLeftByGoAgent({ service, claim })
      ? ["claim" as const, claim]
      : ["service" as const, service];
    if (!isAlive(object)) return undefined;
    const hasRecord = object.metadata?.annotations?.[STATUS_ANNOTATION] !== undefined;
    const isOnService = kind === "service" && isEvident(status);
    if (isOnService && !hasRecord) return undefined;
    const annotations = isOnService
      ? { [STATUS_ANNOTATION]: null, [OUTCOME_ANNOTATION]: null }
      : statusAnnotation(status);
    return { kind, object, annotations };
  }

  /** Records the use of a session, if the number of viewers changed since the last record. */
  async recordActivity(sessionId: string, activity: Activity): Promise<void> {
    const { service } = this.#cache.session(sessionId);
    if (!isAlive(service) || recordedActivity({ service })?.viewers === activity.viewers) return;
    const annotations = { [ACTIVITY_ANNOTATION]: JSON.stringify(activity) };
    await this.#annotate(sessionId, { kind: "service", object: service, annotations });
  }

  async #annotate(sessionId: string, { kind, object, annotations }: Change): Promise<void> {
    try {
      const annotated = kind === "claim"
        ? await deadline(this.#client.annotateClaim(nameOf(object), annotations), this.#timeoutMs)
        : await deadline(this.#client.annotate(nameOf(object), annotations), this.#timeoutMs);
      if (annotated) this.#cache.put(kind, annotated);
    } catch (error) {
      const reason = messageOf(error);
      log.debug("Cannot record the status of session {sessionId}: {reason}", { sessionId, reason });
      if (hasStatus(error, 403) && this.#refusals.isNew("")) {
        log.warn("Cannot record statuses on Services, the next process may repeat them: {reason}", {
          reason,
        });
      }
    }
  }
}

/** Whether a session's objects show a status by themselves. */
export function isEvident({ state, platformMetadata }: SessionStatus): boolean {
  return (state === "running" || state === "hibernated") && !platformMetadata.reason;
}

/**
 * Whether the previous process reported a status that is not recorded: the objects show it, and have not changed since that process reported all
 * changes.
 *
 * @param reportedUpTo resource versions up to which it reported, by kind; resource versions increase with each change
 */
export function isReportedBefore(
  status: SessionStatus,
  { pods, deployment }: SessionObjects,
  reportedUpTo: ObservedVersions,
): boolean {
  if (!isEvident(status)) return false;
  const [kind, object] = status.state === "running"
    ? ["pod" as const, pods.find((pod) => nameOf(pod) === status.platformMetadata.podName)]
    : ["deployment" as const, deployment];
  return Number(object?.metadata?.resourceVersion) <= reportedUpTo[kind];
}

/** The annotation with the last reported status. */
export function statusAnnotation(
  { state, platformMetadata }: SessionStatus,
): Readonly<Record<string, string>> {
  const { podName = "", reason } = platformMetadata;
  return { [STATUS_ANNOTATION]: JSON.stringify({ state, podName, reason }) };
}

/** The outcome of a command that an earlier version of the agent recorded, if it was the session's last. */
export function recordedOutcome({ service }: SessionObjects, commandId: string): Outcome | undefined {
  const outcome = parseAnnotation(service?.metadata?.annotations?.[OUTCOME_ANNOTATION]);
  const result = asRecord(outcome?.result);
  return outcome?.commandId === commandId && result ? { result, isEvident: true } : undefined;
}

/** The recorded last status of a session, with the fields that decide whether a new status differs. */
export function recordedStatus(
  sessionId: string,
  { service, claim }: Pick<SessionObjects, "service" | "claim">,
): SessionStatus | undefined {
  const object = isLeftByGoAgent({ service, claim }) ? claim : service;
  const { state, podName = "", reason } =
    parseAnnotation(object?.metadata?.annotations?.[STATUS_ANNOTATION]) ??
      {};
  if (!isState(state)) return undefined;
  const platformMetadata = { podName: String(podName), ...(reason ? { reason: String(reason) } : {}) };
  return { ...statusOf(sessionId, state), platformMetadata };
}

/** The recorded use of a session; `undefined` if it was never used. */
export function recordedActivity({ service }: Pick<SessionObjects, "service">): Activity | undefined {
  const { viewers, lastActivity } = parseAnnotation(service?.metadata?.annotations?.[ACTIVITY_ANNOTATION]) ??
    {};
  const date = new Date(typeof lastActivity === "string" ? lastActivity : NaN);
  const isValid = Number.isInteger(viewers) && Number(viewers) >= 0 && !Number.isNaN(date.getTime());
  return isValid ? { viewers: Number(viewers), lastActivity: date } : undefined;
}

/** Whether a command is the start that created the session. Its Service always names that command, its Deployment only until the next one. */
export function isCreatedBy(objects: SessionObjects, commandId: string): boolean {
  const { service } = objects;
  return isInterrupted(objects, commandId) && (service === undefined || commandOf(service) === commandId);
}

/** Whether a start has completed, even if the session is not ready any more: its Deployment was available once, and no later command changed it. */
export function isStartedBy({ deployment, service }: SessionObjects, commandId: string): boolean {
  return isAlive(deployment) && [deployment, service].every((object) => commandOf(object) === commandId) &&
    conditionOf(deployment, "Progressing")?.reason === "NewReplicaSetAvailable";
}

/** Whether a command was the last to change the session's Deployment: an earlier process was interrupted while it ran. */
export function isInterrupted({ deployment }: SessionObjects, commandId: string): boolean {
  return commandOf(deployment) === commandId;
}

/** The command that created an object or changed it last. */
function commandOf(object: KubernetesObject | undefined): string | undefined {
  return object?.metadata?.annotations?.[COMMAND_ANNOTATION];
}

/** Whether a session consists of the home volume that the Go agent created, so that nobody reported its end: the Go agent reports none. */
export function isLeftByGoAgent({ service, claim }: Pick<SessionObjects, "service" | "claim">): boolean {
  return service === undefined && claim !== undefined && agentOf(claim) === undefined;
}

function isState(value: unknown): value is SessionState {
  return STATES.includes(value);
}

/** Anybody can edit annotations: invalid JSON is ignored. */
function parseAnnotation(text: string | undefined): Readonly<Record<string, unknown>> | undefined {
  return text === undefined ? undefined : parseRecord(text);
}
