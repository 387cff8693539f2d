/**
 * The command line: what to do, and the flags as text. Every problem is told, none ends the reading. Pure.
 * @module
 */
import { parseArgs } from "@std/cli";
import { COMMANDS, OPTIONS, type OutputFormat, PRINT_FLAGS } from "./options.ts";

/** What stands on the command line. */
export interface CommandLine {
  readonly command: "run" | "doctor" | "sessions";
  readonly output: OutputFormat;
  /** Flags by name, without hyphens; each is given once. */
  readonly flags: ReadonlyMap<string, string>;
}

const WORDS: ReadonlyMap<string, CommandLine["command"]> = new Map([
  ["doctor", "doctor"],
  ["preflight", "doctor"],
  ["sessions", "sessions"],
]);

/** Reads the arguments; `problems` gets a sentence for each that is wrong. */
export function readCommandLine(args: readonly string[], problems: string[]): CommandLine {
  const { flags, words } = readFlags(args, problems);
  const [word = "", ...others] = words;
  const command = WORDS.get(word);
  for (const other of command ? others : words) problems.push(unknown(other));
  const output = flags.get("output");
  if (output !== undefined && !command) {
    problems.push(`--output is only for the commands ${[...COMMANDS.keys()].join(" and ")}`);
  } else if (output !== undefined && output !== "text" && output !== "json") {
    problems.push(`--output must be one of text, json: it says ${JSON.stringify(output.slice(0, 100))}`);
  }
  return { command: command ?? "run", output: output === "json" ? output : "text", flags };
}

function readFlags(
  args: readonly string[],
  problems: string[],
): { flags: Map<string, string>; words: readonly string[] } {
  const flags = new Map<string, string>();
  const valueFlags = OPTIONS.filter((option) => !option.isSwitch).map((option) => option.flag);
  const switches = OPTIONS.filter((option) => option.isSwitch).map((option) => option.flag);
  // A switch with a value, such as --allow-insecure=false, is read like any other flag; without one it means true.
  const isAssigned = (name: string) => args.some((argument) => argument.startsWith(`--${name}=`));
  const textFlags = [...valueFlags, "output", ...switches.filter(isAssigned)];
  const parsed = parseArgs(args, {
    string: textFlags,
    collect: textFlags,
    boolean: [...PRINT_FLAGS.keys(), ...switches.filter((name) => !isAssigned(name))],
    unknown: (argument, key) => {
      // Words are told apart below, with those behind a lone "--".
      if (key === undefined) return true;
      problems.push(unknown(argument));
      return false;
    },
  });
  for (const [name, value] of Object.entries(parsed)) {
    if (name === "_" || value === false) continue;
    const values = Array.isArray(value) ? value : [value];
    if (values.length === 0) continue;
    if (values.length > 1) problems.push(`--${name} is given ${values.length} times`);
    flags.set(name, String(values[0]));
  }
  return { flags, words: parsed._.map(String) };
}

/** Without its value, which may be the key that has no flag. */
function unknown(argument: string): string {
  return `${/^(?:-[^-]|[^=]*)/.exec(argument)?.[0]} is unknown: see --help`;
}
