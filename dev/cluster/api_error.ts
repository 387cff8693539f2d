/**
 * The errors of the API: each carries the `Status` object for the client, with the message of a real API server.
 * @module
 */
import { qualifiedName, type ResourceType } from "./resources.ts";

/** One invalid field. */
export interface Cause {
  readonly reason: string;
  readonly message: string;
  readonly field: string;
}

/** Details of a `Status` about its object. */
export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly Cause[];
  readonly retryAfterSeconds?: number;
}

/** Body of a response that is a `Status`. */
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

/** Usual reason for an HTTP status. */
export function usualReason(code: number): string {
  return REASONS[code] ?? "Unknown";
}

/** A rejected request. */
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

  /** The `Status` of the response. */
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

/** Response to a deletion that returns no object. */
export function deletedStatus(type: ResourceType, object: { name: string; uid: string }): Status {
  const details = { ...detailsOf(type, object.name), uid: object.uid };
  return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details };
}

/** 404: the object does not exist. */
export function notFound(type: ResourceType, name: string): ApiError {
  const message = `${qualifiedName(type)} "${name}" not found`;
  return new ApiError(404, "NotFound", { message, details: detailsOf(type, name) });
}

/** 404: the path does not exist. */
export function unknownPath(): ApiError {
  return new ApiError(404, "NotFound", {
    message: "the server could not find the requested resource",
    details: {},
  });
}

/** 405: the path does not support this method. */
export function methodNotAllowed(): ApiError {
  const message = "the server does not allow this method on the requested resource";
  return new ApiError(405, "MethodNotAllowed", { message, details: {} });
}

/** 409: an object with this name exists. */
export function alreadyExists(type: ResourceType, name: string): ApiError {
  const message = `${qualifiedName(type)} "${name}" already exists`;
  return new ApiError(409, "AlreadyExists", { message, details: detailsOf(type, name) });
}

/** 409: a precondition of the client does not match the object. */
export function conflict(type: ResourceType, name: string, why: string): ApiError {
  const message = `Operation cannot be fulfilled on ${qualifiedName(type)} "${name}": ${why}`;
  return new ApiError(409, "Conflict", { message, details: detailsOf(type, name) });
}

/** 409: the object changed after the client read it. */
export function staleVersion(type: ResourceType, name: string): ApiError {
  const why = "the object has been modified; please apply your changes to the latest version and try again";
  return conflict(type, name, why);
}

/** 403: the request is forbidden. */
export function forbidden(type: ResourceType, name: string, why: string): ApiError {
  const named = name === "" ? "" : ` "${name}"`;
  const message = `${qualifiedName(type)}${named} is forbidden: ${why}`;
  return new ApiError(403, "Forbidden", { message, details: detailsOf(type, name) });
}

/** 400: the request is malformed. */
export function badRequest(message: string): ApiError {
  return new ApiError(400, "BadRequest", { message });
}

/** 415: the path does not support the media type of the body. */
export function unsupportedMediaType(mediaType: string): ApiError {
  const message = `415: Unsupported Media Type: this cluster reads JSON and YAML, not "${mediaType}"`;
  return new ApiError(415, "UnsupportedMediaType", { message });
}

/** 422: the object is well-formed but invalid. */
export function invalid(type: ResourceType, name: string, causes: readonly Cause[]): ApiError {
  const kind = type.group === "" ? type.kind : `${type.kind}.${type.group}`;
  const problems = causes.map((cause) => `${cause.field}: ${cause.message}`);
  const list = problems.length === 1 ? problems[0] : `[${problems.join(", ")}]`;
  const message = `${kind} "${name}" is invalid: ${list}`;
  const details = { ...detailsOf(type, name), kind: type.kind, causes };
  return new ApiError(422, "Invalid", { message, details });
}

/** 410: the requested resource version is too old. */
export function expired(wanted: number, oldest: number): ApiError {
  const message = `too old resource version: ${wanted} (${oldest})`;
  return new ApiError(410, "Expired", { message });
}

/** A required field is missing. */
export function required(field: string, why = ""): Cause {
  return { reason: "FieldValueRequired", message: why ? `Required value: ${why}` : "Required value", field };
}

/** The value of a field is invalid. */
export function wrong(field: string, value: unknown, why: string): Cause {
  return { reason: "FieldValueInvalid", message: `Invalid value: ${JSON.stringify(value)}: ${why}`, field };
}
