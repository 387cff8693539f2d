/**
 * Requests to the Kubernetes API: their RBAC attributes, and the errors that failed requests are thrown as. Pure.
 * @module
 */
import { parseRetryAfter } from "../common/backoff.ts";
import { plainReason } from "../common/connection_problem.ts";
import { AnonymousError, isTimeout, KubernetesError, messageOf } from "../common/errors.ts";
import { parseRecord } from "../common/json.ts";

/** Verb and resource of a request, as an RBAC Role names them. */
export interface RequestAttributes {
  readonly verb: string;
  /** With the subresource, such as `sessions/status`; empty for a path that is no resource, such as `/version`. */
  readonly resource: string;
}

/** A request, as far as an error message needs it. */
interface RequestLine {
  readonly method: string;
  readonly url: string;
}

/** A response, and its body as text. */
export interface ReadResponse {
  readonly response: Response;
  readonly text: string;
}

const RBAC_VERBS: ReadonlyMap<string, string> = new Map([
  ["POST", "create"],
  ["PUT", "update"],
  ["PATCH", "patch"],
  ["DELETE", "delete"],
]);

const PATH = /\/(?:api|apis\/[^/]+)\/[^/]+\/(?:namespaces\/[^/]+\/)?([^/]+)(?:\/([^/]+)(?:\/([^/]+))?)?/;

/** Verb and resource of an HTTP request. */
export function attributesOf(method: string, url: URL): RequestAttributes {
  const [, resource = "", name, subresource] = PATH.exec(url.pathname) ?? [];
  const readVerb = url.searchParams.has("watch") ? "watch" : name ? "get" : "list";
  return {
    verb: RBAC_VERBS.get(method) ?? readVerb,
    resource: subresource ? `${resource}/${subresource}` : resource,
  };
}

/**
 * Upper limit for `Retry-After`, in milliseconds. An API server never sends more; a proxy in front of it might, and must not delay a command or a
 * watch for that long.
 * Source: https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/apiserver/pkg/util/flowcontrol/dropped_requests_tracker.go
 */
const MAX_RETRY_AFTER_MS = 32_000;

/** Error for a request that the API server answered with an error status; it carries the server's message and reason. */
export function rejection(request: RequestLine, { response, text }: ReadResponse): KubernetesError {
  const { status, headers } = response;
  // A proxy in front of the API server may answer with HTML; the status is enough then.
  const body = parseRecord(text);
  const message = typeof body?.message === "string" ? body.message : describeStatus(status, request);
  const options = {
    status,
    reason: typeof body?.reason === "string" ? body.reason : "",
    retryAfterMs: Math.min(parseRetryAfter(headers) ?? 0, MAX_RETRY_AFTER_MS),
  };
  if (status === 403 && message.includes('"system:anonymous"')) {
    const problem = "as it accepts no credentials of the agent and treats it as system:anonymous";
    return new AnonymousError(`Kubernetes refused to ${describe(request)}, ${problem}: ${message}`, options);
  }
  return new KubernetesError(`Kubernetes refused to ${describe(request)}: ${message}`, options);
}

/** Describes a response that is not from the Kubernetes API; a TLS server answers an unencrypted request with 400. */
function describeStatus(status: number, { url }: RequestLine): string {
  const isPlain = status === 400 && url.startsWith("http:");
  return `HTTP status ${status}${isPlain ? ": the server expects TLS, use https:// in its address" : ""}`;
}

/** Error for a request without a response: a timeout, or a connection that failed. It is transient. */
export function noResponse(request: RequestLine, error: unknown): KubernetesError {
  const reason = isTimeout(error) ? "the request timed out" : plainReason(messageOf(error));
  return new KubernetesError(`Kubernetes did not answer a request to ${describe(request)}: ${reason}`, {
    status: 0,
    reason: "",
    cause: error,
  });
}

/**
 * Error for a response that is not JSON: a proxy in front of the API server may answer in its place. The error of the parser is not part of it, as it
 * quotes the response, which may be that of a Secret.
 */
export function invalidResponse(request: RequestLine): KubernetesError {
  const problem = `Kubernetes answered a request to ${describe(request)} with something other than JSON`;
  return new KubernetesError(problem, { status: 0, reason: "" });
}

/** Error for a request that is not sent because there are no credentials for it. It is transient, as a plug-in may succeed later. */
export function noCredentials(request: RequestLine, error: unknown): KubernetesError {
  const reason = isTimeout(error) ? "the kubeconfig's plug-in returns no credentials" : messageOf(error);
  const problem = `Cannot ${describe(request)}: ${reason}`;
  return new KubernetesError(problem, { status: 0, reason: "", cause: error });
}

/** Error for a write that is not sent because this replica may have lost leadership. It is transient, as the leader may still be this one. */
export function notLeader(request: RequestLine): KubernetesError {
  return new KubernetesError(
    `Cannot ${describe(request)}: this replica may no longer be the leader`,
    { status: 0, reason: "" },
  );
}

const MESSAGE_VERBS: ReadonlyMap<string, string> = new Map([
  ["GET", "read"],
  ["POST", "create"],
  ["PATCH", "change"],
  ["PUT", "replace"],
  ["DELETE", "delete"],
]);

/** A request for an error message: `create deployments`, `delete services alice-firefox`. */
function describe(request: RequestLine): string {
  const path = new URL(request.url).pathname.replace(/^.*\/namespaces\/[^/]+\//, "");
  return `${MESSAGE_VERBS.get(request.method) ?? request.method} ${path.replaceAll("/", " ").trim()}`;
}
