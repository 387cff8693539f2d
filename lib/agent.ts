/**
 * The life of the agent's process: it becomes the leader, recovers the state of the previous process, handles the frames of the link until it is
 * stopped, and shuts down gracefully. What the components are and how they are connected is in `wiring.ts`.
 * @module
 */
import { delay } from "@std/async";
import { type AnonymousError, KubeconfigError, LeadershipError, messageOf } from "./common/errors.ts";
import { log } from "./common/log.ts";
import { formatDuration } from "./common/quantities.ts";
import type { Config } from "./cli/options.ts";
import { checkAtStartup } from "./doctor/doctor.ts";
import { createElection, rejectRunningAgents } from "./election.ts";
import { type FollowOptions, followSessions } from "./kubernetes/session_watch.ts";
import { DEFAULT_TIMINGS, type Timings } from "./model/timings.ts";
import { awaitRecovery, recover } from "./recovery.ts";
import { HealthServer } from "./telemetry/health.ts";
import { Telemetry } from "./telemetry/telemetry.ts";
import { type Components, createComponents, type Environment } from "./wiring.ts";

/** The phases of the process, as signals. */
interface Lifetime {
  /** Aborted when the operating system or the Control Plane requests a shutdown, and when the link has ended. */
  readonly stopping: AbortSignal;
  /** Aborted to end the link and the watches. */
  readonly ended: AbortController;
  readonly timings: Timings;
}

interface LeadOptions extends Omit<Environment, "onShutdown"> {
  readonly stop: AbortSignal;
  /** Aborted with an error if Kubernetes ignores the agent's credentials. */
  readonly rejected: AbortSignal;
}

/**
 * Runs the agent until `stop` is aborted and running commands are done.
 *
 * @param overrides shorter times, for tests
 * @throws {LinkError} when the configured number of attempts to reach the Control Plane is used up
 * @throws {LeadershipError} when this replica lost leadership
 * @throws {ConfigError} when the agent cannot listen on the health address that is set
 * @throws {KubeconfigError} when the credentials for Kubernetes cannot be used
 */
export async function run(
  config: Config,
  stop: AbortSignal,
  overrides: Partial<Timings> = {},
): Promise<void> {
  log.info("Starting agent: {agentId} (platform: {platform}, region: {region})", {
    agentId: config.agentId,
    platform: config.platform,
    region: config.region || "-",
  });
  if (config.proxy) {
    log.info("Connecting to the Control Plane via proxy {proxy}", { proxy: config.proxy.url });
  }
  const timings = { ...DEFAULT_TIMINGS, ...overrides };
  const telemetry = new Telemetry(config);
  const health = { address: config.healthAddr, isRequired: config.isHealthAddrSet };
  await using _health = HealthServer.start(health, telemetry);
  const rejected = new AbortController();
  const onAnonymous = (error: AnonymousError) => rejected.abort(new KubeconfigError(error.message));
  await elect(config, { timings, telemetry, onAnonymous, rejected: rejected.signal, stop });
}

/** Works as soon as this replica is the leader, which it always is without leader election. */
async function elect(config: Config, options: LeadOptions): Promise<void> {
  if (!config.leaderElection) await rejectRunningAgents(config);
  if (!config.leaderElection) return await lead(config, options);
  const { stop, rejected } = options;
  using election = createElection(config, options);
  try {
    await using leadership = await election.acquire(AbortSignal.any([stop, rejected]));
    await lead(config, { ...options, leadership });
  } catch (error) {
    // A standby replica that is stopped has nothing to finish.
    if (error !== stop.reason) throw error;
  }
}

/** Works as the leader, or as the only replica. Nothing is watched before: a standby replica's cache could be stale when it takes over. */
async function lead(
  config: Config,
  { stop, rejected, ...environment }: LeadOptions,
): Promise<void> {
  const { telemetry, leadership, timings } = environment;
  const shutdown = new AbortController();
  const ended = new AbortController();
  const stopping = AbortSignal.any([stop, shutdown.signal, ended.signal]);
  using components = createComponents(config, { ...environment, onShutdown: () => shutdown.abort() });
  const { dispatcher, transport } = components;
  const abandon = () => {
    // The next leader may be working on the same sessions: this process must not send another request.
    dispatcher.handOver();
    transport[Symbol.dispose]();
    ended.abort();
  };
  for (const signal of [leadership?.lost, rejected]) {
    signal?.addEventListener("abort", abandon, { once: true });
  }
  const { namespace, drainTimeout } = config;
  const following = follow(components, {
    namespace,
    signal: ended.signal,
    observer: telemetry.watches,
    timings,
  });
  void checkAtStartup(transport, config, { signal: ended.signal, delayMs: timings.startupChecksDelayMs });
  try {
    await handleFrames(components, { stopping, ended, timings, drainTimeoutMs: drainTimeout });
    rejected.throwIfAborted();
    if (leadership?.lost.aborted) throw new LeadershipError(messageOf(leadership.lost.reason));
  } finally {
    ended.abort();
    await following;
  }
}

/** Watches the objects of sessions, Templates and Sessions. */
async function follow(
  { transport, cache, templateObjects, sessionObjects }: Components,
  options: FollowOptions,
): Promise<void> {
  await Promise.all([
    followSessions({ cache, transport }, options),
    templateObjects.follow(transport, options),
    sessionObjects.follow(transport, options),
  ]);
}

/** Handles the frames of the link until it ends, then waits until all work has stopped. */
async function handleFrames(
  components: Components,
  options: Lifetime & { readonly drainTimeoutMs: number },
): Promise<void> {
  const { stopping, ended, timings } = options;
  const { link, router, dispatcher, journal } = components;
  const drained = drain(components, options);
  const tunnelled = components.tunnel.run(ended.signal);
  const recovered = recover(components, ended.signal).catch((error) => {
    if (!ended.signal.aborted) throw error;
  });
  try {
    // The link need not wait for the recovery, but its frames do.
    const isRecovered = awaitRecovery(recovered, { stopping, timeoutMs: timings.recoveryMs })
      .then(() => components.sendHeartbeat());
    for await (const frame of link.frames(ended.signal)) {
      await isRecovered;
      router.receive(frame);
    }
  } finally {
    ended.abort();
    await Promise.all([drained, recovered, tunnelled]);
    // Also cancels what started after the drain's last check: nothing may delay the end of the process.
    dispatcher.handOver();
    // The end of the link has determined which results were delivered.
    await journal.flush(AbortSignal.timeout(timings.journalFlushMs)).catch(() => {});
  }
}

/** Waits for the shutdown; then leaves new commands to the next process, waits for running ones, sends the waiting messages and ends the link. */
async function drain(
  { dispatcher, outbox, tunnel, sendHeartbeat }: Components,
  { stopping, ended, timings, drainTimeoutMs }: Lifetime & { readonly drainTimeoutMs: number },
): Promise<void> {
  await aborted(stopping);
  // If the link has already ended, no result can be sent any more.
  const timeoutMs = ended.signal.aborted ? 0 : drainTimeoutMs;
  if (timeoutMs > 0) {
    log.info("Stopping: no new commands, running ones get {timeout}", { timeout: formatDuration(timeoutMs) });
  }
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), timeoutMs);
  tunnel.drain();
  const done = dispatcher.drain(timeout.signal);
  sendHeartbeat();
  // Commands in transit are recorded for the next process instead of being lost.
  if (timeoutMs > 0) await delay(timings.lateCommandsMs);
  await done;
  // Send results and statuses before the end, if the link is up in time.
  if (!ended.signal.aborted) await outbox.empty(timeout.signal).catch(() => {});
  await outbox.released();
  await dispatcher.recorded(timeout.signal).catch(() => {});
  clearTimeout(timer);
  ended.abort();
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}
