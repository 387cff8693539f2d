/**
 * Makes the events of a plan happen on a stage, and counts them.
 * @module
 */
import { delay } from "@std/async";
import { encodeCommands } from "../control_plane/command_frame.ts";
import type { TcpProxy } from "../faults/tcp_proxy.ts";
import {
  type ApiTrouble,
  type ChaosEvent,
  type Deletion,
  describeEvent,
  type GiveCommands,
  type LinkTrouble,
  type WayFault,
} from "./event.ts";
import { type History, isReceived } from "./history.ts";
import type { Replica } from "./replica.ts";
import { AGENT_ID, type Stage } from "./stage.ts";

/** What happened, by kind. */
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

/** Lets events come true; what takes its time goes on beside the next ones. */
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
  /** Times at which watches were made to fall silent, in milliseconds since 1970. */
  readonly silencedAt: number[] = [];
  readonly #stage: Stage;
  readonly #history: History;
  readonly #tell: (line: string) => void;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(stage: Stage, options: { history: History; tell: (line: string) => void }) {
    this.#stage = stage;
    this.#history = options.history;
    this.#tell = options.tell;
  }

  /** Lets an event begin. */
  perform(event: ChaosEvent): void {
    const outcome = this.#perform(event);
    this.#tell(`${describeEvent(event)}${outcome ? `: ${outcome}` : ""}`);
  }

  /** Waits for what still goes on. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.settled();
  }

  /** Gives what is worth telling of how it went. */
  #perform(event: ChaosEvent): string | undefined {
    switch (event.kind) {
      case "commands":
        return this.#give(event);
      case "repeat":
        return this.#repeat();
      case "server":
        this.counts.serverFreezes += 1;
        this.#stage.apiServer?.freeze(event.ms, () => this.#tell("the API server goes on"));
        return undefined;
      case "administrator":
        this.counts.deletions += 1;
        this.#meanwhile(this.#delete(event));
        return undefined;
    }
    const replica = this.#stage.find(event.role);
    if (!replica) {
      this.counts.skipped += 1;
      return `skipped, there is no ${event.role}`;
    }
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
        return this.#troubleLink(replica, event) ?? `it is ${replica.name}`;
      case "api":
        this.counts.apiFaults += 1;
        this.#troubleApi(replica, event);
    }
    return `it is ${replica.name}`;
  }

  #give({ commands, isJoined }: GiveCommands): string | undefined {
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

  /** Only what the agent is known to have, so that its place in the order of commands is known, too. */
  #repeat(): string {
    const story = this.#history.stories().findLast((one) => isReceived(one) && one.answers.length === 0);
    if (!story) return "there is none";
    const { command } = story;
    try {
      this.#stage.controlPlane.sendFrame(AGENT_ID, encodeCommands([command]).frame);
    } catch {
      return "skipped, the agent is not connected";
    }
    this.counts.repeated += 1;
    return `${command.commandId} ${command.action} ${command.sessionId}`;
  }

  #troubleLink(replica: Replica, { fault }: LinkTrouble): string | undefined {
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
        this.#troubleWay(replica.link, fault);
        return undefined;
    }
  }

  #troubleApi({ api, apiWay }: Replica, { fault }: ApiTrouble): void {
    switch (fault.kind) {
      case "answers":
        return api.inject(fault.fault);
      case "hang": {
        const { verb, times, ms } = fault;
        if (verb === "watch") this.#silenced();
        api.inject({ kind: "hang", verb, times });
        return this.#later(ms, () => api.clearFaults());
      }
      case "watches":
        if (fault.how === "end") return api.endWatches();
        if (fault.how === "expire") return api.errorWatches(410);
        this.#silenced();
        return api.silenceWatches();
      default:
        if (fault.kind === "mode" && fault.mode.kind === "half-open") this.#silenced();
        this.#troubleWay(apiWay, fault);
    }
  }

  #troubleWay(way: TcpProxy, fault: WayFault): void {
    if (fault.kind !== "mode") return fault.kind === "cut" ? way.cut() : way.reset();
    const { mode, ms } = fault;
    way.mode = mode;
    this.#later(ms, () => {
      // A later fault has an end of its own.
      if (way.mode === mode) way.mode = { kind: "pass" };
    });
  }

  #silenced(): void {
    this.silencedAt.push(Date.now());
  }

  async #delete(deletion: Deletion): Promise<void> {
    const end = this.#history.deleting(deletion);
    try {
      const deleted = await this.#stage.administrator.delete(deletion);
      this.#tell(`the administrator deleted ${deleted.join(", ") || "nothing"}`);
    } catch (error) {
      this.#tell(`the administrator could not delete: ${error instanceof Error ? error.message : error}`);
    }
    end();
  }

  #later(ms: number, action: () => void): void {
    this.#meanwhile(delay(ms, { signal: this.#closing.signal }).then(action, () => {}));
  }

  #meanwhile(work: Promise<void>): void {
    const running = work.finally(() => this.#running.delete(running));
    this.#running.add(running);
  }
}
