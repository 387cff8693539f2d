/**
 * The one table of fields that log lines have besides their time, level and message. As JSON each is a member of its own.
 * @module
 */

/** Name of a field → what it holds. */
export const LOG_FIELDS = {
  agentId: "This agent, in every line",
  commandId: "A command, by its id",
  sessionId: "A session, by its id",
  action: "What a command asks for",
  state: "A session's new state",
  reason: "Why something failed, as a sentence",
  failure: "Why a command failed, as a word: as in `k8s_agent_command_failures_total`",
  duration: "How long a command took, for people",
  durationMs: "The same in milliseconds",
  resource: "A kind of Kubernetes object",
  api: "The API group and version of a kind",
  name: "An object's name",
  namespace: "A namespace",
  asked: "What was asked for and is not done",
  platform: "`--platform`",
  region: "`--region`",
  url: "An address of the agent's or the Control Plane's",
  proxy: "The proxy's address, without its password",
  status: "What the Control Plane says of the agent",
  code: "How a WebSocket was closed",
  attempt: "Which attempt it is",
  attempts: "How many there may be",
  wait: "Time until the next attempt",
  interval: "Time between heartbeats",
  timeout: "Time that commands get when the agent stops",
  advice: "What an operator can do",
  identity: "This replica's own name",
  holder: "The replica that leads",
  lease: "Name of the lease",
  transition: "How often another replica came to lead",
  type: "A message's type",
  problem: "What is wrong with a message",
  finding: "What a check at the start found",
  excerpt: "The beginning of a message that is not valid",
  bytes: "Size of a message",
  limit: "The most that there may be",
  struck: "Results that are no longer kept",
} as const;

/** Values for some of the fields. */
export type LogFields = { readonly [Name in keyof typeof LOG_FIELDS]?: unknown };
