/**
 * The requests of commands. `lib/sessions/requests.ts` parses them from untrusted payloads.
 * @module
 */
import type { Template } from "./template.ts";

/** Starts a session. Fields that are not set are decided by the template or the settings. */
export interface StartRequest {
  readonly action: "start_session";
  readonly sessionId: string;
  readonly user: string;
  readonly template: string;
  /** The template, if the command contains it. */
  readonly templateManifest?: { readonly spec: Template };
  /** Whether the session gets a home volume, which outlives it. */
  readonly persistentHome: boolean;
  /** Kubernetes quantity; both request and limit. */
  readonly memory?: string;
  /** Kubernetes quantity; both request and limit. */
  readonly cpu?: string;
  /** Environment variables; they override the template's. */
  readonly env?: Readonly<Record<string, string>>;
  /** The namespace in the payload. It is ignored: sessions run in the namespace of the settings. */
  readonly namespace?: string;
  /** For the Control Plane, which knows whether a session is in use. */
  readonly idleTimeoutMs?: number;
  /** Maximum time since the last start or wake. */
  readonly maxSessionDurationMs?: number;
}

/** Removes a session. */
export interface StopRequest {
  readonly action: "stop_session";
  readonly sessionId: string;
  /** Whether the home volume is deleted, too. */
  readonly deletePVC: boolean;
}

/** Scales a session to zero, or up again. */
export interface ScaleRequest {
  readonly action: "hibernate_session" | "wake_session";
  readonly sessionId: string;
}

export type SessionRequest = StartRequest | StopRequest | ScaleRequest;

/** The actions of commands. */
export const ACTIONS = ["start_session", "stop_session", "hibernate_session", "wake_session"] as const;
