/**
 * Tracks every command from the frame that sent it to its result, and reports messages that violate the order of the protocol.
 * @module
 */
import { isObject, type JsonObject } from "./schemas.ts";
import type { Message } from "./messages.ts";

/** A command as the API shows it; times are RFC 3339. */
export interface CommandRecord {
  readonly commandId: string;
  readonly agentId: string;
  readonly sessionId: string;
  readonly action: string;
  status: "pending" | "sent" | "acked" | "completed" | "failed";
  result?: unknown;
  error?: unknown;
  readonly createdAt: string;
  sentAt?: string;
  ackedAt?: string;
  completedAt?: string;
}

/** How many commands {@linkcode CommandLog.latest} returns at most. */
const LATEST = 20;

/** Records of all commands, by id. */
export class CommandLog {
  readonly #commands = new Map<string, CommandRecord>();
  /** Sessions whose stop was acknowledged and that were not started or woken since. */
  readonly #stopped = new Set<string>();
  /** Ids of the stop commands per session since its last start or wake, acknowledged or not. */
  readonly #stops = new Map<string, Set<string>>();

  get(commandId: string): CommandRecord | undefined {
    return this.#commands.get(commandId);
  }

  /** Records the commands in a frame before it is sent; returns those that were never sent before. */
  prepare(agentId: string, frame: string): CommandRecord[] {
    const fresh = readCommands(agentId, frame).filter(({ commandId }) => !this.#commands.has(commandId));
    for (const command of fresh) {
      this.#commands.set(command.commandId, command);
      const key = sessionKey(agentId, command.sessionId);
      if (command.action === "stop_session") {
        this.#stops.set(key, (this.#stops.get(key) ?? new Set()).add(command.commandId));
      }
      if (command.action === "start_session" || command.action === "wake_session") {
        this.#stopped.delete(key);
        this.#stops.delete(key);
      }
    }
    return fresh;
  }

  /** Marks commands as sent. */
  sent(commands: readonly CommandRecord[]): void {
    for (const command of commands) {
      command.status = "sent";
      command.sentAt = now();
    }
  }

  /** Marks commands as sent although more may be known of them by now, as the quirk `late-sent` does. */
  sentLate(commands: readonly CommandRecord[]): void {
    for (const command of commands) {
      command.status = "sent";
      delete command.completedAt;
    }
  }

  /** Records a command that fails without being sent. */
  fail(agentId: string, frame: string, error: string): CommandRecord | undefined {
    const [command] = this.prepare(agentId, frame);
    if (command) Object.assign(command, { status: "failed", error, completedAt: now() });
    return command;
  }

  /** The newest commands, the last one first. */
  latest(): CommandRecord[] {
    return [...this.#commands.values()].slice(-LATEST).reverse();
  }

  /** The newest start of a session. */
  lastStart(sessionId: string): CommandRecord | undefined {
    return [...this.#commands.values()].findLast((command) =>
      command.action === "start_session" && command.sessionId === sessionId
    );
  }

  /** Records a message of the agent; returns violations of the order of messages. */
  receive(agentId: string, { type, payload }: Message): string[] {
    if (type === "status") return this.#checkStatus(agentId, payload);
    if (type !== "ack" && type !== "complete" && type !== "failed") return [];
    const { commandId } = payload;
    // The field checks report a missing or malformed id.
    if (typeof commandId !== "string" || commandId === "") return [];
    const command = this.#commands.get(commandId);
    if (command === undefined || command.agentId !== agentId) {
      return [`Command "${commandId}" was never sent to this agent, but it sent "${type}" for it`];
    }
    return type === "ack" ? this.#acknowledge(command) : this.#finish(command, type, payload);
  }

  #acknowledge(command: CommandRecord): string[] {
    if (command.completedAt !== undefined) {
      return [`Command "${command.commandId}" was acknowledged after its result`];
    }
    command.status = "acked";
    command.ackedAt ??= now();
    const key = sessionKey(command.agentId, command.sessionId);
    if (this.#stops.get(key)?.has(command.commandId)) this.#stopped.add(key);
    return [];
  }

  #finish(command: CommandRecord, type: "complete" | "failed", { result, error }: JsonObject): string[] {
    const status = type === "complete" ? "completed" : "failed";
    if (command.completedAt !== undefined) {
      const isRepeat = command.status === status && canonical(command.result) === canonical(result) &&
        command.error === error;
      return isRepeat ? [] : [`Command "${command.commandId}" has a second, different result`];
    }
    Object.assign(command, { status, result, error, completedAt: now() });
    // After a failed stop the session may still be running.
    if (type === "failed" && command.action === "stop_session") {
      this.#stopped.delete(sessionKey(command.agentId, command.sessionId));
    }
    return [];
  }

  #checkStatus(agentId: string, { sessionId, state }: JsonObject): string[] {
    if (state !== "running" || !this.#stopped.has(sessionKey(agentId, String(sessionId)))) return [];
    return [`Session "${sessionId}" was reported running after its stop had been acknowledged`];
  }
}

function readCommands(agentId: string, frame: string): CommandRecord[] {
  return frame.split("\n").map((line) => readCommand(agentId, line)).filter((command) =>
    command !== undefined
  );
}

/** Parses one line of a frame; `undefined` for a line that tests break on purpose. */
function readCommand(agentId: string, line: string): CommandRecord | undefined {
  let message: unknown;
  try {
    message = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isObject(message) || message.type !== "command" || !isObject(message.payload)) return undefined;
  const { commandId, action, payload } = message.payload;
  if (typeof commandId !== "string") return undefined;
  const sessionId = isObject(payload) ? payload.sessionId : undefined;
  return {
    commandId,
    agentId,
    sessionId: typeof sessionId === "string" ? sessionId : "",
    action: typeof action === "string" ? action : "",
    status: "pending",
    createdAt: now(),
  };
}

/** JSON with sorted keys, so that equal values have equal text. */
export function canonical(value: unknown): string | undefined {
  return JSON.stringify(
    value,
    (_key, part) =>
      isObject(part) ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => a < b ? -1 : 1)) : part,
  );
}

function sessionKey(agentId: string, sessionId: string): string {
  return JSON.stringify([agentId, sessionId]);
}

function now(): string {
  return new Date().toISOString();
}
