/**
 * Log lines on standard error, as text (`[K8sAgent] …`) or as JSON with fixed field names. The only file that uses the logging library.
 * @module
 */
import { configureSync, getLogger, type LogRecord } from "@logtape/logtape";

/** Fields of log lines besides time, level and message, with their descriptions. In JSON each is a member of its own. */
export const LOG_FIELDS = {
  agentId: "Id of this agent, in every line",
  commandId: "Id of a command",
  sessionId: "Id of a session",
  action: "Action of a command",
  state: "New state of a session",
  reason: "Reason of a failure, as text",
  failure: "Machine-readable reason of a failed command, as in `k8s_agent_command_failures_total`",
  duration: "Duration of a command, for people",
  durationMs: "Duration of a command in milliseconds",
  resource: "Kind of a Kubernetes object",
  api: "API group and version of a kind",
  name: "Name of an object",
  namespace: "Name of a namespace",
  requested: "Requested setting that is not applied",
  platform: "`--platform`",
  region: "`--region`",
  url: "Address of the agent or the Control Plane",
  proxy: "Address of the proxy, without its password",
  status: "Status of the agent in the Control Plane",
  code: "Close code of a WebSocket, or why a stream ended",
  port: "Port of a session",
  attempt: "Number of the attempt",
  attempts: "Maximum number of attempts",
  wait: "Time until the next attempt",
  interval: "Time between heartbeats",
  timeout: "Time for running commands during shutdown",
  advice: "Suggested action for an operator",
  identity: "Identity of this replica",
  holder: "Identity of the leader",
  lease: "Name of the lease",
  transition: "Number of leader changes so far",
  type: "Type of a message",
  problem: "What is wrong with a message",
  finding: "Finding of a check at startup",
  excerpt: "Beginning of an invalid message",
  bytes: "Size of a message in bytes",
  limit: "Maximum that is allowed",
  removed: "Number of results that are no longer kept",
  sessions: "Number of sessions",
} as const;

/** Values of fields. */
export type LogFields = { readonly [Name in keyof typeof LOG_FIELDS]?: unknown };

/** Writes one line; `{name}` in the message is replaced by the field of that name. */
type Write = (message: string, fields?: LogFields) => void;

/** Writes lines at four levels. */
export type Log = Readonly<Record<LogOptions["level"], Write>>;

/** Options of {@linkcode configureLog}. */
export interface LogOptions {
  readonly format: "text" | "json";
  readonly level: "debug" | "info" | "warn" | "error";
  /** Added to each JSON line. @default none */
  readonly agentId?: string;
  /** Receives each line, without a line feed. @default standard error */
  readonly write?: (line: string) => void;
}

const LOGTAPE_LEVELS = { debug: "debug", info: "info", warn: "warning", error: "error" } as const;
const VALUE_LENGTH = 1000;

/** The logger of the process; it discards everything before {@linkcode configureLog} is called. */
export const log: Log = getLogger("k8s-agent");

/** Configures the log of the process; may be called again. */
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

/** Lets a text pass when it differs from the one before, so that a lasting problem is logged once and not with each attempt. */
export class RepeatFilter {
  readonly #reminderMs: number;
  #last: { readonly text: string; readonly at: number } | undefined;

  /** @param options.reminderMs a text that stays the same passes again after this time, in milliseconds. @default {Infinity} */
  constructor({ reminderMs = Infinity }: { readonly reminderMs?: number } = {}) {
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
  // Twice: the first sets the order of the members, the last overrides fields of the same name.
  return JSON.stringify({ ...head, ...Object.fromEntries(fields), ...head });
}

function levelName(record: LogRecord): string {
  return record.level === "warning" ? "warn" : record.level;
}

function messageText(record: LogRecord): string {
  return record.message.map((part, index) => index % 2 === 0 ? String(part) : printable(part)).join("");
}

function fieldValue(value: unknown): unknown {
  return typeof value === "number" || typeof value === "boolean" ? value : printable(value);
}

/** Control characters, line separators and characters that change the text direction. */
// deno-lint-ignore no-control-regex -- matches control characters on purpose
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** Escapes and truncates an untrusted value, so that it can neither forge log lines nor flood the log. */
export function printable(value: unknown): string {
  const text = value instanceof Error ? value.message : String(value);
  const short = text.length > VALUE_LENGTH ? `${text.slice(0, VALUE_LENGTH)}…` : text;
  return short.replace(UNPRINTABLE, escapeCharacter);
}

function escapeCharacter(character: string): string {
  if (character === "\n") return "\\n";
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
