/**
 * The maximum duration of a session: when its current run ends, and what is reported then. Pure.
 * @module
 */
import type { V1Deployment } from "@kubernetes/client-node";
import { wantsPod } from "../kubernetes/objects.ts";
import { formatDuration, parseDuration } from "../common/quantities.ts";
import { COMMAND_ANNOTATION, MAX_DURATION_ANNOTATION, RUNNING_SINCE_ANNOTATION } from "../model/names.ts";
import type { StatusDetail } from "./status.ts";

/** Replaces the command id in the annotations of a session that the agent itself hibernates. */
export const MAX_DURATION_COMMAND = "max-duration";

/**
 * When the run of a session ends, in milliseconds since 1970; `undefined` for a session without a maximum duration, one that is not running,
 * and one with unreadable annotations.
 */
export function endOfRun(deployment: V1Deployment | undefined): number | undefined {
  if (!wantsPod(deployment)) return undefined;
  const since = Date.parse(deployment.metadata?.annotations?.[RUNNING_SINCE_ANNOTATION] ?? "");
  const durationMs = maxDurationMs(deployment);
  return durationMs === undefined || Number.isNaN(since) ? undefined : since + durationMs;
}

/** Whether the agent itself hibernated a session because it reached its maximum duration. */
export function isHibernatedByMaxDuration({ metadata, spec }: V1Deployment): boolean {
  return spec?.replicas === 0 && metadata?.annotations?.[COMMAND_ANNOTATION] === MAX_DURATION_COMMAND;
}

/** Why a session that reached its maximum duration no longer runs. */
export function maxDurationDetail(deployment: V1Deployment): StatusDetail {
  const duration = formatDuration(maxDurationMs(deployment) ?? 0);
  return { reason: "MaxDuration", message: `it reached its maximum duration of ${duration}` };
}

function maxDurationMs({ metadata }: V1Deployment): number | undefined {
  return parseDuration(metadata?.annotations?.[MAX_DURATION_ANNOTATION] ?? "");
}
