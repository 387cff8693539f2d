/**
 * Names, labels and annotations of a session's objects. Session IDs and users are arbitrary text: text that is not a valid name is converted to
 * one, and different texts never get the same name. Pure.
 * @module
 */
import { createHash } from "node:crypto";

/** Name of the session container, also in the pods of the Go agent. */
export const SESSION_CONTAINER = "session";
/** Label of every object of a session (StreamSpace documentation, "Troubleshooting"). */
export const APP_LABEL = "app";
export const APP = "streamspace-session";
/** Label with the {@linkcode sessionName}. */
export const SESSION_LABEL = "session";
/** Label with the user, as a {@linkcode labelValue}. */
export const USER_LABEL = "user";
/** Label with the name of the template, as a {@linkcode labelValue}. */
export const TEMPLATE_LABEL = "template";
/** Label with the ID of the agent that created the object. */
export const AGENT_LABEL = "stream.space/agent";
/** Kubernetes' recommended label for the tool that manages an object. */
export const MANAGED_BY_LABEL = "app.kubernetes.io/managed-by";
export const MANAGED_BY = "streamspace-k8s-agent";
/** Annotation with the unmodified session ID. */
export const SESSION_ANNOTATION = "stream.space/session";
/** Annotation with the unmodified user. */
export const USER_ANNOTATION = "stream.space/user";
/** Annotation with the unmodified name of the template. */
export const TEMPLATE_ANNOTATION = "stream.space/template";
/** Annotation of pods with the display port. */
export const DISPLAY_PORT_ANNOTATION = "stream.space/display-port";
/** Annotation of Services with the claim name of the home volume, which a stop needs if the Deployment is gone. */
export const HOME_ANNOTATION = "stream.space/home";
/** Annotation of claims that no session uses, with the time since when (RFC 3339). */
export const UNUSED_SINCE_ANNOTATION = "stream.space/unused-since";
/** Annotation with a hash of the start request. */
export const SPEC_HASH_ANNOTATION = "stream.space/spec-hash";

/** Annotation with the ID of the command that last changed the object. */
export const COMMAND_ANNOTATION = "stream.space/command-id";
/** Annotation of Services with the result of the last successful command. */
export const OUTCOME_ANNOTATION = "stream.space/outcome";
/** Annotation of Services with the use of the session: the number of open streams, and when one was open last. */
export const ACTIVITY_ANNOTATION = "stream.space/activity";
/** Annotation of Services with the last reported status. */
export const STATUS_ANNOTATION = "stream.space/status";

/** Annotation of Deployments with the maximum duration since the last start or wake, such as `28800s`. */
export const MAX_DURATION_ANNOTATION = "stream.space/max-session-duration";
/** Annotation of Deployments with the maximum idle time, such as `1800s`. */
export const IDLE_TIMEOUT_ANNOTATION = "stream.space/idle-timeout";
/** Annotation of Deployments with the time of the last start or wake (RFC 3339). */
export const RUNNING_SINCE_ANNOTATION = "stream.space/running-since";

/** Annotation of Session objects with the desired state that the agent wrote last: another one in the spec was set by somebody else. */
export const DESIRED_STATE_ANNOTATION = "stream.space/desired-state";

/** The name of a Service has the strictest rules: RFC 1035, at most 63 characters. */
const NAME = /^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const LABEL_VALUE = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const PART = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?";
const SUBDOMAIN_PART = new RegExp(`^${PART}$`);
/** The name of a claim: a DNS subdomain of at most 253 characters. */
const SUBDOMAIN = new RegExp(`^${PART}(?:\\.${PART})*$`);
/** Most characters of a user after `home-`. */
const USER_LENGTH = 248;
/** A user whose claim name could be the claim name of a session. */
const SESSION_CLAIM = /(?:^|-)home$/;
const HASH_LENGTH = 8;
/** The suffix of a generated name. Text with such a suffix is not used unmodified, so that it never equals a generated name. */
const GENERATED = /--[0-9a-f]{16}$/;
/** Most characters before the suffix of two hyphens and a hash, in a name of 63 characters. */
const READABLE_LENGTH = 45;

/** The name of a session's objects: the session ID if it is a valid name, otherwise a readable part of it and a hash. */
export function sessionName(sessionId: string): string {
  return NAME.test(sessionId) && !GENERATED.test(sessionId) ? sessionId : generateName(sessionId);
}

/** The claim name of a session's home volume. The Go agent used the same name, so its volumes are found. */
export function homeClaimName(sessionId: string): string {
  return `${sessionName(sessionId)}-home`;
}

/** The claim name of a user's home volume, which StreamSpace has always used; it never equals the claim name of a session. */
export function userHomeClaimName(user: string): string {
  const isUnmodified = user.length <= USER_LENGTH && SUBDOMAIN.test(user) && !SESSION_CLAIM.test(user) &&
    !GENERATED.test(user);
  return `home-${isUnmodified ? user : generateName(user)}`;
}

/** The name of the Lease that the replicas of an agent share; unique per agent ID. */
export function leaseName(agentId: string): string {
  const name = `k8s-agent-${agentId}`;
  // Names with dots are hashed, too, because their length limits are more complex.
  if (SUBDOMAIN_PART.test(name)) return name;
  const readable = name.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 63);
  return `${readable}-${shortHash(agentId)}`;
}

/** Text as a label value: unmodified if it is valid, otherwise a readable part of it and a hash. */
export function labelValue(text: string): string {
  if (LABEL_VALUE.test(text) && !GENERATED.test(text)) return text;
  return withHash(text.replace(/[^A-Za-z0-9]+/g, "-"), text);
}

/** The first 8 hex digits of the SHA-256 of the text. */
export function shortHash(text: string): string {
  return sha256(text).slice(0, HASH_LENGTH);
}

function generateName(text: string): string {
  const readable = text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+/, "");
  return withHash(/^[a-z]/.test(readable) ? readable : `s-${readable}`, text);
}

function withHash(readable: string, text: string): string {
  const trimmed = readable.replace(/^-+/, "").slice(0, READABLE_LENGTH).replace(/-+$/, "") || "s";
  return `${trimmed}--${sha256(text).slice(0, 16)}`;
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
