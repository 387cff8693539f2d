/**
 * The agents: registrations and heartbeats come in, the agents' records (as the API shows them) come out.
 * @module
 */
import {
  ANY_TEXT,
  checkFields,
  excerpt,
  isObject,
  type JsonObject,
  OBJECT,
  optional,
  TEXT,
} from "./fields.ts";
import { CAPACITY, type Message } from "./messages.ts";

/** An agent as the API shows it; times are RFC 3339. */
export interface AgentRecord {
  readonly id: string;
  readonly agentId: string;
  platform: string;
  region: string;
  /** "offline" from the end of a connection until the next registration or heartbeat. */
  status: string;
  capacity: JsonObject;
  metadata: JsonObject;
  activeSessions: number;
  lastHeartbeat: string | null;
  readonly createdAt: string;
  updatedAt: string;
}

const REGISTRATION = {
  agentId: TEXT,
  platform: TEXT,
  region: optional(ANY_TEXT),
  capacity: optional(OBJECT),
  metadata: optional(OBJECT),
};

/** Says what is wrong with the body of a registration; nothing when it is valid. */
export function checkRegistration(body: unknown): string[] {
  if (!isObject(body)) return [`The body must be a JSON object, not ${excerpt(body)}`];
  const capacity = isObject(body.capacity) ? checkFields(body.capacity, CAPACITY, "capacity.") : [];
  return [...checkFields(body, REGISTRATION), ...capacity];
}

/** Knows every agent that has registered. */
export class Registry {
  readonly #agents = new Map<string, AgentRecord>();
  readonly #issuedKeys = new Map<string, string>();

  /** The agents in the order of their first registration. */
  list(): AgentRecord[] {
    return [...this.#agents.values()];
  }

  get(agentId: string): AgentRecord | undefined {
    return this.#agents.get(agentId);
  }

  /** Takes in a valid registration; an agent that is known already keeps its id. */
  register(body: JsonObject): AgentRecord {
    const now = new Date().toISOString();
    const agentId = String(body.agentId);
    const known = this.#agents.get(agentId);
    const agent: AgentRecord = {
      id: known?.id ?? crypto.randomUUID(),
      agentId,
      platform: String(body.platform),
      region: typeof body.region === "string" ? body.region : "",
      status: "online",
      capacity: isObject(body.capacity) ? body.capacity : {},
      metadata: isObject(body.metadata) ? body.metadata : {},
      activeSessions: known?.activeSessions ?? 0,
      lastHeartbeat: known?.lastHeartbeat ?? null,
      createdAt: known?.createdAt ?? now,
      updatedAt: now,
    };
    this.#agents.set(agentId, agent);
    return agent;
  }

  /** Remembers the key that a registration's answer gave to the agent. */
  issueKey(agentId: string, apiKey: string): void {
    this.#issuedKeys.set(agentId, apiKey);
  }

  /** The key that was given to the agent, if one was. */
  issuedKey(agentId: string): string | undefined {
    return this.#issuedKeys.get(agentId);
  }

  /** Takes in what a heartbeat says of its agent. */
  heartbeat(agentId: string, { payload }: Message): void {
    const agent = this.#agents.get(agentId);
    if (agent === undefined) return;
    if (typeof payload.status === "string") agent.status = payload.status;
    if (typeof payload.activeSessions === "number") agent.activeSessions = payload.activeSessions;
    if (isObject(payload.capacity)) agent.capacity = payload.capacity;
    agent.lastHeartbeat = agent.updatedAt = new Date().toISOString();
  }

  /** Notes that the agent's connection ended. */
  disconnected(agentId: string): void {
    const agent = this.#agents.get(agentId);
    if (agent === undefined) return;
    agent.status = "offline";
    agent.updatedAt = new Date().toISOString();
  }
}
