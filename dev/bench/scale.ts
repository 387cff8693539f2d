// deno-lint-ignore-file no-console -- a command-line program
/**
 * `deno task bench-scale`: measures an agent with many existing sessions, of which 10 % are running: its memory, its CPU while idle, the longest
 * time that its event loop was blocked, starts beside them, restarts and failovers.
 *
 *     deno task bench-scale --kubeconfig FILE [--sessions 100,1000,5000]
 *
 * @module
 */
import { delay } from "@std/async";
import { parseArgs } from "@std/cli";
import { AgentProcess } from "../agent_process.ts";
import { connectToApiServer } from "../api_server.ts";
import { ControlPlane } from "../control_plane/control_plane.ts";
import { processMemory } from "../process_memory.ts";
import { createSessions, manifestsOf, type Target } from "./existing_sessions.ts";
import { measureFailovers } from "./failover.ts";
import { Floor } from "./floor.ts";
import { markdownTable, median } from "./statistics.ts";

const AGENT_ID = "bench-scale";
/** Time for the cluster's controllers to finish with the created sessions, in milliseconds. */
const CONTROLLERS_MS = 30_000;
const SETTLE_MS = 20_000;
const IDLE_MS = 60_000;
const STARTS = 15;
/** Interval at which memory and responsiveness are sampled, in milliseconds. */
const SAMPLE_MS = 50;
/** Time after a restart within which statuses are counted, in milliseconds. */
const REPEATS_MS = 8000;
/** `/proc/PID/stat` counts CPU time in units of 1/100 s. */
const TICKS_PER_SECOND = 100;

/** Samples a process until it is stopped. */
class Sampler {
  /** Most anonymous memory. */
  peakMb = 0;
  /** Longest time until the health server responded, in milliseconds. */
  blockedMs = 0;
  readonly #process: AgentProcess;
  #stopping = new AbortController();
  #sampled: Promise<void> = Promise.resolve();

  constructor(process: AgentProcess) {
    this.#process = process;
  }

  start(): void {
    this.#stopping = new AbortController();
    this.#sampled = this.#sample(this.#stopping.signal);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#sampled;
  }

  async #sample(signal: AbortSignal): Promise<void> {
    const line = await this.#process.line(/Health and metrics at/);
    const url = `${line.slice(line.indexOf("http://"))}/healthz`;
    while (!signal.aborted) {
      const startedAt = performance.now();
      await (await fetch(url)).text();
      this.blockedMs = Math.max(this.blockedMs, performance.now() - startedAt);
      const { anonymousMb } = await processMemory(this.#process.pid);
      this.peakMb = Math.max(this.peakMb, anonymousMb);
      await delay(SAMPLE_MS);
    }
  }
}

interface Run {
  readonly target: Target;
  readonly kubeconfig: string;
  readonly controlPlane: ControlPlane;
  /** Running sessions. */
  readonly running: number;
}

async function main(): Promise<void> {
  const flags = parseArgs(Deno.args, { string: ["kubeconfig", "sessions"] });
  const kubeconfig = String(flags.kubeconfig ?? Deno.env.get("KUBECONFIG") ?? "");
  const { server, client } = await connectToApiServer(kubeconfig);
  await AgentProcess.prepare();
  const columns: Array<Record<string, string>> = [];
  for (const count of String(flags.sessions ?? "100,1000,5000").split(",").map(Number)) {
    const namespace = `streamspace-scale-${count}-${crypto.randomUUID().slice(0, 6)}`;
    const target = { server, client, namespace, agentId: AGENT_ID };
    const body = { metadata: { name: namespace } };
    const response = await fetch(`${server}/api/v1/namespaces`, {
      method: "POST",
      client,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    await response.text();
    console.error(`Creating ${count} sessions`);
    const running = await createSessions(target, count);
    await delay(CONTROLLERS_MS);
    await using controlPlane = ControlPlane.start();
    const column = await measure({ target, kubeconfig, controlPlane, running });
    columns.push({ sessions: `${count}, ${running} running`, ...column });
    const [first = {}] = columns;
    const names = Object.keys(first);
    const rows = names.slice(1).map((name) => [name, ...columns.map((one) => one[name] ?? "")]);
    console.log(`\n${markdownTable(["", ...columns.map((one) => one.sessions ?? "")], rows)}`);
  }
  client.close();
}

async function measure(run: Run): Promise<Record<string, string>> {
  const { target, kubeconfig, controlPlane, running } = run;
  const first = await launch(run);
  await delay(SETTLE_MS);
  // Sampling would be most of the CPU time.
  await first.sampler.stop();
  const before = await cpuSeconds(first.process.pid);
  await delay(IDLE_MS);
  const idleCpu = (await cpuSeconds(first.process.pid) - before) / (IDLE_MS / 1000);
  first.sampler.start();
  const { anonymousMb: settledMb } = await processMemory(first.process.pid);
  const starts = await compareStarts(run);
  await kill(first);
  // Messages of the starts may not have arrived for the agent, so that it repeats these.
  const measured = new Set(starts.ids);
  const messages = controlPlane.messages.length;
  const second = await launch(run);
  await delay(REPEATS_MS);
  const repeated = controlPlane.messages.slice(messages).filter(({ message: { type, payload } }) =>
    type === "status" && !measured.has(String(payload.sessionId))
  );
  await kill(second);
  const failovers = await measureFailovers({
    kubeconfig,
    namespace: target.namespace,
    agentId: AGENT_ID,
    rounds: 1,
  });
  const ms = (value: number) => `${Math.round(value)} ms`;
  const mb = (value: number) => `${Math.round(value)} MB`;
  return {
    "launch to link": ms(first.linkMs),
    "launch to number of sessions": ms(first.knownMs),
    "anonymous memory, peak": mb(Math.max(first.sampler.peakMb, second.sampler.peakMb)),
    "anonymous memory, settled": mb(settledMb),
    "CPU, idle": `${(100 * idleCpu).toFixed(2)} %`,
    "event loop blocked at most": ms(Math.max(first.sampler.blockedMs, second.sampler.blockedMs)),
    "one start, p50 (floor)": `${ms(median(starts.agentMs))} (${ms(median(starts.floorMs))})`,
    "one start, p99 (floor)": `${ms(Math.max(...starts.agentMs))} (${ms(Math.max(...starts.floorMs))})`,
    "restart after SIGKILL: link / number": `${ms(second.linkMs)} / ${ms(second.knownMs)}`,
    "restart: statuses repeated": String(repeated.length),
    "failover after SIGTERM": ms(Math.max(...failovers.cleanMs)),
    "failover after SIGKILL": ms(Math.max(...failovers.killedMs)),
    "running": String(running),
  };
}

interface Launched {
  readonly process: AgentProcess;
  readonly linkMs: number;
  readonly knownMs: number;
  readonly sampler: Sampler;
}

/** Launches an agent and waits until it reports the true number of sessions. */
async function launch({ target, kubeconfig, controlPlane, running }: Run): Promise<Launched> {
  const position = controlPlane.messages.length;
  const startedAt = performance.now();
  const process = await AgentProcess.start({
    args: [
      `--agent-id=${AGENT_ID}`,
      `--control-plane-url=${controlPlane.url}`,
      `--kubeconfig=${kubeconfig}`,
      `--namespace=${target.namespace}`,
      "--storage-size=1Gi",
      "--max-sessions=100000",
      "--max-cpu=100000",
      "--max-memory=100000",
      "--health-addr=127.0.0.1:0",
    ],
  });
  const sampler = new Sampler(process);
  sampler.start();
  await process.line(/WebSocket connected/);
  const linkMs = performance.now() - startedAt;
  let index = 0;
  await controlPlane.waitFor(({ type, payload }) => {
    index += 1;
    // Starts of earlier measurements run, too.
    return index > position && type === "heartbeat" && Number(payload.activeSessions) >= running;
  });
  return { process, linkMs, knownMs: performance.now() - startedAt, sampler };
}

async function kill({ process, sampler }: Launched): Promise<void> {
  await sampler.stop();
  process.kill("SIGKILL");
  await process.exit();
}

/** CPU time of a process so far. */
async function cpuSeconds(pid: number): Promise<number> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
  const [user = "0", system = "0"] = stat.slice(stat.lastIndexOf(")")).split(" ").slice(12, 14);
  return (Number(user) + Number(system)) / TICKS_PER_SECOND;
}

async function compareStarts(
  { target, controlPlane }: Run,
): Promise<{ agentMs: number[]; floorMs: number[]; ids: string[] }> {
  const [agentMs, floorMs, ids]: [number[], number[], string[]] = [[], [], []];
  await using floor = await Floor.open(target, ["pods"]);
  for (let round = 0; round <= STARTS; round += 1) {
    const sessionId = `measured-${round}`;
    const floorId = `floor-${round}`;
    ids.push(sessionId);
    const floorTime = await timed(() => floor.start(manifestsOf({ ...target, agentId: "floor" }, floorId)));
    const payload = { sessionId, user: "bench", template: "firefox", persistentHome: true };
    const agentTime = await timed(async () => {
      const started = controlPlane.waitFor(({ type, payload }) =>
        type === "status" && payload.sessionId === sessionId && payload.state === "running"
      );
      controlPlane.command(AGENT_ID, { action: "start_session", sessionId, payload });
      await started;
    });
    if (round > 0) (agentMs.push(agentTime), floorMs.push(floorTime));
  }
  return { agentMs, floorMs, ids };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

if (import.meta.main) await main();
