/**
 * The parts of `@std/cli` that this project uses, typed, from the copy of the standard library on npm.
 * @module
 */
import { parseArgs as parseArgsImplementation } from "deno-std/cli/parse_args.js";

/** Options of {@linkcode parseArgs}. */
export interface ParseOptions {
  /** Flags that take no value. */
  boolean?: readonly string[];
  /** Flags whose value stays text. */
  string?: readonly string[];
  /** Flags that may be given several times; all their values are kept. */
  collect?: readonly string[];
  /** Called with each argument that no option names; `false` leaves it out of the result. */
  unknown?: (argument: string, key?: string, value?: unknown) => unknown;
}

/** Reads command-line arguments into an object; what belongs to no flag is under `_`. */
export const parseArgs = parseArgsImplementation as (
  args: readonly string[],
  options?: ParseOptions,
) => { _: (string | number)[]; [flag: string]: unknown };
