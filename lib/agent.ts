/**
 * The agent's life: it waits to lead, goes on where an earlier process was, takes commands until it is told to stop, and lets them end.
 * @module
 */
import { deadline, delay } from "@std/async";
import { type Inbound, parseFrame } from "./control_plane/protocol.ts";
import type { Reporter } from "./control_plane/reporter.ts";
import { checkLater } from "./doctor/start_check.ts";
import { LeadershipError, messageOf } from "./common/errors.ts";
import { createLeaseApi } from "./kubernetes/client.ts";
import { loadKubeConfig } from "./kubernetes/kubeconfig.ts";
import { LeaderElection, type Leadership } from "./kubernetes/leader_election.ts";
import { type FollowOptions, followSessions } from "./kubernetes/session_watch.ts";
import { Transport } from "./kubernetes/transport.ts";
import { log } from "./common/log.ts";
import type { Config } from "./cli/options.ts";
import { buildParts, type Parts } from "./wiring.ts";
import { formatDuration } from "./common/quantities.ts";
import type { Dispatcher } from "./commands/dispatcher.ts";
import { leaseName } from "./model/names.ts";
import { DEFAULT_TIMINGS, type Timings } from "./model/timings.ts";
import { HealthServer } from "./telemetry/health_server.ts";
import type { Telemetry } from "./telemetry/telemetry.ts";

/**
 * Runs the agent until `stop` is aborted and running commands are done.
 *
 * @param overrides shorter times, for tests
 * @throws {LinkError} when the Control Plane cannot be reached in the attempts that are configured
 * @throws {LeadershipError} when another replica leads now
 * @throws {ConfigError} when the address for probes cannot be listened at
 */
export async function run(
  config: Config,
  stop: AbortSignal,
  overrides: Partial<Timings> = {},
): Promise<void> {
  const timings = { ...DEFAULT_TIMINGS, ...overrides };
  log.info("Starting agent: {agentId} (platform: {platform}, region: {region})", {
    agentId: config.agentId,
    platform: config.platform,
    region: config.region || "-",
  });
  if (config.proxy) {
    log.info("The way to the Control Plane leads through {proxy}", { proxy: config.proxy.url });
  }
  const ended = new AbortController();
  const stopping = new AbortController();
  stop.addEventListener("abort", () => stopping.abort(), { once: true });
  using parts = buildParts(config, timings);
  const { healthAddr } = config;
  await using _health = healthAddr === "off" ? undefined : new HealthServer(healthAddr, parts.telemetry);
  let following: Promise<void> | undefined;
  try {
    await using leadership = await lead(config, {
      signal: stopping.signal,
      telemetry: parts.telemetry,
      timings,
    });
    const leave = () => {
      // Whoever leads now may be at work on the same sessions: not one more request leaves from here.
      parts.dispatcher.handOver();
      parts.transport[Symbol.dispose]();
      ended.abort();
    };
    leadership?.lost.addEventListener("abort", leave, { once: true });
    if (leadership) {
      parts.transport.guard(() => leadership.isHeld());
      parts.dispatcher.guard(() => leadership.isHeld());
    }
    // Not before: the view of one who stood by might be old, and whoever leads acts on it.
    const { namespace } = config;
    following = follow(parts, { namespace, signal: ended.signal, observer: parts.telemetry.watches });
    void checkLater(parts.transport, config, ended.signal);
    await work(parts, { drainTimeoutMs: config.drainTimeout, timings, stopping, ended });
    if (leadership?.lost.aborted) throw new LeadershipError(messageOf(leadership.lost.reason));
  } catch (error) {
    // Told to stop before it came to lead.
    if (error !== stopping.signal.reason) throw error;
  } finally {
    ended.abort();
    await following;
  }
}

/** Follows all that the agent has to know of the cluster. */
async function follow(
  { transport, cache, catalog, mirror }: Parts,
  options: FollowOptions,
): Promise<void> {
  await Promise.all([
    followSessions({ cache, transport }, options),
    ...[catalog, mirror].map((one) => one.follow(transport, options)),
  ]);
}

/** Takes commands until the link has ended: because the agent was told to stop and is done, or by itself. */
async function work(
  parts: Parts,
  options: { drainTimeoutMs: number; timings: Timings; stopping: AbortController; ended: AbortController },
): Promise<void> {
  const { drainTimeoutMs, timings, stopping, ended } = options;
  const { lateCommandsMs } = timings;
  const drained = drain(parts, {
    stopping: stopping.signal,
    timeoutMs: drainTimeoutMs,
    lateCommandsMs,
    ended,
  });
  const recovered = recover(parts, ended.signal).catch((error) => {
    if (!ended.signal.aborted) throw error;
  });
  try {
    await firstView(recovered, { stopping: stopping.signal, timeoutMs: timings.recoveryMs });
    for await (const frame of parts.link.frames(ended.signal)) receive(frame, { ...parts, stopping });
  } finally {
    ended.abort();
    stopping.abort();
    await Promise.all([drained, recovered]);
    // Also what was begun since the last look at what is at work: nothing holds up the end of the process.
    parts.dispatcher.handOver();
    // With the link's end it has turned out which results arrived.
    await parts.journal.flush(AbortSignal.timeout(timings.journalFlushMs)).catch(() => {});
  }
}

/** Goes on where an earlier process was: with its commands, and with what it told of the sessions. */
async function recover(parts: Parts, signal: AbortSignal): Promise<void> {
  const { journal, cache, dispatcher, monitor, expiry, mirror } = parts;
  const { entries, sessionIds } = await journal.load(signal);
  monitor.expect(sessionIds);
  dispatcher.resume(entries);
  await cache.synced(signal);
  monitor.begin(entries.flatMap(({ request }) => request ? [request.sessionId] : []));
  expiry.begin();
  mirror.begin(signal);
}

/** Waits to be the one replica that works; without leader election there is nothing to wait for. */
async function lead(
  config: Config,
  { signal, telemetry, timings }: { signal: AbortSignal; telemetry: Telemetry; timings: Timings },
): Promise<Leadership | undefined> {
  if (!config.leaderElection) return undefined;
  // A connection of its own: a renewal never queues behind the requests of sessions.
  const transport = new Transport(
    () => loadKubeConfig(config.kubeconfig),
    (record) => telemetry.request(record),
  );
  const election = new LeaderElection({
    leases: createLeaseApi(transport, config.namespace),
    name: leaseName(config.agentId),
    identity: config.podName || Deno.hostname(),
    timing: timings,
    onTurn: (standing) => telemetry.vitals.turned(standing),
  });
  try {
    const leadership = await election.acquire(signal);
    const dispose = async () => {
      await leadership[Symbol.asyncDispose]();
      transport[Symbol.dispose]();
    };
    return { lost: leadership.lost, isHeld: () => leadership.isHeld(), [Symbol.asyncDispose]: dispose };
  } catch (error) {
    transport[Symbol.dispose]();
    throw error;
  }
}

/** Once told to stop: refuses new commands, says so, lets running ones end, and then ends the link. */
async function drain(
  { dispatcher, outbox, beat }: Parts,
  options: { stopping: AbortSignal; timeoutMs: number; lateCommandsMs: number; ended: AbortController },
): Promise<void> {
  const { stopping, timeoutMs, lateCommandsMs, ended } = options;
  if (!stopping.aborted) {
    await new Promise((resolve) => stopping.addEventListener("abort", resolve, { once: true }));
  }
  // Where the link has ended by itself there is nobody left to wait for.
  const patienceMs = ended.signal.aborted ? 0 : timeoutMs;
  if (patienceMs > 0) {
    log.info("Stopping: no new commands, running ones get {timeout}", {
      timeout: formatDuration(patienceMs),
    });
  }
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), patienceMs);
  const done = dispatcher.drain(timeout.signal);
  beat();
  // Commands that were on their way meanwhile are refused in words, and not left without an answer.
  if (patienceMs > 0) await delay(lateCommandsMs);
  await done;
  // What the Control Plane is to know leaves first, if a link comes up in time.
  if (!ended.signal.aborted) await outbox.empty(timeout.signal).catch(() => {});
  outbox.repeatNow();
  clearTimeout(timer);
  ended.abort();
}

async function firstView(
  recovered: Promise<void>,
  { stopping, timeoutMs }: { stopping: AbortSignal; timeoutMs: number },
): Promise<void> {
  try {
    await deadline(recovered, timeoutMs, { signal: stopping });
  } catch {
    if (!stopping.aborted) {
      log.warn("The sessions in the cluster are not known yet: commands wait until they are");
    }
  }
}

/** Where messages go. */
interface Receivers {
  readonly dispatcher: Dispatcher;
  readonly reporter: Reporter;
  readonly telemetry: Telemetry;
  /** Aborted when the Control Plane asks the agent to stop. */
  readonly stopping: AbortController;
}

function receive(frame: string | Uint8Array, receivers: Receivers): void {
  if (typeof frame !== "string") {
    receivers.telemetry.ignored("binary");
    log.warn("A binary frame of {bytes} bytes was ignored", { bytes: frame.length });
    return;
  }
  for (const message of parseFrame(frame)) handle(message, receivers);
}

function handle(message: Inbound, { dispatcher, reporter, telemetry, stopping }: Receivers): void {
  if (message.type === "unknown" || message.type === "malformed") telemetry.ignored(message.type);
  switch (message.type) {
    case "command":
      return dispatcher.receive(message.command);
    case "ping":
      return reporter.pong();
    case "shutdown":
      log.info("The Control Plane asks this agent to stop: {reason}", { reason: message.reason });
      return stopping.abort();
    case "unknown":
      return log.debug("A message of type {type} was ignored", { type: message.name });
    case "malformed":
      return log.warn("A message was ignored because {problem}: {excerpt}", {
        problem: message.problem,
        excerpt: message.excerpt,
      });
  }
}
