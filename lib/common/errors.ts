/**
 * The errors that callers tell apart. Each message is a sentence for the person who meets it; the first error is kept as `cause`.
 * @module
 */

/** One or more settings are missing, unknown or malformed; the program ends with code 2. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  /** One sentence per problem. */
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`Cannot start as the configuration is not valid:\n${problems.map((p) => `  - ${p}`).join("\n")}`);
    this.problems = problems;
  }
}

/** The Control Plane refused a request or did not answer it. */
export class ControlPlaneError extends Error {
  override readonly name: string = "ControlPlaneError";
  /** HTTP status of the refusal; 0 where there was none. */
  readonly status: number;
  /** Shortest wait before the next attempt that the Control Plane asked for, in milliseconds; 0 where it asked for none. */
  readonly retryAfterMs: number;

  constructor(
    message: string,
    options: ErrorOptions & { status?: number; retryAfterMs?: number | undefined } = {},
  ) {
    super(message, options);
    this.status = options.status ?? 0;
    this.retryAfterMs = options.retryAfterMs ?? 0;
  }

  /** Whether another key may be accepted where this one was not. */
  isKeyRejected(): boolean {
    return this.status === 401 || this.status === 403;
  }
}

/** The Control Plane did not register this agent. */
export class RegistrationError extends ControlPlaneError {
  override readonly name = "RegistrationError";
}

/** Another replica leads now, so that this one must not go on. */
export class LeadershipError extends Error {
  override readonly name = "LeadershipError";
}

/** A WebSocket to the Control Plane could not be opened, or every attempt to have one is used up. */
export class LinkError extends ControlPlaneError {
  override readonly name = "LinkError";
}

/** The Kubernetes API refused a request or did not answer it. */
export class KubernetesError extends Error {
  override readonly name = "KubernetesError";
  /** HTTP status; 0 where no answer came. */
  readonly status: number;
  /** Kubernetes' machine-readable reason, such as `AlreadyExists`. */
  readonly reason: string;
  /** Shortest wait before the next attempt that the server asked for, in milliseconds; 0 where it asked for none. */
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

  /** Whether the same request may succeed a moment later. */
  isTransient(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Why commands fail, for programs. */
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

/** Why a command failed, for programs; the message says it to people. */
export type CommandFailure = typeof COMMAND_FAILURES[number];

/** A command cannot be carried out; its message becomes the `error` of the command's `failed`. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly failure: CommandFailure;
  /** What is wrong with the session, in one stable word of the table of causes; empty where nothing is. */
  readonly reason: string;

  constructor(failure: CommandFailure, message: string, options: ErrorOptions & { reason?: string } = {}) {
    super(message, options);
    this.failure = failure;
    this.reason = options.reason ?? "";
  }
}

/** Whether the Kubernetes API answered with one of these HTTP statuses. */
export function hasStatus(error: unknown, ...statuses: readonly number[]): boolean {
  return error instanceof KubernetesError && statuses.includes(error.status);
}

/** Whether the Kubernetes API said no: asking again at once does not change that. */
export function isPermanent(error: unknown): boolean {
  return error instanceof KubernetesError && !error.isTransient();
}

/** Whether an `AbortSignal.timeout()` ran out. */
export function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && error.name === "TimeoutError";
}

/** Why a command failed, in one of a bounded number of words: the session's trouble, or else the kind of failure. */
export function failureCode(error: unknown): string {
  return error instanceof CommandError ? error.reason || error.failure : "internal";
}

/** The text of anything thrown; a failed fetch says why only in its cause. */
export function messageOf(error: unknown): string {
  if (error instanceof TypeError && error.cause instanceof Error) return error.cause.message;
  return error instanceof Error ? error.message : String(error);
}
