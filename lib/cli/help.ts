/**
 * The text of `--help`, made from the table of options. Pure.
 * @module
 */
import { COMMANDS, type Option, OPTIONS, PRINT_FLAGS } from "./options.ts";

/** The whole help text. */
export function helpText(): string {
  const required = OPTIONS.filter((option) => option.required).map(optionLine);
  const optional = OPTIONS.filter((option) => !option.required).map(optionLine);
  const commands = [...COMMANDS].map(([word, help]) => line(word, help));
  const actions = [...PRINT_FLAGS].map(([flag, help]) => line(`--${flag}`, help));
  return [
    "StreamSpace Kubernetes Agent: carries out a Control Plane's session commands in this cluster",
    "",
    "Usage: k8s-agent [command] --agent-id=ID --control-plane-url=URL [options]",
    "",
    "Commands, instead of running, with the same options and --output=text or --output=json:",
    ...commands,
    "",
    "Required:",
    ...required,
    "",
    "Optional:",
    ...optional,
    ...actions,
    "",
    "Each option has a variable of the same name (--max-cpu, MAX_CPU) and may stand in the file of --config.",
    "Flags come before variables, variables before the file, the file before the defaults.",
    "The API key is read from AGENT_API_KEY or the file of --api-key-file, never from a flag.",
    "",
    "Exit codes: 0 stopped as told; 1 the Control Plane could not be reached, Kubernetes' credentials not loaded, or a check failed;",
    "2 the settings are not valid; 3 another replica leads now; 130 and 143 ended by a second SIGINT or SIGTERM.",
  ].join("\n");
}

function optionLine(option: Option): string {
  const value = option.isSwitch ? "" : "=VALUE";
  const fallback = option.fallbackText === "" ? "" : ` (default: ${option.fallbackText})`;
  return line(`--${option.flag}${value}`, `${option.help}${fallback}`);
}

function line(flag: string, help: string): string {
  return `  ${flag.padEnd(28)} ${help}`;
}
