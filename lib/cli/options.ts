/**
 * The one table of options: flag, variable, default, parser and help of each. Help text, validation, README and manifests follow it.
 * @module
 */
import {
  agentId,
  amount,
  duration,
  label,
  labels,
  list,
  listenAddress,
  namespace,
  nodeAffinity,
  objectName,
  oneOf,
  type Parsed,
  pattern,
  quantity,
  resourceAmounts,
  switchValue,
  templates,
  text,
  tolerations,
  url,
  whole,
} from "./option_parsers.ts";
import type { SessionSettings } from "../manifests/manifests.ts";
import type { HttpProxy } from "../common/proxies.ts";
import { parseCores, parseMemory } from "../common/quantities.ts";
import type { Secret } from "../common/secret.ts";
import type { TemplateRules } from "../templates/rules.ts";
import { BUILT_IN_TEMPLATES, type TemplateTable } from "../model/template.ts";
import type { ListenAddress } from "../telemetry/listen_address.ts";

/** One row of the table. */
export interface Option<K extends keyof Settings = keyof Settings> {
  readonly key: K;
  readonly flag: string;
  readonly variable: string;
  readonly required: boolean;
  /** Whether the flag takes no value. */
  readonly isSwitch: boolean;
  readonly fallback: Settings[K] | undefined;
  /** The default as help and README print it. */
  readonly fallbackText: string;
  readonly help: string;
  /** What a flag without a value means; `undefined` where that is a slip. */
  readonly whenEmpty: Settings[K] | undefined;
  readonly parse: (value: unknown) => Parsed<Settings[K]>;
}

/** Everything that an operator can set. Durations are milliseconds. */
export interface Settings extends SessionSettings, TemplateRules {
  readonly controlPlaneUrl: string;
  readonly platform: string;
  readonly region: string;
  readonly kubeconfig: string;
  readonly maxSessions: number;
  readonly config: string;
  readonly apiKeyFile: string;
  readonly caFile: string;
  readonly clientCert: string;
  readonly clientKey: string;
  readonly allowInsecure: boolean;
  readonly leaderElection: boolean;
  /** Empty: the host's name. */
  readonly podName: string;
  readonly heartbeatInterval: number;
  /** 0: for ever. */
  readonly reconnectAttempts: number;
  readonly startTimeout: number;
  readonly drainTimeout: number;
  readonly maxConcurrentStarts: number;
  readonly maxDurationAction: "hibernate" | "stop";
  readonly templates: TemplateTable;
  readonly healthAddr: ListenAddress | "off";
  readonly logFormat: "text" | "json";
  readonly logLevel: "debug" | "info" | "warn" | "error";
  readonly checkConfig: boolean;
}

/** The settings, the key, which comes from a file or a variable only, and the proxy, which all programs share. */
export interface Config extends Settings {
  readonly apiKey: Secret | undefined;
  /** The one that leads to the Control Plane. */
  readonly proxy: HttpProxy | undefined;
}

/** Flags that only print something: they are no settings, and `VERSION` or `HELP` in an environment mean other things. */
export const PRINT_FLAGS: ReadonlyMap<string, string> = new Map([
  ["help", "Print this help and exit"],
  ["version", "Print the version and exit"],
]);

/** What the program can do instead of running, by the word for it. */
export const COMMANDS: ReadonlyMap<string, string> = new Map([
  ["doctor", "Check settings, Control Plane and cluster, and say what to do (also: preflight)"],
  ["sessions", "List the sessions that run here"],
]);

/** How the commands print what they find. */
export type OutputFormat = "text" | "json";

const MAX_DURATION_MS = 24 * 3_600_000;

/** All options, in the order of the help. */
export const OPTIONS: readonly Option[] = [
  option("agentId", { parse: agentId, help: "Unique agent identifier, such as k8s-prod-us-east-1" }),
  option("controlPlaneUrl", { parse: url, help: "Control Plane URL, such as wss://control.example.com" }),
  option("platform", { parse: label, fallback: "kubernetes", help: "Platform type" }),
  option("region", { parse: label, fallback: "", help: "Deployment region" }),
  option("namespace", {
    parse: namespace,
    fallback: "streamspace",
    help: "Kubernetes namespace for sessions",
  }),
  option("kubeconfig", { parse: text, fallback: "", help: "Path to kubeconfig (empty for in-cluster)" }),
  option("maxCpu", {
    parse: amount(parseCores, "cores"),
    fallback: 100,
    help: "Maximum CPU cores available",
  }),
  option("maxMemory", { parse: amount(parseMemory, "memory"), fallback: 128, help: "Maximum memory in GB" }),
  option("maxSessions", { parse: whole(1, 100_000), fallback: 100, help: "Maximum concurrent sessions" }),
  option("config", {
    parse: text,
    fallback: "",
    help: "File with settings, YAML or JSON, such as a mounted ConfigMap",
  }),
  option("apiKeyFile", {
    parse: text,
    fallback: "",
    help: "File with the agent's API key (or the key itself in AGENT_API_KEY)",
  }),
  option("caFile", {
    parse: text,
    fallback: "",
    help: "File with more authorities to trust for the Control Plane, as PEM",
  }),
  option("clientCert", {
    parse: text,
    fallback: "",
    help: "File with the agent's certificate for the Control Plane, as PEM",
  }),
  option("clientKey", { parse: text, fallback: "", help: "File with the key of --client-cert, as PEM" }),
  option("allowInsecure", {
    parse: switchValue,
    fallback: false,
    fallbackText: "",
    help: "Allow ws:// and http:// to Control Planes outside of the cluster",
  }),
  option("leaderElection", {
    parse: switchValue,
    fallback: false,
    fallbackText: "",
    help: "Let one of several replicas work while the others stand by",
  }),
  option("podName", {
    parse: label,
    fallback: "",
    help: "This replica's own name in the election (empty for the host's name)",
  }),
  option("heartbeatInterval", {
    parse: duration(1000, 20_000),
    fallback: 10_000,
    fallbackText: "10s",
    help: "Time between heartbeats, at most 20s",
  }),
  option("reconnectAttempts", {
    parse: whole(0, 1_000_000),
    fallback: 5,
    help: "Attempts to reconnect before exiting; 0 means for ever",
  }),
  option("startTimeout", {
    parse: duration(1000, MAX_DURATION_MS),
    fallback: 120_000,
    fallbackText: "2m",
    help: "Longest time a session may take to start or wake",
  }),
  option("drainTimeout", {
    parse: duration(0, MAX_DURATION_MS),
    fallback: 25_000,
    fallbackText: "25s",
    help: "Longest time running commands get when the agent is told to stop",
  }),
  option("maxConcurrentStarts", {
    parse: whole(1, 1000),
    fallback: 20,
    help: "Sessions that may be in creation at once",
  }),
  option("maxDurationAction", {
    parse: oneOf("hibernate", "stop"),
    fallback: "hibernate",
    help: "What becomes of a session at the end of its maximal duration",
  }),
  option("homeStrategy", {
    parse: oneOf("per-session", "per-user", "none"),
    fallback: "per-session",
    help: "Whose a home volume is: per-session, per-user, or none",
  }),
  option("storageClass", {
    parse: label,
    fallback: "",
    help: "Storage class of home volumes (empty for the cluster's default)",
  }),
  option("storageSize", { parse: quantity, fallback: "10Gi", help: "Size of home volumes" }),
  option("storageAccessMode", {
    parse: oneOf("ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"),
    fallback: "ReadWriteOnce",
    help: "Access mode of home volumes",
  }),
  option("imagePullPolicy", {
    parse: oneOf("Always", "IfNotPresent", "Never"),
    fallback: "IfNotPresent",
    help: "When nodes pull session images",
  }),
  option("imagePullSecrets", {
    parse: list(objectName),
    fallback: [],
    fallbackText: "",
    help: "Secrets by which nodes pull session images, such as [registry]",
  }),
  option("allowedImages", {
    parse: list(pattern),
    fallback: [],
    fallbackText: "",
    help: "Images that sessions may run, such as [example.com/*] (empty for all)",
  }),
  option("allowedSecrets", {
    parse: list(pattern),
    fallback: [],
    fallbackText: "",
    help: "Secrets and ConfigMaps that a command's template may use (empty for none)",
  }),
  option("sessionSecurity", {
    parse: oneOf("baseline", "restricted"),
    fallback: "baseline",
    help: "Pod Security level that session pods keep to",
  }),
  option("ingressNamespaces", {
    parse: list(namespace),
    fallback: [],
    fallbackText: "",
    help: "Namespaces that alone may reach sessions (empty for no such rule)",
  }),
  option("nodeSelector", {
    parse: labels,
    fallback: {},
    fallbackText: "",
    help: "Node labels that sessions need, such as {pool: desktops}",
  }),
  option("nodeAffinity", {
    parse: nodeAffinity,
    fallback: {},
    fallbackText: "",
    help: "Node affinity of sessions, as Kubernetes writes it",
  }),
  option("tolerations", {
    parse: tolerations,
    fallback: [],
    fallbackText: "",
    help: "Tolerations of sessions, such as [{key: desktops, operator: Exists}]",
  }),
  option("runtimeClass", { parse: objectName, fallback: "", help: "Runtime class of session pods" }),
  option("priorityClass", { parse: objectName, fallback: "", help: "Priority class of session pods" }),
  option("extendedResources", {
    parse: resourceAmounts,
    fallback: {},
    fallbackText: "",
    help: "Further resources of each session, such as {nvidia.com/gpu: 1}",
  }),
  option("templates", {
    parse: templates,
    fallback: BUILT_IN_TEMPLATES,
    fallbackText: [...BUILT_IN_TEMPLATES.keys()].join(", "),
    help: "More templates, such as {gimp: lscr.io/linuxserver/gimp:latest}",
  }),
  option("healthAddr", {
    parse: listenAddress,
    fallback: { hostname: "", port: 8080 },
    fallbackText: ":8080",
    whenEmpty: "off",
    help: "Address of /healthz, /readyz and /metrics (off for none)",
  }),
  option("logFormat", { parse: oneOf("text", "json"), fallback: "text", help: "Log lines as text or json" }),
  option("logLevel", {
    parse: oneOf("debug", "info", "warn", "error"),
    fallback: "info",
    help: "Least level that is logged: debug, info, warn or error",
  }),
  option("checkConfig", {
    parse: switchValue,
    fallback: false,
    fallbackText: "",
    help: "Check the settings, print them and exit",
  }),
];

function option<K extends keyof Settings>(
  key: K,
  row: {
    parse: (value: unknown) => Parsed<Settings[K]>;
    fallback?: Settings[K];
    fallbackText?: string;
    whenEmpty?: Settings[K];
    help: string;
  },
): Option {
  const flag = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const built: Option<K> = {
    key,
    flag,
    variable: flag.replaceAll("-", "_").toUpperCase(),
    required: row.fallback === undefined,
    isSwitch: typeof row.fallback === "boolean",
    fallback: row.fallback,
    fallbackText: row.fallbackText ?? String(row.fallback ?? ""),
    help: row.help,
    whenEmpty: row.whenEmpty,
    parse: row.parse,
  };
  return built as unknown as Option;
}
