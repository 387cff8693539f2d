/**
 * Log lines on standard error: text as `[K8sAgent] …` or JSON with constant field names. The only file that knows the logging library.
 * @module
 */
import { configureSync, getLogger, type Logger, type LogRecord } from "@logtape/logtape";

export type { Logger };

/** How and what to log. */
export interface LogOptions {
  readonly format: "text" | "json";
  readonly level: "debug" | "info" | "warn" | "error";
  /** Takes each finished line without its line feed. @default standard error */
  readonly write?: (line: string) => void;
}

const LOGTAPE_LEVELS = { debug: "debug", info: "info", warn: "warning", error: "error" } as const;
const VALUE_LENGTH = 1000;

/** The one logger; until {@linkcode configureLog} it is silent. */
export const log: Logger = getLogger("k8s-agent");

/** Sets format and level for the whole process; may be called again. */
export function configureLog(options: LogOptions): void {
  const write = options.write ?? writeToStandardError;
  const format = options.format === "json" ? formatJson : formatText;
  configureSync({
    reset: true,
    sinks: { lines: (record: LogRecord) => write(format(record)) },
    loggers: [
      { category: "k8s-agent", lowestLevel: LOGTAPE_LEVELS[options.level], sinks: ["lines"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["lines"] },
    ],
  });
}

const encoder = new TextEncoder();

function writeToStandardError(line: string): void {
  Deno.stderr.writeSync(encoder.encode(`${line}\n`));
}

function formatText(record: LogRecord): string {
  const level = record.level === "info" ? "" : `${levelName(record).toUpperCase()}: `;
  return `${new Date(record.timestamp).toISOString()} [K8sAgent] ${level}${messageText(record)}`;
}

function formatJson(record: LogRecord): string {
  const fields = Object.entries(record.properties).map(([name, value]) => [name, fieldValue(value)]);
  const head = {
    time: new Date(record.timestamp).toISOString(),
    level: levelName(record),
    message: messageText(record),
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

/** A value from outside, as one short line: nobody forges a log line or floods the log by the text of a payload. */
export function shown(value: unknown): string {
  const text = value instanceof Error ? value.message : String(value);
  const short = text.length > VALUE_LENGTH ? `${text.slice(0, VALUE_LENGTH)}…` : text;
  // deno-lint-ignore no-control-regex -- control characters are what this removes
  return short.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, escapeCharacter);
}

function escapeCharacter(character: string): string {
  if (character === "\n") return "\\n";
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
