/**
 * The doctor's report: what a check finds, and how findings become text, a JSON document and an exit code. Also runs one check within its
 * timeout, so that no check can hang or throw.
 * @module
 */
import { abortable } from "@std/async";
import type { OutputFormat } from "../cli/options.ts";
import { printable } from "../common/log.ts";
import { formatDuration } from "../common/quantities.ts";

/** Names of all checks, in the order of the report. Programs rely on these names. */
export const CHECKS = [
  "configuration",
  "control-plane-proxy",
  "control-plane-address",
  "control-plane-tls",
  "client-certificate",
  "control-plane-key",
  "control-plane-websocket",
  "control-plane-clock",
  "kubernetes-api",
  "kubernetes-clock",
  "namespace",
  "permissions",
  "journal",
  "issued-key",
  "session-objects",
  "storage-class",
  "quota",
  "pod-security",
  "templates",
  "custom-kinds",
  "second-agent",
] as const;

/** The name of a check. */
export type CheckName = typeof CHECKS[number];

/** The result of a check; `skip`: the check could not run, which is no failure of what it checks. */
export type Status = "ok" | "warn" | "fail" | "skip";

/** One line of the report. */
export interface Finding {
  readonly check: CheckName;
  readonly status: Status;
  /** One sentence without a full stop. */
  readonly message: string;
  /** What to do about it, or why the check was skipped; may be empty. */
  readonly advice: string;
}

/** Creates the findings of one check. */
export class Findings {
  readonly #check: CheckName;

  constructor(check: CheckName) {
    this.#check = check;
  }

  ok(message: string): Finding {
    return this.#finding("ok", message, "");
  }

  warn(message: string, advice: string): Finding {
    return this.#finding("warn", message, advice);
  }

  fail(message: string, advice: string): Finding {
    return this.#finding("fail", message, advice);
  }

  skip(message: string, reason: string): Finding {
    return this.#finding("skip", message, reason);
  }

  #finding(status: Status, message: string, advice: string): Finding {
    return { check: this.#check, status, message, advice };
  }
}

/** Default timeout of one check, in milliseconds; up to three checks run one after the other. */
export const CHECK_TIMEOUT_MS = 4000;

/** Describes a timeout. */
export function timeoutMessage(timeoutMs: number): string {
  return `no response within ${formatDuration(timeoutMs)}`;
}

/** Runs a check; `toFinding` turns a timeout or any other error into a finding. */
export async function runCheck(
  run: (signal: AbortSignal) => Promise<Finding[]>,
  { timeoutMs, toFinding }: { timeoutMs: number; toFinding: (error: unknown) => Finding },
): Promise<Finding[]> {
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    return await abortable(run(signal), signal);
  } catch (error) {
    return [toFinding(signal.aborted ? new Error(timeoutMessage(timeoutMs)) : error)];
  }
}

const LABELS: Readonly<Record<Status, string>> = { ok: "ok", warn: "warn", fail: "FAIL", skip: "skip" };
const COUNTS: ReadonlyArray<readonly [status: Status, label: (count: number) => string]> = [
  ["fail", (count) => `${count} failed`],
  ["warn", (count) => `${count} ${count === 1 ? "warning" : "warnings"}`],
  ["ok", (count) => `${count} ok`],
  ["skip", (count) => `${count} skipped`],
];

/** Formats the findings, in the order of {@linkcode CHECKS}, for people or programs. */
export function formatReport(findings: readonly Finding[], format: OutputFormat): string {
  const sorted = CHECKS.flatMap((check) => findings.filter((finding) => finding.check === check));
  if (format === "json") {
    return JSON.stringify({ status: worstStatus(sorted), checks: sorted.map(escape) }, undefined, 2);
  }
  const counts = COUNTS.flatMap(([status, label]) => {
    const count = sorted.filter((finding) => finding.status === status).length;
    return count > 0 ? [label(count)] : [];
  });
  return [...sorted.map(formatLine), "", counts.join(", ")].join("\n");
}

/** A finding in one line, without its status; control characters are escaped. */
export function formatFinding(finding: Finding): string {
  const { status, message, advice } = escape(finding);
  if (advice === "") return message;
  return status === "skip" ? `${message} (${advice})` : `${message}: ${advice}`;
}

/** The exit code: 2 for invalid settings, 1 for any other failure, else 0. */
export function exitCodeOf(findings: readonly Finding[]): number {
  const failed = findings.filter(({ status }) => status === "fail");
  if (failed.some(({ check }) => check === "configuration")) return 2;
  return failed.length > 0 ? 1 : 0;
}

/** A skipped check does not count. */
function worstStatus(findings: readonly Finding[]): Status {
  const has = (status: Status) => findings.some((finding) => finding.status === status);
  return has("fail") ? "fail" : has("warn") ? "warn" : "ok";
}

function formatLine(finding: Finding): string {
  return `${LABELS[finding.status].padEnd(5)} ${formatFinding(finding)}`;
}

/** Texts from outside must not start a new line or control a terminal. */
function escape({ check, status, message, advice }: Finding): Finding {
  return { check, status, message: printable(message), advice: printable(advice) };
}
