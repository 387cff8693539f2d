/**
 * The agents' WebSocket connections. An agent has one connection: a new one closes the previous one.
 * @module
 */
import { deadline } from "@std/async";
import { MAX_FRAME_BYTES } from "./messages.ts";
import type { Quirks } from "./quirks.ts";

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
  earlyCloseTimer?: ReturnType<typeof setTimeout>;
}

/** How a {@linkcode Links} behaves. */
export interface LinksOptions {
  /** Closes the connection of an agent that sends nothing for this long. */
  readonly silenceLimitMs: number;
  readonly quirks: Quirks;
}

/** Age at which a connection is closed with the quirk `early-close`, in milliseconds. */
const EARLY_CLOSE_MS = 3;
/** How long {@linkcode Links.close} waits for peers to answer the close frame, in milliseconds. */
const CLOSE_TIMEOUT_MS = 1_000;

/** Holds the open connections. */
export class Links {
  readonly #current = new Map<string, Link>();
  readonly #open = new Set<Link>();
  /** Agents whose last connection was lost, so that the quirk `early-close` applies to the next one. */
  readonly #lost = new Set<string>();
  readonly #options: LinksOptions;
  readonly #events: LinkEvents;

  constructor(options: LinksOptions, events: LinkEvents) {
    this.#options = options;
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
    for (const link of links) clearTimers(link);
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
    if (this.#lost.delete(connection.agentId)) {
      link.earlyCloseTimer = setTimeout(() => link.socket.close(), EARLY_CLOSE_MS);
    }
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
    clearTimers(link);
    if (isLast) this.#current.delete(connection.agentId);
    // A connection that never opened was never reported.
    if (!this.#open.delete(link)) return;
    connection.closed = { at: Date.now(), code };
    // An agent that closes its connection uses 1000.
    if (this.#options.quirks.has("early-close") && code !== 1000 && link.earlyCloseTimer === undefined) {
      this.#lost.add(connection.agentId);
    }
    this.#events.closed(connection, isLast);
  }

  #watchSilence(link: Link): void {
    clearTimeout(link.silenceTimer);
    link.silenceTimer = setTimeout(() => {
      this.#events.violated(
        link.connection.agentId,
        `It sent nothing for ${this.#options.silenceLimitMs / 1000} s`,
      );
      link.socket.close();
    }, this.#options.silenceLimitMs);
  }
}

function clearTimers({ silenceTimer, earlyCloseTimer }: Link): void {
  clearTimeout(silenceTimer);
  clearTimeout(earlyCloseTimer);
}
