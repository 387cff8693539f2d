/**
 * Beats at once and then at an interval, for as long as the link is up.
 * @module
 */
import { delay } from "@std/async";

/** Calls `beat` now and every `intervalMs` milliseconds until the signal is aborted. */
export async function runHeartbeat(
  beat: () => void,
  options: { intervalMs: number; signal: AbortSignal },
): Promise<void> {
  const { intervalMs, signal } = options;
  while (!signal.aborted) {
    beat();
    await delay(intervalMs, { signal }).catch(() => {});
  }
}
