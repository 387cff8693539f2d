/**
 * The errors of the API: each carries the `Status` object that the client gets, worded as a real API server does.
 * @module
 */
import { qualifiedName, type ResourceType } from "./resources.ts";

/** One field that is not as it must be. */
export interface Cause {
  readonly reason: string;
  readonly message: string;
  readonly field: string;
}

/** What a `Status` tells about the object it is about. */
export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly Cause[];
  readonly retryAfterSeconds?: number;
}

/** The body of an answer that is not an object. */
export interface Status {
  readonly kind: "Status";
  readonly apiVersion: "v1";
  readonly metadata: Record<string, never>;
  readonly status: "Success" | "Failure";
  readonly message?: string;
  readonly reason?: string;
  readonly details?: StatusDetails;
  readonly code?: number;
}

const REASONS: Readonly<Record<number, string>> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  409: "Conflict",
  410: "Expired",
  422: "Invalid",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};

/** The reason that usually stands beside an HTTP status. */
export function usualReason(code: number): string {
  return REASONS[code] ?? "Unknown";
}

/** A refused request. */
export class ApiError extends Error {
  override name = "ApiError";
  readonly code: number;
  readonly reason: string;
  readonly details?: StatusDetails;

  constructor(code: number, reason: string, options: { message: string; details?: StatusDetails }) {
    super(options.message);
    this.code = code;
    this.reason = reason;
    this.details = options.details;
  }

  /** The `Status` to answer with. */
  get status(): Status {
    const { message, reason, details, code } = this;
    return {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message,
      reason,
      details,
      code,
    };
  }
}

function detailsOf(type: ResourceType, name: string): StatusDetails {
  return { name, ...(type.group === "" ? {} : { group: type.group }), kind: type.plural };
}

/** The answer to a deletion that leaves nothing to show. */
export function deletedStatus(type: ResourceType, object: { name: string; uid: string }): Status {
  const details = { ...detailsOf(type, object.name), uid: object.uid };
  return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details };
}

/** 404: there is no such object. */
export function notFound(type: ResourceType, name: string): ApiError {
  const message = `${qualifiedName(type)} "${name}" not found`;
  return new ApiError(404, "NotFound", { message, details: detailsOf(type, name) });
}

/** 404: there is no such path. */
export function unknownPath(): ApiError {
  return new ApiError(404, "NotFound", {
    message: "the server could not find the requested resource",
    details: {},
  });
}

/** 405: the path does not take this method. */
export function methodNotAllowed(): ApiError {
  const message = "the server does not allow this method on the requested resource";
  return new ApiError(405, "MethodNotAllowed", { message, details: {} });
}

/** 409: the name is taken. */
export function alreadyExists(type: ResourceType, name: string): ApiError {
  const message = `${qualifiedName(type)} "${name}" already exists`;
  return new ApiError(409, "AlreadyExists", { message, details: detailsOf(type, name) });
}

/** 409: the object is not (or no longer) the one the client means. */
export function conflict(type: ResourceType, name: string, why: string): ApiError {
  const message = `Operation cannot be fulfilled on ${qualifiedName(type)} "${name}": ${why}`;
  return new ApiError(409, "Conflict", { message, details: detailsOf(type, name) });
}

/** 409: the object changed after the client read it. */
export function staleVersion(type: ResourceType, name: string): ApiError {
  const why = "the object has been modified; please apply your changes to the latest version and try again";
  return conflict(type, name, why);
}

/** 403: not allowed. */
export function forbidden(type: ResourceType, name: string, why: string): ApiError {
  const named = name === "" ? "" : ` "${name}"`;
  const message = `${qualifiedName(type)}${named} is forbidden: ${why}`;
  return new ApiError(403, "Forbidden", { message, details: detailsOf(type, name) });
}

/** 400: the request cannot be understood. */
export function badRequest(message: string): ApiError {
  return new ApiError(400, "BadRequest", { message });
}

/** 415: the body is of a type that this path does not take. */
export function unsupportedMediaType(mediaType: string): ApiError {
  const message = `415: Unsupported Media Type: this cluster reads JSON and YAML, not "${mediaType}"`;
  return new ApiError(415, "UnsupportedMediaType", { message });
}

/** 422: the object is well-formed but not valid. */
export function invalid(type: ResourceType, name: string, causes: readonly Cause[]): ApiError {
  const kind = type.group === "" ? type.kind : `${type.kind}.${type.group}`;
  const problems = causes.map((cause) => `${cause.field}: ${cause.message}`);
  const list = problems.length === 1 ? problems[0] : `[${problems.join(", ")}]`;
  const message = `${kind} "${name}" is invalid: ${list}`;
  const details = { ...detailsOf(type, name), kind: type.kind, causes };
  return new ApiError(422, "Invalid", { message, details });
}

/** 410: the history that the client asks for is gone. */
export function expired(wanted: number, oldest: number): ApiError {
  const message = `too old resource version: ${wanted} (${oldest})`;
  return new ApiError(410, "Expired", { message });
}
