/**
 * The command line of `deno task chaos`. Pure.
 * @module
 */
import { parseArgs } from "@std/cli";

/** The options of a run. */
export interface ChaosArguments {
  /** Random if absent. */
  readonly seed: number | undefined;
  readonly durationMs: number;
  readonly kubeconfig: string | undefined;
  readonly apiServerPid: number | undefined;
  readonly output: string | undefined;
}

export const USAGE =
  "Usage: deno task chaos [--seed N] [--duration 5m] [--kubeconfig FILE] [--api-server-pid PID] [--output FILE.md]";

const DEFAULT_DURATION = "5m";
const FLAGS = ["seed", "duration", "kubeconfig", "api-server-pid", "output"];
const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000 };
const MAX_SEED = 2 ** 32 - 1;

/**
 * Parses the command line.
 *
 * @throws {TypeError} for an unknown flag or an invalid value
 */
export function readArguments(args: readonly string[]): ChaosArguments {
  const unknown: string[] = [];
  const flags = parseArgs([...args], {
    string: FLAGS,
    unknown: (argument) => void unknown.push(argument),
  });
  if (unknown.length > 0) throw new TypeError(`Unknown arguments: ${unknown.join(" ")}`);
  const text = (name: string) => typeof flags[name] === "string" ? flags[name] : undefined;
  return {
    seed: integer("--seed", text("seed"), MAX_SEED),
    durationMs: duration(text("duration") ?? DEFAULT_DURATION),
    kubeconfig: text("kubeconfig"),
    apiServerPid: integer("--api-server-pid", text("api-server-pid"), MAX_SEED),
    output: text("output"),
  };
}

function integer(flag: string, text: string | undefined, max: number): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d+$/.test(text) || Number(text) > max) {
    throw new TypeError(`${flag} must be an integer up to ${max}: "${text}"`);
  }
  return Number(text);
}

function duration(text: string): number {
  const [, amount, unit = ""] = /^(\d+)([smh])$/.exec(text) ?? [];
  const ms = Number(amount) * (UNITS[unit] ?? NaN);
  if (!(ms > 0)) throw new TypeError(`--duration must be a duration such as 90s or 5m: "${text}"`);
  return ms;
}
