/**
 * The command line: parses the command and the flags, and renders the text of `--help`. Collects every problem rather than stopping at the
 * first. Pure.
 * @module
 */
import { parseArgs } from "@std/cli";
import { COMMANDS, type Option, OPTIONS, type OutputFormat, PRINT_FLAGS } from "./options.ts";

/** The parsed command line. */
export interface CommandLine {
  readonly command: "run" | "doctor" | "sessions";
  readonly output: OutputFormat;
  /** Whether `sessions` lists home volumes instead. */
  readonly homes: boolean;
  /** Values by flag name, without hyphens in front. */
  readonly flags: ReadonlyMap<string, string>;
}

const COMMAND_NAMES: ReadonlyMap<string, CommandLine["command"]> = new Map([
  ["doctor", "doctor"],
  ["preflight", "doctor"],
  ["sessions", "sessions"],
]);

/** Width of the first column of the help text, which fits the longest flag. */
const NAME_WIDTH = 29;
/** Longest part of a wrong value that a message repeats. */
const EXCERPT_LENGTH = 100;

/** Parses the arguments; appends a message to `problems` for each mistake. */
export function parseCommandLine(args: readonly string[], problems: string[]): CommandLine {
  const { flags, positional } = parseFlags(args, problems);
  const [first = "", ...rest] = positional;
  const command = COMMAND_NAMES.get(first);
  for (const argument of command ? rest : positional) {
    problems.push(`argument ${nameOf(argument)} is unexpected: see --help`);
  }
  const output = flags.get("output");
  if (output !== undefined && !command) {
    problems.push(`--output is only for the commands ${[...COMMANDS.keys()].join(" and ")}`);
  } else if (output !== undefined && output !== "text" && output !== "json") {
    problems.push(
      `--output must be one of text, json: current value is ${
        JSON.stringify(output.slice(0, EXCERPT_LENGTH))
      }`,
    );
  }
  const homes = flags.has("homes");
  if (homes && command !== "sessions") problems.push("--homes is only for the command sessions");
  return { command: command ?? "run", output: output === "json" ? output : "text", homes, flags };
}

/** The text of `--help`, generated from the option table. */
export function helpText(): string {
  const required = OPTIONS.filter((option) => option.required).map(optionLine);
  const optional = OPTIONS.filter((option) => !option.required).map(optionLine);
  const commands = [...COMMANDS].map(([name, help]) => helpLine(name, help));
  const printFlags = [...PRINT_FLAGS].map(([flag, help]) => helpLine(`--${flag}`, help));
  return [
    "StreamSpace Kubernetes Agent: runs desktop sessions in this cluster for a Control Plane",
    "",
    "Usage: k8s-agent [command] --agent-id=ID --control-plane-url=URL [options]",
    "",
    "Commands (default: run the agent), with the same options and --output=text or --output=json:",
    ...commands,
    "",
    "Required:",
    ...required,
    "",
    "Optional:",
    ...optional,
    ...printFlags,
    "",
    "Each option can also be set by an environment variable (--max-cpu: MAX_CPU) or in the file of --config.",
    "Precedence: flags, environment variables, file, defaults.",
    "The API key is read from AGENT_API_KEY or the file of --api-key-file, never from a flag.",
    "",
    "Exit codes: 0 stopped by a signal or by the Control Plane; 1 Control Plane unreachable, or a check failed;",
    "2 invalid settings or Kubernetes credentials; 3 lost leadership; 130 and 143 ended by a second SIGINT or SIGTERM.",
  ].join("\n");
}

function parseFlags(
  args: readonly string[],
  problems: string[],
): { flags: Map<string, string>; positional: readonly string[] } {
  const flags = new Map<string, string>();
  const valueFlags = OPTIONS.filter((option) => !option.isSwitch).map((option) => option.flag);
  const switches = OPTIONS.filter((option) => option.isSwitch).map((option) => option.flag);
  // A switch with a value, such as --allow-insecure=false, is parsed like any other flag; without a value it means true.
  const isAssigned = (name: string) => args.some((argument) => argument.startsWith(`--${name}=`));
  const textFlags = [...valueFlags, "output", ...switches.filter(isAssigned)];
  const parsed = parseArgs(args, {
    string: textFlags,
    collect: textFlags,
    boolean: [...PRINT_FLAGS.keys(), "homes", ...switches.filter((name) => !isAssigned(name))],
    unknown: (argument, key) => {
      // Positional arguments, also those after a lone "--", are checked by the caller.
      if (key === undefined) return true;
      problems.push(`${nameOf(argument)} is unknown: see --help`);
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
  return { flags, positional: parsed._.map(String) };
}

/** An argument without its value: somebody may have passed the API key in a flag, which does not exist. */
function nameOf(argument: string): string {
  return /^(?:-[^-]|[^=]*)/.exec(argument)?.[0] ?? "";
}

function optionLine(option: Option): string {
  const value = option.isSwitch ? "" : "=VALUE";
  const fallback = option.fallbackText === "" ? "" : ` (default: ${option.fallbackText})`;
  return helpLine(`--${option.flag}${value}`, `${option.help}${fallback}`);
}

function helpLine(name: string, help: string): string {
  return `  ${name.padEnd(NAME_WIDTH)} ${help}`;
}
