/**
 * Requests to an API server in the words of RBAC.
 * @module
 */

/** One request in the words of a Role. */
export interface ApiRequest {
  readonly verb: string;
  /** With the subresource, such as `sessions/status`; empty for what is in no namespace. */
  readonly resource: string;
}

const VERBS: ReadonlyMap<string, string> = new Map([
  ["POST", "create"],
  ["PUT", "update"],
  ["PATCH", "patch"],
  ["DELETE", "delete"],
]);

/** What a request in a namespace asks for. */
export function describe(method: string, url: URL): ApiRequest {
  const [, resource = "", name, subresource] =
    /\/namespaces\/[^/]+\/([^/]+)(?:\/([^/]+)(?:\/([^/]+))?)?/.exec(url.pathname) ?? [];
  const reading = url.searchParams.has("watch") ? "watch" : name ? "get" : "list";
  return {
    verb: VERBS.get(method) ?? reading,
    resource: subresource ? `${resource}/${subresource}` : resource,
  };
}
