/**
 * Commands at random: what a busy Control Plane asks for, and what it should not ask for. Pure.
 * @module
 */
import type { GiveCommands, PlannedCommand } from "./event.ts";
import type { Random } from "./random.ts";

/** The sessions that all commands are about. */
export const SESSION_IDS = Array.from(
  { length: 12 },
  (_, index) => `s-${String(index + 1).padStart(2, "0")}`,
) as [string, ...string[]];

/** Images that do not start, or not soon, on simulated nodes; beside the built-in templates. */
export const TEMPLATES = {
  missing: "example.com/missing:1",
  crashing: "example.com/crashing:1",
  slow: "example.com/slow:1",
  stuck: "example.com/stuck:1",
};

/** Commands that belong together, and the wait before each group of them. */
export type Scene = readonly { readonly waitMs: number; readonly commands: GiveCommands }[];

type Bare = Omit<PlannedCommand, "commandId">;

/** Writes one scene after the other. */
export class SceneWriter {
  readonly #random: Random;
  #count = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** What comes next. */
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

  #any(): Bare {
    const sessionId = this.#random.pick(SESSION_IDS);
    return this.#random.weighted<() => Bare>([
      [45, () => this.#start(sessionId)],
      [15, () => this.#stop(sessionId)],
      [20, () => simple("hibernate_session", sessionId)],
      [20, () => simple("wake_session", sessionId)],
    ])();
  }

  /** Mostly what the session is always started with, so that a second start is the same one. */
  #start(sessionId: string): Bare {
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

  #stop(sessionId: string): Bare {
    const payload = this.#random.chance(0.5)
      ? { sessionId, deletePVC: this.#random.chance(0.6) }
      : { sessionId };
    return { action: "stop_session", sessionId, payload };
  }

  #invalid(sessionId: string): Bare {
    const start = { sessionId, user: "mallory", template: "firefox" };
    return this.#random.pick<Bare>([
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

  #together(commands: readonly Bare[]): Scene {
    return [{ waitMs: 0, commands: this.#give(commands, this.#random.chance(0.7)) }];
  }

  /** In one frame, or one shortly after the other. */
  #apart(commands: readonly Bare[]): Scene {
    if (this.#random.chance(0.3)) return [{ waitMs: 0, commands: this.#give(commands, true) }];
    return commands.map((command, index) => ({
      waitMs: index === 0 ? 0 : this.#random.integer(0, 1500),
      commands: this.#give([command], true),
    }));
  }

  /** The very same command two times. */
  #twice(command: Bare): Scene {
    const { commands: [one] } = this.#give([command], true);
    if (!one) return [];
    const isJoined = this.#random.chance(0.5);
    return [{ waitMs: 0, commands: { kind: "commands", commands: [one, one], isJoined } }];
  }

  #give(commands: readonly Bare[], isJoined: boolean): GiveCommands {
    const withIds = commands.map((command) => ({
      ...command,
      commandId: `c-${String(++this.#count).padStart(4, "0")}`,
    }));
    return { kind: "commands", commands: withIds, isJoined };
  }
}

function simple(action: string, sessionId: string): Bare {
  return { action, sessionId, payload: { sessionId } };
}
