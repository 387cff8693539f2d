/**
 * Serves the streams that a Control Plane requests: finds the pod of the session, checks the port, connects, and relays bytes in both directions
 * until one side ends. Only sessions of this agent, only ports that their pods declare, and only while they run.
 * @module
 */
import type { V1Pod } from "@kubernetes/client-node";
import { deadline } from "@std/async";
import { messageOf } from "../common/errors.ts";
import { log } from "../common/log.ts";
import type { SessionCache } from "../kubernetes/session_cache.ts";
import type { DialMode, Settings } from "../model/settings.ts";
import { currentPod } from "../status/readiness.ts";
import type { SessionActivity } from "../status/session_activity.ts";
import { displayPort, podFields } from "../status/status.ts";
import type { Dialer, PodConnection, PodPort } from "./dialer.ts";
import { type OpenMessage, StreamResetError } from "./tunnel_messages.ts";
import type { StreamEnd } from "./tunnel_stream.ts";

/** A stream to a session from the side of its viewer: of the tunnel, or of the VNC messages. */
export interface ViewerStream extends StreamCounts {
  /** How it ended; `undefined` while it is open. */
  readonly end: StreamEnd | undefined;
  /** Resolves when it has ended. */
  readonly closed: Promise<StreamEnd>;
  /** Resolves when somebody uses it; absent for a stream that is used from the beginning. */
  readonly used?: Promise<void>;
  /**
   * The viewer's next bytes; `undefined` if no more follow.
   *
   * @throws {StreamResetError} if the stream was reset
   */
  read(): Promise<Uint8Array | undefined>;
  /** Reports that the pod accepted so many of the bytes. */
  passedOn(bytes: number): void;
  /**
   * Sends bytes to the viewer. Resolves when more may follow.
   *
   * @throws {StreamResetError} if the stream was reset
   */
  write(bytes: Uint8Array): Promise<void>;
  /** The pod sends no more. */
  finish(): void;
  /** Ends it in both directions, and drops what was not read. */
  reset(code: StreamResetError["code"], message: string): void;
}

/** What a stream has carried so far. */
export interface StreamCounts {
  /** Bytes to the session. */
  readonly bytesIn: number;
  /** Bytes from the session. */
  readonly bytesOut: number;
  /** How often it waited for its viewer. */
  readonly stalls: number;
}

/** Accepts a requested stream. */
export type AcceptViewer = {
  (target: { readonly port: number; readonly podName: string }): ViewerStream;
  /** Rejects the stream instead. */
  readonly reject: (code: StreamResetError["code"], message: string) => void;
  /** Aborted with a {@linkcode StreamResetError} when the viewer gives the stream up before it is accepted. */
  readonly cancelled: AbortSignal;
};

/** What happens to streams. */
export interface StreamObserver {
  /** A stream was requested, which is reached in this way. */
  requested(request: { readonly sessionId: string; readonly dial: DialMode }): StreamObservation;
}

/** What happens to one stream. */
export interface StreamObservation {
  /** It is connected. */
  opened(stream: StreamCounts, target: PodPort): void;
  /** It was not connected. */
  rejected(code: string, message: string): void;
  /** It ended after it was connected; the code is `finished` if both sides ended it. */
  ended(end: StreamEnd): void;
}

/** What the streams need. */
export interface SessionStreamsOptions {
  readonly cache: SessionCache;
  readonly dialer: Dialer;
  readonly activity: SessionActivity;
  readonly limits: Pick<Settings, "maxSessionStreams">;
  readonly observer: StreamObserver;
}

/** Longest wait of a stream for a new process to know its sessions, in milliseconds. */
const SYNC_MS = 10_000;

/** The streams of all sessions. */
export class SessionStreams implements Disposable {
  readonly #options: SessionStreamsOptions;
  /** Ends the streams of a session, with the pod that each is connected to. */
  readonly #open = new Map<string, Map<ViewerStream, string>>();
  /** Number of streams of a session that are being connected. */
  readonly #connecting = new Map<string, number>();
  readonly #stopListening: () => void;

  constructor(options: SessionStreamsOptions) {
    this.#options = options;
    this.#stopListening = options.cache.listen((sessionId) => this.#endWithPods(sessionId));
  }

  /** Serves a requested stream until it ends. Never rejects. */
  async serve(
    { sessionId, port }: Pick<OpenMessage, "sessionId" | "port">,
    accept: AcceptViewer,
  ): Promise<void> {
    const { dialer, observer } = this.#options;
    const observation = observer.requested({ sessionId, dial: dialer.mode });
    let target: PodPort;
    let connection: PodConnection;
    try {
      await this.#awaitSession(sessionId, accept.cancelled);
      target = this.#target(sessionId, port);
      connection = await this.#connect(sessionId, target, accept.cancelled);
      this.#checkConnected(sessionId, { target, connection, cancelled: accept.cancelled });
    } catch (error) {
      const code = error instanceof StreamResetError ? error.code : "unreachable";
      const reason = messageOf(error);
      log.info("Rejected a stream to session {sessionId} ({code}): {reason}", { sessionId, code, reason });
      observation.rejected(code, reason);
      return accept.reject(code, reason);
    }
    const stream = accept({ port: target.port, podName: target.podName });
    observation.opened(stream, target);
    observation.ended(await this.#relay({ sessionId, target, stream, connection }));
  }

  /** Stops listening. */
  [Symbol.dispose](): void {
    this.#stopListening();
  }

  /** Waits until a new process knows its sessions, if it does not know this one: viewers come back as soon as the tunnel is open. */
  async #awaitSession(sessionId: string, cancelled: AbortSignal): Promise<void> {
    const { cache } = this.#options;
    if (cache.isSynced) return;
    const { deployment, pods } = cache.session(sessionId);
    if (pods.length > 0 || deployment?.spec?.replicas === 0) return;
    await deadline(cache.synced(cancelled), SYNC_MS).catch(() => {});
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

  /** Closes the connection and throws if the pod or the viewer is gone by now. */
  #checkConnected(
    sessionId: string,
    { target, connection, cancelled }: {
      readonly target: PodPort;
      readonly connection: PodConnection;
      readonly cancelled: AbortSignal;
    },
  ): void {
    const isCurrent = this.#isCurrent(sessionId, target.podName);
    if (isCurrent && !cancelled.aborted) return;
    connection.close();
    cancelled.throwIfAborted();
    throw new StreamResetError("pod-gone", "the pod of the session was replaced");
  }

  /** Relays until the stream has ended, and returns how. */
  async #relay(
    { sessionId, target, stream, connection }: {
      readonly sessionId: string;
      readonly target: PodPort;
      readonly stream: ViewerStream;
      readonly connection: PodConnection;
    },
  ): Promise<StreamEnd> {
    using use = new DisposableStack();
    this.#countViewer(sessionId, { stream, use });
    const streams = this.#open.get(sessionId) ?? new Map<ViewerStream, string>();
    this.#open.set(sessionId, streams.set(stream, target.podName));
    const { port, podName } = target;
    log.debug("Opened a stream to port {port} of pod {name}", { port, name: podName });
    const end = await relay(stream, connection, (error) => {
      stream.reset("pod-gone", `the pod ended the connection: ${messageOf(error)}`);
    });
    streams.delete(stream);
    if (streams.size === 0) this.#open.delete(sessionId);
    log.debug("A stream to port {port} of pod {name} ended ({code}): {reason}", {
      port,
      name: podName,
      code: end.code,
      reason: end.message,
    });
    return end;
  }

  #countViewer(sessionId: string, { stream, use }: { stream: ViewerStream; use: DisposableStack }): void {
    const count = () => {
      if (!use.disposed) use.use(this.#options.activity.opened(sessionId));
    };
    if (stream.used) void stream.used.then(count);
    else count();
  }

  #isCurrent(sessionId: string, podName: string): boolean {
    const { deployment, pods } = this.#options.cache.session(sessionId);
    return deployment?.spec?.replicas !== 0 && currentPod(pods)?.metadata?.name === podName;
  }

  /** Ends the streams to pods that are gone or about to be: the network may not report it for a long time. */
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

/** How long a pod may take to accept the last bytes of a viewer after both have finished, in milliseconds. */
const LAST_BYTES_MS = 30_000;

/**
 * Relays bytes in both directions until the stream has ended and the pod has accepted what belongs to it, and closes the connection. Never rejects.
 *
 * @param onBroken called with the error of the connection; has to reset the stream
 */
export async function relay(
  stream: ViewerStream,
  connection: PodConnection,
  onBroken: (error: unknown) => void,
): Promise<StreamEnd> {
  const onError = (error: unknown) => {
    if (!(error instanceof StreamResetError)) onBroken(error);
  };
  void readInto(stream, connection).catch(onError);
  const written = writeFrom(stream, connection).catch(onError);
  const end = await stream.closed;
  if (end.code === "finished") await deadline(written, LAST_BYTES_MS).catch(() => {});
  stream.reset("cancelled", "the connection to the pod was closed");
  connection.close();
  return end;
}

async function readInto(stream: ViewerStream, connection: PodConnection): Promise<void> {
  while (true) {
    const bytes = await connection.read();
    if (bytes === null) return stream.finish();
    await stream.write(bytes);
  }
}

async function writeFrom(stream: ViewerStream, connection: PodConnection): Promise<void> {
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
