/**
 * Restores what the previous process left: resumes its commands, and reports the sessions whose last status may not have arrived.
 * @module
 */
import { deadline } from "@std/async";
import type { JournalEntry } from "./commands/journal.ts";
import { CommandError } from "./common/errors.ts";
import { log } from "./common/log.ts";
import { statusOf } from "./status/status.ts";
import type { Components } from "./wiring.ts";

/**
 * Restores the state of the previous process. Its commands are resumed immediately, because operations wait for the cache; everything else starts
 * when the cache is in sync.
 */
export async function recover(components: Components, signal: AbortSignal): Promise<void> {
  const { journal, cache, reported, dispatcher, monitor, reconciler, sessionObjects } = components;
  const { entries, sessionIds, reportedUpTo } = await journal.load(signal);
  // The journal keeps their ids from now on, whatever happens before the cache is in sync.
  for (const sessionId of sessionIds) reported.set(statusOf(sessionId, "pending"));
  monitor.prepare();
  dispatcher.resume(entries);
  await cache.synced(signal);
  warnOfForeignSessions(cache);
  const failed = failedStarts(entries);
  const existing = new Set([...sessionIds, ...cache.sessionIds()]);
  const uncertain = uncertainSessions(entries, (sessionId) => existing.has(sessionId));
  const isOther = (sessionId: string) => !failed.has(sessionId);
  const sessions = {
    known: sessionIds.filter(isOther),
    uncertain: uncertain.filter(isOther),
    reportedUpTo,
  };
  // Before the monitor, which does not report what the reconciler restores.
  await reconciler.start(signal);
  await monitor.start(sessions, signal);
  dispatcher.reportFailedStarts(failed);
  components.expiry.start();
  components.homeRetention.start();
  sessionObjects.start(signal);
}

/** Longest list of session ids in a warning. */
const MAX_LISTED = 10;

/** After a change of the agent's id, its earlier sessions are those of another agent. */
function warnOfForeignSessions({ foreign }: Components["cache"]): void {
  for (const [agent, ids] of foreign.sessionsByAgent()) {
    const more = ids.length > MAX_LISTED ? ` and ${ids.length - MAX_LISTED} more` : "";
    log.warn(
      "{sessions} of agent {holder} are in this namespace and not managed by this agent: {name}; if that agent no longer runs, see --adopt-sessions-of",
      {
        sessions: `${ids.length} session${ids.length === 1 ? "" : "s"}`,
        holder: agent,
        name: `${ids.slice(0, MAX_LISTED).join(", ")}${more}`,
      },
    );
  }
}

/** Waits for the recovery, so that the results of the previous process are sent before new commands are accepted, but at most `timeoutMs`. */
export async function awaitRecovery(
  recovered: Promise<void>,
  { stopping, timeoutMs }: { stopping: AbortSignal; timeoutMs: number },
): Promise<void> {
  try {
    await deadline(recovered, timeoutMs, { signal: stopping });
  } catch {
    if (!stopping.aborted) {
      log.warn("The sessions in the cluster are not known yet: commands wait until they are");
    }
  }
}

/**
 * The sessions whose last command is a start that failed, with its error. The previous process may have ended before it reported that the session
 * failed.
 */
export function failedStarts(entries: readonly JournalEntry[]): Map<string, CommandError> {
  const errors = new Map<string, CommandError>();
  for (const { request, result, reason = "" } of entries) {
    if (!request) continue;
    const { action, sessionId } = request;
    if (action === "start_session" && result?.type === "failed") {
      errors.set(sessionId, new CommandError("invalid", result.payload.error, { reason: String(reason) }));
    } else if (!isScaling(action) || result?.type === "complete") errors.delete(sessionId);
  }
  return errors;
}

/**
 * The sessions whose last status may not have reached the Control Plane, because a command was not finished or its result may not have arrived.
 *
 * @param isKnown whether a session existed; of others, a hibernation or wake that did not complete reports nothing
 */
export function uncertainSessions(
  entries: readonly JournalEntry[],
  isKnown: (sessionId: string) => boolean,
): string[] {
  return entries.flatMap(({ request, result }) => {
    if (!request) return [];
    const { action, sessionId } = request;
    return isScaling(action) && result?.type !== "complete" && !isKnown(sessionId) ? [] : [sessionId];
  });
}

/** Whether a command neither creates nor deletes a session. */
function isScaling(action: string): boolean {
  return action === "hibernate_session" || action === "wake_session";
}
