// deno-lint-ignore-file no-console -- a command-line program
/**
 * `deno task bench`: compares the agent with the floor in one run on one API server. Prints a table, and fails on no result.
 *
 *     deno task bench [--kubeconfig FILE] [--rounds N] [--output FILE.md]
 *
 * Without a kubeconfig it uses the in-memory API of dev/cluster, whose times differ from those of a real cluster.
 * @module
 */
import { parseArgs } from "@std/cli";
import { buildManifests, type SessionManifests } from "../../lib/manifests/manifests.ts";
import { homeClaimName } from "../../lib/model/names.ts";
import { imageTemplate } from "../../lib/model/template.ts";
import { ApiProxy } from "../faults/api_proxy.ts";
import { SETTINGS } from "../session_settings.ts";
import { connectToApiServer } from "../api_server.ts";
import { KubeconfigFile } from "../kubeconfig_file.ts";
import { Cluster } from "@streamspace/memory-cluster";
import { AgentUnderTest } from "./agent_under_test.ts";
import { measureFailovers } from "./failover.ts";
import { Floor } from "./floor.ts";
import { type Comparison, comparisonCells, markdownTable, median } from "./statistics.ts";

/** A namespace per run, so that leftovers of a failed run do not affect the next. */
const NAMESPACE = `streamspace-bench-${crypto.randomUUID().slice(0, 8)}`;
const BURSTS = [20, 100];

interface Bench {
  readonly floor: Floor;
  readonly agent: AgentUnderTest;
  readonly rounds: number;
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
  await using floor = await Floor.open({ server, client, namespace: NAMESPACE });
  await using agent = await AgentUnderTest.launch({ kubeconfig, namespace: NAMESPACE });
  const idleMb = await agent.memoryMb();
  const bench = { floor, agent, rounds };
  const singles = await compareSingles(bench);
  const bursts: Comparison[] = [];
  let busyMb = NaN;
  for (const size of BURSTS) {
    const { comparison, memoryMb } = await compareBurst(bench, size);
    bursts.push(comparison);
    busyMb = memoryMb;
  }
  const launches = await measureLaunches(kubeconfig);
  const requests = await countRequests(server, client);
  const failovers = await measureFailovers({ kubeconfig, namespace: NAMESPACE, rounds: 3 });
  return [
    markdownTable(
      ["what", "floor", "agent", "ratio", "target"],
      [singles[0], ...bursts, ...singles.slice(1)]
        .filter((row) => row !== undefined).map(comparisonCells),
    ),
    "",
    markdownTable(["figure", "measured", "target"], [
      ["launch to registered", `${Math.round(median(launches))} ms`, ""],
      ["memory idle", `${Math.round(idleMb)} MB`, Deno.env.get("K8S_AGENT") ? "≤ 90 MB" : ""],
      ["memory with 100 sessions", `${Math.round(busyMb)} MB`, ""],
      ["mutating requests per start", String(requests.mutating), "≤ 4"],
      ["reads per start", String(requests.reads), "0"],
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
        floor: () => floor.stop(id),
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
    ...(name === "start" ? { target: 1.25 } : {}),
  }));
}

/** Many concurrent starts, three times each, alternating between floor and agent. */
async function compareBurst(
  { floor, agent }: Bench,
  size: number,
): Promise<{ comparison: Comparison; memoryMb: number }> {
  const floorMs: number[] = [];
  const agentMs: number[] = [];
  let memoryMb = NaN;
  for (let round = 0; round < 3; round += 1) {
    const ids = Array.from({ length: size }, (_, index) => `burst-${size}-${round}-${index}`);
    const manifests = ids.map((id) => manifestsOf(`f-${id}`));
    floorMs.push(await timed(() => Promise.all(manifests.map((one) => floor.start(one)))));
    await Promise.all(ids.map((id) => floor.stop(`f-${id}`)));
    agentMs.push(
      await timed(() => Promise.all(ids.map((id) => agent.command("start_session", startPayload(id))))),
    );
    memoryMb = await agent.memoryMb();
    await Promise.all(ids.map((id) => agent.command("stop_session", { sessionId: id, deletePVC: true })));
  }
  return { comparison: { name: `${size} starts at once`, floorMs, agentMs, target: 1.3 }, memoryMb };
}

async function measureLaunches(kubeconfig: string): Promise<number[]> {
  const launches: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    await using agent = await AgentUnderTest.launch({ kubeconfig, namespace: NAMESPACE });
    launches.push(agent.registeredMs);
  }
  return launches;
}

async function countRequests(
  server: string,
  client: Deno.HttpClient,
): Promise<{ mutating: number; reads: number }> {
  await using proxy = ApiProxy.start({ server, client });
  await using file = await KubeconfigFile.write(proxy.kubeconfig());
  await using agent = await AgentUnderTest.launch({ kubeconfig: file.path, namespace: NAMESPACE });
  // Requests that the agent sends once after its launch are not part of a start.
  await agent.command("start_session", startPayload("first"));
  await agent.command("stop_session", { sessionId: "first", deletePVC: true });
  const before = proxy.requests.length;
  await agent.command("start_session", startPayload("counted"));
  const requests = proxy.requests.slice(before);
  await agent.command("stop_session", { sessionId: "counted", deletePVC: true });
  const reads = requests.filter(({ verb }) => ["get", "list", "watch"].includes(verb));
  return { mutating: requests.length - reads.length, reads: reads.length };
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await work();
  return performance.now() - startedAt;
}

function startPayload(sessionId: string): { sessionId: string } & Record<string, unknown> {
  return {
    sessionId,
    user: "bench",
    template: "firefox",
    persistentHome: true,
    memory: "256Mi",
    cpu: "100m",
  };
}

function manifestsOf(sessionId: string): SessionManifests {
  return buildManifests({
    commandId: "floor",
    startedAt: new Date(),
    request: {
      action: "start_session",
      sessionId,
      user: "floor",
      template: "firefox",
      persistentHome: true,
      memory: "256Mi",
      cpu: "100m",
    },
    template: {
      ...imageTemplate("lscr.io/linuxserver/firefox:latest"),
      defaultResources: { cpu: "100m", memory: "256Mi" },
    },
    settings: { ...SETTINGS, namespace: NAMESPACE },
    homeVolume: {
      claimName: homeClaimName(sessionId),
      owner: "session",
      storageClass: "",
      size: "1Gi",
      accessMode: "ReadWriteOnce",
    },
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
