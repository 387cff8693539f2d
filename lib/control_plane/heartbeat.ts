/**
 * Beats at once and then at an interval, for as long as the link is up.
 * @module
 */
import { delay } from "@std/async";

/** Calls `beat` now and every `intervalMs` milliseconds until the signal is aborted, each time with how many milliseconds late it is. */
export async function runHeartbeat(
  beat: (lateMs: number) => void,
  options: { intervalMs: number; signal: AbortSignal },
): Promise<void> {
  const { intervalMs, signal } = options;
  let dueAt = performance.now();
  while (!signal.aborted) {
    const now = performance.now();
    beat(Math.max(0, now - dueAt));
    dueAt = now + intervalMs;
    await delay(intervalMs, { signal }).catch(() => {});
  }
}
