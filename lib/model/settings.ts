/**
 * Everything that an operator can set, as parsed and validated values. `lib/cli/options.ts` defines the flags, variables and defaults;
 * the rest of the program picks the settings that it needs: `Pick<Settings, "maxCpu" | "maxMemory">`.
 * @module
 */
import type { V1NodeAffinity, V1Toleration } from "@kubernetes/client-node";
import type { SecurityLevel, TemplateTable } from "./template.ts";

/** The address on which a server listens. */
export interface ListenAddress {
  /** Empty: all addresses of the machine. An IPv6 address has no brackets. */
  readonly hostname: string;
  /** 0: the system chooses a free port. */
  readonly port: number;
}

/** Everything that an operator can set. Durations are in milliseconds. */
export interface Settings {
  readonly agentId: string;
  /** Ids of agents that no longer run and whose sessions this agent manages. */
  readonly adoptSessionsOf: readonly string[];
  readonly controlPlaneUrl: string;
  readonly platform: string;
  readonly region: string;
  /** Namespace of the sessions. */
  readonly namespace: string;
  /** Path; empty: the in-cluster configuration. */
  readonly kubeconfig: string;
  /** CPU cores for all sessions together. */
  readonly maxCpu: number;
  /** Memory for all sessions together, in GiB. */
  readonly maxMemory: number;
  /** Running sessions. */
  readonly maxSessions: number;
  /** Path of the settings file; empty: none. */
  readonly config: string;
  /** Path; empty: the key is in `AGENT_API_KEY`. */
  readonly apiKeyFile: string;
  /** Path of a PEM file; empty: none. */
  readonly caFile: string;
  /** Path of a PEM file; empty: none. */
  readonly clientCert: string;
  /** Path of a PEM file; empty: none. */
  readonly clientKey: string;
  readonly allowInsecure: boolean;
  readonly leaderElection: boolean;
  /** Empty: the host name. */
  readonly podName: string;
  readonly heartbeatInterval: number;
  /** 0: unlimited. */
  readonly reconnectAttempts: number;
  readonly startTimeout: number;
  readonly drainTimeout: number;
  readonly maxConcurrentStarts: number;
  readonly maxDurationAction: "hibernate" | "stop";
  readonly idleAction: "none" | "hibernate" | "stop";
  /** Whether Session objects only show sessions, or others can also change the state of a session there. */
  readonly sessionObjects: "mirror" | "control";
  /** How streams reach pods; `auto`: directly with the service account of the agent's pod, by port-forward with a kubeconfig. */
  readonly streamDial: "auto" | "direct" | "port-forward";
  /** Streams of all sessions at the same time. */
  readonly maxStreams: number;
  readonly maxSessionStreams: number;
  /** Bytes that all streams together buffer at most, a Kubernetes quantity. */
  readonly streamBuffer: string;
  /** Whether displays are carried in messages of the control link if the Control Plane has no tunnel. */
  readonly vncMessages: boolean;
  /** Scope of home volumes. */
  readonly homeStrategy: "per-session" | "per-user" | "none";
  /** How long home volumes are kept that no session uses, in milliseconds; `"keep"`: for ever. */
  readonly homeRetention: number | "keep";
  /** Empty: the default class of the cluster. */
  readonly storageClass: string;
  /** Size of a new home volume, a Kubernetes quantity. */
  readonly storageSize: string;
  readonly storageAccessMode: "ReadWriteOnce" | "ReadWriteOncePod" | "ReadWriteMany";
  readonly imagePullPolicy: "Always" | "IfNotPresent" | "Never";
  /** Names of Secrets. */
  readonly imagePullSecrets: readonly string[];
  /** Patterns in which `*` matches any text; empty: all images are allowed. */
  readonly allowedImages: readonly string[];
  /** Patterns of the Secrets and ConfigMaps that the template of a command may reference. */
  readonly allowedSecrets: readonly string[];
  readonly sessionSecurity: SecurityLevel;
  /** Namespaces that may reach sessions; empty: no NetworkPolicy. */
  readonly ingressNamespaces: readonly string[];
  readonly nodeSelector: Readonly<Record<string, string>>;
  readonly nodeAffinity: V1NodeAffinity;
  readonly tolerations: readonly V1Toleration[];
  /** Empty: the default of the cluster. */
  readonly runtimeClass: string;
  /** Empty: the default of the cluster. */
  readonly priorityClass: string;
  /** Kubernetes quantities by resource name; both request and limit. */
  readonly extendedResources: Readonly<Record<string, string>>;
  /** The built-in templates and those that the operator added. */
  readonly templates: TemplateTable;
  readonly healthAddr: ListenAddress | "off";
  readonly logFormat: "text" | "json";
  readonly logLevel: "debug" | "info" | "warn" | "error";
  readonly checkConfig: boolean;
}

/** How streams reach pods. */
export type DialMode = "direct" | "port-forward";

/** How streams reach pods with these settings. */
export function dialMode({ streamDial, kubeconfig }: Pick<Settings, "streamDial" | "kubeconfig">): DialMode {
  if (streamDial !== "auto") return streamDial;
  return kubeconfig === "" ? "direct" : "port-forward";
}

/** The largest session that this agent starts. */
export type RequestLimits = Pick<Settings, "maxCpu" | "maxMemory">;
