/**
 * Serves the streams that a Control Plane requests: finds the pod of the session, checks the port, connects, and relays bytes in both directions
 * until one side ends. Only sessions of this agent, only ports that their pods declare, and only while they run.
 * @module
 */
import type { V1Pod } from "@kubernetes/client-node";
import { messageOf } from "../common/errors.ts";
import { log } from "../common/log.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import type { Settings } from "../model/settings.ts";
import { currentPod } from "../status/readiness.ts";
import type { SessionActivity } from "../status/session_activity.ts";
import { displayPort, podFields } from "../status/status.ts";
import type { Dialer, PodConnection, PodPort } from "./dialer.ts";
import type { AcceptStream } from "./tunnel_connection.ts";
import { type OpenMessage, StreamResetError } from "./tunnel_messages.ts";
import type { StreamEnd, TunnelStream } from "./tunnel_stream.ts";

/** What happens to streams. */
export interface StreamObserver {
  /** A stream is connected, after this many milliseconds. */
  opened(connectMs: number): void;
  /** A stream was not connected. */
  rejected(code: StreamResetError["code"]): void;
  /** A connected stream ended; `code` is `finished` if both sides ended it. */
  ended(
    code: string,
    counts: { readonly bytesIn: number; readonly bytesOut: number; readonly stalls: number },
  ): void;
}

/** What the streams need. */
export interface SessionStreamsOptions {
  readonly cache: SessionCache;
  readonly dialer: Dialer;
  readonly activity: SessionActivity;
  readonly limits: Pick<Settings, "maxSessionStreams">;
  readonly observer: StreamObserver;
}

/** The streams of all sessions. */
export class SessionStreams implements Disposable {
  readonly #options: SessionStreamsOptions;
  /** Ends the streams of a session, with the pod that each is connected to. */
  readonly #open = new Map<string, Map<TunnelStream, string>>();
  /** Number of streams of a session that are being connected. */
  readonly #connecting = new Map<string, number>();
  readonly #stopListening: () => void;

  constructor(options: SessionStreamsOptions) {
    this.#options = options;
    this.#stopListening = options.cache.listen((sessionId) => this.#endWithPods(sessionId));
  }

  /** Serves a requested stream until it ends. Never rejects. */
  async serve({ sessionId, port }: OpenMessage, accept: AcceptStream): Promise<void> {
    const startedAt = performance.now();
    const cancel = new AbortController();
    let target: PodPort;
    let connection: PodConnection;
    try {
      target = this.#target(sessionId, port);
      connection = await this.#connect(sessionId, target, cancel.signal);
    } catch (error) {
      return this.#reject(sessionId, error, accept);
    }
    // The pod may be gone by now, and the viewer, too.
    if (accept.isCancelled()) return connection.close();
    if (!this.#isCurrent(sessionId, target.podName)) {
      connection.close();
      return this.#reject(
        sessionId,
        new StreamResetError("pod-gone", "the pod of the session was replaced"),
        accept,
      );
    }
    const stream = accept({ port: target.port, podName: target.podName });
    this.#options.observer.opened(performance.now() - startedAt);
    await this.#relay({ sessionId, target, stream, connection });
  }

  /** Stops listening. */
  [Symbol.dispose](): void {
    this.#stopListening();
  }

  /** The pod and the port of a request. */
  #target(sessionId: string, requested: number | undefined): PodPort {
    const { cache, limits } = this.#options;
    const { deployment, pods } = cache.session(sessionId);
    if (!deployment) {
      throw new StreamResetError("unknown-session", `there is no session ${quoted(sessionId)}`);
    }
    const pod = deployment.spec?.replicas === 0 ? undefined : currentPod(pods);
    if (!pod?.status?.podIP || pod.status.phase !== "Running") {
      throw new StreamResetError("not-running", `session ${quoted(sessionId)} does not run`);
    }
    const port = requested ?? displayPort(pod);
    if (!declaredPorts(pod).includes(port)) {
      throw new StreamResetError("port-not-declared", `the session does not declare port ${port}`);
    }
    const open = (this.#open.get(sessionId)?.size ?? 0) + (this.#connecting.get(sessionId) ?? 0);
    if (open >= limits.maxSessionStreams) {
      throw new StreamResetError("too-many-streams", `the session has ${open} streams`);
    }
    const { podName, podIP } = podFields(pod);
    return { podName, podIP, port };
  }

  async #connect(sessionId: string, target: PodPort, signal: AbortSignal): Promise<PodConnection> {
    const count = (by: 1 | -1) =>
      this.#connecting.set(sessionId, (this.#connecting.get(sessionId) ?? 0) + by);
    count(1);
    try {
      return await this.#options.dialer.dial(target, signal);
    } finally {
      count(-1);
      if (this.#connecting.get(sessionId) === 0) this.#connecting.delete(sessionId);
    }
  }

  #reject(sessionId: string, error: unknown, accept: AcceptStream): void {
    const code = error instanceof StreamResetError ? error.code : "unreachable";
    const reason = messageOf(error);
    log.info("Rejected a stream to session {sessionId} ({code}): {reason}", { sessionId, code, reason });
    this.#options.observer.rejected(code);
    accept.reject(code, reason);
  }

  async #relay(
    { sessionId, target, stream, connection }: {
      readonly sessionId: string;
      readonly target: PodPort;
      readonly stream: TunnelStream;
      readonly connection: PodConnection;
    },
  ): Promise<void> {
    const { activity, observer } = this.#options;
    using _activity = activity.opened(sessionId);
    const streams = this.#open.get(sessionId) ?? new Map<TunnelStream, string>();
    this.#open.set(sessionId, streams.set(stream, target.podName));
    const { port, podName } = target;
    log.debug("Opened a stream to port {port} of pod {name}", { port, name: podName });
    const { code, message } = await relay(stream, connection, (error) => {
      stream.reset("pod-gone", `the pod ended the connection: ${messageOf(error)}`);
    });
    streams.delete(stream);
    if (streams.size === 0) this.#open.delete(sessionId);
    const { bytesIn, bytesOut, stalls } = stream;
    log.debug("A stream to port {port} of pod {name} ended ({code}): {reason}", {
      port,
      name: podName,
      code,
      reason: message,
    });
    observer.ended(code, { bytesIn, bytesOut, stalls });
  }

  #isCurrent(sessionId: string, podName: string): boolean {
    const { deployment, pods } = this.#options.cache.session(sessionId);
    return deployment?.spec?.replicas !== 0 && currentPod(pods)?.metadata?.name === podName;
  }

  /** Ends the streams to pods that are gone or about to be: the network may not tell for a long time. */
  #endWithPods(sessionId: string): void {
    for (const [stream, podName] of this.#open.get(sessionId) ?? []) {
      if (this.#isCurrent(sessionId, podName)) continue;
      const { deployment } = this.#options.cache.session(sessionId);
      const isHibernated = deployment?.spec?.replicas === 0;
      const reason = !deployment ? "was stopped" : isHibernated ? "was hibernated" : "lost its pod";
      stream.reset("pod-gone", `the session ${reason}`);
    }
  }
}

/**
 * Relays bytes in both directions until the stream has ended, and closes the connection. Never rejects.
 *
 * @param onBroken called with the error of the connection; has to reset the stream
 */
export async function relay(
  stream: TunnelStream,
  connection: PodConnection,
  onBroken: (error: unknown) => void,
): Promise<StreamEnd> {
  const onError = (error: unknown) => {
    if (!(error instanceof StreamResetError)) onBroken(error);
  };
  void readInto(stream, connection).catch(onError);
  void writeFrom(stream, connection).catch(onError);
  const end = await stream.closed;
  connection.close();
  return end;
}

async function readInto(stream: TunnelStream, connection: PodConnection): Promise<void> {
  while (true) {
    const bytes = await connection.read();
    if (bytes === null) return stream.finish();
    await stream.write(bytes);
  }
}

async function writeFrom(stream: TunnelStream, connection: PodConnection): Promise<void> {
  while (true) {
    const bytes = await stream.read();
    if (bytes === undefined) return await connection.finish();
    await connection.write(bytes);
    stream.passedOn(bytes.length);
  }
}

/** The TCP ports that a pod's containers declare. */
function declaredPorts(pod: V1Pod): number[] {
  const ports = pod.spec?.containers.flatMap((container) => container.ports ?? []) ?? [];
  return ports.filter(({ protocol = "TCP" }) => protocol === "TCP").map(({ containerPort }) => containerPort);
}

function quoted(sessionId: string): string {
  return JSON.stringify(sessionId.slice(0, 100));
}
