/**
 * Which key is used: one that the Control Plane issued comes first; where it is refused, the configured one has a try.
 * @module
 */
import { ControlPlaneError } from "../common/errors.ts";
import { log } from "../common/log.ts";
import type { ConnectionCredentials, Credentials } from "./credentials.ts";

/** What is tried. */
export interface EitherKeyOptions<T> {
  readonly attempt: (credentials: ConnectionCredentials) => Promise<T>;
  /** Whether what came of it shows that the key is good. @default {() => true} */
  readonly isAccepted?: (outcome: T) => boolean;
}

/**
 * Makes one attempt, or two where the issued key is refused, which is forgotten once the configured one is accepted.
 *
 * @throws {ControlPlaneError} what the last attempt throws
 */
export async function withEitherKey<T>(
  credentials: Credentials,
  { attempt, isAccepted = () => true }: EitherKeyOptions<T>,
): Promise<T> {
  using first = await credentials.read();
  try {
    return await attempt(first);
  } catch (error) {
    if (!(first.isIssued && error instanceof ControlPlaneError && error.isRefusalOfKey())) throw error;
  }
  log.warn("The Control Plane refuses the key that it issued: trying the configured one");
  using second = await credentials.readConfigured();
  const outcome = await attempt(second);
  if (isAccepted(outcome)) await credentials.forgetIssued();
  return outcome;
}
