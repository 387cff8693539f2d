/**
 * Settings from flags, environment and a file into one read-only configuration; all problems are told at once.
 * The environment is read nowhere else.
 * @module
 */
import { CORE_SCHEMA, loadAll } from "js-yaml";
import { readCommandLine } from "./command_line.ts";
import { ConfigError, messageOf } from "../common/errors.ts";
import { shown } from "../common/log.ts";
import { type Config, type Option, OPTIONS, type OutputFormat } from "./options.ts";
import type { Settings } from "../model/settings.ts";
import { chooseProxy, type HttpProxy, parseProxy } from "../common/proxies.ts";
import { readKey, type Secret } from "../common/secret.ts";

/** Where settings come from; precedence is flags, environment, file, defaults. */
export interface ConfigSources {
  readonly args: readonly string[];
  readonly env: (name: string) => string | undefined;
  readonly readFile: (path: string) => string;
}

/** What the command line asks the program to do. */
export type Invocation =
  | { readonly kind: "help" }
  | { readonly kind: "version" }
  | { readonly kind: "check-config"; readonly config: Config }
  /** Settings that are not valid are the first thing that a doctor finds. */
  | { readonly kind: "doctor"; readonly output: OutputFormat; readonly config: Config | ConfigError }
  | { readonly kind: "sessions"; readonly output: OutputFormat; readonly config: Config }
  | { readonly kind: "run"; readonly config: Config };

/** A setting as it was found: text, or a value of a file. */
interface Found {
  readonly value: unknown;
  readonly source: string;
}

/** Settings that name a file which must be there from the start; that of the key is read with the key. */
const FILE_SETTINGS = ["kubeconfig", "caFile", "clientCert", "clientKey"] as const;

/**
 * Reads the command line and all other sources of settings.
 *
 * @throws {ConfigError} with every problem of every setting
 */
export function loadConfig(sources: ConfigSources): Invocation {
  const problems: string[] = [];
  const { command, output, flags } = readCommandLine(sources.args, problems);
  if (flags.has("help")) return { kind: "help" };
  if (flags.has("version")) return { kind: "version" };
  const { settings, isHealthAddrSet } = readSettings(flags, sources, problems);
  const apiKey = readApiKey(settings.apiKeyFile, sources, problems);
  const proxy = settings.controlPlaneUrl
    ? readProxy(new URL(settings.controlPlaneUrl), sources, problems)
    : undefined;
  const config = problems.length > 0
    ? new ConfigError(problems.map(shown))
    : { ...settings, apiKey, isHealthAddrSet, proxy };
  if (command === "doctor") return { kind: command, output, config };
  if (config instanceof ConfigError) throw config;
  if (command === "sessions") return { kind: command, output, config };
  return { kind: config.checkConfig ? "check-config" : "run", config };
}

/** A setting with a problem has no value, whatever its type says. */
function readSettings(
  flags: ReadonlyMap<string, string>,
  sources: ConfigSources,
  problems: string[],
): { settings: Settings; isHealthAddrSet: boolean } {
  const configFile = nonEmpty(flags.get("config")) ?? nonEmpty(sources.env("CONFIG"));
  const file = configFile === undefined
    ? new Map<string, unknown>()
    : readConfigFile(configFile, sources, problems);
  const values: Record<string, unknown> = {};
  const given = new Set<keyof Settings>();
  for (const option of OPTIONS) {
    const found = find(option, { flags, file, configFile, env: sources.env });
    if (found) given.add(option.key);
    values[option.key] = found ? parseOption(option, found, problems) : option.fallback;
    if (!found && option.required) problems.push(`${optionName(option)} is missing: ${option.help}`);
  }
  const settings = values as unknown as Settings;
  checkTransportSecurity(settings, problems);
  checkFiles(settings, sources, problems);
  return { settings, isHealthAddrSet: given.has("healthAddr") };
}

/** How an option is named to the person who has to mend it. */
export function optionName(option: Option): string {
  return `--${option.flag} (${option.variable})`;
}

/** Keys of a file may be written as the flag, the variable or in camel case: `agent-id`, `AGENT_ID`, `agentId`. */
function readConfigFile(path: string, sources: ConfigSources, problems: string[]): Map<string, unknown> {
  const settings = new Map<string, unknown>();
  const known = new Set(
    OPTIONS.filter((option) => option.flag !== "config").map((option) => normalize(option.flag)),
  );
  let document: unknown;
  try {
    const documents = loadAll(sources.readFile(path), { schema: CORE_SCHEMA });
    document = documents.length > 1 ? documents : documents[0] ?? {};
  } catch (error) {
    problems.push(`--config (CONFIG) cannot be read: ${messageOf(error).split("\n")[0]}`);
    return settings;
  }
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    problems.push(`--config (CONFIG) is not a mapping of settings: ${path}`);
    return settings;
  }
  for (const [key, value] of Object.entries(document)) {
    const name = normalize(key);
    if (!known.has(name)) problems.push(`${key} in ${path} is unknown: see --help for the settings`);
    else if (settings.has(name)) problems.push(`${key} in ${path} is given twice`);
    else settings.set(name, value);
  }
  return settings;
}

function normalize(key: string): string {
  return key.replace(/[-_]/g, "").toLowerCase();
}

function find(
  option: Option,
  sources: {
    flags: ReadonlyMap<string, string>;
    file: ReadonlyMap<string, unknown>;
    configFile: string | undefined;
    env: ConfigSources["env"];
  },
): Found | undefined {
  const flag = sources.flags.get(option.flag);
  if (flag !== undefined) return { value: flag, source: `--${option.flag}` };
  // A variable that is set but empty is how a manifest leaves a setting open.
  const variable = nonEmpty(sources.env(option.variable));
  if (variable !== undefined) return { value: variable, source: option.variable };
  const entry = sources.file.get(normalize(option.flag));
  if (entry !== undefined && entry !== null && entry !== "") {
    return { value: entry, source: sources.configFile ?? "" };
  }
  return undefined;
}

function parseOption(option: Option, found: Found, problems: string[]): unknown {
  // Only a flag can be found empty: mostly a slip, such as a shell's variable that is not set.
  if (found.value === "" && option.whenEmpty !== undefined) return option.whenEmpty;
  if (found.value === "") {
    problems.push(`${optionName(option)} is given without a value`);
    return undefined;
  }
  const parsed = option.parse(found.value);
  if (parsed.ok) return parsed.value;
  const says = mayHoldSecret(found.value) ? "" : `: ${found.source} says ${excerpt(found.value)}`;
  problems.push(`${optionName(option)} ${parsed.problem}${says}`);
  return undefined;
}

/** Enough of a value to recognise it by. */
function excerpt(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  return JSON.stringify(String(value).slice(0, 100));
}

/** Addresses carry passwords and tokens in these places. */
function mayHoldSecret(value: unknown): boolean {
  return typeof value === "string" && /:.*[@?#]/.test(value);
}

/** Without encryption the key and all commands could be read and changed on the way. */
function checkTransportSecurity(settings: Settings, problems: string[]): void {
  const { controlPlaneUrl, allowInsecure, clientCert, clientKey } = settings;
  if (controlPlaneUrl && !allowInsecure && !isPrivateWay(new URL(controlPlaneUrl))) {
    problems.push(
      "--control-plane-url (CONTROL_PLANE_URL) is not encrypted and leads out of the cluster: use wss://, or --allow-insecure (ALLOW_INSECURE)",
    );
  }
  if (Boolean(clientCert) !== Boolean(clientKey)) {
    problems.push(
      "--client-cert (CLIENT_CERT) and --client-key (CLIENT_KEY) go together: only one of them is set",
    );
  }
}

/** Encrypted, on this machine, or by a name that only this cluster's DNS knows. */
function isPrivateWay({ protocol, hostname }: URL): boolean {
  if (protocol === "wss:" || protocol === "https:") return true;
  return /^(localhost|127(\.\d+){3}|\[::1\]|[a-z0-9-]+|.*\.svc|.*\.cluster\.local)\.?$/.test(hostname);
}

function checkFiles(settings: Settings, sources: ConfigSources, problems: string[]): void {
  for (const key of FILE_SETTINGS) {
    const option = OPTIONS.find((one) => one.key === key);
    if (option && settings[key]) readFileOf(optionName(option), settings[key], { sources, problems });
  }
}

function readFileOf(
  name: string,
  path: string,
  { sources, problems }: { sources: ConfigSources; problems: string[] },
): string | undefined {
  try {
    return sources.readFile(path);
  } catch (error) {
    problems.push(`${name} cannot be read: ${messageOf(error)}`);
    return undefined;
  }
}

/** The key has no flag, because a command line can be read by everybody on the machine. */
function readApiKey(path: string, sources: ConfigSources, problems: string[]): Secret | undefined {
  const name = path ? "--api-key-file (API_KEY_FILE)" : "AGENT_API_KEY";
  const text = path
    ? readFileOf(name, path, { sources, problems })
    : nonEmpty(sources.env("AGENT_API_KEY")?.trim());
  if (text === undefined) return undefined;
  const key = readKey(text);
  if (typeof key !== "string") return key;
  problems.push(`${name} ${key}${path ? `: ${path}` : ""}`);
  return undefined;
}

/** A proxy's address may hold a password: its problem is told without it. */
function readProxy(controlPlane: URL, sources: ConfigSources, problems: string[]): HttpProxy | undefined {
  const chosen = chooseProxy(controlPlane, sources.env);
  if (!chosen) return undefined;
  const proxy = parseProxy(chosen.text);
  if (!proxy) {
    problems.push(`${chosen.variable} must be a proxy's address, such as http://proxy.example.com:3128`);
  }
  return proxy;
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
