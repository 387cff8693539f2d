/**
 * Names, labels and annotations of a session's objects. Pure.
 * @module
 */

/** Label that every object of a session carries (documentation, "Troubleshooting"). */
export const APP_LABEL = "app";
export const APP = "streamspace-session";
/** Label with the session's id. */
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
/** Annotation with the user exactly as the Control Plane wrote it. */
export const USER_ANNOTATION = "stream.space/user";
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
const SESSION_ID = /^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const LABEL_VALUE = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
/** Without dots: a part of a name may not be empty, and hashing is simpler than counting. */
const SUBDOMAIN = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;
const HASH_LENGTH = 8;

/** What is wrong with an id as the name of a session's objects, or `undefined` when nothing is. */
export function sessionIdProblem(id: string): string | undefined {
  if (id === "") return "is empty";
  if (id.length > 63) return `has ${id.length} characters, and at most 63 are allowed`;
  if (!SESSION_ID.test(id)) {
    return "must be lower-case letters, digits and hyphens, begin with a letter and end with a letter or digit";
  }
  return undefined;
}

/** Name of the claim for a session's home, as the Go agent named it, so that its claims are found again. */
export function homeClaimName(sessionId: string): string {
  return `${sessionId}-home`;
}

/** Name of the lease that an agent's replicas share: readable, and different for each agent id. */
export async function leaseName(agentId: string): Promise<string> {
  const name = `k8s-agent-${agentId}`;
  if (SUBDOMAIN.test(name)) return name;
  const readable = name.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 63);
  return `${readable}-${await shortHash(agentId)}`;
}

/**
 * Any text as a label's value: unchanged where it is one, otherwise a readable part and a hash, so that two texts never meet.
 */
export async function labelValue(text: string): Promise<string> {
  if (LABEL_VALUE.test(text)) return text;
  const readable = text.replace(/[^A-Za-z0-9]+/g, "-").replace(/^-+/, "").slice(0, 50);
  return `${readable}${readable.endsWith("-") || readable === "" ? "" : "-"}${await shortHash(text)}`;
}

/** The first 8 hex digits of the text's SHA-256. */
export async function shortHash(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(digest).toHex().slice(0, HASH_LENGTH);
}
