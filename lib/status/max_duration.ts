/**
 * How long a session may run at a stretch: what its Deployment says of that, and what is told of a session whose time was up. Pure.
 * @module
 */
import type { V1Deployment } from "@kubernetes/client-node";
import { wantsPod } from "../kubernetes/objects.ts";
import { formatDuration, parseDuration } from "../common/quantities.ts";
import { COMMAND_ANNOTATION, MAX_DURATION_ANNOTATION, RUNNING_SINCE_ANNOTATION } from "../model/names.ts";
import type { Note } from "./status.ts";

/** Stands in place of a command's id where the agent itself ended a session's run. */
export const MAX_DURATION = "max-duration";

/**
 * When a session's run is over, in milliseconds since 1970; never for one that may run for ever, that does not run, or whose annotations
 * cannot be read.
 */
export function endOfRun(deployment: V1Deployment | undefined): number | undefined {
  if (!wantsPod(deployment)) return undefined;
  const since = Date.parse(deployment.metadata?.annotations?.[RUNNING_SINCE_ANNOTATION] ?? "");
  const durationMs = maxDurationMs(deployment);
  return durationMs === undefined || Number.isNaN(since) ? undefined : since + durationMs;
}

/** Whether the agent itself put a session to sleep. */
export function isAsleepByMaxDuration({ metadata, spec }: V1Deployment): boolean {
  return spec?.replicas === 0 && metadata?.annotations?.[COMMAND_ANNOTATION] === MAX_DURATION;
}

/** Why a session whose time was up runs no more. */
export function maxDurationNote(deployment: V1Deployment): Note {
  const message = `It ran for ${formatDuration(maxDurationMs(deployment) ?? 0)}, the longest that it may`;
  return { reason: "MaxDuration", message };
}

function maxDurationMs({ metadata }: V1Deployment): number | undefined {
  return parseDuration(metadata?.annotations?.[MAX_DURATION_ANNOTATION] ?? "");
}
