/**
 * Plain HTTP: requests come in, the route that fits answers; all else gets a JSON error that says what there is.
 * @module
 */

/** Answers a request; `parameters` are the parts of the path that the route names with a colon, decoded. */
export type Handler = (
  request: Request,
  parameters: Readonly<Record<string, string>>,
) => Response | Promise<Response>;

/** One method of one path. */
export interface Route {
  readonly method: "GET" | "POST";
  /** For example `/api/v1/agents/:agentId`. */
  readonly path: string;
  readonly handler: Handler;
}

/** Lets the first route that fits answer; `prefix` stands before each route's path. */
export async function route(request: Request, routes: readonly Route[], prefix: string): Promise<Response> {
  const pathname = new URL(request.url).pathname;
  const allowed: string[] = [];
  for (const { method, path, handler } of routes) {
    const parameters = matchPath(pathname, prefix + path);
    if (parameters === undefined) continue;
    if (method === request.method) return await handler(request, parameters);
    allowed.push(method);
  }
  if (allowed.length > 0) {
    const details = `${pathname} answers ${allowed.join(", ")} only`;
    return errorResponse(405, "Method not allowed", details, { Allow: allowed.join(", ") });
  }
  const known = routes.map(({ method, path }) => `${method} ${prefix}${path}`).join(", ");
  return errorResponse(404, "Not found", `There is no ${pathname}; there is ${known}`);
}

/** An error in the Control Plane's form. */
export function errorResponse(
  status: number,
  error: string,
  details: string,
  headers?: HeadersInit,
): Response {
  return Response.json({ error, details }, { status, headers });
}

/** The body as JSON, or as text where it is none. */
export async function readBody(request: Request): Promise<unknown> {
  const text = await request.text();
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function matchPath(pathname: string, path: string): Record<string, string> | undefined {
  const parts = pathname.split("/");
  const names = path.split("/");
  if (parts.length !== names.length) return undefined;
  const parameters: Record<string, string> = {};
  for (const [index, name] of names.entries()) {
    const part = parts[index] ?? "";
    if (!name.startsWith(":")) {
      if (part !== name) return undefined;
    } else {
      const value = decode(part);
      if (value === undefined || value === "") return undefined;
      parameters[name.slice(1)] = value;
    }
  }
  return parameters;
}

function decode(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}
