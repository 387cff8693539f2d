/**
 * The page for people: its files, the live state, and the displays of sessions. Also checks where requests come from, so that no other web page can
 * drive the Control Plane.
 * @module
 */
import type { Hono } from "hono";
import { StreamResetError } from "../../lib/streams/tunnel_messages.ts";
import { kindOfDisplay, type OpenDisplay, relayDisplay, sessionOfHost } from "./display.ts";
import { errorResponse } from "./router.ts";
import type { StateEvents } from "./state_events.ts";

/** What the page's routes need. */
export interface PageParts {
  readonly events: StateEvents;
  readonly openDisplay: OpenDisplay;
}

const FOLDER = new URL("./page/", import.meta.url);
const NOVNC = new URL("../", import.meta.resolve("@novnc/novnc"));
const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
};
/** Everything comes from this server; only the frame of an HTTP display has another origin. */
const POLICY =
  "default-src 'self'; img-src 'self' data: blob:; frame-src http://*.localhost:*; frame-ancestors 'none'";

/** Adds the routes of the page. */
export function addPageRoutes(app: Hono, { events, openDisplay }: PageParts): void {
  app.get("/", () => serve(new URL("index.html", FOLDER)));
  app.get("/sessions/:sessionId", () => serve(new URL("session.html", FOLDER)));
  app.get("/page/:file{[a-z]+\\.(js|css)}", ({ req }) => serve(new URL(req.param("file"), FOLDER)));
  app.get(
    "/novnc/:file{(core|vendor)/[a-zA-Z0-9_/-]+\\.js}",
    ({ req }) => serve(new URL(req.param("file"), NOVNC)),
  );
  app.get("/api/v1/events", () => events.open());
  app.get(
    "/api/v1/sessions/:sessionId/stream",
    ({ req }) => relayDisplay(req.raw, req.param("sessionId"), openDisplay),
  );
  app.get("/api/v1/sessions/:sessionId/display", async ({ req }) => {
    const sessionId = req.param("sessionId");
    try {
      return Response.json({ sessionId, kind: await kindOfDisplay(openDisplay, sessionId) });
    } catch (error) {
      if (!(error instanceof StreamResetError)) throw error;
      return errorResponse(502, error.code, error.message);
    }
  });
}

async function serve(file: URL): Promise<Response> {
  const type = TYPES[file.pathname.split(".").at(-1) ?? ""] ?? "text/plain";
  try {
    const headers = { "Content-Type": type, "Content-Security-Policy": POLICY, "Cache-Control": "no-cache" };
    return new Response(await Deno.readFile(file), { headers });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return errorResponse(404, "Not found", "The page has no such file");
  }
}

/**
 * Rejects requests that another web page makes, also a page of a session: those with its origin, those that its elements load, and those by a name of
 * its own that resolves to this machine. Links to the first page and to the displays of sessions work.
 *
 * @param isLoopback whether the Control Plane listens on this machine only, where no other names are in use
 */
export function rejectForeign(request: Request, isLoopback: boolean): Response | undefined {
  const { host, hostname, pathname } = new URL(request.url);
  if (isLoopback && !isLoopbackName(hostname)) {
    return errorResponse(403, "Forbidden host", `This Control Plane is not ${hostname}: use localhost`);
  }
  const { headers } = request;
  const origin = headers.get("origin");
  if (origin !== null && (!URL.canParse(origin) || new URL(origin).host !== host)) {
    return errorResponse(403, "Forbidden origin", `Pages of ${origin} may not use this Control Plane`);
  }
  // Absent in what is no browser. https://www.w3.org/TR/fetch-metadata/
  if (["same-origin", "none", null].includes(headers.get("sec-fetch-site"))) return undefined;
  const isLink = headers.get("sec-fetch-mode") === "navigate" && request.method === "GET";
  if (isLink && (pathname === "/" || sessionOfHost(hostname) !== undefined)) return undefined;
  return errorResponse(403, "Forbidden origin", "Other pages may not use this Control Plane: open it at /");
}

function isLoopbackName(hostname: string): boolean {
  return hostname === "localhost" || sessionOfHost(hostname) !== undefined ||
    /^127\.[\d.]+$/.test(hostname) ||
    hostname === "[::1]";
}
