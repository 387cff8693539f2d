/**
 * The doctor's report: findings in, text or one JSON document and an exit code out. Pure.
 * @module
 */
import { shown } from "../common/log.ts";
import type { OutputFormat } from "../cli/options.ts";
import { CHECKS, type Finding, type Status } from "./finding.ts";

const WORDS: Readonly<Record<Status, string>> = { ok: "ok", warn: "warn", fail: "FAIL", skip: "skip" };
const COUNTED: ReadonlyArray<readonly [Status, string]> = [
  ["fail", "failed"],
  ["warn", "to look at"],
  ["ok", "ok"],
  ["skip", "skipped"],
];
/** From the worst on; what was skipped is no trouble. */
const TROUBLES: readonly Status[] = ["fail", "warn"];

/** The findings in the order of the checks, as a person or a program reads them. */
export function formatReport(findings: readonly Finding[], format: OutputFormat): string {
  const sorted = CHECKS.flatMap((check) => findings.filter((finding) => finding.check === check));
  if (format === "json") {
    return JSON.stringify({ status: worst(sorted), checks: sorted.map(plain) }, undefined, 2);
  }
  const counts = COUNTED
    .map(([status, words]) => [sorted.filter((finding) => finding.status === status).length, words] as const)
    .filter(([count]) => count > 0);
  return [...sorted.map(line), "", counts.map(([count, words]) => `${count} ${words}`).join(", ")].join("\n");
}

/** What the program ends with: 2 for settings that are not valid, 1 for anything else that fails. */
export function exitCodeOf(findings: readonly Finding[]): number {
  const failed = findings.filter(({ status }) => status === "fail");
  if (failed.some(({ check }) => check === "configuration")) return 2;
  return failed.length > 0 ? 1 : 0;
}

/** The worst of all: `ok`, `warn` or `fail`. */
function worst(findings: readonly Finding[]): Status {
  return TROUBLES.find((status) => findings.some((finding) => finding.status === status)) ?? "ok";
}

/** A finding on one line, without its status. */
export function sentence({ status, message, advice }: Finding): string {
  if (advice === "") return shown(message);
  return status === "skip" ? `${shown(message)} (${shown(advice)})` : `${shown(message)}: ${shown(advice)}`;
}

function line(finding: Finding): string {
  return `${WORDS[finding.status].padEnd(5)} ${sentence(finding)}`;
}

function plain({ check, status, message, advice }: Finding): Finding {
  return { check, status, message: shown(message), advice: shown(advice) };
}
