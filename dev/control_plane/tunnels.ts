/**
 * The Control Plane's end of the agents' tunnels: accepts their WebSockets, and opens streams to sessions. An agent has one tunnel: a new one closes
 * the previous one.
 * @module
 */
import { deadline } from "@std/async";
import { type OpenedStream, TunnelConnection } from "../../lib/streams/tunnel_connection.ts";
import { StreamResetError, TUNNEL_PROTOCOL } from "../../lib/streams/tunnel_messages.ts";
import { errorResponse } from "./router.ts";

interface Tunnel {
  readonly socket: WebSocket;
  readonly connection: TunnelConnection;
  readonly over: Promise<void>;
}

/** How long {@linkcode Tunnels.close} waits for peers to answer the close frame, in milliseconds. */
const CLOSE_TIMEOUT_MS = 1000;

/** Holds the open tunnels. */
export class Tunnels {
  readonly #tunnels = new Map<string, Tunnel>();
  readonly #log: (line: string) => void;
  #opened = Promise.withResolvers<void>();

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  /** Upgrades the request of an agent. */
  accept(request: Request, agentId: string): Response {
    const protocols = request.headers.get("sec-websocket-protocol")?.split(",").map((one) => one.trim()) ??
      [];
    if (!protocols.includes(TUNNEL_PROTOCOL)) {
      return errorResponse(400, "Unsupported subprotocol", `The subprotocol must be ${TUNNEL_PROTOCOL}`);
    }
    const { socket, response } = Deno.upgradeWebSocket(request, { protocol: TUNNEL_PROTOCOL });
    socket.binaryType = "arraybuffer";
    const { promise: over, resolve: end } = Promise.withResolvers<void>();
    let tunnel: Tunnel | undefined;
    socket.onopen = () => tunnel = this.#open(agentId, { socket, over });
    socket.onerror = () => {};
    socket.onclose = ({ code }) => {
      if (this.#tunnels.get(agentId) === tunnel) this.#tunnels.delete(agentId);
      tunnel?.connection.close("the tunnel was closed");
      this.#log(`tunnel of ${agentId} closed (code ${code})`);
      end();
    };
    return response;
  }

  /** Whether an agent has a tunnel. */
  has(agentId: string): boolean {
    return this.#tunnels.has(agentId);
  }

  /** Waits until an agent has a tunnel. */
  async waitFor(agentId: string, signal: AbortSignal): Promise<void> {
    while (!this.has(agentId)) await deadline(this.#opened.promise, 600_000, { signal });
  }

  /**
   * Opens a stream to a session of an agent; without a port, to its display.
   *
   * @throws {StreamResetError} if the agent has no tunnel or rejects the stream
   */
  async open(
    agentId: string,
    target: { readonly sessionId: string; readonly port?: number | undefined },
    signal: AbortSignal,
  ): Promise<OpenedStream> {
    const tunnel = this.#tunnels.get(agentId);
    if (!tunnel) throw new StreamResetError("unreachable", `agent "${agentId}" has no tunnel for streams`);
    return await tunnel.connection.open(target, signal);
  }

  /** Closes the tunnel of an agent, if it has one. */
  disconnect(agentId: string): void {
    this.#tunnels.get(agentId)?.socket.close();
  }

  /** Closes all tunnels and waits until they are closed. */
  async close(): Promise<void> {
    const tunnels = [...this.#tunnels.values()];
    for (const { socket } of tunnels) socket.close(1001);
    await deadline(Promise.all(tunnels.map(({ over }) => over)), CLOSE_TIMEOUT_MS).catch(() => {});
  }

  #open(agentId: string, { socket, over }: Pick<Tunnel, "socket" | "over">): Tunnel {
    const previous = this.#tunnels.get(agentId);
    previous?.socket.close();
    // A half-open socket reports its end late.
    previous?.connection.close("the agent opened another tunnel");
    const connection = new TunnelConnection(socket);
    const tunnel = { socket, connection, over };
    this.#tunnels.set(agentId, tunnel);
    socket.onmessage = ({ data }) =>
      connection.receive(typeof data === "string" ? data : new Uint8Array(data));
    this.#log(`tunnel of ${agentId} opened`);
    this.#opened.resolve();
    this.#opened = Promise.withResolvers<void>();
    return tunnel;
  }
}
