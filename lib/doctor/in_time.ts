/**
 * Makes a check that cannot hang and cannot throw: what it does not find out in time is its finding.
 * @module
 */
import { abortable } from "@std/async";
import { messageOf } from "../errors.ts";
import { type CheckName, type Finding, Findings } from "./finding.ts";

/** How long one check may take, in milliseconds; three of them may follow one another. */
export const CHECK_MS = 4000;

/**
 * Runs a check for at most {@linkcode CHECK_MS}.
 *
 * @param about begins the finding where there is no answer, such as `Cannot look at the quota`
 */
export async function inTime(
  check: CheckName,
  run: (signal: AbortSignal) => Promise<Finding[]>,
  about: string,
): Promise<Finding[]> {
  const deadline = AbortSignal.timeout(CHECK_MS);
  try {
    return await abortable(run(deadline), deadline);
  } catch (error) {
    const words = deadline.aborted ? `no answer within ${CHECK_MS / 1000} seconds` : messageOf(error);
    return [new Findings(check).fail(`${about}: ${words}`, "")];
  }
}
