/**
 * Random commands of a busy Control Plane, including invalid ones. Pure.
 * @module
 */
import type { PlannedCommand, SendCommands } from "./event.ts";
import type { Random } from "./random.ts";

/** The ids of all sessions. */
export const SESSION_IDS = Array.from(
  { length: 12 },
  (_, index) => `s-${String(index + 1).padStart(2, "0")}`,
) as [string, ...string[]];

/** Templates with images that fail or start slowly on simulated nodes, in addition to the built-in ones. */
export const TEMPLATES = {
  missing: "example.com/missing:1",
  crashing: "example.com/crashing:1",
  slow: "example.com/slow:1",
  stuck: "example.com/stuck:1",
};

/** Groups of commands, and the delay before each. */
export type Scene = readonly { readonly waitMs: number; readonly commands: SendCommands }[];

type CommandWithoutId = Omit<PlannedCommand, "commandId">;

/** Generates scenes. */
export class SceneGenerator {
  readonly #random: Random;
  readonly #idPrefix: string;
  #count = 0;

  /** @param idPrefix distinguishes the commands of several generators */
  constructor(random: Random, idPrefix = "c-") {
    this.#random = random;
    this.#idPrefix = idPrefix;
  }

  /** The next scene. */
  next(): Scene {
    const random = this.#random;
    const sessionId = random.pick(SESSION_IDS);
    return random.weighted<() => Scene>([
      [50, () => this.#together([this.#any()])],
      [8, () => this.#together(Array.from({ length: random.integer(3, 10) }, () => this.#any()))],
      [10, () => this.#apart([this.#start(sessionId), this.#stop(sessionId)])],
      [8, () => this.#apart([this.#stop(sessionId), this.#start(sessionId)])],
      [8, () => this.#apart([simple("hibernate_session", sessionId), simple("wake_session", sessionId)])],
      [5, () => this.#apart([this.#start(sessionId), this.#start(sessionId)])],
      [5, () => this.#twice(this.#any())],
      [6, () => this.#together([this.#invalid(sessionId)])],
    ])();
  }

  #any(): CommandWithoutId {
    const sessionId = this.#random.pick(SESSION_IDS);
    return this.#random.weighted<() => CommandWithoutId>([
      [45, () => this.#start(sessionId)],
      [15, () => this.#stop(sessionId)],
      [20, () => simple("hibernate_session", sessionId)],
      [20, () => simple("wake_session", sessionId)],
    ])();
  }

  /** Mostly uses the usual settings of the session, so that a second start is a repetition. */
  #start(sessionId: string): CommandWithoutId {
    const random = this.#random;
    const isUsual = random.chance(0.75);
    const index = SESSION_IDS.indexOf(sessionId);
    const template = isUsual
      ? index % 2 === 0 ? "firefox" : "chrome"
      : random.weighted([[5, "vscode"], [1, "missing"], [1, "crashing"], [1, "slow"], [1, "stuck"]]);
    const persistentHome = isUsual ? index % 3 === 0 : random.chance(0.5);
    const payload = {
      sessionId,
      user: `user-${index}`,
      template,
      persistentHome,
      memory: "256Mi",
      cpu: "100m",
    };
    return { action: "start_session", sessionId, payload };
  }

  #stop(sessionId: string): CommandWithoutId {
    const payload = this.#random.chance(0.5)
      ? { sessionId, deletePVC: this.#random.chance(0.6) }
      : { sessionId };
    return { action: "stop_session", sessionId, payload };
  }

  #invalid(sessionId: string): CommandWithoutId {
    const start = { sessionId, user: "mallory", template: "firefox" };
    return this.#random.pick<CommandWithoutId>([
      { action: "start_session", sessionId, payload: { ...start, memory: "a lot" } },
      { action: "start_session", sessionId, payload: { ...start, cpu: 10_000 } },
      { action: "start_session", sessionId, payload: { ...start, template: "unheard-of" } },
      { action: "start_session", sessionId, payload: { sessionId } },
      { action: "start_session", sessionId, payload: "firefox" },
      { action: "stop_session", sessionId, payload: { sessionId, deletePVC: "yes" } },
      { action: "stop_session", sessionId, payload: { sessionId: "s-01\u0000" } },
      { action: "restart_session", sessionId, payload: { sessionId } },
    ]);
  }

  #together(commands: readonly CommandWithoutId[]): Scene {
    return [{ waitMs: 0, commands: this.#withIds(commands, this.#random.chance(0.7)) }];
  }

  /** Sends the commands in one frame, or shortly after each other. */
  #apart(commands: readonly CommandWithoutId[]): Scene {
    if (this.#random.chance(0.3)) return [{ waitMs: 0, commands: this.#withIds(commands, true) }];
    return commands.map((command, index) => ({
      waitMs: index === 0 ? 0 : this.#random.integer(0, 1500),
      commands: this.#withIds([command], true),
    }));
  }

  /** Sends the same command twice. */
  #twice(command: CommandWithoutId): Scene {
    const { commands: [one] } = this.#withIds([command], true);
    if (!one) return [];
    const isJoined = this.#random.chance(0.5);
    return [{ waitMs: 0, commands: { kind: "commands", commands: [one, one], isJoined } }];
  }

  #withIds(commands: readonly CommandWithoutId[], isJoined: boolean): SendCommands {
    const withIds = commands.map((command) => ({
      ...command,
      commandId: `${this.#idPrefix}${String(++this.#count).padStart(4, "0")}`,
    }));
    return { kind: "commands", commands: withIds, isJoined };
  }
}

function simple(action: string, sessionId: string): CommandWithoutId {
  return { action, sessionId, payload: { sessionId } };
}
