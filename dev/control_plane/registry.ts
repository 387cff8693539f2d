/**
 * The registered agents, as the API shows them, updated by registrations and heartbeats.
 * @module
 */
import type { Message } from "./messages.ts";
import { isObject, type JsonObject } from "./schemas.ts";

/** An agent as the API shows it; times are RFC 3339. */
export interface AgentRecord {
  readonly id: string;
  readonly agentId: string;
  platform: string;
  region: string;
  /** As the agent's header User-Agent says; empty if it has none. */
  version: string;
  /** "offline" after a disconnect, until the next registration or heartbeat. */
  status: string;
  capacity: JsonObject;
  metadata: JsonObject;
  activeSessions: number;
  lastHeartbeat: string | null;
  readonly createdAt: string;
  updatedAt: string;
}

/** All registered agents. */
export class Registry {
  readonly #agents = new Map<string, AgentRecord>();
  readonly #issuedKeys = new Map<string, string>();
  readonly #approved = new Set<string>();

  /** The agents in the order of their first registration. */
  list(): AgentRecord[] {
    return [...this.#agents.values()];
  }

  get(agentId: string): AgentRecord | undefined {
    return this.#agents.get(agentId);
  }

  /** Stores a valid registration; a known agent keeps its id. */
  register(body: JsonObject, version = ""): AgentRecord {
    const now = new Date().toISOString();
    const agentId = String(body.agentId);
    const known = this.#agents.get(agentId);
    const agent: AgentRecord = {
      id: known?.id ?? crypto.randomUUID(),
      agentId,
      platform: String(body.platform),
      region: typeof body.region === "string" ? body.region : "",
      version,
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

  /** Stores the key that was issued to the agent. */
  issueKey(agentId: string, apiKey: string): void {
    this.#issuedKeys.set(agentId, apiKey);
  }

  /** The key that was issued to the agent, if any. */
  issuedKey(agentId: string): string | undefined {
    return this.#issuedKeys.get(agentId);
  }

  /** Approves an agent, which is needed only with the quirk `approval`. */
  approve(agentId: string): void {
    this.#approved.add(agentId);
  }

  isApproved(agentId: string): boolean {
    return this.#approved.has(agentId);
  }

  /** Updates the agent from a heartbeat. */
  heartbeat(agentId: string, { payload }: Message): void {
    const agent = this.#agents.get(agentId);
    if (agent === undefined) return;
    if (typeof payload.status === "string") agent.status = payload.status;
    if (typeof payload.activeSessions === "number") agent.activeSessions = payload.activeSessions;
    if (isObject(payload.capacity)) agent.capacity = payload.capacity;
    agent.lastHeartbeat = agent.updatedAt = new Date().toISOString();
  }

  /** Marks the agent as offline. */
  disconnected(agentId: string): void {
    const agent = this.#agents.get(agentId);
    if (agent === undefined) return;
    agent.status = "offline";
    agent.updatedAt = new Date().toISOString();
  }
}
