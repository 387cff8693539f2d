/**
 * The reconnect loop: registers, connects, sends heartbeats, yields received frames, and connects again after a disconnect, with an exponential
 * back-off. It ends when its signal is aborted or all attempts are used up. While a connection is up, the outbox sends through it.
 * @module
 */
import { delay } from "@std/async";
import { Backoff } from "../common/backoff.ts";
import { ControlPlaneError, LinkError } from "../common/errors.ts";
import { log } from "../common/log.ts";
import { formatDuration } from "../common/quantities.ts";
import type { Timings } from "../model/timings.ts";
import { type ControlPlaneAddresses, linkPath } from "./addresses.ts";
import type { Credentials } from "./credentials.ts";
import type { Outbox } from "./outbox.ts";
import { registerWithKeys, type Registration, type RegistrationResponse } from "./registration.ts";
import { Socket } from "./socket.ts";

/** The current step of the loop. */
export type LinkState = "registering" | "pending" | "rejected" | "connecting" | "up" | "waiting";

/** The fixed times of a link. */
export type LinkTimings = Pick<
  Timings,
  | "reconnectMs"
  | "stableLinkMs"
  | "earlyCloseMs"
  | "linkSilenceMs"
  | "firstApprovalMs"
  | "earlyApprovalMs"
  | "approvalMs"
>;

/** Options of a {@linkcode Link}. */
export interface LinkOptions {
  readonly addresses: ControlPlaneAddresses;
  readonly registration: Registration;
  readonly credentials: Credentials;
  /** Attempts after a disconnect before the loop fails; 0 for no limit. */
  readonly reconnectAttempts: number;
  readonly outbox: Outbox;
  /** `send` is called when a connection is up and then at each interval, with how many milliseconds late the call is. */
  readonly heartbeat: { readonly intervalMs: number; readonly send: (lateMs: number) => void };
  /** Called each time a connection is up, with the features of the Control Plane. */
  readonly onUp?: (features: readonly string[], socket: Pick<Socket, "send" | "bufferedAmount">) => void;
  /** Called each time a connection has ended. */
  readonly onDown?: () => void;
  /** Called at each step of the loop. */
  readonly onState?: (state: LinkState) => void;
  readonly timings: LinkTimings;
}

/** Bounds of the random factor of each pause; 2, 4, 8, 16 and 32 seconds are documented, and so the minimum. */
const RECONNECT_JITTER = [1, 1.1] as const;
/** Lower limit of the delay that a Control Plane requests while an approval is pending, as these requests use up no attempts. */
const MIN_APPROVAL_MS = 1000;
/** Delay before an agent that was rejected registers again, in milliseconds. */
const REJECTED_RETRY_MS = 300_000;
/** Statuses with which a Control Plane rejects the connection of an agent that has to register again. */
const UNREGISTERED_STATUSES: readonly number[] = [401, 403, 404];

/** The agent's connection to its Control Plane. */
export class Link {
  readonly #options: LinkOptions;
  readonly #backoff: Backoff;
  /** Whether a registration of this process has been accepted. */
  #isRegistered = false;
  /** What the Control Plane supports, according to the last registration. */
  #features: readonly string[] = [];
  /** When the Control Plane first replied that an approval is pending. */
  #pendingSince: number | undefined;
  /** Whether the last connection that ended early was retried without a pause. */
  #isRetried = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    const { reconnectMs } = options.timings;
    this.#backoff = new Backoff({
      firstMs: reconnectMs,
      longestMs: reconnectMs * 16,
      jitter: RECONNECT_JITTER,
      attempts: options.reconnectAttempts || Infinity,
    });
  }

  /**
   * Yields the frames of all connections until the signal is aborted.
   *
   * @throws {LinkError} when all attempts to connect are used up
   */
  async *frames(signal: AbortSignal): AsyncGenerator<string | Uint8Array> {
    while (!signal.aborted) {
      let failure: ControlPlaneError | undefined;
      try {
        log.info("Connecting to Control Plane...");
        const upMs = yield* this.#connect(signal);
        if (this.#mayRetryNow(upMs)) continue;
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof ControlPlaneError)) throw error;
        const advice = this.#options.credentials.adviceFor(error);
        log.error(advice ? "{reason}: {advice}" : "{reason}", {
          reason: error.message,
          ...(advice ? { advice } : {}),
        });
        failure = error;
      }
      if (!signal.aborted) await this.#backOff(failure, signal);
    }
  }

  /** Registers, and again until an administrator has approved the agent. */
  async #register(signal: AbortSignal): Promise<void> {
    const { registration, credentials, addresses } = this.#options;
    this.#enter("registering");
    while (true) {
      const response = await registerWithKeys(registration, {
        httpBase: addresses.http,
        credentials,
        signal,
      });
      if (response.kind === "registered") {
        log.info("Registered successfully: {agentId} (status: {status})", {
          agentId: registration.agentId,
          status: response.status,
        });
        this.#isRegistered = true;
        this.#features = response.features;
        this.#pendingSince = undefined;
        return;
      }
      this.#enter(response.kind);
      await delay(this.#approvalDelay(response), { signal });
    }
  }

  #approvalDelay(response: Exclude<RegistrationResponse, { kind: "registered" }>): number {
    const reason = response.message;
    if (response.kind === "rejected") {
      log.error("An administrator of the Control Plane rejected this agent: {reason}", { reason });
      return REJECTED_RETRY_MS;
    }
    log.warn("Waiting for an administrator of the Control Plane to approve this agent: {reason}", { reason });
    this.#pendingSince ??= performance.now();
    if (response.retryAfterMs !== undefined) return Math.max(MIN_APPROVAL_MS, response.retryAfterMs);
    const { firstApprovalMs, earlyApprovalMs, approvalMs } = this.#options.timings;
    const isEarly = performance.now() - this.#pendingSince < earlyApprovalMs;
    return isEarly ? firstApprovalMs : approvalMs;
  }

  /**
   * Opens a connection. Only the first one of the process begins with a registration, and one that is rejected without it: the Control Plane takes
   * an agent for online as soon as it registers, and fails the commands that come before the connection.
   */
  async #open(signal: AbortSignal): Promise<Socket> {
    if (this.#isRegistered) {
      try {
        return await this.#openSocket(signal);
      } catch (error) {
        if (!(error instanceof LinkError) || !UNREGISTERED_STATUSES.includes(error.status)) throw error;
        log.warn("{reason}, registering again", { reason: error.message });
      }
    }
    await this.#register(signal);
    return await this.#openSocket(signal);
  }

  async #openSocket(signal: AbortSignal): Promise<Socket> {
    const { addresses, registration, credentials, timings: { linkSilenceMs: silenceMs } } = this.#options;
    this.#enter("connecting");
    const url = addresses.webSocket + linkPath(registration.agentId);
    return await credentials.tryKeys({
      attempt: (connection) => Socket.connect(url, { credentials: connection, signal, silenceMs }),
    });
  }

  /** Connects, yields frames until the connection ends, and returns how long it was up, in milliseconds. */
  async *#connect(signal: AbortSignal): AsyncGenerator<string | Uint8Array, number> {
    const { addresses, outbox, timings: { stableLinkMs } } = this.#options;
    await using socket = await this.#open(signal);
    const upSince = performance.now();
    log.info("WebSocket connected");
    log.info("Connected to Control Plane: {url}", { url: addresses.webSocket });
    const down = new AbortController();
    try {
      this.#enter("up");
      outbox.attach(socket);
      void this.#sendHeartbeats(down.signal);
      this.#options.onUp?.(this.#features, socket);
      yield* socket.frames(signal);
      const upMs = performance.now() - upSince;
      if (upMs >= stableLinkMs) this.#backoff.reset();
      if (socket.end) log.warn("Disconnected from Control Plane (code {code})", { code: socket.end.code });
      return upMs;
    } finally {
      down.abort();
      this.#options.onDown?.();
      outbox.detach({ isDelivered: await socket.close() });
    }
  }

  /** Whether a connection that has ended is retried without a pause: once after one that ended early, until one lasts longer. */
  #mayRetryNow(upMs: number): boolean {
    const isEarly = upMs < this.#options.timings.earlyCloseMs;
    const mayRetry = isEarly && !this.#isRetried;
    if (mayRetry) log.info("Reconnecting at once, as the connection ended early");
    this.#isRetried = isEarly;
    return mayRetry;
  }

  async #sendHeartbeats(signal: AbortSignal): Promise<void> {
    const { intervalMs, send } = this.#options.heartbeat;
    log.info("Starting heartbeat sender (interval: {interval})", { interval: formatDuration(intervalMs) });
    let dueAt = performance.now();
    while (!signal.aborted) {
      const now = performance.now();
      send(Math.max(0, now - dueAt));
      dueAt = now + intervalMs;
      await delay(intervalMs, { signal }).catch(() => {});
    }
  }

  async #backOff(failure: ControlPlaneError | undefined, signal: AbortSignal): Promise<void> {
    const attempts = this.#options.reconnectAttempts;
    if (this.#backoff.isExhausted) {
      throw new LinkError(
        `Cannot reach the Control Plane: all attempts failed (--reconnect-attempts=${attempts})`,
        { cause: failure },
      );
    }
    this.#enter("waiting");
    const wait = this.#backoff.next(failure?.retryAfterMs);
    const limit = attempts === 0 ? "" : " of {attempts}";
    log.info(`Reconnecting in {wait} (attempt {attempt}${limit})`, {
      wait: formatDuration(wait),
      attempt: this.#backoff.failures,
      attempts,
    });
    await delay(wait, { signal }).catch(() => {});
  }

  #enter(state: LinkState): void {
    this.#options.onState?.(state);
  }
}
