/**
 * Requests to an API server in the words of RBAC. Pure.
 * @module
 */

/** One request in the words of a Role. */
export interface RequestWords {
  readonly verb: string;
  /** With the subresource, such as `sessions/status`; empty for what is no resource, such as `/version`. */
  readonly resource: string;
}

const VERBS: ReadonlyMap<string, string> = new Map([
  ["POST", "create"],
  ["PUT", "update"],
  ["PATCH", "patch"],
  ["DELETE", "delete"],
]);

const PATH = /\/(?:api|apis\/[^/]+)\/[^/]+\/(?:namespaces\/[^/]+\/)?([^/]+)(?:\/([^/]+)(?:\/([^/]+))?)?/;

/** What a request asks for. */
export function requestWords(method: string, url: URL): RequestWords {
  const [, resource = "", name, subresource] = PATH.exec(url.pathname) ?? [];
  const reading = url.searchParams.has("watch") ? "watch" : name ? "get" : "list";
  return {
    verb: VERBS.get(method) ?? reading,
    resource: subresource ? `${resource}/${subresource}` : resource,
  };
}
