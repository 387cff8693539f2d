/**
 * What a command can ask for, as typed requests. Pure types; `lib/sessions/requests.ts` reads them from untrusted payloads.
 * @module
 */
import type { Template } from "./template.ts";

/** Start a session. What a request leaves out is decided by the template, or by the settings. */
export interface StartRequest {
  readonly action: "start_session";
  readonly sessionId: string;
  readonly user: string;
  readonly template: string;
  /** The template itself, where the command brings it. */
  readonly templateManifest?: { readonly spec: Template };
  /** Whether the session gets a home volume that outlives it. */
  readonly persistentHome: boolean;
  /** Kubernetes quantity; both request and limit. */
  readonly memory?: string;
  /** Kubernetes quantity; both request and limit. */
  readonly cpu?: string;
  /** Variables beside the template's, or in place of them. */
  readonly env?: Readonly<Record<string, string>>;
  /** Namespace that the payload names; it changes nothing. */
  readonly namespace?: string;
  /** For the Control Plane, which sees whether a session is used. */
  readonly idleTimeoutMs?: number;
  /** Longest time from a start or wake on. */
  readonly maxSessionDurationMs?: number;
}

/** Remove a session. */
export interface StopRequest {
  readonly action: "stop_session";
  readonly sessionId: string;
  /** Whether the home volume goes too. */
  readonly deletePVC: boolean;
}

/** Give a session's pod back to the cluster, or ask for a new one. */
export interface ScaleRequest {
  readonly action: "hibernate_session" | "wake_session";
  readonly sessionId: string;
}

export type SessionRequest = StartRequest | StopRequest | ScaleRequest;

/** What a command can ask for. */
export const ACTIONS = ["start_session", "stop_session", "hibernate_session", "wake_session"] as const;
