/**
 * The endpoints that agents call: registration and the WebSocket, with normal or scripted answers.
 * @module
 */
import { delay } from "@std/async";
import type { Hono } from "hono";
import { excerpt, isObject, problemsOf, REGISTRATION } from "./schemas.ts";
import type { Links } from "./links.ts";
import type { Quirks } from "./quirks.ts";
import type { Registry } from "./registry.ts";
import { errorResponse, readBody } from "./router.ts";
import { TUNNEL_FEATURE } from "../../lib/streams/tunnel_messages.ts";
import type { Tunnels } from "./tunnels.ts";
import { type Script, type ScriptedAnswer, toResponse } from "./script.ts";

/** A registration request as received; the body is text if it is not JSON. */
export interface Registration {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly headers: Headers;
  readonly body: unknown;
}

/** What the agents' endpoints need. */
export interface AgentApiParts {
  readonly apiKey: string | undefined;
  readonly quirks: Quirks;
  readonly registry: Registry;
  readonly links: Links;
  readonly tunnels: Tunnels;
  readonly registrationScript: Script<ScriptedAnswer>;
  /** `"hang"` leaves a request unanswered. */
  readonly connectScript: Script<ScriptedAnswer | "hang">;
  /** Ends the unanswered requests. */
  readonly closing: AbortSignal;
  onRegistration(registration: Registration): void;
  log(line: string): void;
  report(problem: string): void;
}

/** How long opening a WebSocket takes with the quirk `online-before-link`, in milliseconds. */
const LINK_DELAY_MS = 300;

/** Adds the routes for agents. */
export function addAgentRoutes(app: Hono, parts: AgentApiParts): void {
  app.post("/api/v1/agents/register", async ({ req: { raw: request } }) => {
    const body = await readBody(request);
    return register({ at: Date.now(), headers: new Headers(request.headers), body }, parts);
  });
  app.get("/api/v1/agents/connect", ({ req: { raw: request } }) => connect(request, parts));
  app.get("/api/v1/agents/tunnel", ({ req: { raw: request } }) => openTunnel(request, parts));
}

function register(registration: Registration, parts: AgentApiParts): Response {
  const { headers, body } = registration;
  const problems = problemsOf(REGISTRATION, body, "");
  const agentId = isObject(body) && typeof body.agentId === "string" ? body.agentId : "";
  for (const problem of problems) parts.report(`Registration of "${agentId}": ${problem}`);
  parts.onRegistration(registration);

  const scripted = parts.registrationScript.next();
  if (scripted !== undefined) {
    if (problems.length === 0 && isObject(body)) admit(body, scripted, parts);
    parts.log(`registration of ${agentId} answered ${scripted.status}`);
    return toResponse(scripted);
  }
  const rejection = checkKey(headers, agentId, parts);
  if (rejection !== undefined) return rejection;
  if (!isObject(body) || problems.length > 0) {
    return errorResponse(400, "Invalid request body", problems.join("; "));
  }
  const agent = parts.registry.register(body, headers.get("user-agent") ?? "");
  if (parts.quirks.has("approval") && !parts.registry.isApproved(agentId)) {
    agent.status = "pending";
    parts.log(`registered ${agentId}, which waits for approval`);
    const message = "An administrator has to approve this agent";
    return Response.json({ agent, approvalStatus: "pending", message }, { status: 202 });
  }
  parts.log(`registered ${agentId} (platform: ${agent.platform}, region: ${agent.region || "-"})`);
  const requested: readonly unknown[] = Array.isArray(body.features) ? body.features : [];
  const hasTunnel = requested.includes(TUNNEL_FEATURE) && !parts.quirks.has("no-tunnel");
  return Response.json({ ...agent, ...(hasTunnel ? { features: [TUNNEL_FEATURE] } : {}) });
}

/** A scripted answer that accepts the agent registers it like the normal one, and may issue a key. */
function admit(
  body: Record<string, unknown>,
  { status, body: answer }: ScriptedAnswer,
  parts: AgentApiParts,
) {
  if (status !== 200 && status !== 201) return;
  const { agentId } = parts.registry.register(body);
  if (isObject(answer) && typeof answer.apiKey === "string") parts.registry.issueKey(agentId, answer.apiKey);
}

async function connect(request: Request, parts: AgentApiParts): Promise<Response> {
  const agentId = new URL(request.url).searchParams.get("agent_id") ?? "";
  const scripted = parts.connectScript.next();
  if (scripted === "hang") return await hang(parts);
  if (scripted !== undefined) {
    parts.log(`connection of ${agentId} answered ${scripted.status}`);
    return toResponse(scripted);
  }
  const rejection = rejectConnection(request, agentId, parts);
  if (rejection !== undefined) return rejection;
  if (parts.quirks.has("online-before-link")) {
    await delay(LINK_DELAY_MS, { signal: parts.closing }).catch(() => {});
  }
  return parts.links.accept(request, agentId);
}

/** Accepts the tunnel of an agent. */
function openTunnel(request: Request, parts: AgentApiParts): Response {
  const agentId = new URL(request.url).searchParams.get("agent_id") ?? "";
  if (parts.quirks.has("no-tunnel")) return errorResponse(404, "Not found", "There is no such endpoint");
  return rejectConnection(request, agentId, parts) ?? parts.tunnels.accept(request, agentId);
}

/** The answer to a WebSocket request that is not accepted. */
function rejectConnection(request: Request, agentId: string, parts: AgentApiParts): Response | undefined {
  if (agentId === "") return errorResponse(400, "Missing agent_id", "Connect with ?agent_id=YOUR_AGENT_ID");
  const rejection = checkKey(request.headers, agentId, parts);
  if (rejection !== undefined) return rejection;
  if (parts.registry.get(agentId) === undefined) {
    parts.log(`rejected the connection of ${agentId}: it is not registered`);
    return errorResponse(404, "Agent not found", `Agent "${agentId}" must register before it connects`);
  }
  if (parts.quirks.has("approval") && !parts.registry.isApproved(agentId)) {
    return errorResponse(403, "Agent not approved", `An administrator has to approve agent "${agentId}"`);
  }
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    return errorResponse(426, "Upgrade required", "This endpoint accepts WebSocket connections only", {
      Upgrade: "websocket",
    });
  }
  return undefined;
}

/** Accepts the configured key or the key that was issued to the agent. */
function checkKey(headers: Headers, agentId: string, parts: AgentApiParts): Response | undefined {
  const { apiKey, registry } = parts;
  const key = headers.get("x-agent-api-key");
  if (apiKey === undefined || key === apiKey) return undefined;
  if (key !== null && key === registry.issuedKey(agentId)) return undefined;
  const what = key === null ? "is missing" : "is wrong";
  parts.log(`rejected agent ${excerpt(agentId)}: its API key ${what}`);
  return errorResponse(401, "Invalid API key", `The header X-Agent-API-Key ${what}`);
}

function hang({ closing }: AgentApiParts): Promise<Response> {
  const { promise, resolve } = Promise.withResolvers<Response>();
  const end = () => resolve(errorResponse(503, "Service unavailable", "The Control Plane is closing"));
  if (closing.aborted) end();
  else closing.addEventListener("abort", end, { once: true });
  return promise;
}
