/**
 * What the parts tell of themselves, as metrics, traces and signs of life. It listens and is asked; no part waits for it.
 * @module
 */
import type { Settings } from "../model/settings.ts";
import denoJson from "../../deno.json" with { type: "json" };
import type { LinkState } from "../control_plane/link.ts";
import type { SessionStatus, Usage } from "../control_plane/protocol.ts";
import { WATCHED_RESOURCES } from "../kubernetes/session_watch.ts";
import type { RequestRecord } from "../kubernetes/transport.ts";
import type { WatchObserver } from "../kubernetes/watch.ts";
import { CommandTelemetry } from "./command_telemetry.ts";
import { liveness, readiness, type Report, type Signs } from "./health_report.ts";
import type { HealthSources } from "./health_server.ts";
import { Meter } from "./meter.ts";
import { Vitals } from "./vitals.ts";

/** What is asked at a scrape. */
export interface TelemetrySources {
  readonly dispatcher: { readonly isDraining: boolean };
  readonly outbox: {
    readonly backlog: { readonly results: number; readonly statuses: number; readonly oldestMs: number };
  };
  readonly journal: {
    readonly usage: { readonly entries: number; readonly bytes: number; readonly isFailing: boolean };
  };
  readonly reported: { sessionIds(): string[]; get(sessionId: string): SessionStatus | undefined };
  readonly capacity: { usage(): Usage };
}

/** The settings that metrics show. */
export type TelemetrySettings = Pick<
  Settings,
  "agentId" | "leaderElection" | "maxSessions" | "maxCpu" | "maxMemory"
>;

const GIB = 2 ** 30;
const STATES = ["pending", "running", "hibernated"] as const;

/** The sources of a standby replica, which has nothing to report. */
const IDLE: TelemetrySources = {
  dispatcher: { isDraining: false },
  outbox: { backlog: { results: 0, statuses: 0, oldestMs: 0 } },
  journal: { usage: { entries: 0, bytes: 0, isFailing: false } },
  reported: { sessionIds: () => [], get: () => undefined },
  capacity: { usage: () => ({ usedSessions: 0, usedCpu: 0, usedMemory: 0 }) },
};

/** Why a message is ignored: it cannot be read, its type is not known, or it is no text. */
const IGNORED = ["malformed", "unknown", "binary"] as const;

/** The agent's view of itself. */
export class Telemetry implements HealthSources {
  readonly #meter = new Meter();
  readonly #startedAt = Date.now();
  readonly vitals: Vitals;
  readonly commands: CommandTelemetry;
  readonly watches: WatchObserver;
  #sources = IDLE;

  constructor(settings: TelemetrySettings) {
    this.commands = new CommandTelemetry(this.#meter);
    this.vitals = new Vitals(settings.leaderElection);
    this.watches = {
      heard: (resource) => this.vitals.heard(resource),
      broke: (resource, reason) => {
        this.vitals.broke(resource);
        this.#meter.count("watchRestarts", { resource, reason });
      },
    };
    this.#meter.begin("messagesIgnored", { reason: IGNORED });
    this.#meter.begin("watchRestarts", { resource: WATCHED_RESOURCES, reason: ["failed", "expired"] });
    this.#setConstants(settings);
  }

  /** From now on, these are asked at a scrape. */
  ask(sources: TelemetrySources): void {
    this.#sources = sources;
  }

  /** A request to the API server was answered, or was not. */
  request({ verb, resource, status, durationMs, isRetry }: RequestRecord): void {
    this.#meter.count("apiRequests", { verb, resource, status: statusClass(status) });
    this.#meter.observe("apiSeconds", { verb, resource }, { seconds: durationMs / 1000 });
    if (isRetry) this.#meter.count("apiRetries", { verb, resource });
  }

  /** The link took a step. */
  link(state: LinkState): void {
    this.vitals.entered(state);
    if (state === "up") this.#meter.count("linkConnects", {});
    if (state === "waiting") this.#meter.count("linkRetries", {});
    // Without a link there are none to be late.
    if (state !== "up") this.#meter.set("heartbeatLag", {}, { to: 0 });
  }

  /** A message of the Control Plane was ignored. */
  ignored(reason: typeof IGNORED[number]): void {
    this.#meter.count("messagesIgnored", { reason });
  }

  /** A heartbeat is sent, so many milliseconds late. */
  beat(lateMs: number): void {
    this.#meter.count("heartbeats", {});
    this.#meter.set("heartbeatLag", {}, { to: lateMs / 1000 });
  }

  liveness(): Report {
    return liveness(this.#signs());
  }

  readiness(): Report {
    return readiness(this.#signs());
  }

  async scrape(): Promise<string> {
    this.#setStanding();
    this.#setWatches();
    this.#setQueues();
    this.#setSessions();
    this.#meter.set("processMemory", {}, { to: Deno.memoryUsage().rss });
    return await this.#meter.text();
  }

  #signs(): Signs {
    const { standing, sinceTurnMs, link } = this.vitals;
    const unsynced = WATCHED_RESOURCES.filter((resource) => !this.vitals.watch(resource).isOpen);
    const isStopping = this.#sources.dispatcher.isDraining;
    return { standing, sinceTurnMs, link, unsynced, isStopping };
  }

  #setConstants({ agentId, maxSessions, maxCpu, maxMemory }: TelemetrySettings): void {
    const labels = { agent_id: agentId, version: denoJson.version, deno: Deno.version.deno };
    this.#meter.set("buildInfo", labels, { to: 1 });
    this.#meter.set("sessionsLimit", {}, { to: maxSessions });
    this.#meter.set("cpuLimit", {}, { to: maxCpu });
    this.#meter.set("memoryLimit", {}, { to: maxMemory * GIB });
    this.#meter.set("processStart", {}, { to: this.#startedAt / 1000 });
  }

  #setStanding(): void {
    const { standing, link } = this.vitals;
    this.#meter.set("leader", {}, { to: standing === "leading" || standing === "alone" });
    this.#meter.set("registered", {}, { to: link === "connecting" || link === "up" });
    this.#meter.set("linkUp", {}, { to: link === "up" });
  }

  #setWatches(): void {
    for (const resource of WATCHED_RESOURCES) {
      const { isOpen, heardAt } = this.vitals.watch(resource);
      this.#meter.set("watchSynced", { resource }, { to: isOpen });
      this.#meter.set("watchHeard", { resource }, { to: heardAt / 1000 });
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
