// deno-lint-ignore-file no-console -- a command-line program
/**
 * `deno task bench-streams`: compares the ways from a viewer to a pod in one run. The pods, the relays, each agent, and the viewers with their
 * Control Planes are processes of their own on one machine.
 *
 *     deno task bench-streams [--rounds N]
 *
 * @module
 */
import { delay } from "@std/async";
import { parseArgs } from "@std/cli";
import { AgentProcess } from "../agent_process.ts";
import { ControlPlane } from "../control_plane/control_plane.ts";
import type { Quirk } from "../control_plane/quirks.ts";
import { KubeconfigFile } from "../kubeconfig_file.ts";
import { OutputLines } from "../output_lines.ts";
import { processMemory } from "../process_memory.ts";
import { markdownTable, median } from "./statistics.ts";
import {
  type BenchAgent,
  type BenchStream,
  type Path,
  tcpPath,
  tunnelPath,
  vncMessagesPath,
  webSocketPath,
} from "./stream_paths.ts";
import { ECHO, SOURCE, STALLED } from "./stream_server.ts";

const SESSIONS = ["s1", "s2"];
/** Throughput is measured for this long, after a start that does not count. */
const WARM_UP_MS = 300;
const THROUGHPUT_MS = 1500;
const MANY = 20;
const ROUND_TRIPS = 300;
const IDLE_STREAMS = 1000;
/** More than the windows and the buffers of the network hold. */
const BUSY_BYTES = 64 * 1024 * 1024;
const HEARTBEAT_MS = 1000;
const HEARTBEATS = 5;
const ACKS = 30;
/** Time after which memory is measured, so that garbage is collected. */
const SETTLE_MS = 3000;

/** The measured values of one path, by name. */
type Figures = Record<string, number[]>;

async function main(): Promise<void> {
  const rounds = Number(parseArgs(Deno.args, { string: ["rounds"] }).rounds ?? 3);
  await using stack = new AsyncDisposableStack();
  const paths = await openPaths(stack);
  const figures = new Map(paths.map((path): [string, Figures] => [path.name, {}]));
  const add = (path: Path, name: string, value: number) => {
    const own = figures.get(path.name) ?? {};
    (own[name] ??= []).push(value);
  };
  for (const path of paths) {
    // Before the heaps of the agents grow.
    for (const [name, value] of await memory(path)) add(path, name, value);
  }
  for (let round = 0; round < rounds; round += 1) {
    for (const path of paths) {
      add(path, "one", await throughput(path, 1));
      if (path.hasManyStreams) add(path, "many", await throughput(path, MANY));
      for (const ms of await roundTrips(path)) add(path, "alone", ms);
      const saturating = await saturate(path, 1);
      for (const ms of await roundTrips(path, path.hasManyStreams ? "s1" : "s2")) add(path, "beside", ms);
      saturating.stop();
    }
  }
  for (const path of paths) {
    if (path.agent) {
      for (const [name, value] of await delays(path, path.agent)) add(path, name, value);
    }
  }
  const reference = median(figures.get("WebSocket hop")?.one ?? []);
  const cells = ({ name }: Path) => {
    const own = figures.get(name) ?? {};
    const value = (key: string, digits = 0) => own[key] ? median(own[key]).toFixed(digits) : "";
    return [
      name,
      value("one"),
      own.one ? `${Math.round(median(own.one) / reference * 100)} %` : "",
      value("many"),
      latency(own.alone),
      latency(own.beside),
      value("idle"),
      value("busy"),
      value("heartbeat"),
      own.ackAlone ? `${value("ackAlone", 1)} → ${value("ackBeside", 1)}` : "",
    ];
  };
  const header = [
    "",
    "1 stream, MB/s",
    "of the hop",
    `${MANY} streams, MB/s`,
    "round trip p50 / p99, ms",
    "beside a saturating stream",
    "idle, KiB",
    "busy, KiB",
    "heartbeat late, ms",
    "ack, ms",
  ];
  console.log(`\n${markdownTable(header, paths.map(cells))}\n
Targets: tunnel by direct dial ≥ 70 % of the WebSocket hop; round trip beside a saturating stream p99 ≤ 10 ms; idle stream
≤ 96 KiB; heartbeats and acks delayed by ≤ 50 ms beside ${MANY} saturating streams.`);
}

async function openPaths(stack: AsyncDisposableStack): Promise<Path[]> {
  const { kubeconfig } = await start(stack, ["cluster"]);
  const file = stack.use(await KubeconfigFile.write(String(kubeconfig)));
  const launch = (name: string, args: readonly string[], quirks: Quirk[] = []) =>
    launchAgent(stack, { id: name, kubeconfig: file.path, args, quirks });
  const direct = await launch("direct", ["--stream-dial=direct"]);
  const forward = await launch("forward", ["--stream-dial=port-forward"]);
  const messages = await launch("messages", ["--stream-dial=direct", "--vnc-messages"], ["no-tunnel"]);
  const podIP = String(await startSessions(direct));
  await startSessions(forward);
  await startSessions(messages);
  const tcp = await start(stack, ["tcp-relay", podIP, "3000"]);
  const webSocket = await start(stack, ["websocket-relay", podIP, "3000"]);
  return [
    tcpPath(Number(tcp.port)),
    webSocketPath(Number(webSocket.port)),
    tunnelPath("tunnel, direct", direct),
    tunnelPath("tunnel, port-forward", forward),
    vncMessagesPath(messages),
  ];
}

/** Starts a process of `stream_server.ts`, and returns what it prints. */
async function start(
  stack: AsyncDisposableStack,
  args: readonly string[],
): Promise<Readonly<Record<string, unknown>>> {
  const program = new URL("stream_server.ts", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-P=dev", "--quiet", program, ...args],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  stack.defer(async () => {
    await child.stdin.close();
    await child.status;
  });
  const lines = new OutputLines();
  void (async () => {
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      for (const line of text.split("\n")) lines.push(line);
    }
  })();
  return JSON.parse(await lines.find(/^\{/));
}

async function launchAgent(
  stack: AsyncDisposableStack,
  { id, kubeconfig, args, quirks }: {
    id: string;
    kubeconfig: string;
    args: readonly string[];
    quirks: Quirk[];
  },
): Promise<BenchAgent> {
  const controlPlane = stack.use(ControlPlane.start({ quirks }));
  await AgentProcess.prepare();
  const process = stack.use(
    await AgentProcess.start({
      args: [
        `--agent-id=${id}`,
        `--control-plane-url=${controlPlane.url}`,
        `--kubeconfig=${kubeconfig}`,
        `--heartbeat-interval=${HEARTBEAT_MS}ms`,
        "--max-streams=2000",
        "--max-session-streams=2000",
        ...args,
      ],
    }),
  );
  await controlPlane.waitFor(({ type }) => type === "heartbeat");
  return { id, process, controlPlane };
}

/** Starts the sessions of an agent, and returns the address of the first one's pod. */
async function startSessions({ id, controlPlane }: BenchAgent): Promise<unknown> {
  const results = await Promise.all(SESSIONS.map(async (name) => {
    const payload = {
      sessionId: sessionOf(id, name),
      user: "bench",
      template: "firefox",
      persistentHome: false,
      memory: "256Mi",
      cpu: "100m",
    };
    const { sessionId } = payload;
    const { payload: { result } } = await controlPlane.result(
      controlPlane.command(id, { action: "start_session", sessionId, payload }),
    );
    return (result as { podIP: string }).podIP;
  }));
  return results[0];
}

function sessionOf(agentId: string, name: string): string {
  return `${agentId}-${name}`;
}

async function openStream(path: Path, first: number, session = "s1"): Promise<BenchStream> {
  const stream = await path.open(path.agent ? sessionOf(path.agent.id, session) : session);
  await stream.write(Uint8Array.of(first));
  return stream;
}

/** MB/s of so many streams together. */
async function throughput(path: Path, count: number): Promise<number> {
  const streams = await saturate(path, count);
  await delay(WARM_UP_MS);
  const before = streams.bytes();
  const startedAt = performance.now();
  await delay(THROUGHPUT_MS);
  const seconds = (performance.now() - startedAt) / 1000;
  const bytes = streams.bytes() - before;
  streams.stop();
  return bytes / seconds / 1e6;
}

/** Streams whose pods send as fast as they can. */
async function saturate(path: Path, count: number): Promise<{ bytes(): number; stop(): void }> {
  const streams = await Promise.all(Array.from({ length: count }, () => openStream(path, SOURCE)));
  let bytes = 0;
  let isStopped = false;
  for (const stream of streams) {
    void (async () => {
      while (!isStopped) {
        const { length } = await stream.read();
        bytes += length;
      }
    })().catch(() => {});
  }
  return {
    bytes: () => bytes,
    stop: () => {
      isStopped = true;
      for (const stream of streams) stream[Symbol.dispose]();
    },
  };
}

/** Times of single bytes to the pod and back, in milliseconds. */
async function roundTrips(path: Path, session?: string): Promise<number[]> {
  using stream = await openStream(path, ECHO, session);
  const times: number[] = [];
  for (let i = 0; i < ROUND_TRIPS; i += 1) {
    const startedAt = performance.now();
    await stream.write(Uint8Array.of(i % 256));
    await stream.read();
    times.push(performance.now() - startedAt);
    // A person does not type faster.
    await delay(1);
  }
  return times;
}

/** What saturating streams cost commands and heartbeats. */
async function delays(path: Path, agent: BenchAgent): Promise<Array<[string, number]>> {
  const ackAlone = await ackMs(agent);
  const streams = await saturate(path, path.hasManyStreams ? MANY : 1);
  const heartbeat = heartbeatDelay(agent);
  const ackBeside = await ackMs(agent);
  const late = await heartbeat;
  streams.stop();
  return [["ackAlone", ackAlone], ["ackBeside", ackBeside], ["heartbeat", late]];
}

/** Memory of the agent per stream, in KiB. */
async function memory(path: Path): Promise<Array<[string, number]>> {
  const { agent } = path;
  if (!agent || !path.hasManyStreams) return [];
  const figures: Array<[string, number]> = [];
  // The pods of busy streams read nothing, so that their windows fill up.
  for (const [name, count, first] of [["idle", IDLE_STREAMS, ECHO], ["busy", MANY, STALLED]] as const) {
    await delay(SETTLE_MS);
    const before = await processMemory(agent.process.pid);
    const streams = await openAll(path, count, first);
    if (name === "busy") {
      for (const stream of streams) void stream.write(new Uint8Array(BUSY_BYTES)).catch(() => {});
    }
    await delay(SETTLE_MS);
    const after = await processMemory(agent.process.pid);
    figures.push([name, (after.anonymousMb - before.anonymousMb) * 1024 / count]);
    for (const stream of streams) stream[Symbol.dispose]();
  }
  return figures;
}

async function openAll(path: Path, count: number, first: number): Promise<BenchStream[]> {
  const streams: BenchStream[] = [];
  for (let i = 0; i < count; i += 1) streams.push(await openStream(path, first));
  return streams;
}

/** Longest delay of a heartbeat, in milliseconds. */
async function heartbeatDelay({ controlPlane }: BenchAgent): Promise<number> {
  let last = Infinity;
  let longest = 0;
  let count = 0;
  const seen = controlPlane.messages.length;
  let position = 0;
  await controlPlane.waitFor(({ type }) => {
    position += 1;
    if (position <= seen || type !== "heartbeat") return false;
    const now = performance.now();
    longest = Math.max(longest, now - last - HEARTBEAT_MS);
    last = now;
    count += 1;
    return count > HEARTBEATS;
  });
  return longest;
}

/** Longest time from a command to its ack, in milliseconds. The command does nothing. */
async function ackMs({ id, controlPlane }: BenchAgent): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < ACKS; i += 1) {
    const startedAt = performance.now();
    const sessionId = `nobody-${i}`;
    const commandId = controlPlane.command(id, {
      action: "hibernate_session",
      sessionId,
      payload: { sessionId },
    });
    await controlPlane.waitFor(({ type, payload }) => type === "ack" && payload.commandId === commandId);
    times.push(performance.now() - startedAt);
  }
  return Math.max(...times);
}

function latency(times: readonly number[] = []): string {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) => (sorted[Math.floor(sorted.length * share)] ?? NaN).toFixed(1);
  return `${at(0.5)} / ${at(0.99)}`;
}

if (import.meta.main) await main();
