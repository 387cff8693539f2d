/**
 * The one table of what the agent measures: name, kind, labels and help of each metric. Units are base units; labels have few values, none of
 * which comes from a payload.
 * Source: https://prometheus.io/docs/practices/naming/
 * @module
 */

/** One row of the table. */
export interface Metric {
  readonly kind: "counter" | "gauge" | "histogram";
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds of a histogram's buckets, in seconds. */
  readonly buckets?: readonly number[];
}

/** From a request that a cache answers to a start that waits for a new node. */
const COMMAND_SECONDS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300];
/** From an idle API server to the deadline of one request. */
const REQUEST_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** The table, in the order in which it is told. */
export const METRICS = {
  buildInfo: gauge("k8s_agent_build_info", ["agent_id", "version", "deno"], "Always 1; what runs here"),
  leader: gauge("k8s_agent_leader", [], "Whether this replica leads, or works without an election"),

  commandsReceived: counter(
    "k8s_agent_commands_received_total",
    ["action"],
    "Commands received, and those that were carried on from an earlier process",
  ),
  commands: counter(
    "k8s_agent_commands_total",
    ["action", "outcome"],
    "Commands that ended: complete, failed, or handed_over to the next process",
  ),
  commandFailures: counter(
    "k8s_agent_command_failures_total",
    ["action", "reason"],
    "Commands that failed, by the reason in docs/failures.md or the kind of refusal",
  ),
  commandSeconds: histogram("k8s_agent_command_duration_seconds", ["action", "outcome"], {
    help: "Time from a command's receipt to its answer",
    buckets: COMMAND_SECONDS,
  }),
  phaseSeconds: histogram("k8s_agent_start_phase_duration_seconds", ["action", "phase"], {
    help: "Time that starts and wakes spent in each phase: queue, objects, scheduling, pulling, ready",
    buckets: COMMAND_SECONDS,
  }),
  commandsOpen: gauge("k8s_agent_commands_open", [], "Commands that are not answered yet"),

  sessions: gauge("k8s_agent_sessions", ["state"], "Sessions by the state that the Control Plane was told"),
  sessionsActive: gauge("k8s_agent_sessions_active", [], "Sessions that run or are about to"),
  sessionsLimit: gauge("k8s_agent_sessions_limit", [], "Sessions that may be active at once"),
  cpuUsed: gauge("k8s_agent_cpu_used_cores", [], "Cores that active sessions ask for"),
  cpuLimit: gauge("k8s_agent_cpu_limit_cores", [], "Cores that active sessions may ask for"),
  memoryUsed: gauge("k8s_agent_memory_used_bytes", [], "Memory that active sessions ask for"),
  memoryLimit: gauge("k8s_agent_memory_limit_bytes", [], "Memory that active sessions may ask for"),

  registered: gauge("k8s_agent_registered", [], "Whether the Control Plane has registered this agent"),
  linkUp: gauge("k8s_agent_link_up", [], "Whether the link to the Control Plane is up"),
  linkConnects: counter("k8s_agent_link_connects_total", [], "Links to the Control Plane that came up"),
  linkRetries: counter("k8s_agent_link_retries_total", [], "Waits for another attempt to have a link"),
  messagesIgnored: counter(
    "k8s_agent_messages_ignored_total",
    ["reason"],
    "Messages of the Control Plane that were ignored: malformed, unknown, or binary",
  ),
  heartbeats: counter("k8s_agent_heartbeats_total", [], "Heartbeats sent"),
  heartbeatLag: gauge("k8s_agent_heartbeat_lag_seconds", [], "How late the last heartbeat was"),
  outboxMessages: gauge(
    "k8s_agent_outbox_messages",
    ["kind"],
    "Messages that wait for a link: result, status",
  ),
  outboxAge: gauge(
    "k8s_agent_outbox_oldest_age_seconds",
    [],
    "How long the oldest of them has waited, with what earlier processes waited",
  ),

  journalEntries: gauge("k8s_agent_journal_entries", [], "Commands in the journal"),
  journalBytes: gauge("k8s_agent_journal_size_bytes", [], "Size of the journal; never more than 786432"),
  journalFailing: gauge("k8s_agent_journal_failing", [], "Whether the journal cannot be read or written"),

  apiRequests: counter(
    "k8s_agent_api_requests_total",
    ["verb", "resource", "status"],
    "Requests to the Kubernetes API by class of status, such as 2xx, or none without an answer",
  ),
  apiSeconds: histogram("k8s_agent_api_request_duration_seconds", ["verb", "resource"], {
    help: "Time from a request to its answer, for a watch until it is open",
    buckets: REQUEST_SECONDS,
  }),
  apiRetries: counter(
    "k8s_agent_api_request_retries_total",
    ["verb", "resource"],
    "Requests that were sent once more because an earlier attempt failed",
  ),
  watchRestarts: counter(
    "k8s_agent_watch_restarts_total",
    ["resource", "reason"],
    "Watches that did not end in peace: failed, or expired and listed anew",
  ),
  watchSynced: gauge(
    "k8s_agent_watch_synced",
    ["resource"],
    "Whether a watch is open, so that what is known is true",
  ),
  watchHeard: gauge(
    "k8s_agent_watch_last_contact_timestamp_seconds",
    ["resource"],
    "When a watch last opened or was heard of",
  ),

  processMemory: gauge("process_resident_memory_bytes", [], "Memory that the process holds"),
  processStart: gauge("process_start_time_seconds", [], "When the process started"),
} as const satisfies Record<string, Metric>;

/** Key of a row. */
export type MetricKey = keyof typeof METRICS;

/** Keys of the rows of a kind. */
export type KeyOf<K extends Metric["kind"]> = {
  [Key in MetricKey]: (typeof METRICS)[Key]["kind"] extends K ? Key : never;
}[MetricKey];

/** A value for each label of a row. */
export type LabelsOf<K extends MetricKey> = Readonly<Record<(typeof METRICS)[K]["labels"][number], string>>;

function counter<const L extends readonly string[]>(name: string, labels: L, help: string) {
  return { kind: "counter", name, labels, help } as const;
}

function gauge<const L extends readonly string[]>(name: string, labels: L, help: string) {
  return { kind: "gauge", name, labels, help } as const;
}

function histogram<const L extends readonly string[]>(
  name: string,
  labels: L,
  options: { help: string; buckets: readonly number[] },
) {
  return { kind: "histogram", name, labels, ...options } as const;
}
