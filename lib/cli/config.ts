/**
 * Loads the configuration from flags, environment variables and a file, and reports all problems at once.
 * Nothing else reads environment variables.
 * @module
 */
import { CORE_SCHEMA, loadAll } from "js-yaml";
import { parseCommandLine } from "./command_line.ts";
import { ConfigError, messageOf } from "../common/errors.ts";
import { printable } from "../common/log.ts";
import { type Config, type Option, OPTIONS, type OutputFormat } from "./options.ts";
import type { Settings } from "../model/settings.ts";
import { chooseProxy, type HttpProxy, parseProxy } from "../common/proxies.ts";
import { pairProblem, privateKeyProblem, readCertificates } from "../common/pem.ts";
import { readKey, type Secret } from "../common/secret.ts";
import { kubeconfigPaths } from "../kubernetes/kubeconfig_file.ts";

/** Sources of settings; the precedence is flags, environment variables, file, defaults. */
export interface ConfigSources {
  readonly args: readonly string[];
  readonly env: (name: string) => string | undefined;
  readonly readFile: (path: string) => string;
}

/** What the program is to do. */
export type Invocation =
  | { readonly kind: "help" }
  | { readonly kind: "version" }
  | { readonly kind: "check-config"; readonly config: Config }
  /** Invalid settings are findings of the doctor, not errors. */
  | { readonly kind: "doctor"; readonly output: OutputFormat; readonly config: Config | ConfigError }
  | {
    readonly kind: "sessions";
    readonly output: OutputFormat;
    readonly homes: boolean;
    readonly config: Config;
  }
  | { readonly kind: "run"; readonly config: Config };

/** The raw value of a setting: text, or any value of a file. */
interface RawValue {
  readonly value: unknown;
  readonly source: string;
}

/**
 * Loads the configuration from all sources.
 *
 * @throws {ConfigError} with the problems of all settings
 */
export function loadConfig(sources: ConfigSources): Invocation {
  const problems: string[] = [];
  const { command, output, homes, flags } = parseCommandLine(sources.args, problems);
  if (flags.has("help")) return { kind: "help" };
  if (flags.has("version")) return { kind: "version" };
  const { settings, isHealthAddrSet } = readSettings(flags, sources, problems);
  const apiKey = readApiKey(settings.apiKeyFile, sources, problems);
  const proxy = settings.controlPlaneUrl
    ? readProxy(new URL(settings.controlPlaneUrl), sources, problems)
    : undefined;
  const config = problems.length > 0
    ? new ConfigError(problems.map(printable))
    : { ...settings, apiKey, isHealthAddrSet, proxy };
  if (command === "doctor") return { kind: command, output, config };
  if (config instanceof ConfigError) throw config;
  if (command === "sessions") return { kind: command, output, homes, config };
  return { kind: config.checkConfig ? "check-config" : "run", config };
}

/** Reads all settings; invalid settings are `undefined` despite their type, and have an entry in `problems`. */
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
    const raw = findValue(option, { flags, file, configFile, env: sources.env });
    if (raw) given.add(option.key);
    values[option.key] = raw ? parseOption(option, raw, problems) : option.fallback;
    if (!raw && option.required) problems.push(`${optionName(option)} is required: ${option.help}`);
  }
  const settings = values as unknown as Settings;
  checkTransportSecurity(settings, problems);
  checkFiles(settings, sources, problems);
  return { settings, isHealthAddrSet: given.has("healthAddr") };
}

/** The flag and the variable of an option, as messages name it. */
function optionName(option: Option): string {
  return `--${option.flag} (${option.variable})`;
}

/** Accepts keys in the notation of the flag, the variable or in camel case: `agent-id`, `AGENT_ID`, `agentId`. */
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
    problems.push(`--config (CONFIG) must hold a mapping of settings: ${path}`);
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

function findValue(
  option: Option,
  sources: {
    flags: ReadonlyMap<string, string>;
    file: ReadonlyMap<string, unknown>;
    configFile: string | undefined;
    env: ConfigSources["env"];
  },
): RawValue | undefined {
  const flag = sources.flags.get(option.flag);
  if (flag !== undefined) return { value: flag, source: `--${option.flag}` };
  // Manifests leave a setting at its default with an empty variable.
  const variable = nonEmpty(sources.env(option.variable));
  if (variable !== undefined) return { value: variable, source: option.variable };
  const entry = sources.file.get(normalize(option.flag));
  if (entry !== undefined && entry !== null && entry !== "") {
    return { value: entry, source: sources.configFile ?? "" };
  }
  return undefined;
}

function parseOption(option: Option, raw: RawValue, problems: string[]): unknown {
  // Only a flag can have an empty value here, usually by mistake, such as an unset shell variable.
  if (raw.value === "" && option.whenEmpty !== undefined) return option.whenEmpty;
  if (raw.value === "") {
    problems.push(`${optionName(option)} has no value`);
    return undefined;
  }
  const parsed = option.parse(raw.value);
  if (parsed.ok) return parsed.value;
  const current = mayHoldSecret(raw.value) ? "" : `: current value is ${excerpt(raw.value)} (${raw.source})`;
  problems.push(`${optionName(option)} ${parsed.problem}${current}`);
  return undefined;
}

/** Shortens a value for a message. */
function excerpt(value: unknown): string {
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  return JSON.stringify(String(value).slice(0, 100));
}

/** URLs carry passwords and tokens in the user, query and fragment parts. */
function mayHoldSecret(value: unknown): boolean {
  return typeof value === "string" && /:.*[@?#]/.test(value);
}

/** Rejects connections on which others could read or change the API key and the commands. */
function checkTransportSecurity(settings: Settings, problems: string[]): void {
  const { controlPlaneUrl, allowInsecure, clientCert, clientKey } = settings;
  if (controlPlaneUrl && !allowInsecure && !isPrivate(new URL(controlPlaneUrl))) {
    problems.push(
      "--control-plane-url (CONTROL_PLANE_URL) is unencrypted and outside the cluster: use wss://, or set --allow-insecure (ALLOW_INSECURE)",
    );
  }
  if (Boolean(clientCert) !== Boolean(clientKey)) {
    problems.push(
      "--client-cert (CLIENT_CERT) and --client-key (CLIENT_KEY) must be set together: only one of them is set",
    );
  }
}

/** Whether a URL is encrypted, on this machine, or has a name that only the cluster's DNS resolves. */
function isPrivate({ protocol, hostname }: URL): boolean {
  if (protocol === "wss:" || protocol === "https:") return true;
  return /^(localhost|127(\.\d+){3}|\[::1\]|[a-z0-9-]+|.*\.svc|.*\.cluster\.local)\.?$/.test(hostname);
}

function checkFiles(settings: Settings, sources: ConfigSources, problems: string[]): void {
  const { caFile, clientCert, clientKey } = settings;
  const check = (name: string, path: string, problemOf: (text: string) => string | undefined) => {
    if (!path) return undefined;
    const text = readSettingFile(name, path, { sources, problems });
    const problem = text === undefined ? undefined : problemOf(text);
    if (problem) problems.push(`${name} ${problem}: ${path}`);
    return problem ? undefined : text;
  };
  check("--ca-file (CA_FILE)", caFile, certificatesProblem);
  const cert = check("--client-cert (CLIENT_CERT)", clientCert, certificatesProblem);
  check(
    "--client-key (CLIENT_KEY)",
    clientKey,
    (key) => privateKeyProblem(key) ?? (cert === undefined ? undefined : pairProblem({ cert, key })),
  );
  checkKubeconfig(settings.kubeconfig, sources, problems);
}

function certificatesProblem(text: string): string | undefined {
  const certificates = readCertificates(text);
  return "problem" in certificates ? certificates.problem : undefined;
}

/** Checks that the files can be read. Of several, some may be missing; their content is checked when it is used. */
function checkKubeconfig(list: string, sources: ConfigSources, problems: string[]): void {
  const errors = kubeconfigPaths(list).map((path) => {
    try {
      sources.readFile(path);
      return undefined;
    } catch (error) {
      return error;
    }
  });
  const isFound = errors.includes(undefined);
  const error = errors.find((one) => one !== undefined && !(isFound && one instanceof Deno.errors.NotFound));
  if (error) problems.push(`--kubeconfig (KUBECONFIG) cannot be read: ${messageOf(error)}`);
}

function readSettingFile(
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

/** Reads the API key, which has no flag because every user of a machine can read its command lines. */
function readApiKey(path: string, sources: ConfigSources, problems: string[]): Secret | undefined {
  const name = path ? "--api-key-file (API_KEY_FILE)" : "AGENT_API_KEY";
  const text = path
    ? readSettingFile(name, path, { sources, problems })
    : nonEmpty(sources.env("AGENT_API_KEY")?.trim());
  if (text === undefined) return undefined;
  const key = readKey(text);
  if (typeof key !== "string") return key;
  problems.push(`${name} ${key}${path ? `: ${path}` : ""}`);
  return undefined;
}

/** Selects the proxy; messages leave out its URL, which may contain a password. */
function readProxy(controlPlane: URL, sources: ConfigSources, problems: string[]): HttpProxy | undefined {
  const chosen = chooseProxy(controlPlane, sources.env);
  if (!chosen) return undefined;
  const proxy = parseProxy(chosen.text);
  if (!proxy) {
    problems.push(`${chosen.variable} must be a proxy URL, such as http://proxy.example.com:3128`);
  }
  return proxy;
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
