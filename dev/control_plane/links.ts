/**
 * The agents' WebSocket connections. An agent has one connection: a new one closes the previous one.
 * @module
 */
import { deadline } from "@std/async";
import { MAX_FRAME_BYTES } from "./messages.ts";

/** An open or closed connection; times are in milliseconds since 1970. */
export interface Connection {
  readonly at: number;
  readonly agentId: string;
  readonly headers: Headers;
  readonly closed?: { readonly at: number; readonly code: number };
}

/** Callbacks for what happens on the connections. */
export interface LinkEvents {
  opened(connection: Connection): void;
  frame(agentId: string, data: unknown): void;
  /** `isLast`: the agent has no newer connection. */
  closed(connection: Connection, isLast: boolean): void;
  /** The agent did something for which a Control Plane closes the connection. */
  violated(agentId: string, reason: string): void;
}

interface Link {
  readonly connection: { -readonly [K in keyof Connection]: Connection[K] };
  readonly socket: WebSocket;
  readonly over: Promise<void>;
  silenceTimer?: ReturnType<typeof setTimeout>;
}

/** How long {@linkcode Links.close} waits for peers to answer the close frame, in milliseconds. */
const CLOSE_TIMEOUT_MS = 1_000;

/** Holds the open connections. */
export class Links {
  readonly #current = new Map<string, Link>();
  readonly #open = new Set<Link>();
  readonly #silenceLimitMs: number;
  readonly #events: LinkEvents;

  /** @param silenceLimitMs closes the connection of an agent that sends nothing for this long */
  constructor(silenceLimitMs: number, events: LinkEvents) {
    this.#silenceLimitMs = silenceLimitMs;
    this.#events = events;
  }

  /** Upgrades a request and tracks the connection. */
  accept(request: Request, agentId: string): Response {
    // A copy, because the headers of an upgraded request cannot be read.
    const headers = new Headers(request.headers);
    // The silence limit replaces the server's own pings.
    const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout: 0 });
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    const link: Link = { connection: { at: 0, agentId, headers }, socket, over };
    socket.onopen = () => this.#opened(link);
    socket.onmessage = ({ data }) => this.#received(link, data);
    // A close event with code 1006 follows.
    socket.onerror = () => {};
    socket.onclose = ({ code }) => {
      this.#closed(link, code);
      end();
    };
    return response;
  }

  isConnected(agentId: string): boolean {
    return this.#current.get(agentId)?.socket.readyState === WebSocket.OPEN;
  }

  /** Sends a frame unchanged. Throws when the agent is not connected. */
  send(agentId: string, frame: string | Uint8Array): void {
    this.#get(agentId).socket.send(frame as string | Uint8Array<ArrayBuffer>);
  }

  /** Closes the agent's connection, without a code when none is given. Throws when the agent is not connected. */
  disconnect(agentId: string, code?: number): void {
    this.#get(agentId).socket.close(code);
  }

  /** Closes all connections with code 1001 (going away) and waits until they are closed. */
  async close(): Promise<void> {
    const links = [...this.#open];
    for (const link of links) link.socket.close(1001);
    await deadline(Promise.all(links.map((link) => link.over)), CLOSE_TIMEOUT_MS).catch(() => {});
    for (const link of links) clearTimeout(link.silenceTimer);
  }

  #get(agentId: string): Link {
    const link = this.#current.get(agentId);
    if (link?.socket.readyState !== WebSocket.OPEN) {
      throw new Error(`Cannot reach agent "${agentId}": it is not connected`);
    }
    return link;
  }

  #opened(link: Link): void {
    const { connection } = link;
    const previous = this.#current.get(connection.agentId);
    connection.at = Date.now();
    this.#current.set(connection.agentId, link);
    this.#open.add(link);
    this.#watchSilence(link);
    previous?.socket.close();
    this.#events.opened(connection);
  }

  #received(link: Link, data: unknown): void {
    const { agentId } = link.connection;
    this.#watchSilence(link);
    if (typeof data === "string" && new TextEncoder().encode(data).length > MAX_FRAME_BYTES) {
      this.#events.violated(agentId, `The frame is larger than ${MAX_FRAME_BYTES} bytes`);
      link.socket.close(1009);
    } else {
      this.#events.frame(agentId, data);
    }
  }

  #closed(link: Link, code: number): void {
    const { connection } = link;
    const isLast = this.#current.get(connection.agentId) === link;
    clearTimeout(link.silenceTimer);
    if (isLast) this.#current.delete(connection.agentId);
    // A connection that never opened was never reported.
    if (!this.#open.delete(link)) return;
    connection.closed = { at: Date.now(), code };
    this.#events.closed(connection, isLast);
  }

  #watchSilence(link: Link): void {
    clearTimeout(link.silenceTimer);
    link.silenceTimer = setTimeout(() => {
      this.#events.violated(link.connection.agentId, `It sent nothing for ${this.#silenceLimitMs / 1000} s`);
      link.socket.close();
    }, this.#silenceLimitMs);
  }
}
