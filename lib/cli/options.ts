/**
 * The option table: flag, variable, default, parser and help text of each option. Help, validation, docs and manifests are derived from it or
 * compared with it.
 * @module
 */
import {
  agentId,
  amount,
  duration,
  durationOr,
  integer,
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
} from "./option_parsers.ts";
import type { HttpProxy } from "../common/proxies.ts";
import { parseCores, parseMemory } from "../common/quantities.ts";
import type { Secret } from "../common/secret.ts";
import type { Settings } from "../model/settings.ts";
import { BUILT_IN_TEMPLATES } from "../model/template.ts";

/** One row of the table. */
export interface Option<K extends keyof Settings = keyof Settings> {
  readonly key: K;
  readonly flag: string;
  readonly variable: string;
  readonly required: boolean;
  /** Whether the flag takes no value. */
  readonly isSwitch: boolean;
  readonly fallback: Settings[K] | undefined;
  /** The default as help and docs print it. */
  readonly fallbackText: string;
  readonly help: string;
  /** Value of the flag without a value; `undefined` if that is an error. */
  readonly whenEmpty: Settings[K] | undefined;
  readonly parse: (value: unknown) => Parsed<Settings[K]>;
}

/** The settings, and what is not an option: the API key, which has no flag, and the proxy, from the standard variables. */
export interface Config extends Settings {
  readonly apiKey: Secret | undefined;
  /** Whether `healthAddr` was set, rather than left at its default. */
  readonly isHealthAddrSet: boolean;
  /** The proxy for connections to the Control Plane. */
  readonly proxy: HttpProxy | undefined;
}

/** Flags that only print something. They have no variable, because `VERSION` and `HELP` have other meanings in many environments. */
export const PRINT_FLAGS: ReadonlyMap<string, string> = new Map([
  ["help", "Print this help and exit"],
  ["version", "Print the version and exit"],
]);

/** The commands other than running the agent, and their help texts. */
export const COMMANDS: ReadonlyMap<string, string> = new Map([
  ["doctor", "Check settings, Control Plane and cluster, with advice (alias: preflight)"],
  ["sessions", "List this agent's sessions, or with --homes their home volumes"],
]);

/** Output format of the commands. */
export type OutputFormat = "text" | "json";

const MAX_DURATION_MS = 24 * 3_600_000;
/** Home volumes are deleted with all their files: no typing error may delete them within minutes. */
const MIN_RETENTION_MS = 3_600_000;
const MAX_RETENTION_MS = 3650 * 24 * 3_600_000;

/** All options, in the order of the help text. */
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
    parse: amount(parseCores, "cores such as 64 or 64000m"),
    fallback: 100,
    help: "Maximum CPU cores available",
  }),
  option("maxMemory", {
    parse: amount(parseMemory, "memory such as 128 or 128Gi"),
    fallback: 128,
    help: "Maximum memory in GB",
  }),
  option("maxSessions", { parse: integer(1, 100_000), fallback: 100, help: "Maximum concurrent sessions" }),
  option("config", {
    parse: text,
    fallback: "",
    help: "Settings file, YAML or JSON, such as a mounted ConfigMap",
  }),
  option("apiKeyFile", {
    parse: text,
    fallback: "",
    help: "File with the agent's API key (or set the key itself in AGENT_API_KEY)",
  }),
  option("caFile", {
    parse: text,
    fallback: "",
    help: "PEM file with additional CA certificates to trust for the Control Plane",
  }),
  option("clientCert", {
    parse: text,
    fallback: "",
    help: "PEM file with the agent's client certificate for the Control Plane",
  }),
  option("clientKey", { parse: text, fallback: "", help: "PEM file with the private key of --client-cert" }),
  option("allowInsecure", {
    parse: switchValue,
    fallback: false,
    help: "Allow ws:// and http:// to Control Planes outside the cluster",
  }),
  option("leaderElection", {
    parse: switchValue,
    fallback: false,
    help: "Elect one replica as leader; the others are on standby",
  }),
  option("podName", {
    parse: label,
    fallback: "",
    help: "Name of this replica in the leader election (empty for the hostname)",
  }),
  option("heartbeatInterval", {
    parse: duration(1000, 20_000),
    fallback: 10_000,
    fallbackText: "10s",
    help: "Time between heartbeats, at most 20s",
  }),
  option("reconnectAttempts", {
    parse: integer(0, 1_000_000),
    fallback: 5,
    help: "Reconnect attempts before the agent exits; 0 for unlimited",
  }),
  option("startTimeout", {
    parse: duration(1000, MAX_DURATION_MS),
    fallback: 120_000,
    fallbackText: "2m",
    help: "Timeout for a session to start or wake",
  }),
  option("drainTimeout", {
    parse: duration(0, MAX_DURATION_MS),
    fallback: 25_000,
    fallbackText: "25s",
    help: "Timeout for running commands when the agent shuts down",
  }),
  option("maxConcurrentStarts", {
    parse: integer(1, 1000),
    fallback: 100,
    help: "Maximum number of sessions that start at the same time",
  }),
  option("maxDurationAction", {
    parse: oneOf("hibernate", "stop"),
    fallback: "hibernate",
    help: "Action when a session reaches its maximum duration: hibernate or stop",
  }),
  option("idleAction", {
    parse: oneOf("none", "hibernate", "stop"),
    fallback: "none",
    help: "Action when a session was unused for its idle timeout: none, hibernate or stop",
  }),
  option("sessionObjects", {
    parse: oneOf("mirror", "control"),
    fallback: "mirror",
    help: "Role of Session objects: mirror sessions, or also control them by spec.state",
  }),
  option("streamDial", {
    parse: oneOf("auto", "direct", "port-forward"),
    fallback: "auto",
    help: "How streams reach sessions: auto, direct to the pod, or port-forward",
  }),
  option("maxStreams", {
    parse: integer(1, 100_000),
    fallback: 1024,
    help: "Maximum number of streams to sessions",
  }),
  option("maxSessionStreams", {
    parse: integer(1, 100_000),
    fallback: 64,
    help: "Maximum number of streams to one session",
  }),
  option("streamBuffer", {
    parse: quantity,
    fallback: "64Mi",
    help: "Maximum memory for data of streams that is waiting to be sent",
  }),
  option("vncMessages", {
    parse: switchValue,
    fallback: false,
    help: "Carry displays in messages of the control link if the Control Plane has no tunnel",
  }),
  option("homeStrategy", {
    parse: oneOf("per-session", "per-user", "none"),
    fallback: "per-session",
    help: "Scope of the home volume: per-session, per-user, or none",
  }),
  option("homeRetention", {
    parse: durationOr("keep", MIN_RETENTION_MS, MAX_RETENTION_MS),
    fallback: "keep",
    help: "How long home volumes are kept that no session uses, such as 720h, or keep",
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
    help: "Image pull policy of session pods",
  }),
  option("imagePullSecrets", {
    parse: list(objectName),
    fallback: [],
    help: "Image pull secrets of session pods, such as [registry]",
  }),
  option("allowedImages", {
    parse: list(pattern),
    fallback: [],
    help: "Images that sessions may run, such as [example.com/*] (empty for all)",
  }),
  option("allowedSecrets", {
    parse: list(pattern),
    fallback: [],
    help: "Secrets and ConfigMaps that a command's template may use (empty for none)",
  }),
  option("sessionSecurity", {
    parse: oneOf("baseline", "restricted"),
    fallback: "baseline",
    help: "Pod Security Standard of session pods: baseline or restricted",
  }),
  option("adoptSessionsOf", {
    parse: list(agentId),
    fallback: [],
    help: "Former ids of this agent, whose sessions it manages, too",
  }),
  option("ingressNamespaces", {
    parse: list(namespace),
    fallback: [],
    help: "Namespaces that may connect to sessions (empty for all)",
  }),
  option("nodeSelector", {
    parse: labels,
    fallback: {},
    help: "Node selector of session pods, such as {pool: desktops}",
  }),
  option("nodeAffinity", {
    parse: nodeAffinity,
    fallback: {},
    help: "Node affinity of session pods, in Kubernetes notation",
  }),
  option("tolerations", {
    parse: tolerations,
    fallback: [],
    help: "Tolerations of session pods, such as [{key: desktops, operator: Exists}]",
  }),
  option("runtimeClass", { parse: objectName, fallback: "", help: "Runtime class of session pods" }),
  option("priorityClass", { parse: objectName, fallback: "", help: "Priority class of session pods" }),
  option("extendedResources", {
    parse: resourceAmounts,
    fallback: {},
    help: "Extended resources of session pods, such as {nvidia.com/gpu: 1}",
  }),
  option("templates", {
    parse: templates,
    fallback: BUILT_IN_TEMPLATES,
    fallbackText: [...BUILT_IN_TEMPLATES.keys()].join(", "),
    help: "Extra templates, such as {gimp: lscr.io/linuxserver/gimp:latest}",
  }),
  option("healthAddr", {
    parse: listenAddress,
    fallback: { hostname: "", port: 8080 },
    fallbackText: ":8080",
    whenEmpty: "off",
    help: "Address of /healthz, /readyz and /metrics, or off (default skipped if in use)",
  }),
  option("logFormat", { parse: oneOf("text", "json"), fallback: "text", help: "Log format: text or json" }),
  option("logLevel", {
    parse: oneOf("debug", "info", "warn", "error"),
    fallback: "info",
    help: "Minimum log level: debug, info, warn or error",
  }),
  option("checkConfig", {
    parse: switchValue,
    fallback: false,
    help: "Validate the settings, print them and exit",
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
    fallbackText: row.fallbackText ?? defaultText(row.fallback),
    help: row.help,
    whenEmpty: row.whenEmpty,
    parse: row.parse,
  };
  return built as unknown as Option;
}

/** Switches that are off, and empty lists and maps, have no text. */
function defaultText(fallback: unknown): string {
  return typeof fallback === "object" || fallback === false ? "" : String(fallback ?? "");
}
