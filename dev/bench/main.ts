// deno-lint-ignore-file no-console -- a command-line program
/**
 * `deno task bench`: compares the agent with the floor in one run on one API server. Prints a table, and fails on no result.
 *
 *     deno task bench [--kubeconfig FILE] [--rounds N] [--output FILE.md]
 *
 * Without a kubeconfig it uses the in-memory API of dev/cluster, whose times differ from those of a real cluster.
 * @module
 */
import { delay } from "@std/async";
import { parseArgs } from "@std/cli";
import { buildManifests, type SessionManifests } from "../../lib/manifests/manifests.ts";
import { homeClaimName } from "../../lib/model/names.ts";
import { imageTemplate } from "../../lib/model/template.ts";
import { SETTINGS } from "../session_settings.ts";
import { connectToApiServer } from "../api_server.ts";
import { KubeconfigFile } from "../kubeconfig_file.ts";
import { Cluster } from "@streamspace/memory-cluster";
import { AgentUnderTest, type RequestCounts } from "./agent_under_test.ts";
import { measureFailovers } from "./failover.ts";
import { Floor } from "./floor.ts";
import { type Comparison, comparisonCells, markdownTable, median } from "./statistics.ts";

/** A namespace per run, so that leftovers of a failed run do not affect the next. */
const NAMESPACE = `streamspace-bench-${crypto.randomUUID().slice(0, 8)}`;
const BURSTS = [1, 20, 100];
/** Rounds of the largest burst, which vary less than the others. */
const LARGEST_ROUNDS = 5;
/** Time for what follows starts and stops: requests of the journal, and deletions by the garbage collector, in milliseconds. */
const SETTLE_MS = 2000;

interface Bench {
  readonly floor: Floor;
  readonly agent: AgentUnderTest;
  readonly rounds: number;
}

/** Concurrent starts of the floor and of the agent. */
interface Burst {
  readonly comparison: Comparison;
  readonly memoryMb: number;
  /** Requests of the agent per start. */
  readonly requests: RequestCounts;
}

async function main(): Promise<void> {
  const flags = parseArgs(Deno.args, {
    string: ["kubeconfig", "rounds", "output"],
    unknown: (argument) => {
      console.error(
        `${argument} is unknown\nUsage: deno task bench [--kubeconfig FILE] [--rounds N] [--output FILE.md]`,
      );
      Deno.exit(2);
    },
  });
  const given = String(flags.kubeconfig ?? Deno.env.get("KUBECONFIG") ?? "");
  await using memory = given === "" ? Cluster.start() : undefined;
  await using file = memory && await KubeconfigFile.write(memory.kubeconfig());
  const kubeconfig = file?.path ?? given;
  const { server, client } = await connectToApiServer(kubeconfig);
  await changeNamespace("POST", { server, client });
  const report = await measure({ kubeconfig, server, client, rounds: Number(flags.rounds ?? 15) });
  const title = `API server: ${memory ? "in memory" : "from kubeconfig"}; agent: ${
    Deno.env.get("K8S_AGENT") ? "executable" : "source"
  }`;
  console.log(`\n${title}\n\n${report}`);
  if (typeof flags.output === "string") {
    await Deno.writeTextFile(flags.output, `# Benchmark\n\n${title}\n\n${report}\n`);
  }
  await changeNamespace("DELETE", { server, client });
  client.close();
}

async function measure(
  target: { kubeconfig: string; server: string; client: Deno.HttpClient; rounds: number },
): Promise<string> {
  const { kubeconfig, server, client, rounds } = target;
  const api = { server, client, namespace: NAMESPACE };
  await using floor = await Floor.open(api, ["pods", "deployments"]);
  await using leastFloor = await Floor.open(api, ["pods"]);
  await using agent = await AgentUnderTest.launch({ kubeconfig, namespace: NAMESPACE });
  const idleMb = await agent.memoryMb();
  const singles = await compareSingles({ floor, agent, rounds });
  const bursts: Burst[] = [];
  for (const size of BURSTS) bursts.push(await compareBurst({ floor: leastFloor, agent, rounds }, size));
  const launches = await measureLaunches(kubeconfig);
  const failovers = await measureFailovers({ kubeconfig, namespace: NAMESPACE, rounds: 3 });
  return [
    "Without home volumes, where the floor sends two requests per start and watches the pods:",
    "",
    markdownTable(
      ["what", "floor", "agent", "ratio", "target", "writes per start", "reads per start"],
      bursts.map(({ comparison, requests }) => [
        ...comparisonCells(comparison),
        requests.mutating.toFixed(2),
        requests.reads.toFixed(2),
      ]),
    ),
    "",
    "The life of a session with a home volume, where the floor sends the same requests for its objects as the agent:",
    "",
    markdownTable(["what", "floor", "agent", "ratio", "target"], singles.map(comparisonCells)),
    "",
    markdownTable(["figure", "measured", "target"], [
      ["launch to registered", `${Math.round(median(launches))} ms`, ""],
      ["memory idle", `${Math.round(idleMb)} MB`, Deno.env.get("K8S_AGENT") ? "≤ 90 MB" : ""],
      ["memory with 100 sessions", `${Math.round(bursts.at(-1)?.memoryMb ?? NaN)} MB`, ""],
      ["failover after SIGTERM", `${seconds(Math.max(...failovers.cleanMs))} at most`, "< 3 s"],
      ["failover after SIGKILL", `${seconds(Math.max(...failovers.killedMs))} at most`, "< 17 s"],
    ]),
  ].join("\n");
}

/** The whole life of one session at a time, alternating between floor and agent. */
async function compareSingles({ floor, agent, rounds }: Bench): Promise<Comparison[]> {
  const names = ["start", "hibernate", "wake", "stop"] as const;
  const floorMs: Record<string, number[]> = {};
  const agentMs: Record<string, number[]> = {};
  for (let round = 0; round <= rounds; round += 1) {
    const id = `floor-${round}`;
    const manifests = manifestsOf(id);
    const payload = (sessionId: string) => ({ sessionId });
    const own = `agent-${round}`;
    const steps: Record<string, { floor: () => Promise<void>; agent: () => Promise<void> }> = {
      start: {
        floor: () => floor.start(manifests),
        agent: () => agent.command("start_session", startPayload(own)),
      },
      hibernate: {
        floor: () => floor.hibernate(id),
        agent: () => agent.command("hibernate_session", payload(own)),
      },
      wake: { floor: () => floor.wake(id), agent: () => agent.command("wake_session", payload(own)) },
      stop: {
        floor: () => floor.stop(manifests),
        agent: () => agent.command("stop_session", { sessionId: own, deletePVC: true }),
      },
    };
    for (const name of names) {
      const [floorTime, agentTime] = [await timed(steps[name]!.floor), await timed(steps[name]!.agent)];
      // The first round only warms up connections and code.
      if (round > 0) (floorMs[name] ??= []).push(floorTime), (agentMs[name] ??= []).push(agentTime);
    }
  }
  return names.map((name) => ({
    name: `one ${name}`,
    floorMs: floorMs[name] ?? [],
    agentMs: agentMs[name] ?? [],
  }));
}

/** Concurrent starts of sessions without home volumes, several times, alternating between floor and agent. */
async function compareBurst({ floor, agent, rounds }: Bench, size: number): Promise<Burst> {
  const floorMs: number[] = [];
  const agentMs: number[] = [];
  const requests = { mutating: 0, reads: 0 };
  let memoryMb = NaN;
  const count = size === Math.max(...BURSTS) ? LARGEST_ROUNDS : rounds;
  for (let round = 0; round < count; round += 1) {
    const ids = Array.from({ length: size }, (_, index) => `burst-${size}-${round}-${index}`);
    const manifests = ids.map((id) => manifestsOf(`f-${id}`, { persistentHome: false }));
    floorMs.push(await timed(() => Promise.all(manifests.map((one) => floor.start(one)))));
    await Promise.all(manifests.map((one) => floor.stop(one)));
    // The cluster deletes what belongs to Deployments after they are gone: neither side may pay for the other.
    await delay(SETTLE_MS);
    const before = await agent.requests();
    const payloads = ids.map((id) => startPayload(id, { persistentHome: false }));
    agentMs.push(await timed(() => Promise.all(payloads.map((one) => agent.command("start_session", one)))));
    memoryMb = await agent.memoryMb();
    await delay(SETTLE_MS);
    const after = await agent.requests();
    requests.mutating += (after.mutating - before.mutating) / (size * count);
    requests.reads += (after.reads - before.reads) / (size * count);
    await Promise.all(ids.map((id) => agent.command("stop_session", { sessionId: id, deletePVC: true })));
    await delay(SETTLE_MS);
  }
  const name = size === 1 ? "one start" : `${size} starts at once`;
  return { comparison: { name, floorMs, agentMs, target: 1.3 }, memoryMb, requests };
}

async function measureLaunches(kubeconfig: string): Promise<number[]> {
  const launches: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    await using agent = await AgentUnderTest.launch({ kubeconfig, namespace: NAMESPACE });
    launches.push(agent.registeredMs);
  }
  return launches;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

function startPayload(
  sessionId: string,
  { persistentHome = true } = {},
): { sessionId: string } & Record<string, unknown> {
  return {
    sessionId,
    user: "bench",
    template: "firefox",
    persistentHome,
    memory: "256Mi",
    cpu: "100m",
  };
}

function manifestsOf(sessionId: string, { persistentHome = true } = {}): SessionManifests {
  return buildManifests({
    commandId: "floor",
    startedAt: new Date(),
    request: {
      action: "start_session",
      sessionId,
      user: "floor",
      template: "firefox",
      persistentHome,
      memory: "256Mi",
      cpu: "100m",
    },
    template: {
      ...imageTemplate("lscr.io/linuxserver/firefox:latest"),
      defaultResources: { cpu: "100m", memory: "256Mi" },
    },
    settings: { ...SETTINGS, namespace: NAMESPACE },
    homeVolume: persistentHome
      ? {
        claimName: homeClaimName(sessionId),
        owner: "session",
        storageClass: "",
        size: "1Gi",
        accessMode: "ReadWriteOnce",
      }
      : undefined,
  });
}

async function changeNamespace(
  method: "POST" | "DELETE",
  { server, client }: { server: string; client: Deno.HttpClient },
): Promise<void> {
  const path = method === "POST" ? "" : `/${NAMESPACE}`;
  const body = method === "POST"
    ? JSON.stringify({ apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } })
    : null;
  const headers = { "Content-Type": "application/json" };
  const response = await fetch(`${server}/api/v1/namespaces${path}`, { method, headers, body, client });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} of namespace ${NAMESPACE}: ${text}`);
}

if (import.meta.main) await main();
