/**
 * Constructs the agent's components, back to front: each one gets only components that were constructed before it. The only file that knows all
 * of them; `docs/architecture.md` has the picture.
 * @module
 */
import type { AnonymousError } from "./common/errors.ts";
import type { Config } from "./cli/options.ts";
import { Dispatcher } from "./commands/dispatcher.ts";
import { Journal } from "./commands/journal.ts";
import { MessageRouter } from "./commands/message_router.ts";
import { controlPlaneAddresses } from "./control_plane/addresses.ts";
import { Credentials } from "./control_plane/credentials.ts";
import { Link } from "./control_plane/link.ts";
import { Outbox } from "./control_plane/outbox.ts";
import type { Capacity } from "./control_plane/protocol.ts";
import { ReportedStatuses } from "./control_plane/reported_statuses.ts";
import { Reporter } from "./control_plane/reporter.ts";
import { createCustomObjectApi, createSessionClient, type SessionClient } from "./kubernetes/client.ts";
import { CustomCollection } from "./kubernetes/custom_collection.ts";
import { loadAccess } from "./kubernetes/kubeconfig.ts";
import type { Leadership } from "./kubernetes/leader_election.ts";
import { DEFAULT_FORBIDDEN_GRACE_MS, SessionCache } from "./kubernetes/session_cache.ts";
import { createIssuedKeyStore, createJournalStore } from "./kubernetes/stores.ts";
import { Transport } from "./kubernetes/transport.ts";
import { labelValue } from "./model/names.ts";
import type { Timings } from "./model/timings.ts";
import { SessionCapacity } from "./sessions/capacity.ts";
import { Expiry } from "./sessions/expiry.ts";
import { HomeDeletion } from "./sessions/home_deletion.ts";
import { HomeRetention } from "./sessions/home_retention.ts";
import { Reconciler } from "./sessions/reconciler.ts";
import { StateRequests } from "./sessions/state_requests.ts";
import { SessionOperations } from "./sessions/operations.ts";
import type { Tunnel } from "./streams/tunnel.ts";
import { TUNNEL_FEATURE } from "./streams/tunnel_messages.ts";
import { createStreams, type StreamComponents } from "./streams/wiring.ts";
import { AnnotationRecorder } from "./status/annotations.ts";
import { BusySessions } from "./status/busy_sessions.ts";
import { Monitor } from "./status/monitor.ts";
import { SessionActivity } from "./status/session_activity.ts";
import { SessionResourceReconciler } from "./status/session_resource_reconciler.ts";
import type { Telemetry } from "./telemetry/telemetry.ts";

/** What exists before the components. */
export interface Environment {
  readonly timings: Timings;
  readonly telemetry: Telemetry;
  /** Absent without leader election. */
  readonly leadership?: Leadership;
  /** Called when the Control Plane requests a shutdown. */
  readonly onShutdown: () => void;
  /** Called if Kubernetes ignores the agent's credentials from the start. */
  readonly onAnonymous: (error: AnonymousError) => void;
}

interface Cluster {
  readonly transport: Transport;
  readonly cache: SessionCache;
  /** The Template objects of the cluster. */
  readonly templateObjects: CustomCollection;
}

interface Reporting {
  readonly reported: ReportedStatuses;
  readonly journal: Journal;
  readonly outbox: Outbox;
  readonly reporter: Reporter;
}

interface Work {
  readonly capacity: SessionCapacity;
  readonly dispatcher: Dispatcher;
  readonly monitor: Monitor;
  readonly reconciler: Reconciler;
  readonly expiry: Expiry;
  readonly homeRetention: HomeRetention;
  readonly sessionObjects: SessionResourceReconciler;
}

/** The components that the process starts, feeds and stops. */
export interface Components extends Cluster, Reporting, Work, Disposable {
  readonly router: MessageRouter;
  readonly link: Link;
  readonly tunnel: Tunnel;
  readonly sendHeartbeat: () => void;
}

/** Constructs the components; dispose them when the agent has ended. */
export function createComponents(config: Config, environment: Environment): Components {
  const { telemetry } = environment;
  using disposables = new DisposableStack();
  const cluster = createCluster(config, environment);
  disposables.use(cluster.transport);
  const activity = new SessionActivity({ publishIntervalMs: environment.timings.activityMs });
  disposables.use(activity);
  const reporting = createReporting(config, { ...environment, ...cluster, activity });
  disposables.use(reporting.journal);
  disposables.use(reporting.outbox);
  const work = createWork(config, { ...environment, ...cluster, ...reporting, activity });
  disposables.use(work.reconciler);
  disposables.use(work.monitor);
  disposables.use(work.expiry);
  disposables.use(work.homeRetention);
  const { reporter } = reporting;
  const { dispatcher, capacity } = work;
  const { cache } = cluster;
  const recoversUntil = performance.now() + environment.timings.recoveryMs;
  const sendHeartbeat = () => {
    // The number of sessions is not known before.
    if (!cache.isSynced && performance.now() < recoversUntil) return;
    reporter.heartbeat({
      isDraining: dispatcher.isDraining,
      activeSessions: cache.activeSessions(),
      capacity: { ...capacityOf(config), ...capacity.usage() },
    });
  };
  const keys = createIssuedKeyStore(cluster.transport, {
    namespace: config.namespace,
    agent: labelValue(config.agentId),
  });
  const credentials = new Credentials(config, keys);
  const { streams, tunnel, vncMessages } = createStreams(config, {
    ...cluster,
    ...{ timings: environment.timings, observer: telemetry.streams, activity, credentials },
  });
  disposables.use(streams);
  disposables.use(vncMessages);
  const router = new MessageRouter({
    ...{ dispatcher, reporter, vncMessages },
    onShutdown: environment.onShutdown,
    observer: telemetry,
  });
  const link = createLink(config, {
    ...environment,
    ...reporting,
    ...{ credentials, sendHeartbeat, tunnel, vncMessages },
  });
  telemetry.attachSources({ ...reporting, ...work });
  const constructed = disposables.move();
  return {
    ...cluster,
    ...reporting,
    ...work,
    router,
    link,
    tunnel,
    sendHeartbeat,
    [Symbol.dispose]: () => constructed.dispose(),
  };
}

/** What reads and changes the cluster. */
function createCluster(config: Config, environment: Environment): Cluster {
  const { timings, telemetry, leadership, onAnonymous } = environment;
  const transport = new Transport(() => loadAccess(config.kubeconfig), {
    onRequest: (record) => telemetry.request(record),
    onAnonymous,
    mayWrite: () => isLeading(leadership),
    timings,
  });
  const cache = new SessionCache([config.agentId, ...config.adoptSessionsOf].map(labelValue), {
    forbiddenGraceMs: DEFAULT_FORBIDDEN_GRACE_MS * timings.graceFactor,
  });
  cache.listen((sessionId) => telemetry.commands.onSessionChange(sessionId, () => cache.session(sessionId)));
  const templateObjects = new CustomCollection({ resource: "templates", timings });
  return { transport, cache, templateObjects };
}

/** What reports to the Control Plane, and remembers what was reported. */
function createReporting(
  config: Config,
  { transport, timings, leadership, activity }: Environment & Cluster & {
    readonly activity: SessionActivity;
  },
): Reporting {
  const reported = new ReportedStatuses();
  const journal = new Journal({
    store: createJournalStore(transport, config.namespace),
    prefix: labelValue(config.agentId),
    adoptedPrefixes: config.adoptSessionsOf.map(labelValue),
    sessions: reported,
    writeTimeoutMs: config.leaderElection ? Infinity : timings.journalWriteMs,
    collectMs: timings.journalCollectMs,
    groupMs: timings.journalGroupMs,
    refreshMs: timings.journalRefreshMs,
    rejectedRetryMs: timings.journalRejectedRetryMs,
  });
  const outbox = new Outbox(journal, timings);
  const reporter = new Reporter(outbox, reported, {
    isLeading: () => isLeading(leadership),
    activityOf: (sessionId) => activity.of(sessionId),
  });
  return { reported, journal, outbox, reporter };
}

/** What runs commands and observes sessions. */
function createWork(
  config: Config,
  context: Environment & Cluster & Reporting & { readonly activity: SessionActivity },
): Work {
  const { transport, cache, reported, journal, reporter, timings, telemetry } = context;
  const { namespace } = config;
  const client = createSessionClient(transport, namespace);
  const recorder = new AnnotationRecorder(client, cache);
  const capacity = new SessionCapacity(cache, config);
  const operations = createOperations(config, { ...context, client, recorder, capacity });
  const busy = new BusySessions();
  const monitor = new Monitor({
    cache,
    reported,
    reporter,
    busy,
    activity: context.activity,
    recordActivity: (sessionId, use) => recorder.recordActivity(sessionId, use),
    recordStatus: async (status) => {
      journal.recordSessions();
      await recorder.recordStatus(status);
    },
    unreadyGraceMs: timings.unreadyGraceMs,
  });
  const api = createCustomObjectApi(transport, { namespace, resource: "sessions" });
  const batchMs = timings.sessionObjectBatchMs;
  const sessionObjects = new SessionResourceReconciler({ cache, reported, api, batchMs });
  const dispatcher = new Dispatcher(telemetry.commands.trace(operations), {
    journal,
    reporter,
    busy,
    limits: config,
    cancelMs: timings.cancelMs,
    isLeading: () => isLeading(context.leadership),
    observer: telemetry.commands,
  });
  const controllers = createControllers(config, {
    ...context,
    ...{ client, operations, busy, monitor, dispatcher, sessionObjects },
  });
  return { capacity, monitor, sessionObjects, dispatcher, ...controllers };
}

/** What changes sessions without a command from the Control Plane. */
function createControllers(
  config: Config,
  context: Environment & Cluster & Pick<Work, "monitor" | "dispatcher" | "sessionObjects"> & {
    readonly client: SessionClient;
    readonly operations: SessionOperations;
    readonly busy: BusySessions;
    readonly activity: SessionActivity;
  },
): Pick<Work, "reconciler" | "expiry" | "homeRetention"> {
  const { client, cache, operations, busy, monitor, dispatcher, activity, timings, telemetry } = context;
  const { repair } = operations;
  const reconciler = new Reconciler({ cache, busy, repair, dispatcher, timeoutMs: timings.repairTimeoutMs });
  const expiry = new Expiry({
    ...{ cache, dispatcher, operations, monitor, activity },
    actions: { "max-duration": config.maxDurationAction, "idle-timeout": config.idleAction },
  });
  const homeRetention = new HomeRetention({
    cache,
    client,
    homes: new HomeDeletion(client, cache),
    busy,
    retention: config.homeRetention,
    intervalMs: timings.homeCheckMs,
    onDeleted: () => telemetry.homeDeleted(),
  });
  if (config.sessionObjects === "control") {
    const requests = new StateRequests({ dispatcher, operations, monitor });
    context.sessionObjects.onStateRequest((request) => requests.carryOut(request));
  }
  return { reconciler, expiry, homeRetention };
}

function createOperations(
  config: Config,
  { client, cache, templateObjects, recorder, capacity, reporter, reported, timings }:
    & Environment
    & Cluster
    & Reporting
    & {
      readonly client: SessionClient;
      readonly recorder: AnnotationRecorder;
      readonly capacity: SessionCapacity;
    },
): SessionOperations {
  return new SessionOperations({
    client,
    cache,
    templateObjects,
    recorder,
    reported,
    capacity,
    maxConcurrentStarts: config.maxConcurrentStarts,
    settings: config,
    templates: { cluster: templateObjects, table: config.templates, rules: config },
    startTimeoutMs: config.startTimeout,
    timings,
    onStatus: (status) => reporter.status(status),
  });
}

/** Without leader election, this process always leads. */
function isLeading(leadership: Leadership | undefined): boolean {
  return leadership?.isHeld() ?? true;
}

function createLink(
  config: Config,
  { timings, outbox, telemetry, credentials, sendHeartbeat, tunnel, vncMessages }:
    & Environment
    & Reporting
    & Pick<StreamComponents, "tunnel" | "vncMessages">
    & { readonly credentials: Credentials; readonly sendHeartbeat: () => void },
): Link {
  const { agentId, platform, region, namespace, heartbeatInterval: intervalMs } = config;
  return new Link({
    addresses: controlPlaneAddresses(config.controlPlaneUrl),
    registration: {
      agentId,
      platform,
      region,
      capacity: capacityOf(config),
      features: [TUNNEL_FEATURE],
      metadata: { namespace, kubernetes: true, templates: [...config.templates.keys()] },
    },
    credentials,
    onUp: (features, socket) => {
      tunnel.onLinkUp(features);
      vncMessages?.onLinkUp(features, socket);
    },
    onDown: () => vncMessages?.onLinkDown(),
    reconnectAttempts: config.reconnectAttempts,
    outbox,
    heartbeat: {
      intervalMs,
      send: (lateMs) => {
        telemetry.beat(lateMs);
        sendHeartbeat();
      },
    },
    timings,
    onState: (state) => telemetry.link(state),
  });
}

function capacityOf({ maxCpu, maxMemory, maxSessions }: Config): Capacity {
  return { maxCpu, maxMemory, maxSessions, cpu: `${maxCpu} cores`, memory: `${maxMemory}Gi` };
}
