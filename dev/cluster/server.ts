/**
 * The HTTP server: parses requests, passes them to the verbs, converts errors to responses, and records requests.
 * @module
 */
import { checkAccess } from "./access.ts";
import { answer, type Backend } from "./api.ts";
import { ApiError, unknownPath } from "./api_error.ts";
import { type ApiRequest, parseApiRequest } from "./api_request.ts";
import { discover } from "./discovery.ts";
import type { Faults } from "./faults.ts";

/** A request that was answered. */
export interface RecordedRequest {
  /** The HTTP method. */
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** For example `list`; the method in lower case if the request is not for a resource. */
  readonly verb: string;
  /** For example `pods` or `deployments/scale`; empty if the request is not for a resource. */
  readonly resource: string;
  /** Name of the object; absent for a collection. */
  readonly name?: string;
  /** HTTP status of the response. */
  readonly status: number;
}

/** Options of the server. */
export interface ServerOptions extends Backend {
  readonly faults: Faults;
  /** Called after each response; for a watch when it opens. */
  readonly record: (request: RecordedRequest) => void;
}

/** Creates the handler of all requests. */
export function createHandler(options: ServerOptions): (request: Request) => Promise<Response> {
  return async (request) => {
    const { method } = request;
    const url = new URL(request.url);
    const record = { method, path: url.pathname, verb: method.toLowerCase(), resource: "" };
    try {
      const api = parseApiRequest(method, url);
      const what = { ...record, ...(api ? describe(api) : {}) };
      const response = await respond(options, { api, what, request });
      options.record({ ...what, status: response.status });
      return response;
    } catch (error) {
      const response = refuse(error);
      options.record({ ...record, status: response.status });
      return response;
    }
  };
}

type What = Omit<RecordedRequest, "status">;

function describe({ verb, type, subresource, name }: ApiRequest): Pick<What, "verb" | "resource" | "name"> {
  const resource = subresource === "" ? type.plural : `${type.plural}/${subresource}`;
  return { verb, resource, ...(name === "" ? {} : { name }) };
}

async function respond(
  options: ServerOptions,
  { api, what, request }: { api: ApiRequest | undefined; what: What; request: Request },
): Promise<Response> {
  const fault = options.faults.take(what);
  if (fault) return fault;
  try {
    if (!api) return about(what.path);
    checkAccess(options.authorize, api);
    return await answer(options, api, request);
  } catch (error) {
    return refuse(error);
  }
}

function about(path: string): Response {
  if (["/healthz", "/livez", "/readyz"].includes(path)) return new Response("ok");
  const document = discover(path);
  if (document === undefined) throw unknownPath();
  return Response.json(document);
}

function refuse(error: unknown): Response {
  const refusal = error instanceof ApiError ? error : internalError(error);
  return Response.json(refusal.status, { status: refusal.code });
}

function internalError(error: unknown): ApiError {
  const message = `Internal error occurred: ${error instanceof Error ? error.stack : error}`;
  return new ApiError(500, "InternalError", { message });
}
