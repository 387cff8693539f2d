/**
 * Builds all parts of the agent, back to front: each is given only those that stand behind it in the flow. The only file that knows them all.
 *
 *     Control Plane ──frames──> link ──messages──> dispatcher ──requests──> operations ──calls──> Kubernetes
 *           ^                                           │                        │                    │ watch
 *           └──────────── outbox <──── reporter <───────┴──── results, states ───┘ <──── cache <──────┘
 *
 * @module
 */
import { controlPlaneAddresses } from "./control_plane/addresses.ts";
import { Credentials } from "./control_plane/credentials.ts";
import { runHeartbeat } from "./control_plane/heartbeat.ts";
import type { KeyStore } from "./control_plane/issued_key.ts";
import { Link } from "./control_plane/link.ts";
import { Outbox } from "./control_plane/outbox.ts";
import type { Capacity } from "./control_plane/protocol.ts";
import { Reporter } from "./control_plane/reporter.ts";
import { createSessionClient } from "./kubernetes/client.ts";
import { loadKubeConfig } from "./kubernetes/kubeconfig.ts";
import { CustomCollection } from "./kubernetes/custom_collection.ts";
import { createCustomObjectApi } from "./kubernetes/custom_objects.ts";
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
import { Mirror } from "./status/mirror.ts";
import { Monitor } from "./status/monitor.ts";
import { labelValue } from "./model/names.ts";
import type { Timings } from "./model/timings.ts";
import { SessionOperations } from "./sessions/operations.ts";
import { AnnotationRecorder } from "./status/annotations.ts";
import { Telemetry } from "./telemetry/telemetry.ts";
import type { ScaleRequest, StopRequest } from "./model/requests.ts";

/** What the agent consists of. */
export interface Parts extends Disposable {
  readonly telemetry: Telemetry;
  readonly transport: Transport;
  readonly cache: SessionCache;
  /** The Template objects of the cluster. */
  readonly catalog: CustomCollection;
  readonly journal: Journal;
  readonly outbox: Outbox;
  readonly reporter: Reporter;
  readonly dispatcher: Dispatcher;
  readonly monitor: Monitor;
  readonly expiry: Expiry;
  readonly mirror: Mirror;
  readonly link: Link;
  readonly beat: () => void;
}

/** Builds the parts; dispose them when the agent has ended. */
export function buildParts(config: Config, timings: Timings): Parts {
  using disposables = new DisposableStack();
  const telemetry = new Telemetry(config);
  const transport = disposables.use(
    new Transport(() => loadKubeConfig(config.kubeconfig), (record) => telemetry.request(record)),
  );
  const agentLabel = labelValue(config.agentId);
  const { namespace } = config;
  const cache = new SessionCache(agentLabel);
  const catalog = new CustomCollection({ resource: "templates" });
  const journal = disposables.use(
    new Journal({
      store: createJournalStore(transport, namespace),
      prefix: agentLabel,
      sessionIds: () => reporter.sessionIds(),
      patienceMs: config.leaderElection ? Infinity : timings.journalWriteMs,
    }),
  );
  const outbox = disposables.use(new Outbox((commandIds) => journal.forget(commandIds)));
  const reporter = new Reporter(outbox);
  const client = createSessionClient(transport, namespace);
  const recorder = new AnnotationRecorder(client, cache);
  const capacity = new SessionCapacity(cache, config);
  const operations = new SessionOperations({
    client,
    cache,
    catalog,
    recorder,
    capacity,
    maxConcurrentStarts: config.maxConcurrentStarts,
    settings: config,
    templates: { cluster: catalog, table: config.templates, rules: config },
    startTimeoutMs: config.startTimeout,
    onStatus: (status) => void reporter.status(status),
  });
  const onIdle = (sessionId: string) => monitor.look(sessionId);
  const dispatcher = new Dispatcher({
    recordedOutcome: (sessionId, commandId) => operations.recordedOutcome(sessionId, commandId),
    run: (request, context) =>
      telemetry.commands.within(context.commandId, () => operations.run(request, context)),
  }, { journal, reporter, limits: config, cancelMs: timings.cancelMs, onIdle, observer: telemetry.commands });
  const monitor = disposables.use(
    new Monitor({
      cache,
      reporter,
      isBusy: (sessionId) => dispatcher.isBusy(sessionId),
      remember: (status) => recorder.recordStatus(status),
    }),
  );
  const end = (sessionId: string) => {
    const request = endRequest(sessionId, config.maxDurationAction);
    return dispatcher.insert(request, async (signal) => {
      const status = await operations.expire(request, signal);
      if (status && !signal.aborted) monitor.tell(status);
    });
  };
  const expiry = disposables.use(new Expiry({ cache, end }));
  const sessionApi = createCustomObjectApi(transport, { namespace, resource: "sessions" });
  const mirror = new Mirror({ cache, reporter, api: sessionApi });
  cache.listen((sessionId) => telemetry.commands.look(sessionId, () => cache.session(sessionId)));
  telemetry.ask({ dispatcher, outbox, journal, reporter, capacity });
  const beat = () => {
    const activeSessions = cache.activeSessions();
    reporter.heartbeat({
      isDraining: dispatcher.isDraining,
      activeSessions,
      capacity: { ...capacityOf(config), ...capacity.usage() },
    });
  };
  const keys = createIssuedKeyStore(transport, { namespace, agent: agentLabel });
  const link = createLink(config, { outbox, keys, beat, telemetry });
  const built = disposables.move();
  return {
    telemetry,
    transport,
    cache,
    catalog,
    journal,
    outbox,
    reporter,
    dispatcher,
    monitor,
    expiry,
    mirror,
    link,
    beat,
    [Symbol.dispose]: () => built.dispose(),
  };
}

/** What ends a run: as the Control Plane would ask for it, so that the home stays. */
function endRequest(sessionId: string, action: Config["maxDurationAction"]): StopRequest | ScaleRequest {
  return action === "stop"
    ? { action: "stop_session", sessionId, deletePVC: false }
    : { action: "hibernate_session", sessionId };
}

function createLink(
  config: Config,
  { outbox, keys, beat, telemetry }: {
    outbox: Outbox;
    keys: KeyStore;
    beat: () => void;
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
    credentials: new Credentials(config, keys),
    reconnectAttempts: config.reconnectAttempts,
    outbox,
    onUp: (signal) => {
      log.info("Starting heartbeat sender (interval: {interval})", { interval: formatDuration(intervalMs) });
      const beatNow = (lateMs: number) => {
        telemetry.beat(lateMs);
        beat();
      };
      void runHeartbeat(beatNow, { intervalMs, signal });
    },
    onState: (state) => telemetry.link(state),
  });
}

function capacityOf(config: Config): Capacity {
  const { maxCpu, maxMemory, maxSessions } = config;
  return { maxCpu, maxMemory, maxSessions, cpu: `${maxCpu} cores`, memory: `${maxMemory}Gi` };
}
