/**
 * Annotations that persist the outcome of a session's last command and its last reported status, so that the next process knows both. They are
 * on the Service, because no controller reconciles it on every change, or on the home volume that the Go agent left of a session.
 * @module
 */
import { deadline } from "@std/async";
import type { CommandResult, SessionState, SessionStatus } from "../control_plane/protocol.ts";
import { hasStatus, messageOf } from "../common/errors.ts";
import { asRecord, parseRecord } from "../common/json.ts";
import { log, RepeatFilter } from "../common/log.ts";
import type { SessionClient } from "../kubernetes/client.ts";
import { isAlive, nameOf } from "../kubernetes/objects.ts";
import { agentOf } from "../kubernetes/ownership.ts";
import type { SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import { COMMAND_ANNOTATION, OUTCOME_ANNOTATION, STATUS_ANNOTATION } from "../model/names.ts";
import { statusOf } from "./status.ts";

/** The outcome of a request: the result for the command, and the session's new status. */
export interface Outcome {
  readonly result: CommandResult;
  /** Absent if nothing changed. */
  readonly status?: SessionStatus;
  /** Whether the session's annotations have it. */
  readonly isRecorded: boolean;
}

type Annotations = Readonly<Record<string, string>>;

const STATES: readonly unknown[] = [
  "pending",
  "running",
  "hibernated",
  "terminated",
  "failed",
] satisfies SessionState[];

/** Writes the annotations. Never throws: without them, the next process repeats a command or a status. */
export class AnnotationRecorder {
  readonly #client: Pick<SessionClient, "annotate" | "annotateClaim">;
  readonly #cache: SessionCache;
  readonly #timeoutMs: number;
  readonly #refusals = new RepeatFilter();

  /** @param options.timeoutMs longest wait for a write, which delays command results, in milliseconds. @default {5000} */
  constructor(
    client: Pick<SessionClient, "annotate" | "annotateClaim">,
    cache: SessionCache,
    { timeoutMs = 5000 }: { readonly timeoutMs?: number } = {},
  ) {
    this.#client = client;
    this.#cache = cache;
    this.#timeoutMs = timeoutMs;
  }

  /** Records the outcome of a command. The returned outcome says whether that succeeded. */
  async recordOutcome(
    commandId: string,
    outcome: { readonly result: CommandResult; readonly status: SessionStatus },
  ): Promise<Outcome> {
    const annotations = outcomeAnnotations(commandId, outcome);
    return { ...outcome, isRecorded: await this.#annotate(outcome.status.sessionId, annotations) };
  }

  /** Records the status that was reported to the Control Plane. */
  async recordStatus(status: SessionStatus): Promise<void> {
    await this.#annotate(status.sessionId, statusAnnotation(status));
  }

  async #annotate(sessionId: string, annotations: Annotations): Promise<boolean> {
    const { service, claim } = this.#cache.session(sessionId);
    const [kind, object] = isLeftByGoAgent({ service, claim })
      ? ["claim" as const, claim]
      : ["service" as const, service];
    if (!isAlive(object)) return false;
    try {
      const annotated = kind === "claim"
        ? await deadline(this.#client.annotateClaim(nameOf(object), annotations), this.#timeoutMs)
        : await deadline(this.#client.annotate(nameOf(object), annotations), this.#timeoutMs);
      if (annotated) this.#cache.put(kind, annotated);
      return annotated !== undefined;
    } catch (error) {
      const reason = messageOf(error);
      log.debug("Cannot record the status of session {sessionId}: {reason}", { sessionId, reason });
      if (hasStatus(error, 403) && this.#refusals.isNew("")) {
        log.warn("Cannot record statuses on Services, the next process may repeat them: {reason}", {
          reason,
        });
      }
      return false;
    }
  }
}

/** The annotations with the outcome of a command and the status that is reported with it. */
export function outcomeAnnotations(
  commandId: string,
  { result, status }: { result: CommandResult; status: SessionStatus },
): Annotations {
  return { [OUTCOME_ANNOTATION]: JSON.stringify({ commandId, result }), ...statusAnnotation(status) };
}

/** The annotation with the last reported status. */
export function statusAnnotation({ state, platformMetadata }: SessionStatus): Annotations {
  const { podName = "", reason } = platformMetadata;
  return { [STATUS_ANNOTATION]: JSON.stringify({ state, podName, reason }) };
}

/** The recorded outcome of a command, if it was the session's last. */
export function recordedOutcome({ service }: SessionObjects, commandId: string): Outcome | undefined {
  const outcome = parseAnnotation(service?.metadata?.annotations?.[OUTCOME_ANNOTATION]);
  const result = asRecord(outcome?.result);
  return outcome?.commandId === commandId && result ? { result, isRecorded: true } : undefined;
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

/** Whether a command is the start that created the session. Its Service always names that command, its Deployment only until the next one. */
export function isCreatedBy(objects: SessionObjects, commandId: string): boolean {
  const creator = objects.service?.metadata?.annotations?.[COMMAND_ANNOTATION];
  return isInterrupted(objects, commandId) && (objects.service === undefined || creator === commandId);
}

/** Whether a command was the last to change the session's Deployment: an earlier process was interrupted while it ran. */
export function isInterrupted({ deployment }: SessionObjects, commandId: string): boolean {
  return deployment?.metadata?.annotations?.[COMMAND_ANNOTATION] === commandId;
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
