/**
 * The environment of a run: a cluster with a new namespace, a Control Plane, and two replicas of the agent.
 * @module
 */
import { connectToApiServer } from "../api_server.ts";
import { KubeconfigFile } from "../kubeconfig_file.ts";
import { Cluster } from "@streamspace/memory-cluster";
import { ControlPlane } from "../control_plane/control_plane.ts";
import { serveEcho } from "../desktop/echo_pod.ts";
import { Administrator } from "./administrator.ts";
import { ApiServerProcess } from "./api_server.ts";
import type { Role } from "./event.ts";
import { Logbook } from "./logbook.ts";
import { TEMPLATES } from "./planned_commands.ts";
import { Replica } from "./replica.ts";

/** Agent id of both replicas. */
export const AGENT_ID = "k8s-chaos";

/** Options of a stage. */
export interface StageOptions {
  /** Path of a kubeconfig; empty for the API in memory. */
  readonly kubeconfig: string;
  readonly apiServerPid: number | undefined;
  readonly onEvent: (line: string) => void;
}

/** The running environment; disposing it stops everything. */
export class Stage implements AsyncDisposable {
  readonly administrator: Administrator;
  readonly controlPlane: ControlPlane;
  readonly logbook: Logbook;
  readonly replicas: readonly Replica[];
  readonly apiServer: ApiServerProcess | undefined;
  readonly #parts: AsyncDisposableStack;

  private constructor(
    parts: Pick<Stage, "administrator" | "controlPlane" | "logbook" | "replicas" | "apiServer">,
    stack: AsyncDisposableStack,
  ) {
    this.administrator = parts.administrator;
    this.controlPlane = parts.controlPlane;
    this.logbook = parts.logbook;
    this.replicas = parts.replicas;
    this.apiServer = parts.apiServer;
    this.#parts = stack;
  }

  /** Starts everything, and waits until the agent is connected. */
  static async set(options: StageOptions, signal: AbortSignal): Promise<Stage> {
    await using stack = new AsyncDisposableStack();
    const kubeconfig = options.kubeconfig || await memoryCluster(stack);
    const administrator = stack.use(await Administrator.open(kubeconfig));
    options.onEvent(`The namespace is ${administrator.namespace}`);
    const apiServer = options.apiServerPid === undefined
      ? undefined
      : stack.use(new ApiServerProcess(options.apiServerPid));
    const controlPlane = stack.use(ControlPlane.start());
    const logbook = new Logbook();
    const target = await connectToApiServer(kubeconfig);
    stack.defer(() => target.client.close());
    const replicas: Replica[] = [];
    for (const name of ["a", "b"]) {
      const replica = await Replica.start({
        name,
        args: agentArgs(administrator.namespace),
        controlPlaneUrl: controlPlane.url,
        apiServer: target,
        logbook,
        onEvent: options.onEvent,
      });
      replicas.push(stack.use(replica));
    }
    await controlPlane.waitForConnection(AGENT_ID, { signal });
    return new Stage({ administrator, controlPlane, logbook, replicas, apiServer }, stack.move());
  }

  /** The replica with a role, if any. */
  find(role: Role): Replica | undefined {
    return this.replicas.find((replica) => replica.isLeading === (role === "leader"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.disposeAsync();
  }
}

function agentArgs(namespace: string): string[] {
  return [
    `--agent-id=${AGENT_ID}`,
    `--namespace=${namespace}`,
    `--templates=${JSON.stringify(TEMPLATES)}`,
    "--storage-size=1Gi",
    "--leader-election",
    "--ingress-namespaces=chaos-clients",
    "--reconnect-attempts=0",
    "--start-timeout=40s",
    "--drain-timeout=10s",
    "--stream-dial=direct",
  ];
}

/** Starts an in-memory cluster and returns the path of its kubeconfig. */
async function memoryCluster(stack: AsyncDisposableStack): Promise<string> {
  const cluster = stack.use(Cluster.start({ servePod: serveEcho }));
  return stack.use(await KubeconfigFile.write(cluster.kubeconfig())).path;
}
