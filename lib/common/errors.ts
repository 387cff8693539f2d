/**
 * Error classes that callers distinguish, and helpers to classify any error. Messages are written for operators; the original error is the `cause`.
 * @module
 */

/** One or more settings are missing, unknown or malformed; the program exits with code 2. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  /** One message per problem. */
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`Cannot start as the configuration is not valid:\n${problems.map((p) => `  - ${p}`).join("\n")}`);
    this.problems = problems;
  }
}

/** A kubeconfig, or the pod's service account, cannot be used; the message names file and field, and the program exits with code 2. */
export class KubeconfigError extends Error {
  override readonly name = "KubeconfigError";
}

/** The Control Plane rejected a request or did not respond. */
export class ControlPlaneError extends Error {
  override readonly name: string = "ControlPlaneError";
  /** HTTP status of the response; 0 if there was none. */
  readonly status: number;
  /** `Retry-After` of the response, in milliseconds; 0 if there was none. */
  readonly retryAfterMs: number;

  constructor(
    message: string,
    options: ErrorOptions & { status?: number; retryAfterMs?: number | undefined } = {},
  ) {
    super(message, options);
    this.status = options.status ?? 0;
    this.retryAfterMs = options.retryAfterMs ?? 0;
  }

  /** Whether the API key was rejected, so that another key may be accepted. */
  isKeyRejected(): boolean {
    return this.status === 401 || this.status === 403;
  }
}

/** The registration of the agent failed. */
export class RegistrationError extends ControlPlaneError {
  override readonly name = "RegistrationError";
}

/** Leadership was lost to another replica, so this one must stop. */
export class LeadershipError extends Error {
  override readonly name = "LeadershipError";
}

/** A WebSocket to the Control Plane could not be opened, or all attempts are used up. */
export class LinkError extends ControlPlaneError {
  override readonly name = "LinkError";
}

/** The Kubernetes API rejected a request or did not respond. */
export class KubernetesError extends Error {
  override readonly name: string = "KubernetesError";
  /** HTTP status; 0 if there was no response. */
  readonly status: number;
  /** Kubernetes' machine-readable reason, such as `AlreadyExists`. */
  readonly reason: string;
  /** `Retry-After` of the response, in milliseconds; 0 if there was none. */
  readonly retryAfterMs: number;

  constructor(
    message: string,
    options: ErrorOptions & { status: number; reason: string; retryAfterMs?: number },
  ) {
    super(message, options);
    this.status = options.status;
    this.reason = options.reason;
    this.retryAfterMs = options.retryAfterMs ?? 0;
  }

  /** Whether the same request may succeed when it is retried. */
  isTransient(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** The Kubernetes API rejected a request of `system:anonymous`: it received no credentials, or ignored them. */
export class AnonymousError extends KubernetesError {
  override readonly name = "AnonymousError";
}

/** Codes for the failures of commands. */
export const COMMAND_FAILURES = [
  "invalid",
  "unknown_action",
  "unknown_template",
  "not_found",
  "conflict",
  "cluster",
  "start_failed",
  "timeout",
  "cancelled",
  "draining",
  "busy",
  "at_capacity",
  "handed_over",
] as const;

/** Code for the failure of a command. */
export type CommandFailure = typeof COMMAND_FAILURES[number];

/** A command failed; the message becomes the `error` of the `failed` result. */
export class CommandError extends Error {
  override readonly name: string = "CommandError";
  readonly failure: CommandFailure;
  /** Cause from the table of failure causes, such as `ImagePullBackOff`; empty if none applies. */
  readonly reason: string;

  constructor(failure: CommandFailure, message: string, options: ErrorOptions & { reason?: string } = {}) {
    super(message, options);
    this.failure = failure;
    this.reason = options.reason ?? "";
  }
}

/** Whether the Kubernetes API returned one of these HTTP statuses. */
export function hasStatus(error: unknown, ...statuses: readonly number[]): boolean {
  return error instanceof KubernetesError && statuses.includes(error.status);
}

/** Whether the Kubernetes API rejected a request in a way that an immediate retry does not change. */
export function isPermanent(error: unknown): boolean {
  return error instanceof KubernetesError && !error.isTransient();
}

/** Whether the error is a timeout of `deadline()` or `AbortSignal.timeout()`. */
export function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && error.name === "TimeoutError";
}

/** Code for the failure of a command, from a bounded set: the session's failure cause, or else the kind of failure. */
export function failureCode(error: unknown): string {
  return error instanceof CommandError ? error.reason || error.failure : "internal";
}

/** Message of any thrown value. For a failed `fetch()` it is that of the cause, which alone contains the reason. */
export function messageOf(error: unknown): string {
  if (error instanceof TypeError && error.cause instanceof Error) return error.cause.message;
  return error instanceof Error ? error.message : String(error);
}
