/**
 * Log lines on standard error: text as `[K8sAgent] …` or JSON with constant field names. The only file that knows the logging library.
 * @module
 */
import { configureSync, getLogger, type LogRecord } from "@logtape/logtape";

/** Fields of log lines besides time, level and message, with their descriptions. In JSON each is a member of its own. */
export const LOG_FIELDS = {
  agentId: "This agent, in every line",
  commandId: "A command, by its id",
  sessionId: "A session, by its id",
  action: "What a command asks for",
  state: "A session's new state",
  reason: "Why something failed, as a sentence",
  failure: "Why a command failed, as a word: as in `k8s_agent_command_failures_total`",
  duration: "How long a command took, for people",
  durationMs: "The same in milliseconds",
  resource: "A kind of Kubernetes object",
  api: "The API group and version of a kind",
  name: "An object's name",
  namespace: "A namespace",
  requested: "What was requested and is not done",
  platform: "`--platform`",
  region: "`--region`",
  url: "An address of the agent's or the Control Plane's",
  proxy: "The proxy's address, without its password",
  status: "What the Control Plane says of the agent",
  code: "How a WebSocket was closed",
  attempt: "Which attempt it is",
  attempts: "How many there may be",
  wait: "Time until the next attempt",
  interval: "Time between heartbeats",
  timeout: "Time that commands get when the agent stops",
  advice: "What an operator can do",
  identity: "This replica's own name",
  holder: "The replica that leads",
  lease: "Name of the lease",
  transition: "How often another replica came to lead",
  type: "A message's type",
  problem: "What is wrong with a message",
  finding: "What a check at the start found",
  excerpt: "The beginning of a message that is not valid",
  bytes: "Size of a message",
  limit: "The most that there may be",
  removed: "Number of results that are no longer kept",
} as const;

/** Values for some of the fields. */
export type LogFields = { readonly [Name in keyof typeof LOG_FIELDS]?: unknown };

/** Writes one line; `{name}` in the message stands for the field of that name. */
type Write = (message: string, fields?: LogFields) => void;

/** Writes lines at four levels. */
export type Log = Readonly<Record<LogOptions["level"], Write>>;

/** How and what to log. */
export interface LogOptions {
  readonly format: "text" | "json";
  readonly level: "debug" | "info" | "warn" | "error";
  /** Stands in each JSON line. @default none */
  readonly agentId?: string;
  /** Takes each finished line without its line feed. @default standard error */
  readonly write?: (line: string) => void;
}

const LOGTAPE_LEVELS = { debug: "debug", info: "info", warn: "warning", error: "error" } as const;
const VALUE_LENGTH = 1000;

/** The one logger; until {@linkcode configureLog} it is silent. */
export const log: Log = getLogger("k8s-agent");

/** Sets format and level for the whole process; may be called again. */
export function configureLog(options: LogOptions): void {
  const write = options.write ?? writeToStandardError;
  const { agentId } = options;
  const format = options.format === "json"
    ? (record: LogRecord) => formatJson(record, agentId === undefined ? {} : { agentId })
    : formatText;
  configureSync({
    reset: true,
    sinks: { lines: (record: LogRecord) => write(format(record)) },
    loggers: [
      { category: "k8s-agent", lowestLevel: LOGTAPE_LEVELS[options.level], sinks: ["lines"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["lines"] },
    ],
  });
}

/** Options of a {@linkcode RepeatFilter}. */
export interface RepeatFilterOptions {
  /** A text that stays the same passes again after this time, in milliseconds. @default {Infinity} */
  readonly reminderMs?: number;
}

/** Lets a text pass when it differs from the one before, so that a lasting problem is logged once and not with each attempt. */
export class RepeatFilter {
  readonly #reminderMs: number;
  #last: { readonly text: string; readonly at: number } | undefined;

  constructor({ reminderMs = Infinity }: RepeatFilterOptions = {}) {
    this.#reminderMs = reminderMs;
  }

  /** Whether a text has passed since the last reset. */
  get isActive(): boolean {
    return this.#last !== undefined;
  }

  /** Whether the text is to be logged; if so, it is remembered. */
  isNew(text: string): boolean {
    const at = performance.now();
    if (text === this.#last?.text && at - this.#last.at < this.#reminderMs) return false;
    this.#last = { text, at };
    return true;
  }

  /**
   * Forgets the last text, as its problem is over.
   *
   * @returns whether there was one
   */
  reset(): boolean {
    const { isActive } = this;
    this.#last = undefined;
    return isActive;
  }
}

const encoder = new TextEncoder();

function writeToStandardError(line: string): void {
  Deno.stderr.writeSync(encoder.encode(`${line}\n`));
}

function formatText(record: LogRecord): string {
  const level = record.level === "info" ? "" : `${levelName(record).toUpperCase()}: `;
  return `${new Date(record.timestamp).toISOString()} [K8sAgent] ${level}${messageText(record)}`;
}

function formatJson(record: LogRecord, always: Readonly<Record<string, string>>): string {
  const fields = Object.entries(record.properties).map(([name, value]) => [name, fieldValue(value)]);
  const head = {
    time: new Date(record.timestamp).toISOString(),
    level: levelName(record),
    message: messageText(record),
    ...always,
  };
  // Said twice: first in order, and last in force over a field of the same name.
  return JSON.stringify({ ...head, ...Object.fromEntries(fields), ...head });
}

function levelName(record: LogRecord): string {
  return record.level === "warning" ? "warn" : record.level;
}

function messageText(record: LogRecord): string {
  return record.message.map((part, index) => index % 2 === 0 ? String(part) : shown(part)).join("");
}

function fieldValue(value: unknown): unknown {
  return typeof value === "number" || typeof value === "boolean" ? value : shown(value);
}

/** Control characters, line separators, and those that turn the direction of the text around them. */
// deno-lint-ignore no-control-regex -- control characters are what this is for
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** A value from outside, as one short line: nobody forges a log line or floods the log by the text of a payload. */
export function shown(value: unknown): string {
  const text = value instanceof Error ? value.message : String(value);
  const short = text.length > VALUE_LENGTH ? `${text.slice(0, VALUE_LENGTH)}…` : text;
  return short.replace(UNPRINTABLE, escapeCharacter);
}

function escapeCharacter(character: string): string {
  if (character === "\n") return "\\n";
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
