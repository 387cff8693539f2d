/**
 * The HTTP application: Hono with the answers in the Control Plane's form for unknown paths and methods.
 * @module
 */
import { Hono } from "hono";

/** Builds an application whose routes are all below a prefix, such as `/streamspace`; `register` adds the routes. */
export function createApp(prefix: string, register: (app: Hono) => void): Hono {
  const app = new Hono().basePath(prefix);
  register(app);
  const routes = app.routes.map(({ method, path }) => ({ method, path }));
  for (const path of new Set(routes.map(({ path }) => path))) {
    const allowed = routes.filter((route) => route.path === path).map(({ method }) => method).join(", ");
    app.all(path.slice(prefix.length), (context) => {
      const details = `${context.req.path} accepts ${allowed} only`;
      return errorResponse(405, "Method not allowed", details, { Allow: allowed });
    });
  }
  const known = routes.map(({ method, path }) => `${method} ${path}`).join(", ");
  app.notFound((context) =>
    errorResponse(404, "Not found", `${context.req.path} does not exist; available: ${known}`)
  );
  return app;
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

/** The body as JSON, or as text where it is not JSON. */
export async function readBody(request: Request): Promise<unknown> {
  const text = await request.text();
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
