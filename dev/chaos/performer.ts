/**
 * Executes the events of a plan, and counts them.
 * @module
 */
import { delay } from "@std/async";
import { encodeCommands } from "../control_plane/command_frame.ts";
import type { TcpProxy } from "../faults/tcp_proxy.ts";
import {
  type ApiFaultEvent,
  type ChaosEvent,
  type ConnectionFault,
  type Deletion,
  describeEvent,
  type EndReplica,
  type FreezeReplica,
  type LinkFaultEvent,
  type SendCommands,
} from "./event.ts";
import { type History, isReceived } from "./history.ts";
import type { Replica } from "./replica.ts";
import { AGENT_ID, type Stage } from "./stage.ts";

/** Number of events by kind. */
export interface Counts {
  repeated: number;
  skipped: number;
  kills: number;
  terminations: number;
  freezes: number;
  linkFaults: number;
  apiFaults: number;
  serverFreezes: number;
  deletions: number;
}

/** Executes events; longer ones run in the background. */
export class Performer implements AsyncDisposable {
  readonly counts: Counts = {
    repeated: 0,
    skipped: 0,
    kills: 0,
    terminations: 0,
    freezes: 0,
    linkFaults: 0,
    apiFaults: 0,
    serverFreezes: 0,
    deletions: 0,
  };
  /** When watches were stalled, in milliseconds since 1970. */
  readonly stalledAt: number[] = [];
  readonly #stage: Stage;
  readonly #history: History;
  readonly #log: (line: string) => void;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(stage: Stage, options: { history: History; log: (line: string) => void }) {
    this.#stage = stage;
    this.#history = options.history;
    this.#log = options.log;
  }

  /** Starts an event. */
  perform(event: ChaosEvent): void {
    const outcome = this.#perform(event);
    this.#log(`${describeEvent(event)}${outcome ? `: ${outcome}` : ""}`);
  }

  /** Waits for all events in the background. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.settled();
  }

  /** Returns a remark for the log. */
  #perform(event: ChaosEvent): string | undefined {
    switch (event.kind) {
      case "commands":
        return this.#send(event);
      case "repeat":
        return this.#repeat();
      case "server":
        this.counts.serverFreezes += 1;
        this.#stage.apiServer?.freeze(event.ms, () => this.#log("the API server is resumed"));
        return undefined;
      case "administrator":
        this.counts.deletions += 1;
        this.#inBackground(this.#delete(event));
        return undefined;
    }
    const replica = this.#stage.find(event.role);
    if (replica) return this.#performOn(replica, event);
    this.counts.skipped += 1;
    return `skipped, no replica is the ${event.role}`;
  }

  #performOn(
    replica: Replica,
    event: EndReplica | FreezeReplica | LinkFaultEvent | ApiFaultEvent,
  ): string {
    switch (event.kind) {
      case "kill":
        this.counts.kills += 1;
        replica.end("SIGKILL");
        break;
      case "terminate":
        this.counts.terminations += 1;
        replica.end("SIGTERM");
        break;
      case "freeze":
        this.counts.freezes += 1;
        replica.freeze(event.ms);
        break;
      case "link":
        this.counts.linkFaults += 1;
        return this.#injectLinkFault(replica, event) ?? `replica ${replica.name}`;
      case "api":
        this.counts.apiFaults += 1;
        this.#injectApiFault(replica, event);
    }
    return `replica ${replica.name}`;
  }

  #send({ commands, isJoined }: SendCommands): string | undefined {
    const frames = isJoined ? [commands] : commands.map((command) => [command]);
    for (const frame of frames) {
      try {
        this.#stage.controlPlane.sendFrame(AGENT_ID, encodeCommands(frame).frame);
      } catch {
        this.counts.skipped += commands.length;
        return "skipped, the agent is not connected";
      }
      for (const command of frame) this.#history.sent(command);
    }
    const distinct = new Set(commands.map(({ commandId }) => commandId)).size;
    this.counts.repeated += commands.length - distinct;
    return undefined;
  }

  /** Repeats a received command only, because its position in the order of commands is known. */
  #repeat(): string {
    const record = this.#history.records().findLast((one) => isReceived(one) && one.answers.length === 0);
    if (!record) return "skipped, no command is pending";
    const { command } = record;
    try {
      this.#stage.controlPlane.sendFrame(AGENT_ID, encodeCommands([command]).frame);
    } catch {
      return "skipped, the agent is not connected";
    }
    this.counts.repeated += 1;
    return `${command.commandId} ${command.action} ${command.sessionId}`;
  }

  #injectLinkFault(replica: Replica, { fault }: LinkFaultEvent): string | undefined {
    switch (fault.kind) {
      case "disconnect":
        try {
          this.#stage.controlPlane.disconnect(AGENT_ID, fault.code);
          return undefined;
        } catch {
          return "the agent is not connected";
        }
      case "registration": {
        const headers = { "Retry-After": String(fault.retryAfterSeconds) };
        const { status, times } = fault;
        this.#stage.controlPlane.answerRegistration({ status, times, headers, body: { error: "chaos" } });
        return undefined;
      }
      default:
        this.#injectConnectionFault(replica.link, fault);
        return undefined;
    }
  }

  #injectApiFault({ api, apiConnection }: Replica, { fault }: ApiFaultEvent): void {
    switch (fault.kind) {
      case "answers":
        return api.inject(fault.fault);
      case "hang": {
        const { verb, times, ms } = fault;
        if (verb === "watch") this.#stalled();
        api.inject({ kind: "hang", verb, times });
        return this.#later(ms, () => api.clearFaults());
      }
      case "watches":
        if (fault.how === "end") return api.endWatches();
        if (fault.how === "expire") return api.errorWatches(410);
        this.#stalled();
        return api.silenceWatches();
      default:
        if (fault.kind === "mode" && fault.mode.kind === "half-open") this.#stalled();
        this.#injectConnectionFault(apiConnection, fault);
    }
  }

  #injectConnectionFault(proxy: TcpProxy, fault: ConnectionFault): void {
    if (fault.kind !== "mode") return fault.kind === "cut" ? proxy.cut() : proxy.reset();
    const { mode, ms } = fault;
    proxy.mode = mode;
    this.#later(ms, () => {
      // A later fault has its own end.
      if (proxy.mode === mode) proxy.mode = { kind: "pass" };
    });
  }

  #stalled(): void {
    this.stalledAt.push(Date.now());
  }

  async #delete(deletion: Deletion): Promise<void> {
    const end = this.#history.deleting(deletion);
    try {
      const deleted = await this.#stage.administrator.delete(deletion);
      this.#log(`the administrator deleted ${deleted.join(", ") || "nothing"}`);
    } catch (error) {
      this.#log(`the administrator failed to delete: ${error instanceof Error ? error.message : error}`);
    }
    end();
  }

  #later(ms: number, action: () => void): void {
    this.#inBackground(delay(ms, { signal: this.#closing.signal }).then(action, () => {}));
  }

  #inBackground(work: Promise<void>): void {
    const running = work.finally(() => this.#running.delete(running));
    this.#running.add(running);
  }
}
