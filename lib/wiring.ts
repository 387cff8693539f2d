/**
 * Constructs the agent's components, back to front: each one gets only components that were constructed before it. The only file that knows all
 * of them; `docs/architecture.md` has the picture.
 * @module
 */
import { controlPlaneAddresses } from "./control_plane/addresses.ts";
import { Credentials } from "./control_plane/credentials.ts";
import { runHeartbeat } from "./control_plane/heartbeat.ts";
import { Link } from "./control_plane/link.ts";
import { Outbox } from "./control_plane/outbox.ts";
import type { Capacity } from "./control_plane/protocol.ts";
import { ReportedStatuses } from "./control_plane/reported_statuses.ts";
import { Reporter } from "./control_plane/reporter.ts";
import { createCustomObjectApi, createLeaseApi, createSessionClient } from "./kubernetes/client.ts";
import { loadKubeConfig } from "./kubernetes/kubeconfig.ts";
import { LeaderElection, type Leadership } from "./kubernetes/leader_election.ts";
import { CustomCollection } from "./kubernetes/custom_collection.ts";
import { SessionCache } from "./kubernetes/session_cache.ts";
import { createIssuedKeyStore, createJournalStore } from "./kubernetes/stores.ts";
import { Transport } from "./kubernetes/transport.ts";
import { log } from "./common/log.ts";
import type { Config } from "./cli/options.ts";
import { formatDuration } from "./common/quantities.ts";
import { SessionCapacity } from "./sessions/capacity.ts";
import { Dispatcher } from "./commands/dispatcher.ts";
import { Expiry } from "./sessions/expiry.ts";
import { Journal } from "./commands/journal.ts";
import { MessageRouter } from "./commands/message_router.ts";
import { BusySessions } from "./status/busy_sessions.ts";
import { SessionResourceReconciler } from "./status/session_resource_reconciler.ts";
import { Monitor } from "./status/monitor.ts";
import { labelValue, leaseName } from "./model/names.ts";
import type { Timings } from "./model/timings.ts";
import { SessionOperations } from "./sessions/operations.ts";
import { AnnotationRecorder } from "./status/annotations.ts";
import type { Telemetry } from "./telemetry/telemetry.ts";

/** What exists before the components. */
export interface Environment {
  readonly timings: Timings;
  readonly telemetry: Telemetry;
  /** Absent without leader election. */
  readonly leadership?: Leadership;
  /** Called when the Control Plane requests a shutdown. */
  readonly onShutdown: () => void;
}

/** The components that the process starts, feeds and stops. */
export interface Components extends Disposable {
  readonly transport: Transport;
  readonly cache: SessionCache;
  /** The Template objects of the cluster. */
  readonly templateObjects: CustomCollection;
  readonly reported: ReportedStatuses;
  readonly journal: Journal;
  readonly outbox: Outbox;
  readonly dispatcher: Dispatcher;
  readonly router: MessageRouter;
  readonly monitor: Monitor;
  readonly expiry: Expiry;
  readonly sessionObjects: SessionResourceReconciler;
  readonly link: Link;
  readonly sendHeartbeat: () => void;
}

/** Constructs the components; dispose them when the agent has ended. */
export function createComponents(config: Config, environment: Environment): Components {
  const { timings, telemetry, leadership, onShutdown } = environment;
  const { namespace } = config;
  const agentLabel = labelValue(config.agentId);
  const isLeading = () => leadership?.isHeld() ?? true;
  using disposables = new DisposableStack();

  const transport = disposables.use(
    new Transport(() => loadKubeConfig(config.kubeconfig), {
      onRequest: (record) => telemetry.request(record),
      mayWrite: isLeading,
      timings,
    }),
  );
  const client = createSessionClient(transport, namespace);
  const cache = new SessionCache(agentLabel);
  cache.listen((sessionId) => telemetry.commands.onSessionChange(sessionId, () => cache.session(sessionId)));
  const templateObjects = new CustomCollection({ resource: "templates", timings });

  const reported = new ReportedStatuses();
  const journal = disposables.use(
    new Journal({
      store: createJournalStore(transport, namespace),
      prefix: agentLabel,
      sessions: reported,
      writeTimeoutMs: config.leaderElection ? Infinity : timings.journalWriteMs,
      rejectedRetryMs: timings.journalRejectedRetryMs,
    }),
  );
  const outbox = disposables.use(new Outbox(journal));
  const reporter = new Reporter(outbox, reported);

  const recorder = new AnnotationRecorder(client, cache);
  const capacity = new SessionCapacity(cache, config);
  const operations = new SessionOperations({
    client,
    cache,
    catalog: templateObjects,
    recorder,
    capacity,
    maxConcurrentStarts: config.maxConcurrentStarts,
    settings: config,
    templates: { cluster: templateObjects, table: config.templates, rules: config },
    startTimeoutMs: config.startTimeout,
    timings,
    onStatus: (status) => void reporter.status(status),
  });

  const busy = new BusySessions();
  const monitor = disposables.use(
    new Monitor({
      cache,
      reported,
      reporter,
      busy,
      recordStatus: (status) => recorder.recordStatus(status),
      unreadyGraceMs: timings.unreadyGraceMs,
    }),
  );
  const sessionApi = createCustomObjectApi(transport, { namespace, resource: "sessions" });
  const sessionObjects = new SessionResourceReconciler({
    cache,
    reported,
    api: sessionApi,
    batchMs: timings.sessionObjectBatchMs,
  });

  const dispatcher = new Dispatcher(telemetry.commands.trace(operations), {
    journal,
    reporter,
    busy,
    limits: config,
    cancelMs: timings.cancelMs,
    isLeading,
    observer: telemetry.commands,
  });
  const expiry = disposables.use(
    new Expiry({ cache, dispatcher, operations, monitor, action: config.maxDurationAction }),
  );
  const router = new MessageRouter({ dispatcher, reporter, onShutdown, observer: telemetry });

  const sendHeartbeat = () =>
    reporter.heartbeat({
      isDraining: dispatcher.isDraining,
      activeSessions: cache.activeSessions(),
      capacity: { ...capacityOf(config), ...capacity.usage() },
    });
  const keys = createIssuedKeyStore(transport, { namespace, agent: agentLabel });
  const credentials = new Credentials(config, keys);
  const link = createLink(config, { outbox, credentials, sendHeartbeat, telemetry });
  telemetry.attachSources({ dispatcher, outbox, journal, reported, capacity });
  const constructed = disposables.move();
  return {
    transport,
    cache,
    templateObjects,
    reported,
    journal,
    outbox,
    dispatcher,
    router,
    monitor,
    expiry,
    sessionObjects,
    link,
    sendHeartbeat,
    [Symbol.dispose]: () => constructed.dispose(),
  };
}

/** Constructs this replica's candidate for leadership; dispose it after the leadership. */
export function createElection(
  config: Config,
  { timings, telemetry }: Pick<Environment, "timings" | "telemetry">,
): Pick<LeaderElection, "acquire"> & Disposable {
  // A connection of its own: a renewal never waits behind the requests of sessions.
  const transport = new Transport(() => loadKubeConfig(config.kubeconfig), {
    onRequest: (record) => telemetry.request(record),
    timings,
  });
  const election = new LeaderElection({
    leases: createLeaseApi(transport, config.namespace),
    name: leaseName(config.agentId),
    identity: config.podName || Deno.hostname(),
    timings,
    onTick: (status) => telemetry.health.onElectionTick(status),
  });
  return {
    acquire: (signal) => election.acquire(signal),
    [Symbol.dispose]: () => transport[Symbol.dispose](),
  };
}

function createLink(
  config: Config,
  { outbox, credentials, sendHeartbeat, telemetry }: {
    outbox: Outbox;
    credentials: Credentials;
    sendHeartbeat: () => void;
    telemetry: Telemetry;
  },
): Link {
  const { agentId, platform, region, namespace, heartbeatInterval: intervalMs } = config;
  return new Link({
    addresses: controlPlaneAddresses(config.controlPlaneUrl),
    registration: {
      agentId,
      platform,
      region,
      capacity: capacityOf(config),
      metadata: { namespace, kubernetes: true },
    },
    credentials,
    reconnectAttempts: config.reconnectAttempts,
    outbox,
    onUp: (signal) => {
      log.info("Starting heartbeat sender (interval: {interval})", { interval: formatDuration(intervalMs) });
      const beat = (lateMs: number) => {
        telemetry.beat(lateMs);
        sendHeartbeat();
      };
      void runHeartbeat(beat, { intervalMs, signal });
    },
    onState: (state) => telemetry.link(state),
  });
}

function capacityOf({ maxCpu, maxMemory, maxSessions }: Config): Capacity {
  return { maxCpu, maxMemory, maxSessions, cpu: `${maxCpu} cores`, memory: `${maxMemory}Gi` };
}
