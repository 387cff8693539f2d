/**
 * When the current run of a session ends by itself, at its maximum duration or because nobody uses it, and what is reported then. Pure.
 * @module
 */
import type { V1Deployment } from "@kubernetes/client-node";
import { wantsPod } from "../kubernetes/objects.ts";
import { formatDuration, parseDuration } from "../common/quantities.ts";
import {
  COMMAND_ANNOTATION,
  IDLE_TIMEOUT_ANNOTATION,
  MAX_DURATION_ANNOTATION,
  RUNNING_SINCE_ANNOTATION,
} from "../model/names.ts";
import type { StatusDetail } from "./status.ts";

/** Why a run ends; replaces the command id in the annotations of a session that the agent itself hibernates. */
export type EndCause = "max-duration" | "idle-timeout";

/** The end of a run. */
export interface EndOfRun {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly cause: EndCause;
}

const LIMITS: Readonly<Record<EndCause, string>> = {
  "max-duration": MAX_DURATION_ANNOTATION,
  "idle-timeout": IDLE_TIMEOUT_ANNOTATION,
};

/**
 * The end of a session's run; `undefined` for a session without a limit, one that is not running, and one with unreadable annotations.
 *
 * @param idleSince since when no stream to the session is open, in milliseconds since 1970; without it, the idle timeout does not count
 */
export function endOfRun(deployment: V1Deployment | undefined, idleSince?: number): EndOfRun | undefined {
  if (!wantsPod(deployment)) return undefined;
  const since = Date.parse(deployment.metadata?.annotations?.[RUNNING_SINCE_ANNOTATION] ?? "");
  if (Number.isNaN(since)) return undefined;
  const maxDurationMs = limitMs(deployment, "max-duration");
  const idleTimeoutMs = idleSince === undefined ? undefined : limitMs(deployment, "idle-timeout");
  const longest = since + (maxDurationMs ?? Infinity);
  const idle = Math.max(since, idleSince ?? 0) + (idleTimeoutMs ?? Infinity);
  if (longest === Infinity && idle === Infinity) return undefined;
  return longest <= idle ? { at: longest, cause: "max-duration" } : { at: idle, cause: "idle-timeout" };
}

/** Why the agent itself hibernated a session; `undefined` if it did not, or if another command followed. */
export function causeOfHibernation({ metadata, spec }: V1Deployment): EndCause | undefined {
  const cause = metadata?.annotations?.[COMMAND_ANNOTATION];
  const isOwn = spec?.replicas === 0 && (cause === "max-duration" || cause === "idle-timeout");
  return isOwn ? cause : undefined;
}

/** Why a session whose run ended no longer runs. */
export function endDetail(deployment: V1Deployment, cause: EndCause): StatusDetail {
  const limit = formatDuration(limitMs(deployment, cause) ?? 0);
  return cause === "max-duration"
    ? { reason: "MaxDuration", message: `it reached its maximum duration of ${limit}` }
    : { reason: "IdleTimeout", message: `nobody used it for ${limit}` };
}

function limitMs({ metadata }: V1Deployment, cause: EndCause): number | undefined {
  return parseDuration(metadata?.annotations?.[LIMITS[cause]] ?? "");
}
