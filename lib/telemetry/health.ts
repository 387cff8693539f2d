/**
 * Health of the agent: the state that its components report, liveness and readiness computed from it, and the HTTP server for probes and scrapes at
 * `/healthz`, `/readyz` and `/metrics`. Check reasons are fixed texts, so that they reveal no setting and no response. Request bodies are not read.
 * @module
 */
import { ConfigError, messageOf } from "../common/errors.ts";
import { log } from "../common/log.ts";
import { formatDuration } from "../common/quantities.ts";
import type { LinkState } from "../control_plane/link.ts";
import type { LeadershipStatus } from "../kubernetes/leader_election.ts";
import type { WatchObserver } from "../kubernetes/watch.ts";
import type { ListenAddress } from "../model/settings.ts";
import { METRICS_TYPE } from "./metrics.ts";

/** Last known state of one watch. */
export interface WatchState {
  readonly isOpen: boolean;
  /** Time of the last event, in milliseconds since 1970; 0 before the first one. */
  readonly lastEventAt: number;
}

const NEVER_OPENED: WatchState = { isOpen: false, lastEventAt: 0 };

/** Current state of leader election, the link and the watches, as these components report it. */
export class HealthState implements WatchObserver {
  readonly #watches = new Map<string, WatchState>();
  #leadership: LeadershipStatus | "disabled";
  #lastTickAt = performance.now();
  #link: LinkState | undefined;

  /** @param hasElection whether leader election is enabled */
  constructor(hasElection: boolean) {
    this.#leadership = hasElection ? "unknown" : "disabled";
  }

  /** Status in the leader election. */
  get leadership(): LeadershipStatus | "disabled" {
    return this.#leadership;
  }

  /** Milliseconds since the last iteration of the election loop. */
  get sinceTickMs(): number {
    return performance.now() - this.#lastTickAt;
  }

  /** State of the link; `undefined` before it was started. */
  get link(): LinkState | undefined {
    return this.#link;
  }

  /** State of the watch of a resource. */
  watch(resource: string): WatchState {
    return this.#watches.get(resource) ?? NEVER_OPENED;
  }

  /** Records an iteration of the election loop. */
  onElectionTick(status: LeadershipStatus): void {
    this.#leadership = status;
    this.#lastTickAt = performance.now();
  }

  /** Records a state change of the link. */
  onLinkState(state: LinkState): void {
    this.#link = state;
  }

  onWatchEvent(resource: string): void {
    this.#watches.set(resource, { isOpen: true, lastEventAt: Date.now() });
  }

  onWatchError(resource: string): void {
    this.#watches.set(resource, { ...this.watch(resource), isOpen: false });
  }
}

/** Result of one check. */
export interface HealthCheck {
  readonly ok: boolean;
  readonly reason: string;
}

/** Result of all checks; `ok` if each of them is. */
export interface HealthReport {
  readonly ok: boolean;
  readonly checks: Readonly<Record<string, HealthCheck>>;
}

/** Input of the checks. */
export interface HealthInput {
  readonly leadership: LeadershipStatus | "disabled";
  /** Milliseconds since the last iteration of the election loop. */
  readonly sinceTickMs: number;
  readonly link: LinkState | undefined;
  /** Resources whose watches are not in sync. */
  readonly unsynced: readonly string[];
  readonly isStopping: boolean;
}

/** Limit for one iteration of the election loop: up to three requests with a timeout of 5 seconds each, and the pauses between. */
const MAX_TICK_MS = 30_000;

const LEADERSHIP_REASONS: Readonly<Record<LeadershipStatus | "disabled", string>> = {
  disabled: "leader election is disabled",
  leading: "leader",
  standby: "standby replica",
  unknown: "the lease cannot be read, see the log",
};

const LINK_REASONS: Readonly<Record<LinkState, string>> = {
  registering: "registering with the Control Plane",
  pending: "waiting for approval by an administrator of the Control Plane",
  rejected: "rejected by an administrator of the Control Plane",
  connecting: "connecting to the Control Plane",
  up: "connected",
  waiting: "the Control Plane is unreachable, retrying, see the log",
};

/** Whether the process works; if not, it must be restarted. A response at all shows that the event loop is responsive. */
export function liveness({ leadership, sinceTickMs }: HealthInput): HealthReport {
  const isStuck = leadership !== "disabled" && sinceTickMs > MAX_TICK_MS;
  const age = formatDuration(sinceTickMs);
  const reason = isStuck ? `no iteration for ${age}` : `last iteration ${age} ago`;
  return reportOf({
    eventLoop: { ok: true, reason: "responsive" },
    leaseLoop: { ok: !isStuck, reason: leadership === "disabled" ? LEADERSHIP_REASONS.disabled : reason },
  });
}

/** Whether the agent processes commands, or is a standby replica that would take over. */
export function readiness(input: HealthInput): HealthReport {
  const { leadership: status, link, unsynced, isStopping } = input;
  const leadership = { ok: status !== "unknown", reason: LEADERSHIP_REASONS[status] };
  const standby = { ok: true, reason: LEADERSHIP_REASONS.standby };
  const accepting = status === "standby" ? standby : { ok: true, reason: "accepting commands" };
  const commands = isStopping ? { ok: false, reason: "shutting down" } : accepting;
  if (status === "standby") {
    return reportOf({ leadership, registered: standby, link: standby, watches: standby, commands });
  }
  const linkReason = link ? LINK_REASONS[link] : "not started";
  const isRegistered = link === "connecting" || link === "up";
  const isSynced = unsynced.length === 0;
  return reportOf({
    leadership,
    registered: { ok: isRegistered, reason: isRegistered ? "registered" : linkReason },
    link: { ok: link === "up", reason: linkReason },
    watches: { ok: isSynced, reason: isSynced ? "in sync" : `not in sync: ${unsynced.join(", ")}` },
    commands,
  });
}

function reportOf(checks: Readonly<Record<string, HealthCheck>>): HealthReport {
  return { ok: Object.values(checks).every(({ ok }) => ok), checks };
}

const MAX_PORT = 65_535;

/** Parses an address such as `:8080`, `127.0.0.1:8080` or `[::1]:8080`; returns `undefined` if it is invalid. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const [, v6, host = "", digits = ""] =
    /^(?:\[([0-9a-f.]*:[0-9a-f:.]*)\]|([a-z0-9.-]*)):(\d{1,5})$/i.exec(text) ?? [];
  const port = digits === "" ? NaN : Number(digits);
  return port <= MAX_PORT ? { hostname: v6 ?? host, port } : undefined;
}

/** Formats an address as {@linkcode parseListenAddress} parses it. */
export function formatListenAddress({ hostname, port }: ListenAddress): string {
  return `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}

/** What the server serves. */
export interface HealthSources {
  liveness(): HealthReport;
  readiness(): HealthReport;
  /** Metrics in the Prometheus text format. */
  scrape(): Promise<string>;
}

/** Options of a {@linkcode HealthServer}. */
export interface HealthServerOptions {
  readonly address: ListenAddress | "off";
  /** Whether an address in use is an error, as for one that an operator set; otherwise it is a warning. */
  readonly isRequired: boolean;
}

/** HTTP server for probes and scrapes; it listens until it is disposed. */
export class HealthServer implements AsyncDisposable {
  readonly #sources: HealthSources;
  readonly #closing = new AbortController();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #routes: Readonly<Record<string, () => Response | Promise<Response>>> = {
    "/healthz": () => reportResponse(this.#sources.liveness()),
    "/readyz": () => reportResponse(this.#sources.readiness()),
    "/metrics": async () => textResponse(200, await this.#scrapeOnce(), { "Content-Type": METRICS_TYPE }),
  };
  #scrape: Promise<string> | undefined;

  private constructor(address: ListenAddress, sources: HealthSources) {
    this.#sources = sources;
    this.#server = this.#listen(address);
    log.info("Health and metrics at {url}", { url: this.url });
  }

  /**
   * Starts a server; returns `undefined` if it is off, or if its address is in use and not required.
   *
   * @throws {ConfigError} when it cannot listen on the address
   */
  static start(
    { address, isRequired }: HealthServerOptions,
    sources: HealthSources,
  ): HealthServer | undefined {
    if (address === "off") return undefined;
    try {
      return new HealthServer(address, sources);
    } catch (error) {
      const name = formatListenAddress(address);
      const isInUse = error instanceof Deno.errors.AddrInUse;
      if (isInUse && !isRequired) {
        log.warn("Running without health endpoints and metrics: {reason}", {
          reason:
            `${name} is in use by another program, set --health-addr (HEALTH_ADDR) to another address or to off`,
        });
        return undefined;
      }
      const problem = isInUse
        ? "it is in use by another program, choose another address or off"
        : messageOf(error);
      throw new ConfigError([`--health-addr (HEALTH_ADDR): cannot listen on ${name}: ${problem}`]);
    }
  }

  /** URL that it listens on. */
  get url(): string {
    return `http://${formatListenAddress(this.#server.addr)}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#server.finished;
  }

  #listen({ hostname, port }: ListenAddress): Deno.HttpServer<Deno.NetAddr> {
    const serve = (hostname: string) => {
      const options = { hostname, port, signal: this.#closing.signal, onListen: () => {}, onError };
      return Deno.serve(options, (request) => this.#respond(request));
    };
    if (hostname !== "") return serve(hostname);
    try {
      // A dual-stack socket, which accepts IPv4 connections too.
      return serve("::");
    } catch (error) {
      if (error instanceof Deno.errors.AddrInUse) throw error;
      return serve("0.0.0.0");
    }
  }

  async #respond({ method, url }: Request): Promise<Response> {
    // The URL contains the client's Host header, which may be malformed.
    const route = this.#routes[URL.parse(url)?.pathname ?? ""];
    if (!route) return textResponse(404, "Not found: use /healthz, /readyz or /metrics\n");
    if (method !== "GET" && method !== "HEAD") {
      return textResponse(405, "Method not allowed: use GET or HEAD\n", { Allow: "GET, HEAD" });
    }
    return await route();
  }

  /** Concurrent scrapes share one result. */
  #scrapeOnce(): Promise<string> {
    this.#scrape ??= this.#sources.scrape().finally(() => this.#scrape = undefined);
    return this.#scrape;
  }
}

function onError(error: unknown): Response {
  log.error("Cannot answer a request for health or metrics: {reason}", { reason: messageOf(error) });
  return textResponse(500, "Internal error, see the log\n");
}

function reportResponse({ ok, checks }: HealthReport): Response {
  const body = JSON.stringify({ status: ok ? "ok" : "failing", checks }, undefined, 2);
  return textResponse(ok ? 200 : 503, `${body}\n`, { "Content-Type": "application/json" });
}

function textResponse(status: number, body: string, headers: Record<string, string> = {}): Response {
  const common = { "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff" };
  return new Response(body, {
    status,
    headers: { "Content-Type": "text/plain; charset=utf-8", ...common, ...headers },
  });
}
