/**
 * The mildest requests that tell how a Control Plane stands to this agent. They register nothing, and disturb no agent that runs: the link's
 * address is asked without an upgrade, so that the Control Plane checks key and agent, and then only misses the upgrade.
 * @module
 */
import { linkPath } from "../control_plane/addresses.ts";
import { ask } from "../control_plane/ask.ts";
import type { ConnectionCredentials } from "../control_plane/credentials.ts";
import { asRecord } from "../common/json.ts";
import type { DatedAnswer } from "./clock.ts";
import { type Standing, standingOf } from "./standing.ts";

/** What it knows of the agent, as far as it tells. */
export interface AgentRecord {
  readonly isConnected: boolean;
  /** The namespace that the agent named when it registered; empty where that is not told. */
  readonly namespace: string;
}

/** Whom to ask about whom. */
export interface ProbeOptions {
  readonly httpBase: string;
  readonly agentId: string;
  readonly credentials: Pick<ConnectionCredentials, "apiKey" | "client">;
  readonly signal: AbortSignal;
}

interface Answer {
  readonly response: Response;
  readonly body: Readonly<Record<string, unknown>> | undefined;
  readonly clock: DatedAnswer;
}

/**
 * Asks how the Control Plane stands to the agent.
 *
 * @throws {TypeError} when it does not answer
 */
export async function askStanding(
  options: ProbeOptions,
): Promise<{ standing: Standing; clock: DatedAnswer }> {
  const { response, body, clock } = await get(linkPath(options.agentId), options);
  const { status, headers } = response;
  const answer = { status, location: headers.get("location") ?? "", error: body?.error };
  return { standing: standingOf(answer), clock };
}

/** Asks what the Control Plane knows of the agent; `undefined` where it does not tell agents. */
export async function askRecord(options: ProbeOptions): Promise<AgentRecord | undefined> {
  const { response, body } = await get(`/api/v1/agents/${encodeURIComponent(options.agentId)}`, options);
  const agent = asRecord(body?.agent) ?? body;
  if (!response.ok || agent?.agentId !== options.agentId) return undefined;
  const isConnected = typeof agent.connected === "boolean" ? agent.connected : agent.status !== "offline";
  const namespace = asRecord(agent.metadata)?.namespace;
  return { isConnected, namespace: typeof namespace === "string" ? namespace : "" };
}

async function get(path: string, { httpBase, credentials, signal }: ProbeOptions): Promise<Answer> {
  const sentAt = Date.now();
  const { response, answer } = await ask(`${httpBase}${path}`, { credentials, signal });
  const clock = { sentAt, answeredAt: Date.now(), date: response.headers.get("date") ?? undefined };
  return { response, body: answer, clock };
}
