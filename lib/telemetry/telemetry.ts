/**
 * Facade of metrics, traces and health: components report events to it and never wait for it; at a scrape it reads the current values of the attached
 * sources.
 * @module
 */
import type { Settings } from "../model/settings.ts";
import denoJson from "../../deno.json" with { type: "json" };
import type { LinkState } from "../control_plane/link.ts";
import type { SessionStatus, Usage } from "../control_plane/protocol.ts";
import { WATCHED_RESOURCES } from "../kubernetes/session_watch.ts";
import type { RequestRecord } from "../kubernetes/transport.ts";
import type { WatchObserver } from "../kubernetes/watch.ts";
import { CommandTelemetry } from "./commands.ts";
import {
  type HealthInput,
  type HealthReport,
  type HealthSources,
  HealthState,
  liveness,
  readiness,
} from "./health.ts";
import { Meter } from "./metrics.ts";
import { StreamTelemetry } from "./streams.ts";

/** Components that are read at a scrape. */
export interface TelemetrySources {
  readonly dispatcher: { readonly isDraining: boolean };
  readonly outbox: {
    readonly backlog: { readonly results: number; readonly statuses: number; readonly oldestMs: number };
  };
  readonly journal: {
    readonly usage: { readonly entries: number; readonly bytes: number; readonly isFailing: boolean };
  };
  readonly reported: { sessionIds(): readonly string[]; get(sessionId: string): SessionStatus | undefined };
  readonly capacity: { usage(): Usage };
}

/** Settings that are exported as metrics. */
export type TelemetrySettings = Pick<
  Settings,
  "agentId" | "leaderElection" | "maxSessions" | "maxCpu" | "maxMemory"
>;

const GIB = 2 ** 30;
const STATES = ["pending", "running", "hibernated"] as const;

/** Sources before any are attached, such as in a standby replica. */
const IDLE: TelemetrySources = {
  dispatcher: { isDraining: false },
  outbox: { backlog: { results: 0, statuses: 0, oldestMs: 0 } },
  journal: { usage: { entries: 0, bytes: 0, isFailing: false } },
  reported: { sessionIds: () => [], get: () => undefined },
  capacity: { usage: () => ({ usedSessions: 0, usedCpu: 0, usedMemory: 0 }) },
};

/** Why a message is ignored: it cannot be parsed, its type is unknown, or its frame is binary. */
const IGNORED = ["malformed", "unknown", "binary"] as const;

/** Metrics, traces and health of one agent. */
export class Telemetry implements HealthSources {
  readonly #meter = new Meter();
  readonly #startedAt = Date.now();
  readonly health: HealthState;
  readonly commands: CommandTelemetry;
  readonly watches: WatchObserver;
  readonly streams: StreamTelemetry;
  #sources = IDLE;

  constructor(settings: TelemetrySettings) {
    this.commands = new CommandTelemetry(this.#meter);
    this.streams = new StreamTelemetry(this.#meter);
    this.health = new HealthState(settings.leaderElection);
    this.watches = {
      onWatchEvent: (resource) => this.health.onWatchEvent(resource),
      onWatchError: (resource, reason) => {
        this.health.onWatchError(resource);
        this.#meter.count("watchRestarts", { resource, reason });
      },
    };
    this.#meter.initialize("messagesIgnored", { reason: IGNORED });
    this.#meter.initialize("watchRestarts", { resource: WATCHED_RESOURCES, reason: ["failed", "expired"] });
    this.#setConstants(settings);
  }

  /** Attaches the components that are read at each scrape from then on. */
  attachSources(sources: TelemetrySources): void {
    this.#sources = sources;
  }

  /** Records an attempt at a request to the Kubernetes API. */
  request({ verb, resource, status, durationMs, isRetry }: RequestRecord): void {
    this.#meter.count("apiRequests", { verb, resource, status: statusClass(status) });
    this.#meter.observe("apiSeconds", { verb, resource }, { seconds: durationMs / 1000 });
    if (isRetry) this.#meter.count("apiRetries", { verb, resource });
  }

  /** Records a state change of the link. */
  link(state: LinkState): void {
    this.health.onLinkState(state);
    if (state === "up") this.#meter.count("linkConnects", {});
    if (state === "waiting") this.#meter.count("linkRetries", {});
    // Without a link, no heartbeat is due.
    if (state !== "up") this.#meter.set("heartbeatLag", {}, { to: 0 });
  }

  /** Records that an unused home volume was deleted. */
  homeDeleted(): void {
    this.#meter.count("homesDeleted", {});
  }

  /** Records an ignored message from the Control Plane. */
  ignored(reason: typeof IGNORED[number]): void {
    this.#meter.count("messagesIgnored", { reason });
  }

  /** Records a heartbeat that is sent `lateMs` milliseconds late. */
  beat(lateMs: number): void {
    this.#meter.count("heartbeats", {});
    this.#meter.set("heartbeatLag", {}, { to: lateMs / 1000 });
  }

  liveness(): HealthReport {
    return liveness(this.#healthInput());
  }

  readiness(): HealthReport {
    return readiness(this.#healthInput());
  }

  async scrape(): Promise<string> {
    this.#setConnections();
    this.#setWatches();
    this.#setQueues();
    this.#setSessions();
    this.streams.update();
    this.#meter.set("processMemory", {}, { to: Deno.memoryUsage().rss });
    return await this.#meter.text();
  }

  #healthInput(): HealthInput {
    const { leadership, sinceTickMs, link } = this.health;
    const unsynced = WATCHED_RESOURCES.filter((resource) => !this.health.watch(resource).isOpen);
    const isStopping = this.#sources.dispatcher.isDraining;
    return { leadership, sinceTickMs, link, unsynced, isStopping };
  }

  #setConstants({ agentId, maxSessions, maxCpu, maxMemory }: TelemetrySettings): void {
    const labels = { agent_id: agentId, version: denoJson.version, deno: Deno.version.deno };
    this.#meter.set("buildInfo", labels, { to: 1 });
    this.#meter.set("sessionsLimit", {}, { to: maxSessions });
    this.#meter.set("cpuLimit", {}, { to: maxCpu });
    this.#meter.set("memoryLimit", {}, { to: maxMemory * GIB });
    this.#meter.set("processStart", {}, { to: this.#startedAt / 1000 });
  }

  #setConnections(): void {
    const { leadership, link } = this.health;
    this.#meter.set("leader", {}, { to: leadership === "leading" || leadership === "disabled" });
    this.#meter.set("registered", {}, { to: link === "connecting" || link === "up" });
    this.#meter.set("linkUp", {}, { to: link === "up" });
  }

  #setWatches(): void {
    for (const resource of WATCHED_RESOURCES) {
      const { isOpen, lastEventAt } = this.health.watch(resource);
      this.#meter.set("watchSynced", { resource }, { to: isOpen });
      this.#meter.set("watchLastEvent", { resource }, { to: lastEventAt / 1000 });
    }
  }

  #setQueues(): void {
    this.#meter.set("commandsOpen", {}, { to: this.commands.open });
    const { results, statuses, oldestMs } = this.#sources.outbox.backlog;
    this.#meter.set("outboxMessages", { kind: "result" }, { to: results });
    this.#meter.set("outboxMessages", { kind: "status" }, { to: statuses });
    this.#meter.set("outboxAge", {}, { to: oldestMs / 1000 });
    const { entries, bytes, isFailing } = this.#sources.journal.usage;
    this.#meter.set("journalEntries", {}, { to: entries });
    this.#meter.set("journalBytes", {}, { to: bytes });
    this.#meter.set("journalFailing", {}, { to: isFailing });
  }

  #setSessions(): void {
    const { reported, capacity } = this.#sources;
    const states = reported.sessionIds().map((id) => reported.get(id)?.state);
    for (const state of STATES) {
      this.#meter.set("sessions", { state }, { to: states.filter((one) => one === state).length });
    }
    const { usedSessions, usedCpu, usedMemory } = capacity.usage();
    this.#meter.set("sessionsActive", {}, { to: usedSessions });
    this.#meter.set("cpuUsed", {}, { to: usedCpu });
    this.#meter.set("memoryUsed", {}, { to: usedMemory * GIB });
  }
}

function statusClass(status: number): string {
  return status === 0 ? "none" : `${Math.floor(status / 100)}xx`;
}
