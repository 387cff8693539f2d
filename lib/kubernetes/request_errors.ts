/**
 * Requests that failed, in words: what was asked of Kubernetes, and what it said. Pure.
 * @module
 */
import { isTimeout, KubernetesError, messageOf } from "../common/errors.ts";
import { parseRecord } from "../common/json.ts";
import { parseRetryAfter } from "../common/backoff.ts";

/** What was asked. */
interface Asked {
  readonly method: string;
  readonly url: string;
}

/**
 * The most that an API server asks for; whoever asks for more, such as a proxy before it, must not make a command or a watch wait for that.
 * Source: https://github.com/kubernetes/kubernetes/blob/master/staging/src/k8s.io/apiserver/pkg/util/flowcontrol/dropped_requests_tracker.go
 */
const LONGEST_RETRY_AFTER_MS = 32_000;

/** An error that names verb and object, with the server's own words. */
export function refusal(
  request: Asked,
  { status, headers, text }: { readonly status: number; readonly headers: Headers; readonly text: string },
): KubernetesError {
  // A proxy before the API server answers in HTML; the status says enough.
  const answer = parseRecord(text);
  const words = typeof answer?.message === "string" ? answer.message : `HTTP status ${status}`;
  return new KubernetesError(`Kubernetes refused to ${describe(request)}: ${words}`, {
    status,
    reason: typeof answer?.reason === "string" ? answer.reason : "",
    retryAfterMs: Math.min(parseRetryAfter(headers) ?? 0, LONGEST_RETRY_AFTER_MS),
  });
}

/** An error that says of what no answer came, and why. */
export function unanswered(request: Asked, error: unknown): KubernetesError {
  const words = isTimeout(error) ? `no answer in time` : messageOf(error);
  return new KubernetesError(`Kubernetes did not answer a request to ${describe(request)}: ${words}`, {
    status: 0,
    reason: "",
    cause: error,
  });
}

/** An error that passes: until it is known who leads, nothing is final. */
export function forbidden(request: Asked): KubernetesError {
  const words = "this replica may lead no more";
  return new KubernetesError(`Cannot ask Kubernetes to ${describe(request)}: ${words}`, {
    status: 0,
    reason: "",
  });
}

const VERBS: ReadonlyMap<string, string> = new Map([
  ["GET", "read"],
  ["POST", "create"],
  ["PATCH", "change"],
  ["PUT", "replace"],
  ["DELETE", "delete"],
]);

/** A request in words: `create deployments`, `delete services alice-firefox`. */
function describe(request: Asked): string {
  const path = new URL(request.url).pathname.replace(/^.*\/namespaces\/[^/]+\//, "");
  return `${VERBS.get(request.method) ?? request.method} ${path.replaceAll("/", " ").trim()}`;
}
