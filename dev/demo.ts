// deno-lint-ignore-file no-console -- a command-line program
/**
 * `deno task demo`: starts a Control Plane, a Kubernetes API and the agent, and sends the documented HTTP requests to start, hibernate, wake and
 * stop a session. Exits with code 0 only if every step succeeds.
 *
 *     deno task demo [--kubeconfig FILE]
 *
 * Uses the Kubernetes API in memory unless the flag or `KUBECONFIG` names a kubeconfig.
 * @module
 */
import { KubernetesObjectApi } from "@kubernetes/client-node";
import { abortable } from "@std/async";
import { parseArgs } from "@std/cli";
import { Cluster } from "@streamspace/memory-cluster";
import { clientNodeConfig, ensureNamespace } from "./api_server.ts";
import { AgentProcess } from "./agent_process.ts";
import { ControlPlane } from "./control_plane/control_plane.ts";
import { servePodDesktop } from "./desktop/pod_desktops.ts";
import { RFB_GREETING } from "./desktop/rfb_server.ts";
import { KubeconfigFile } from "./kubeconfig_file.ts";

const AGENT_ID = "k8s-demo";
const NAMESPACE = "streamspace";
const SESSION_ID = "demo-firefox";
/** Timeout of a step: much longer than a step takes, and ends the demo if the cluster does not work. */
const STEP_TIMEOUT_MS = 120_000;

/** The response of `GET /api/v1/commands/{id}`. */
interface CommandRecord {
  readonly status: string;
  readonly result?: Readonly<Record<string, unknown>>;
  readonly error?: string;
}

async function main(): Promise<number> {
  const unknown: string[] = [];
  const flags = parseArgs(Deno.args, {
    string: ["kubeconfig"],
    unknown: (argument) => unknown.push(argument),
  });
  if (unknown.length > 0) {
    console.error(`Unknown: ${unknown.join(" ")}\nUsage: deno task demo [--kubeconfig FILE]`);
    return 2;
  }
  const kubeconfig = String(flags.kubeconfig ?? Deno.env.get("KUBECONFIG") ?? "");
  try {
    await runDemo(kubeconfig);
    print("Every step succeeded");
    return 0;
  } catch (error) {
    print(`The demo failed: ${error instanceof Error ? error.message : error}`);
    return 1;
  }
}

async function runDemo(kubeconfigPath: string): Promise<void> {
  await using memory = kubeconfigPath === "" ? Cluster.start({ servePod: servePodDesktop }) : undefined;
  await using file = memory && await KubeconfigFile.write(memory.kubeconfig());
  const kubeconfig = file?.path ?? kubeconfigPath;
  print(
    memory ? `A Kubernetes API in memory listens at ${memory.url}` : `Using the cluster of ${kubeconfigPath}`,
  );
  const objects = KubernetesObjectApi.makeApiClient(clientNodeConfig(kubeconfig));
  if (!memory && await ensureNamespace(objects, NAMESPACE)) print(`Namespace ${NAMESPACE} was created`);
  await using controlPlane = ControlPlane.start();
  print(`A Control Plane listens at ${controlPlane.url}`);
  await using agent = await AgentProcess.start({
    args: [
      `--agent-id=${AGENT_ID}`,
      `--control-plane-url=${controlPlane.url}`,
      `--kubeconfig=${kubeconfig}`,
      // The addresses of pods in memory are on this machine.
      ...(memory ? ["--stream-dial=direct"] : []),
    ],
    onLine: (line) => console.log(`         ${line.replace(/^\S+ (?=\[)/, "")}`),
  });
  await agent.line(/Starting heartbeat sender/);
  print("The agent is registered and connected");

  const step = (action: string, payload: Readonly<Record<string, unknown>> = {}) =>
    takeStep(controlPlane.url, { action, payload: { sessionId: SESSION_ID, ...payload } });
  await runSession(step, {
    objects,
    // The pods of other clusters may serve anything.
    whileRunning: memory ? () => checkDisplay(controlPlane) : () => Promise.resolve(),
  });

  agent.kill("SIGTERM");
  if (await agent.exit() !== 0) throw new Error("the agent did not stop cleanly");
  print("The agent has stopped");
}

/** Takes one session through its whole life, and checks its objects after each step. */
async function runSession(
  step: (action: string, payload?: Readonly<Record<string, unknown>>) => Promise<void>,
  { objects, whileRunning }: { objects: KubernetesObjectApi; whileRunning: () => Promise<void> },
): Promise<void> {
  const show = async (expected: readonly string[]) => expectObjects(await objectsOf(objects), expected);
  await step("start_session", {
    user: "alice",
    template: "firefox",
    persistentHome: true,
    memory: "2Gi",
    cpu: "1000m",
  });
  await show(["1 Deployment", "1 Pod", "1 Service", "1 PersistentVolumeClaim"]);
  await whileRunning();
  await step("hibernate_session");
  await show(["1 Deployment", "0 Pod", "1 Service", "1 PersistentVolumeClaim"]);
  await step("wake_session");
  await show(["1 Deployment", "1 Pod", "1 Service", "1 PersistentVolumeClaim"]);
  await step("stop_session", { deletePVC: true });
  await show(["0 Deployment", "0 Pod", "0 Service", "0 PersistentVolumeClaim"]);
}

/** Opens a stream to the session's display, and checks that a desktop answers. */
async function checkDisplay({ tunnels }: ControlPlane): Promise<void> {
  const signal = AbortSignal.timeout(STEP_TIMEOUT_MS);
  await tunnels.waitFor(AGENT_ID, signal);
  const { stream } = await tunnels.open(AGENT_ID, { sessionId: SESSION_ID }, signal);
  const greeting = new TextDecoder().decode(await abortable(stream.read(), signal));
  stream.reset("cancelled", "the greeting is known");
  if (greeting !== RFB_GREETING) throw new Error(`the display greets with ${JSON.stringify(greeting)}`);
  print(`A stream reaches the display, which greets with ${greeting.trim()}`);
}

/** Sends a command with the documented request and waits for its result. */
async function takeStep(
  url: string,
  command: { action: string; payload: Record<string, unknown> },
): Promise<void> {
  const { action, payload } = command;
  const startedAt = performance.now();
  print(`POST /api/v1/agents/${AGENT_ID}/command ${action} ${payload.sessionId}`);
  const answer = await fetch(`${url}/api/v1/agents/${AGENT_ID}/command`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ action, sessionId: payload.sessionId, payload }),
  });
  const { commandId } = await answer.json();
  const record = await waitForResult(`${url}/api/v1/commands/${commandId}`);
  if (record.status !== "completed") throw new Error(record.error ?? `${action} is ${record.status}`);
  const { state, podName } = record.result ?? {};
  const took = Math.round(performance.now() - startedAt);
  print(`${action} completed after ${took} ms: ${state}${podName ? ` in pod ${podName}` : ""}`);
}

/** Polls the command: the API has no way to wait for its result. */
async function waitForResult(url: string): Promise<CommandRecord> {
  const signal = AbortSignal.timeout(STEP_TIMEOUT_MS);
  while (true) {
    const record: CommandRecord = await (await fetch(url, { signal })).json();
    if (record.status === "completed" || record.status === "failed") return record;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function objectsOf(objects: KubernetesObjectApi): Promise<string[]> {
  const kinds = [["apps/v1", "Deployment"], ["v1", "Pod"], ["v1", "Service"], [
    "v1",
    "PersistentVolumeClaim",
  ]] as const;
  return await Promise.all(kinds.map(async ([apiVersion, kind]) => {
    const { items } = await objects.list(
      apiVersion,
      kind,
      NAMESPACE,
      undefined,
      undefined,
      undefined,
      undefined,
      `session=${SESSION_ID}`,
    );
    return `${items.length} ${kind}`;
  }));
}

function expectObjects(actual: readonly string[], expected: readonly string[]): void {
  print(`In the cluster: ${actual.join(", ")}`);
  if (actual.join() !== expected.join()) throw new Error(`the cluster should contain ${expected.join(", ")}`);
}

function print(line: string): void {
  // performance.now() is the time since the start of the program.
  const seconds = (performance.now() / 1000).toFixed(2);
  console.log(`${seconds.padStart(6)}s  ${line}`);
}

if (import.meta.main) Deno.exitCode = await main();
