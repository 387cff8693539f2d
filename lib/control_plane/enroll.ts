/**
 * One attempt to register with whatever key there is. A key that the Control Plane issued comes first; where it is refused, the configured
 * one has a try. A new key is kept.
 * @module
 */
import { RegistrationError } from "../errors.ts";
import { log } from "../log.ts";
import type { Credentials } from "./credentials.ts";
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
  await options.credentials.restore(options.signal);
  const answer = await registerWithEitherKey(registration, options);
  if (answer.kind === "registered" && answer.apiKey) await options.credentials.issue(answer.apiKey);
  return answer;
}

async function registerWithEitherKey(
  registration: Registration,
  { credentials, ...request }: EnrollOptions,
): Promise<RegistrationAnswer> {
  using first = await credentials.read();
  try {
    return await register(registration, { ...request, credentials: first });
  } catch (error) {
    if (!(first.isIssued && error instanceof RegistrationError && error.isRefusalOfKey())) throw error;
  }
  log.warn("The Control Plane refuses the key that it issued: trying the configured one");
  using second = await credentials.readConfigured();
  const answer = await register(registration, { ...request, credentials: second });
  if (answer.kind === "registered") await credentials.forgetIssued();
  return answer;
}
