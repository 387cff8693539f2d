/**
 * One attempt to register with whatever key there is; a new key is kept.
 * @module
 */
import type { Credentials } from "./credentials.ts";
import { withEitherKey } from "./either_key.ts";
import { register, type Registration, type RegistrationAnswer } from "./registration.ts";

/** What an attempt needs. */
export interface EnrollOptions {
  readonly httpBase: string;
  readonly credentials: Credentials;
  readonly signal: AbortSignal;
}

/**
 * Registers once, or twice where the issued key is refused.
 *
 * @throws {RegistrationError} when the Control Plane refuses, is overloaded, answers nonsense or does not answer
 * @throws {LinkError} when a file of credentials cannot be used
 */
export async function enroll(
  registration: Registration,
  options: EnrollOptions,
): Promise<RegistrationAnswer> {
  const { httpBase, credentials, signal } = options;
  await credentials.restore(signal);
  const answer = await withEitherKey(credentials, {
    attempt: (own) => register(registration, { httpBase, credentials: own, signal }),
    isAccepted: ({ kind }) => kind === "registered",
  });
  if (answer.kind === "registered" && answer.apiKey) await credentials.issue(answer.apiKey);
  return answer;
}
