/**
 * The loop over connections: register, connect, hand out frames, and again after a loss, with growing waits. The outbox has a wire while a
 * connection is up. It ends when it is told to, or when its attempts are used up.
 * @module
 */
import { delay } from "@std/async";
import { ControlPlaneError, LinkError } from "../common/errors.ts";
import { log } from "../common/log.ts";
import { formatDuration } from "../common/quantities.ts";
import { type ControlPlaneAddresses, linkPath } from "./addresses.ts";
import { Backoff } from "../common/backoff.ts";
import type { Credentials } from "./credentials.ts";
import { withEitherKey } from "./either_key.ts";
import { enroll } from "./enroll.ts";
import type { Outbox } from "./outbox.ts";
import type { Registration } from "./registration.ts";
import { Socket } from "./socket.ts";

/** Where a link is in its loop. */
export type LinkState = "registering" | "pending" | "rejected" | "connecting" | "up" | "waiting";

/** What a link needs. */
export interface LinkOptions {
  readonly addresses: ControlPlaneAddresses;
  readonly registration: Registration;
  readonly credentials: Credentials;
  /** Attempts after a loss before giving up; 0 never gives up. */
  readonly reconnectAttempts: number;
  readonly outbox: Outbox;
  /** Called once a connection is up, with a signal that is aborted when it ends. */
  readonly onUp: (signal: AbortSignal) => void;
  /** Told each step of the loop. */
  readonly onState?: (state: LinkState) => void;
}

/** How often an administrator's approval is asked for. */
const PENDING_RETRY_MS = 30_000;
/** The least of it, whatever the Control Plane says: these requests use up no attempts, and must not become a flood. */
const LEAST_PENDING_RETRY_MS = 1000;
/** How often an agent that was rejected asks whether the administrator changed their mind. */
const REJECTED_RETRY_MS = 300_000;
/** The waits of the StreamSpace documentation ("Reconnection Issues"): 2, 4, 8, 16 and 32 seconds; at most a tenth is added to each. */
const RECONNECT = { firstMs: 2000, longestMs: 32_000, jitter: [1, 1.1] } as const;
/** A connection that was up for this long resets the back-off; the Control Plane closes shorter ones as part of its normal cleanup. */
const STABLE_MS = 30_000;

/** The agent's way to its Control Plane. */
export class Link {
  readonly #options: LinkOptions;
  readonly #backoff: Backoff;
  readonly #enter: (state: LinkState) => void;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ ...RECONNECT, attempts: options.reconnectAttempts || Infinity });
    this.#enter = options.onState ?? (() => {});
  }

  /**
   * Every frame of every connection, until the signal is aborted.
   *
   * @throws {LinkError} when the attempts to connect are used up
   */
  async *frames(signal: AbortSignal): AsyncGenerator<string | Uint8Array> {
    while (!signal.aborted) {
      let failure: ControlPlaneError | undefined;
      try {
        log.info("Connecting to Control Plane...");
        this.#enter("registering");
        await this.#register(signal);
        yield* this.#connection(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof ControlPlaneError)) throw error;
        log.error("{reason}", { reason: error.message });
        failure = error;
      }
      if (!signal.aborted) await this.#waitForNextAttempt(failure, signal);
    }
  }

  async #register(signal: AbortSignal): Promise<void> {
    const { registration, credentials, addresses } = this.#options;
    while (true) {
      const answer = await enroll(registration, { httpBase: addresses.http, credentials, signal });
      if (answer.kind === "registered") {
        log.info("Registered successfully: {agentId} (status: {status})", {
          agentId: registration.agentId,
          status: answer.status,
        });
        return;
      }
      this.#enter(answer.kind);
      const wait = answer.kind === "rejected"
        ? REJECTED_RETRY_MS
        : Math.max(LEAST_PENDING_RETRY_MS, answer.retryAfterMs ?? PENDING_RETRY_MS);
      if (answer.kind === "rejected") {
        log.error("An administrator of the Control Plane rejected this agent: {reason}", {
          reason: answer.message,
        });
      } else {
        log.warn("Waiting for an administrator of the Control Plane to approve this agent: {reason}", {
          reason: answer.message,
        });
      }
      await delay(wait, { signal });
    }
  }

  async *#connection(signal: AbortSignal): AsyncGenerator<string | Uint8Array> {
    const { addresses, registration, outbox, onUp } = this.#options;
    this.#enter("connecting");
    const url = addresses.webSocket + linkPath(registration.agentId);
    await using socket = await withEitherKey(this.#options.credentials, {
      attempt: (credentials) => Socket.connect(url, { credentials, signal }),
    });
    const upSince = performance.now();
    log.info("WebSocket connected");
    log.info("Connected to Control Plane: {url}", { url: addresses.webSocket });
    const down = new AbortController();
    try {
      this.#enter("up");
      outbox.attach(socket);
      onUp(down.signal);
      yield* socket.frames(signal);
      if (socket.end) log.warn("Disconnected from Control Plane (code {code})", { code: socket.end.code });
    } finally {
      down.abort();
      outbox.detach({ hasArrived: await socket.close() });
      if (performance.now() - upSince >= STABLE_MS) this.#backoff.reset();
    }
  }

  async #waitForNextAttempt(failure: ControlPlaneError | undefined, signal: AbortSignal): Promise<void> {
    const attempts = this.#options.reconnectAttempts;
    if (this.#backoff.isExhausted) {
      throw new LinkError(
        `The Control Plane could not be reached, and --reconnect-attempts=${attempts} allows no more`,
        {
          cause: failure,
        },
      );
    }
    this.#enter("waiting");
    const wait = this.#backoff.next(failure?.retryAfterMs);
    const of = attempts === 0 ? "" : " of {attempts}";
    log.info(`Reconnecting in {wait} (attempt {attempt}${of})`, {
      wait: formatDuration(wait),
      attempt: this.#backoff.failures,
      attempts,
    });
    await delay(wait, { signal }).catch(() => {});
  }
}
