/**
 * Names, labels and annotations of a session's objects. Pure. Any text may be an id: what is no valid name becomes one, and no two texts
 * become the same.
 * @module
 */
import { createHash } from "node:crypto";

/** Name of the container that is the session, also in the Go agent's pods. */
export const SESSION_CONTAINER = "session";
/** Label that every object of a session carries (documentation, "Troubleshooting"). */
export const APP_LABEL = "app";
export const APP = "streamspace-session";
/** Label with the session's name, as {@linkcode sessionName} writes it. */
export const SESSION_LABEL = "session";
/** Label with the user, as {@linkcode labelValue} writes it. */
export const USER_LABEL = "user";
/** Label with the template's name. */
export const TEMPLATE_LABEL = "template";
/** Label with the id of the agent that created the object. */
export const AGENT_LABEL = "stream.space/agent";
/** Kubernetes' recommended label for the tool that manages an object. */
export const MANAGED_BY_LABEL = "app.kubernetes.io/managed-by";
export const MANAGED_BY = "streamspace-k8s-agent";
/** Annotation with the session's id exactly as the Control Plane wrote it. */
export const SESSION_ANNOTATION = "stream.space/session";
/** Annotation with the user exactly as the Control Plane wrote it. */
export const USER_ANNOTATION = "stream.space/user";
/** Annotation with the template's name exactly as the Control Plane wrote it. */
export const TEMPLATE_ANNOTATION = "stream.space/template";
/** Annotation of a session's pod with the port on which it serves its desktop. */
export const DISPLAY_PORT_ANNOTATION = "stream.space/display-port";
/** Annotation with a hash of what the session was started with. */
export const SPEC_HASH_ANNOTATION = "stream.space/spec-hash";

/** Annotation with the id of the command that last changed the object. */
export const COMMAND_ANNOTATION = "stream.space/command-id";
/** Annotation of a session's Service with what came of the last command that succeeded. */
export const OUTCOME_ANNOTATION = "stream.space/outcome";
/** Annotation of a session's Service with the state that the Control Plane was told last. */
export const STATUS_ANNOTATION = "stream.space/status";

/** Annotation of a session's Deployment with the longest time that it may run at a stretch, such as `28800s`. */
export const MAX_DURATION_ANNOTATION = "stream.space/max-session-duration";
/** Annotation of a session's Deployment with the longest time without a user, such as `1800s`; kept for who sees the traffic. */
export const IDLE_TIMEOUT_ANNOTATION = "stream.space/idle-timeout";
/** Annotation of a session's Deployment with the time at which it was started or last woken, RFC 3339. */
export const RUNNING_SINCE_ANNOTATION = "stream.space/running-since";

/** A Service's name is the narrowest of all: RFC 1035, 63 characters. */
const NAME = /^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const LABEL_VALUE = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const PART = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?";
const SUBDOMAIN_PART = new RegExp(`^${PART}$`);
/** A claim's name may be any of at most 253 characters. */
const SUBDOMAIN = new RegExp(`^${PART}(?:\\.${PART})*$`);
/** How long a user may be beside `home-`. */
const USER_LENGTH = 248;
/** A user that `home-` would make look like a session's home. */
const HOME = /(?:^|-)home$/;
const HASH_LENGTH = 8;
/** How a name ends that was made of another text: a text that ends so itself is not taken as it is, so that the two never meet. */
const MADE = /--[0-9a-f]{16}$/;
/** What is left of 63 characters beside two hyphens and the hash. */
const READABLE_LENGTH = 45;

/** Name of a session's objects: its id where that is a valid name, otherwise a readable part of it and a hash. */
export function sessionName(sessionId: string): string {
  return NAME.test(sessionId) && !MADE.test(sessionId) ? sessionId : madeName(sessionId);
}

/** Name of the claim for a session's home, as the Go agent named it, so that its claims are found again. */
export function homeClaimName(sessionId: string): string {
  return `${sessionName(sessionId)}-home`;
}

/** Name of the claim for the home of all sessions of a user, as StreamSpace has always named it; never that of a session's home. */
export function userHomeClaimName(user: string): string {
  const isKept = user.length <= USER_LENGTH && SUBDOMAIN.test(user) && !HOME.test(user) && !MADE.test(user);
  return `home-${isKept ? user : madeName(user)}`;
}

/** Name of the lease that an agent's replicas share: readable, and different for each agent id. */
export function leaseName(agentId: string): string {
  const name = `k8s-agent-${agentId}`;
  // Without dots: hashing is simpler than counting.
  if (SUBDOMAIN_PART.test(name)) return name;
  const readable = name.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 63);
  return `${readable}-${shortHash(agentId)}`;
}

/** Any text as a label's value: unchanged where it is one, otherwise a readable part of it and a hash. */
export function labelValue(text: string): string {
  if (LABEL_VALUE.test(text) && !MADE.test(text)) return text;
  return made(text.replace(/[^A-Za-z0-9]+/g, "-"), text);
}

/** The first 8 hex digits of the text's SHA-256. */
export function shortHash(text: string): string {
  return sha256(text).slice(0, HASH_LENGTH);
}

function madeName(text: string): string {
  const readable = text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+/, "");
  return made(/^[a-z]/.test(readable) ? readable : `s-${readable}`, text);
}

function made(readable: string, text: string): string {
  const trimmed = readable.replace(/^-+/, "").slice(0, READABLE_LENGTH).replace(/-+$/, "") || "s";
  return `${trimmed}--${sha256(text).slice(0, 16)}`;
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
