// deno-lint-ignore-file no-console -- a command-line program
/**
 * `deno task dev`: starts a cluster, the Control Plane and the agent in one command, and prints the address of the page. The pods of the cluster in
 * memory have a small desktop.
 *
 *     deno task dev [--port PORT] [--open] [--kubeconfig FILE] [-- AGENT_FLAG…]
 * @module
 */
import { KubernetesObjectApi } from "@kubernetes/client-node";
import { parseArgs } from "@std/cli";
import { Cluster } from "@streamspace/memory-cluster";
import { clientNodeConfig, ensureNamespace } from "./api_server.ts";
import { AgentProcess } from "./agent_process.ts";
import { ControlPlane } from "./control_plane/control_plane.ts";
import { servePodDesktop } from "./desktop/pod_desktops.ts";
import { KubeconfigFile } from "./kubeconfig_file.ts";

const AGENT_ID = "k8s-dev-local";
const NAMESPACE = "streamspace";
const USAGE = `Usage: deno task dev [--port PORT] [--open] [--kubeconfig FILE] [-- AGENT_FLAG…]

  --port PORT         port of the page (default 8000, 0 for a free one)
  --open              open the page in the browser
  --kubeconfig FILE   use this cluster and the namespace streamspace, which is created if necessary, instead of a cluster in memory
  -- AGENT_FLAG…      flags of the agent, such as --log-level=debug; deno task start --help lists them`;

/** The program that opens an address in the browser, by operating system. */
const OPENERS: Readonly<Record<string, readonly [string, ...string[]]>> = {
  darwin: ["open"],
  windows: ["cmd", "/c", "start"],
};

interface Flags {
  readonly port: number;
  readonly open: boolean;
  readonly kubeconfig: string;
  readonly agentFlags: readonly string[];
}

async function main(): Promise<number> {
  const unknown: string[] = [];
  const end = Deno.args.indexOf("--");
  const [args, agentFlags] = end < 0 ? [Deno.args, []] : [Deno.args.slice(0, end), Deno.args.slice(end + 1)];
  const flags = parseArgs(args, {
    string: ["port", "kubeconfig"],
    boolean: ["open", "help"],
    unknown: (argument) => unknown.push(argument),
  });
  const port = String(flags.port ?? "8000");
  if (unknown.length > 0 || !/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    console.error(
      `Unknown: ${[...unknown, ...(unknown.length > 0 ? [] : [`--port ${port}`])].join(" ")}\n${USAGE}`,
    );
    return 2;
  }
  if (flags.help) {
    console.log(USAGE);
    return 0;
  }
  try {
    return await serve({
      port: Number(port),
      open: Boolean(flags.open),
      kubeconfig: String(flags.kubeconfig ?? ""),
      agentFlags,
    });
  } catch (error) {
    const reason = error instanceof Deno.errors.AddrInUse
      ? `port ${port} is in use: choose another one with --port`
      : error instanceof Error
      ? error.message
      : String(error);
    console.error(`Cannot start: ${reason}`);
    return 1;
  }
}

/** Runs everything until SIGINT or SIGTERM, or until the agent ends. */
async function serve({ port, open, kubeconfig, agentFlags }: Flags): Promise<number> {
  const stopped = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, stopped.resolve);
  await using controlPlane = ControlPlane.start({ port });
  await using memory = kubeconfig === "" ? Cluster.start({ servePod: servePodDesktop }) : undefined;
  await using file = memory && await KubeconfigFile.write(memory.kubeconfig());
  if (!memory) {
    await ensureNamespace(KubernetesObjectApi.makeApiClient(clientNodeConfig(kubeconfig)), NAMESPACE);
  }
  await using agent = await AgentProcess.start({
    args: [
      `--agent-id=${AGENT_ID}`,
      `--control-plane-url=${controlPlane.url}`,
      `--kubeconfig=${file?.path ?? kubeconfig}`,
      // The addresses of pods in memory are on this machine.
      ...(memory ? ["--stream-dial=direct"] : []),
      ...agentFlags,
    ],
    onLine: (line) => console.log(line),
  });
  const ended = agent.exit();
  // The line does not come if the agent ends before it.
  const isUp = await agent.line(/Starting heartbeat sender/).then(() => true, () => false);
  if (!isUp) return await ended;
  const url = controlPlane.url.replace("127.0.0.1", "localhost");
  console.log(`\nStreamSpace runs at ${url}/ (Ctrl+C stops it)\n`);
  if (open) openBrowser(`${url}/`);
  await Promise.race([stopped.promise, ended]);
  agent.stop();
  return await ended;
}

function openBrowser(url: string): void {
  const [program, ...args] = OPENERS[Deno.build.os] ?? ["xdg-open"];
  try {
    new Deno.Command(program, { args: [...args, url], stdout: "null", stderr: "null" }).spawn().unref();
  } catch {
    console.log(`No browser can be opened: visit ${url}`);
  }
}

if (import.meta.main) Deno.exit(await main());
