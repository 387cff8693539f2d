/**
 * The agent's end of the tunnel: opens a WebSocket of its own to the Control Plane, serves the streams that it requests, and connects again after
 * a disconnect. It never affects the link.
 * @module
 */
import { delay } from "@std/async";
import { Backoff } from "../common/backoff.ts";
import { ControlPlaneError } from "../common/errors.ts";
import { log } from "../common/log.ts";
import { type ControlPlaneAddresses, tunnelPath } from "../control_plane/addresses.ts";
import type { Credentials } from "../control_plane/credentials.ts";
import { Socket } from "../control_plane/socket.ts";
import type { Timings } from "../model/timings.ts";
import type { SessionStreams } from "./session_streams.ts";
import { TunnelConnection, type TunnelConnectionOptions } from "./tunnel_connection.ts";
import { TUNNEL_FEATURE, TUNNEL_PROTOCOL } from "./tunnel_messages.ts";

/** Options of a {@linkcode Tunnel}. */
export interface TunnelOptions {
  readonly addresses: ControlPlaneAddresses;
  readonly agentId: string;
  readonly credentials: Credentials;
  readonly streams: Pick<SessionStreams, "serve">;
  readonly limits: Required<Pick<TunnelConnectionOptions, "maxStreams" | "maxBuffered">>;
  readonly timings: Pick<Timings, "reconnectMs" | "stableLinkMs" | "linkSilenceMs">;
}

/** The agent's tunnel. */
export class Tunnel {
  readonly #options: TunnelOptions;
  readonly #backoff: Backoff;
  #connection: TunnelConnection | undefined;
  #isWanted = false;
  #isDraining = false;
  /** Ends the current wait of the loop. */
  #wake = new AbortController();

  constructor(options: TunnelOptions) {
    this.#options = options;
    const { reconnectMs } = options.timings;
    this.#backoff = new Backoff({ firstMs: reconnectMs, longestMs: reconnectMs * 16, jitter: [1, 1.1] });
  }

  /** The open streams. */
  get size(): number {
    return this.#connection?.size ?? 0;
  }

  /** Called each time the link comes up, with the features that the Control Plane supports: opens the tunnel unless it is open. */
  onLinkUp(features: readonly string[]): void {
    this.#isWanted = features.includes(TUNNEL_FEATURE);
    this.#backoff.reset();
    this.#wake.abort();
  }

  /** Accepts no new streams; open ones go on until {@linkcode run} ends. */
  drain(): void {
    this.#isDraining = true;
    this.#connection?.goAway("the agent is stopping");
  }

  /** Keeps the tunnel open until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (!this.#isWanted) {
        await this.#pause(signal);
        continue;
      }
      const startedAt = performance.now();
      try {
        await this.#connect(signal);
        if (performance.now() - startedAt >= this.#options.timings.stableLinkMs) this.#backoff.reset();
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof ControlPlaneError)) throw error;
        log.warn("Cannot open the tunnel for streams: {reason}", { reason: error.message });
      }
      if (!signal.aborted) await this.#pause(signal, this.#backoff.next());
    }
  }

  /** Waits for the time, or for the link to come up. */
  async #pause(signal: AbortSignal, ms?: number): Promise<void> {
    const wake = this.#wake = new AbortController();
    const end = () => wake.abort();
    // Not AbortSignal.any: Deno 2.6 can collect such a signal while only its listener is waiting.
    signal.addEventListener("abort", end, { once: true });
    if (ms !== undefined) await delay(ms, { signal: wake.signal }).catch(() => {});
    else await new Promise((resolve) => wake.signal.addEventListener("abort", resolve, { once: true }));
    signal.removeEventListener("abort", end);
  }

  async #connect(signal: AbortSignal): Promise<void> {
    const { addresses, agentId, credentials, limits, streams, timings } = this.#options;
    const url = addresses.webSocket + tunnelPath(agentId);
    await using socket = await credentials.tryKeys({
      attempt: (connection) =>
        Socket.connect(url, {
          credentials: connection,
          protocol: TUNNEL_PROTOCOL,
          silenceMs: timings.linkSilenceMs,
          signal,
        }),
    });
    log.info("Opened the tunnel for streams");
    const connection = new TunnelConnection(socket, {
      ...limits,
      onOpen: (request, accept) => void streams.serve(request, accept),
    });
    this.#connection = connection;
    if (this.#isDraining) this.drain();
    try {
      for await (const frame of socket.frames(signal)) connection.receive(frame);
    } finally {
      this.#connection = undefined;
      if (signal.aborted) {
        for (const stream of connection.streams) stream.reset("stopping", "the agent is stopping");
      }
      connection.close("the tunnel was closed");
      if (socket.end) log.warn("The tunnel for streams was closed (code {code})", { code: socket.end.code });
    }
  }
}
