/**
 * Makes a check that cannot hang and cannot throw: what it does not find out in time is its finding.
 * @module
 */
import { abortable } from "@std/async";
import type { Finding } from "./finding.ts";

/** How long one check may take, in milliseconds; three of them may follow one another. */
export const CHECK_MS = 4000;
/** What there is to say of one that took longer. */
export const NO_ANSWER = `no answer within ${CHECK_MS / 1000} seconds`;

/**
 * Runs a check for at most {@linkcode CHECK_MS}.
 *
 * @param judge makes the finding of what it throws, or of its taking too long
 */
export async function inTime(
  run: (signal: AbortSignal) => Promise<Finding[]>,
  judge: (error: unknown) => Finding,
): Promise<Finding[]> {
  const deadline = AbortSignal.timeout(CHECK_MS);
  try {
    return await abortable(run(deadline), deadline);
  } catch (error) {
    return [judge(deadline.aborted ? new Error(NO_ANSWER) : error)];
  }
}
