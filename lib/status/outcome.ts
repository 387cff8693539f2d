/**
 * What a session's objects remember of its commands, so that a new process knows what the last one did and told: outcomes go in as
 * annotations and come out again. Pure.
 * @module
 */
import type { CommandResult, SessionState, SessionStatus } from "../control_plane/protocol.ts";
import { asRecord, parseRecord } from "../common/json.ts";
import type { SessionObjects } from "../kubernetes/session_cache.ts";
import { COMMAND_ANNOTATION, OUTCOME_ANNOTATION, STATUS_ANNOTATION } from "../model/names.ts";
import { statusOf } from "./status.ts";

/** What came of a request: the result for whoever asked, and the session's state for everybody. */
export interface Outcome {
  readonly result: CommandResult;
  /** Absent where nothing changed. */
  readonly status?: SessionStatus;
  /** Whether the session's objects remember it. */
  readonly isRecorded: boolean;
}

/** The annotations by which a session remembers the outcome of a command. */
export function outcomeAnnotations(
  commandId: string,
  { result, status }: { result: CommandResult; status: SessionStatus },
): Record<string, string> {
  return { [OUTCOME_ANNOTATION]: JSON.stringify({ commandId, result }), ...statusAnnotation(status) };
}

/** The annotation by which a session remembers what was told of it. */
export function statusAnnotation({ state, platformMetadata }: SessionStatus): Record<string, string> {
  const { podName = "", reason } = platformMetadata;
  return { [STATUS_ANNOTATION]: JSON.stringify({ state, podName, reason }) };
}

/** The outcome of a command, if it is the last that the session remembers. */
export function recallOutcome({ service }: SessionObjects, commandId: string): Outcome | undefined {
  const outcome = parse(service?.metadata?.annotations?.[OUTCOME_ANNOTATION]);
  const result = asRecord(outcome?.result);
  return outcome?.commandId === commandId && result ? { result, isRecorded: true } : undefined;
}

/** What the Control Plane was told last of a session, as far as it matters for what to tell next. */
export function lastTold(sessionId: string, { service }: SessionObjects): SessionStatus | undefined {
  const told = parse(service?.metadata?.annotations?.[STATUS_ANNOTATION]);
  const state = told?.state;
  if (!isState(state)) return undefined;
  const { podName = "", reason } = told ?? {};
  const platformMetadata = { podName: String(podName), ...(reason ? { reason: String(reason) } : {}) };
  return { ...statusOf(sessionId, state), platformMetadata };
}

/** Whether a command is the start that created the session, or began to: its Service keeps that, its Deployment until the next command. */
export function isCreatedBy(objects: SessionObjects, commandId: string): boolean {
  const creator = objects.service?.metadata?.annotations?.[COMMAND_ANNOTATION];
  return isInterrupted(objects, commandId) && (objects.service === undefined || creator === commandId);
}

/** Whether a command is the one that last changed the session's Deployment: it was interrupted, and is at work again. */
export function isInterrupted({ deployment }: SessionObjects, commandId: string): boolean {
  return deployment?.metadata?.annotations?.[COMMAND_ANNOTATION] === commandId;
}

function isState(value: unknown): value is SessionState {
  return typeof value === "string" &&
    ["pending", "running", "hibernated", "terminated", "failed"].includes(value);
}

/** Annotations can be edited by others: what is not JSON is no memory. */
function parse(text: string | undefined): Readonly<Record<string, unknown>> | undefined {
  return text === undefined ? undefined : parseRecord(text);
}
