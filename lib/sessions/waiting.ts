/**
 * Waiting for what the cluster makes of a session: always in the shared cache, always with a deadline, always open to cancellation.
 * @module
 */
import type { V1Pod } from "@kubernetes/client-node";
import { CommandError } from "../errors.ts";
import type { SessionCache, SessionObjects } from "../kubernetes/session_cache.ts";
import { formatDuration } from "../quantities.ts";
import { judge } from "./readiness.ts";

/** A condition, how long it may take, and what to say when it does not come true. */
export interface WaitOptions {
  readonly signal: AbortSignal;
  /** Milliseconds. */
  readonly timeoutMs: number;
  readonly isDone: (objects: SessionObjects) => boolean;
  /** What keeps the condition from being true, as the end of a sentence. */
  readonly left: (objects: SessionObjects) => string;
}

/**
 * Waits until a condition on a session's objects holds.
 *
 * @throws {CommandError} with failure `timeout`, or the signal's reason
 */
export async function waitUntil(cache: SessionCache, sessionId: string, options: WaitOptions): Promise<void> {
  const { signal, isDone, timeoutMs, left } = options;
  const deadline = performance.now() + timeoutMs;
  await cache.waitFor(sessionId, {
    signal,
    look: (objects) => {
      if (isDone(objects)) return { answer: undefined };
      const remainingMs = deadline - performance.now();
      if (remainingMs <= 0) {
        throw new CommandError("timeout", `after ${formatDuration(timeoutMs)}, ${left(objects)}`);
      }
      return { lookAgainInMs: Math.ceil(remainingMs) };
    },
  });
}

/**
 * Waits for a session's pod to serve; a trouble is final once it has lasted for its grace.
 *
 * @throws {CommandError} with failure `start_failed` or `timeout` and the reason in words, or the signal's reason
 */
export async function waitUntilReady(
  cache: SessionCache,
  sessionId: string,
  { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
): Promise<V1Pod> {
  const deadline = performance.now() + timeoutMs;
  let troubleSince: number | undefined;
  return await cache.waitFor<V1Pod>(sessionId, {
    signal,
    look: (objects) => {
      const verdict = judge(objects);
      if (verdict.state === "ready") return { answer: verdict.pod };
      const now = performance.now();
      const isTrouble = verdict.state === "trouble";
      troubleSince = isTrouble ? troubleSince ?? now : undefined;
      const graceLeft = isTrouble ? (troubleSince ?? now) + verdict.graceMs - now : Infinity;
      if (graceLeft <= 0) throw new CommandError("start_failed", verdict.reason);
      if (now >= deadline) {
        const waitsFor = isTrouble ? verdict.reason : `it waits for ${verdict.reason}`;
        throw new CommandError(
          "timeout",
          `it was not ready within ${formatDuration(timeoutMs)}: ${waitsFor}`,
        );
      }
      return { lookAgainInMs: Math.ceil(Math.min(deadline - now, graceLeft)) };
    },
  });
}
