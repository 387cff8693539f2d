/**
 * Constructs what carries streams between the Control Plane and the ports of sessions.
 * @module
 */
import { parseQuantity } from "../common/quantities.ts";
import { controlPlaneAddresses } from "../control_plane/addresses.ts";
import type { Credentials } from "../control_plane/credentials.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import type { Transport } from "../kubernetes/transport.ts";
import { dialMode, type Settings } from "../model/settings.ts";
import type { SessionActivity } from "../status/session_activity.ts";
import { DirectDialer } from "./dialer.ts";
import { PortForwardDialer } from "./port_forward.ts";
import { SessionStreams, type StreamObserver } from "./session_streams.ts";
import { Tunnel, type TunnelOptions } from "./tunnel.ts";
import { VncMessages } from "./vnc_messages.ts";

/** The settings of streams. */
export type StreamSettings = Pick<
  Settings,
  | "agentId"
  | "controlPlaneUrl"
  | "kubeconfig"
  | "namespace"
  | "streamDial"
  | "maxStreams"
  | "maxSessionStreams"
  | "streamBuffer"
  | "vncMessages"
>;

/** What streams need. */
export interface StreamContext {
  readonly transport: Transport;
  readonly cache: SessionCache;
  readonly credentials: Credentials;
  readonly activity: SessionActivity;
  readonly observer: StreamObserver;
  readonly timings: TunnelOptions["timings"];
}

/** What carries streams. */
export interface StreamComponents {
  readonly streams: SessionStreams;
  readonly tunnel: Tunnel;
  readonly vncMessages: VncMessages | undefined;
}

/** Constructs the streams and what carries them. */
export function createStreams(
  settings: StreamSettings,
  { transport, cache, credentials, activity, observer, timings }: StreamContext,
): StreamComponents {
  const { agentId, maxStreams, namespace } = settings;
  const dialer = dialMode(settings) === "direct"
    ? new DirectDialer()
    : new PortForwardDialer(transport, namespace);
  const streams = new SessionStreams({ cache, dialer, activity, limits: settings, observer });
  const tunnel = new Tunnel({
    addresses: controlPlaneAddresses(settings.controlPlaneUrl),
    agentId,
    credentials,
    streams,
    limits: { maxStreams, maxBuffered: parseQuantity(settings.streamBuffer) ?? 0 },
    timings,
  });
  const vncMessages = settings.vncMessages
    ? new VncMessages({ cache, streams, retryMs: timings.reconnectMs })
    : undefined;
  return { streams, tunnel, vncMessages };
}
