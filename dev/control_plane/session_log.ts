/**
 * What the Control Plane knows of each session: the request that started it, and the newest status of its agent.
 * @module
 */
import type { Command } from "./command_frame.ts";
import type { Message } from "./messages.ts";
import { isObject } from "./schemas.ts";

/** A session as the API shows it; times are RFC 3339. */
export interface SessionRecord {
  readonly sessionId: string;
  agentId: string;
  /** "pending" until the agent has reported a state. */
  state: string;
  template: string;
  user: string;
  /** Why the session has failed, or what it waits for; empty if it is not known. */
  message: string;
  podName: string;
  /** Number of open streams. */
  viewers: number;
  /** When a stream was open last; empty if none ever was. */
  lastActivity: string;
  createdAt: string;
  updatedAt: string;
}

/** All sessions, by id. */
export class SessionLog {
  readonly #sessions = new Map<string, SessionRecord>();

  /** The sessions, the newest first. */
  list(): SessionRecord[] {
    return [...this.#sessions.values()].reverse();
  }

  get(sessionId: string): SessionRecord | undefined {
    return this.#sessions.get(sessionId);
  }

  /** Records a command that is sent to an agent. */
  sent(agentId: string, { action, sessionId, payload }: Command): void {
    if (action !== "start_session") return;
    this.#sessions.delete(sessionId);
    const session = this.#sessionOf(agentId, sessionId);
    if (!isObject(payload)) return;
    if (typeof payload.template === "string") session.template = payload.template;
    if (typeof payload.user === "string") session.user = payload.user;
  }

  /** Records a status message. */
  reported(agentId: string, { timestamp, payload }: Message): void {
    const session = this.#sessionOf(agentId, String(payload.sessionId));
    const metadata = isObject(payload.platformMetadata) ? payload.platformMetadata : {};
    session.state = String(payload.state);
    session.message = typeof metadata.message === "string" ? metadata.message : "";
    session.podName = typeof metadata.podName === "string" ? metadata.podName : "";
    session.viewers = typeof payload.viewers === "number" ? payload.viewers : 0;
    session.lastActivity = typeof payload.lastActivity === "string" ? payload.lastActivity : "";
    session.updatedAt = timestamp;
  }

  #sessionOf(agentId: string, sessionId: string): SessionRecord {
    const now = new Date().toISOString();
    const session = this.#sessions.get(sessionId) ?? {
      sessionId,
      agentId,
      state: "pending",
      template: "",
      user: "",
      message: "",
      podName: "",
      viewers: 0,
      lastActivity: "",
      createdAt: now,
      updatedAt: now,
    };
    session.agentId = agentId;
    this.#sessions.set(sessionId, session);
    return session;
  }
}
