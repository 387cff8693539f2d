/**
 * Addresses of the Control Plane, derived from the one URL in the settings. Pure.
 * @module
 */

/** Base addresses of a Control Plane without a trailing slash, or the problem with the configured URL. */
export interface ControlPlaneAddresses {
  /** For registration: http or https. */
  readonly http: string;
  /** For the link: ws or wss. */
  readonly webSocket: string;
  readonly problem?: string;
}

const SCHEMES: ReadonlyMap<string, { http: string; webSocket: string }> = new Map([
  ["ws:", { http: "http:", webSocket: "ws:" }],
  ["http:", { http: "http:", webSocket: "ws:" }],
  ["wss:", { http: "https:", webSocket: "wss:" }],
  ["https:", { http: "https:", webSocket: "wss:" }],
]);

/** Derives both addresses from a ws, wss, http or https URL, with or without a path prefix. */
export function controlPlaneAddresses(text: string): ControlPlaneAddresses {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const schemes = SCHEMES.get(url?.protocol ?? "");
  if (!url || !schemes || url.hostname === "") return problem("must be a ws, wss, http or https URL");
  if (url.username || url.password) return problem("must not contain a user or password");
  if (url.search || url.hash) return problem("must not contain a query or fragment");
  const rest = `//${url.host}${url.pathname.replace(/\/+$/, "")}`;
  return { http: `${schemes.http}${rest}`, webSocket: `${schemes.webSocket}${rest}` };
}

/** Path of an agent's WebSocket, relative to a base address. */
export function linkPath(agentId: string): string {
  return `/api/v1/agents/connect?agent_id=${encodeURIComponent(agentId)}`;
}

/** Path of an agent's tunnel for streams, relative to a base address. */
export function tunnelPath(agentId: string): string {
  return `/api/v1/agents/tunnel?agent_id=${encodeURIComponent(agentId)}`;
}

/** Host of a URL as connections need it: an IPv6 address without brackets. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, "");
}

function problem(text: string): ControlPlaneAddresses {
  return { http: "", webSocket: "", problem: text };
}
