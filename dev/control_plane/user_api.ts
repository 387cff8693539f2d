/**
 * The endpoints for people and scripts (the curl calls): send commands, read agents, commands and sessions.
 * @module
 */
import type { Hono } from "hono";
import { type Command, encodeCommands } from "./command_frame.ts";
import type { CommandLog } from "./command_log.ts";
import type { SessionLog } from "./session_log.ts";
import type { Quirks } from "./quirks.ts";
import { COMMAND, isObject, type JsonObject, problemsOf } from "./schemas.ts";
import type { AgentRecord, Registry } from "./registry.ts";
import { errorResponse, readBody } from "./router.ts";

/** What the users' endpoints need. */
export interface UserApiParts {
  readonly quirks: Quirks;
  readonly registry: Registry;
  readonly commands: CommandLog;
  readonly sessions: SessionLog;
  isConnected(agentId: string): boolean;
  /** Sends the command and returns its id. */
  command(agentId: string, command: Command): string;
  /** The agent's newest status message for the session. */
  lastStatus(sessionId: string): JsonObject | undefined;
}

/** Adds the routes for users. */
export function addUserRoutes(app: Hono, parts: UserApiParts): void {
  const { registry, commands } = parts;
  const view = (agent: AgentRecord) => ({ ...agent, connected: parts.isConnected(agent.agentId) });
  app.get("/api/v1/agents", () => {
    const agents = registry.list().map(view);
    return Response.json({ agents, total: agents.length });
  });
  app.get("/api/v1/agents/:agentId", ({ req }) => {
    const agentId = req.param("agentId");
    const agent = registry.get(agentId);
    return agent === undefined ? unknownAgent(agentId, registry) : Response.json(view(agent));
  });
  app.post("/api/v1/agents/:agentId/command", ({ req }) => sendCommand(req.raw, req.param("agentId"), parts));
  app.post("/api/v1/agents/:agentId/approve", ({ req }) => {
    const agentId = req.param("agentId");
    registry.approve(agentId);
    return jsonOr404(registry.get(agentId), "Agent", `No agent "${agentId}" has registered`);
  });
  app.get("/api/v1/commands/:commandId", ({ req }) => {
    const commandId = req.param("commandId");
    return jsonOr404(commands.get(commandId), "Command", `No command "${commandId}" was sent`);
  });
  app.get("/api/v1/sessions", () => {
    const sessions = parts.sessions.list();
    return Response.json({ sessions, total: sessions.length });
  });
  app.get("/api/v1/sessions/:sessionId", ({ req }) => {
    const sessionId = req.param("sessionId");
    const session = parts.lastStatus(sessionId) ?? withoutStatus(sessionId, parts);
    return jsonOr404(session, "Session", `No agent reported on session "${sessionId}"`);
  });
}

async function sendCommand(request: Request, agentId: string, parts: UserApiParts): Promise<Response> {
  const body = await readBody(request);
  if (parts.registry.get(agentId) === undefined) return unknownAgent(agentId, parts.registry);
  const problems = problemsOf(COMMAND, body, "");
  if (problems.length > 0 || !isObject(body)) {
    return errorResponse(400, "Invalid request body", problems.join("; "));
  }
  const command = { action: String(body.action), sessionId: String(body.sessionId), payload: body.payload };
  if (!parts.isConnected(agentId)) return rejectCommand(agentId, command, parts);
  if (parts.registry.get(agentId)?.status === "draining" && !parts.quirks.has("ignore-draining")) {
    return errorResponse(503, "Agent is draining", `Agent "${agentId}" is shutting down: try again later`);
  }
  const id = parts.command(agentId, command);
  return Response.json(parts.commands.get(id), { status: 202 });
}

/** Rejects a command for an agent without a connection. */
function rejectCommand(agentId: string, command: Command, parts: UserApiParts): Response {
  const { registry, commands, quirks } = parts;
  if (quirks.has("online-before-link") && registry.get(agentId)?.status === "online") {
    const { frame } = encodeCommands([command]);
    return Response.json(commands.fail(agentId, frame, "The agent is not connected"), { status: 202 });
  }
  const details = `Agent "${agentId}" is registered but not connected: is it still running?`;
  return errorResponse(503, "Agent not connected", details);
}

/** What is known of a session before its first status. */
function withoutStatus(sessionId: string, { commands, quirks }: UserApiParts): object | undefined {
  const start = commands.lastStart(sessionId);
  if (!start) return undefined;
  const hasFailed = start.status === "failed" && !quirks.has("ignore-failed-starts");
  return { agentId: start.agentId, sessionId, state: hasFailed ? "failed" : "pending" };
}

function unknownAgent(agentId: string, registry: Registry): Response {
  const known = registry.list().map((agent) => agent.agentId).join(", ") || "none";
  return errorResponse(
    404,
    "Agent not found",
    `No agent "${agentId}" has registered; registered agents: ${known}`,
  );
}

function jsonOr404(value: object | undefined, what: string, details: string): Response {
  return value === undefined ? errorResponse(404, `${what} not found`, details) : Response.json(value);
}
