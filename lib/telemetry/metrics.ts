/**
 * All metrics of the agent: the table of their names, kinds, labels and help texts, and the meter that records and exports them. Units are base
 * units; labels have few values, none of which comes from a payload. Only this file uses prom-client.
 * Source: https://prometheus.io/docs/practices/naming/
 * @module
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";

/** One metric. */
export interface Metric {
  readonly kind: "counter" | "gauge" | "histogram";
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds of a histogram's buckets, in seconds. */
  readonly buckets?: readonly number[];
}

/** From a command that needs no request to a start that waits for a new node. */
const COMMAND_SECONDS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300];
/** From the latency of an idle API server to the timeout of one request. */
const REQUEST_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** The table, in the order of the export. */
export const METRICS = {
  buildInfo: gauge(
    "k8s_agent_build_info",
    ["agent_id", "version", "deno"],
    "Always 1; version information in the labels",
  ),
  leader: gauge("k8s_agent_leader", [], "Whether this replica is the leader; 1 without leader election"),

  commandsReceived: counter(
    "k8s_agent_commands_received_total",
    ["action"],
    "Commands received, including those resumed from an earlier process",
  ),
  commands: counter(
    "k8s_agent_commands_total",
    ["action", "outcome"],
    "Commands finished: complete, failed, or handed_over to the next process",
  ),
  commandFailures: counter(
    "k8s_agent_command_failures_total",
    ["action", "reason"],
    "Failed commands by reason: a cause from docs/failures.md or a failure code",
  ),
  commandSeconds: histogram("k8s_agent_command_duration_seconds", ["action", "outcome"], {
    help: "Time from receiving a command to its result",
    buckets: COMMAND_SECONDS,
  }),
  phaseSeconds: histogram("k8s_agent_start_phase_duration_seconds", ["action", "phase"], {
    help: "Time that starts and wakes spend in each phase: queue, objects, scheduling, pulling, ready",
    buckets: COMMAND_SECONDS,
  }),
  commandsOpen: gauge("k8s_agent_commands_open", [], "Commands without a result"),

  sessions: gauge(
    "k8s_agent_sessions",
    ["state"],
    "Sessions by the state last reported to the Control Plane",
  ),
  sessionsActive: gauge("k8s_agent_sessions_active", [], "Sessions that are running or starting"),
  sessionsLimit: gauge("k8s_agent_sessions_limit", [], "Maximum number of active sessions"),
  cpuUsed: gauge("k8s_agent_cpu_used_cores", [], "CPU cores requested by active sessions"),
  cpuLimit: gauge("k8s_agent_cpu_limit_cores", [], "Maximum CPU cores of active sessions"),
  memoryUsed: gauge("k8s_agent_memory_used_bytes", [], "Memory requested by active sessions"),
  memoryLimit: gauge("k8s_agent_memory_limit_bytes", [], "Maximum memory of active sessions"),
  homesDeleted: counter(
    "k8s_agent_homes_deleted_total",
    [],
    "Home volumes deleted because no session used them for longer than --home-retention",
  ),

  registered: gauge("k8s_agent_registered", [], "Whether this agent is registered with the Control Plane"),
  linkUp: gauge("k8s_agent_link_up", [], "Whether the agent is connected to the Control Plane"),
  linkConnects: counter("k8s_agent_link_connects_total", [], "Connections established to the Control Plane"),
  linkRetries: counter(
    "k8s_agent_link_retries_total",
    [],
    "Pauses before another attempt to connect to the Control Plane",
  ),
  messagesIgnored: counter(
    "k8s_agent_messages_ignored_total",
    ["reason"],
    "Ignored messages from the Control Plane: malformed, unknown, or binary",
  ),
  heartbeats: counter("k8s_agent_heartbeats_total", [], "Heartbeats sent"),
  heartbeatLag: gauge("k8s_agent_heartbeat_lag_seconds", [], "Delay of the last heartbeat"),
  outboxMessages: gauge(
    "k8s_agent_outbox_messages",
    ["kind"],
    "Messages waiting to be sent to the Control Plane: result, status",
  ),
  outboxAge: gauge(
    "k8s_agent_outbox_oldest_age_seconds",
    [],
    "Age of the oldest waiting message, including its time in earlier processes",
  ),

  journalEntries: gauge("k8s_agent_journal_entries", [], "Commands in the journal"),
  journalBytes: gauge("k8s_agent_journal_size_bytes", [], "Size of the journal; at most 786432"),
  journalFailing: gauge("k8s_agent_journal_failing", [], "Whether reading or writing the journal fails"),

  streamsOpen: gauge("k8s_agent_streams_open", [], "Open streams to sessions"),
  streamsOpened: counter("k8s_agent_streams_opened_total", [], "Streams to sessions that were connected"),
  streamsEnded: counter(
    "k8s_agent_streams_ended_total",
    ["code"],
    "Streams that ended or were rejected, by code; finished if both sides ended it",
  ),
  streamBytes: counter(
    "k8s_agent_stream_bytes_total",
    ["direction"],
    "Bytes carried by streams: to_session, from_session",
  ),
  streamStalls: counter(
    "k8s_agent_stream_stalls_total",
    [],
    "Times that a stream waited because its viewer did not accept data",
  ),
  streamSeconds: histogram("k8s_agent_stream_connect_duration_seconds", [], {
    help: "Time to connect a stream to its session",
    buckets: REQUEST_SECONDS,
  }),

  apiRequests: counter(
    "k8s_agent_api_requests_total",
    ["verb", "resource", "status"],
    "Requests to the Kubernetes API by status class, such as 2xx, or none without a response",
  ),
  apiSeconds: histogram("k8s_agent_api_request_duration_seconds", ["verb", "resource"], {
    help: "Duration of requests to the Kubernetes API; of a watch until it is open",
    buckets: REQUEST_SECONDS,
  }),
  apiRetries: counter(
    "k8s_agent_api_request_retries_total",
    ["verb", "resource"],
    "Requests to the Kubernetes API that were retried",
  ),
  watchRestarts: counter(
    "k8s_agent_watch_restarts_total",
    ["resource", "reason"],
    "Watches that ended unexpectedly: failed, or expired and listed again",
  ),
  watchSynced: gauge(
    "k8s_agent_watch_synced",
    ["resource"],
    "Whether a watch is in sync",
  ),
  watchLastEvent: gauge(
    "k8s_agent_watch_last_contact_timestamp_seconds",
    ["resource"],
    "Time of the last event of a watch since the Unix epoch",
  ),

  processMemory: gauge("process_resident_memory_bytes", [], "Resident memory size of the process"),
  processStart: gauge("process_start_time_seconds", [], "Start time of the process since the Unix epoch"),
} as const satisfies Record<string, Metric>;

/** Key of a metric. */
export type MetricKey = keyof typeof METRICS;

/** Keys of the metrics of a kind. */
export type KeyOf<K extends Metric["kind"]> = {
  [Key in MetricKey]: (typeof METRICS)[Key]["kind"] extends K ? Key : never;
}[MetricKey];

/** A value for each label of a metric. */
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

/** Content type of {@linkcode Meter.text}. */
export const METRICS_TYPE = Registry.PROMETHEUS_CONTENT_TYPE;

/** Records the metrics of one agent. */
export class Meter {
  readonly #registry = new Registry();
  readonly #counters = new Map<MetricKey, Counter>();
  readonly #gauges = new Map<MetricKey, Gauge>();
  readonly #histograms = new Map<MetricKey, Histogram>();

  constructor() {
    for (const [key, metric] of Object.entries(METRICS) as [MetricKey, Metric][]) this.#add(key, metric);
  }

  /**
   * Exports a counter at zero for each combination of these label values. Otherwise queries miss the first increment of a series.
   * Source: https://prometheus.io/docs/practices/instrumentation/#avoid-missing-metrics
   */
  initialize<K extends KeyOf<"counter">>(
    key: K,
    values: Readonly<Record<keyof LabelsOf<K>, readonly string[]>>,
  ): void {
    for (const labels of combinations(values)) this.#counters.get(key)?.inc(labels, 0);
  }

  /** Adds to a counter. */
  count<K extends KeyOf<"counter">>(key: K, labels: LabelsOf<K>, by = 1): void {
    this.#counters.get(key)?.inc(labels, by);
  }

  /** Adds a duration to a histogram. */
  observe<K extends KeyOf<"histogram">>(key: K, labels: LabelsOf<K>, options: { seconds: number }): void {
    this.#histograms.get(key)?.observe(labels, options.seconds);
  }

  /** Sets a gauge. */
  set<K extends KeyOf<"gauge">>(key: K, labels: LabelsOf<K>, options: { to: number | boolean }): void {
    this.#gauges.get(key)?.set(labels, Number(options.to));
  }

  /** All metrics in the Prometheus text format. */
  async text(): Promise<string> {
    return await this.#registry.metrics();
  }

  #add(key: MetricKey, { kind, name, help, labels, buckets }: Metric): void {
    const common = { name, help, labelNames: [...labels], registers: [this.#registry] };
    switch (kind) {
      case "counter":
        this.#counters.set(key, new Counter(common));
        return;
      case "gauge":
        this.#gauges.set(key, new Gauge(common));
        return;
      case "histogram":
        this.#histograms.set(key, new Histogram({ ...common, buckets: [...buckets ?? []] }));
    }
  }
}

/** All combinations of one value per label. */
function combinations(values: Readonly<Record<string, readonly string[]>>): Array<Record<string, string>> {
  return Object.entries(values).reduce<Array<Record<string, string>>>(
    (combined, [label, choices]) =>
      combined.flatMap((labels) => choices.map((value) => ({ ...labels, [label]: value }))),
    [{}],
  );
}
