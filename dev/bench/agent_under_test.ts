/**
 * The agent of the benchmark: a separate process that receives commands from a Control Plane in this process.
 * @module
 */
import { processMemory } from "../process_memory.ts";
import { AgentProcess } from "../agent_process.ts";
import { ControlPlane } from "../control_plane/control_plane.ts";

/** The agent id. */
export const AGENT_ID = "bench";

/** The state in which each command leaves its session. */
const FINAL_STATES = {
  start_session: "running",
  hibernate_session: "hibernated",
  wake_session: "running",
  stop_session: "terminated",
} as const;

/** Requests to the Kubernetes API. */
export interface RequestCounts {
  readonly mutating: number;
  readonly reads: number;
}

/** The agent's counter of requests, in the text format of Prometheus. */
const REQUESTS = /^k8s_agent_api_requests_total\{verb="(\w+)",.*\} (\d+)$/gm;
const READS = ["get", "list", "watch"];

/** A running agent and its Control Plane. */
export class AgentUnderTest implements AsyncDisposable {
  /** What receives its messages. */
  readonly controlPlane: ControlPlane;
  readonly #process: AgentProcess;
  /** Time from the launch of the process to its registration, in milliseconds. */
  readonly registeredMs: number;

  private constructor(parts: { controlPlane: ControlPlane; process: AgentProcess; registeredMs: number }) {
    this.controlPlane = parts.controlPlane;
    this.#process = parts.process;
    this.registeredMs = parts.registeredMs;
  }

  /** Launches an agent and waits until it is connected. */
  static async launch(options: { kubeconfig: string; namespace: string }): Promise<AgentUnderTest> {
    const controlPlane = ControlPlane.start();
    await AgentProcess.prepare();
    const launchedAt = Date.now();
    const process = await AgentProcess.start({
      args: [
        `--agent-id=${AGENT_ID}`,
        `--control-plane-url=${controlPlane.url}`,
        `--kubeconfig=${options.kubeconfig}`,
        `--namespace=${options.namespace}`,
        "--storage-size=1Gi",
        "--health-addr=127.0.0.1:0",
      ],
    });
    const started = controlPlane.waitFor((message) => message.type === "heartbeat");
    const ended = process.exit().then(() =>
      Promise.reject(new Error(`The agent exited before it connected:\n${process.output.join("\n")}`))
    );
    await Promise.race([started, ended]);
    ended.catch(() => {});
    const registeredMs = (controlPlane.registrations[0]?.at ?? NaN) - launchedAt;
    return new AgentUnderTest({ controlPlane, process, registeredMs });
  }

  /** Sends a command and waits until the session is reported in its final state: the agent holds fast results for a moment, but no status. */
  async command(
    action: keyof typeof FINAL_STATES,
    payload: { sessionId: string } & Record<string, unknown>,
  ): Promise<void> {
    const { sessionId } = payload;
    const before = this.controlPlane.messages.length;
    const commandId = this.controlPlane.command(AGENT_ID, { action, sessionId, payload });
    let position = 0;
    const reported = this.controlPlane.waitFor((message) => {
      position += 1;
      return position > before && message.type === "status" && message.payload.sessionId === sessionId &&
        message.payload.state === FINAL_STATES[action];
    });
    const completed = this.controlPlane.result(commandId).then(async ({ type, payload: { error } }) => {
      if (type === "failed") throw new Error(String(error));
      await reported;
    });
    // Whichever does not come first may fail when the Control Plane is closed.
    for (const promise of [reported, completed]) promise.catch(() => {});
    await Promise.race([reported, completed]);
  }

  /** Resident memory of the process, in MB. */
  async memoryMb(): Promise<number> {
    return (await processMemory(this.#process.pid)).residentMb;
  }

  /** Requests of the agent to the Kubernetes API so far. */
  async requests(): Promise<RequestCounts> {
    const line = await this.#process.line(/Health and metrics at/);
    const response = await fetch(`${line.slice(line.indexOf("http://"))}/metrics`);
    const counts = [...(await response.text()).matchAll(REQUESTS)]
      .map(([, verb = "", count]) => ({ isRead: READS.includes(verb), count: Number(count) }));
    const sum = (isRead: boolean) =>
      counts.filter((one) => one.isRead === isRead).reduce((total, { count }) => total + count, 0);
    return { mutating: sum(false), reads: sum(true) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGTERM");
    await this.#process.exit();
    await this.controlPlane[Symbol.asyncDispose]();
  }
}
