// deno-lint-ignore-file no-console -- a command-line program
/**
 * The agent of the benchmark: a separate process that receives commands from a Control Plane in this process.
 * @module
 */
import { AgentProcess } from "../agent_process.ts";
import { ControlPlane } from "../control_plane/control_plane.ts";

const AGENT_ID = "bench";

/** A running agent and its Control Plane. */
export class AgentUnderTest implements AsyncDisposable {
  readonly #controlPlane: ControlPlane;
  readonly #process: AgentProcess;
  /** Time from the launch of the process to its registration, in milliseconds. */
  readonly registeredMs: number;

  private constructor(parts: { controlPlane: ControlPlane; process: AgentProcess; registeredMs: number }) {
    this.#controlPlane = parts.controlPlane;
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
        "--log-level=warn",
      ],
      onLine: (line) => console.error(line),
    });
    const started = controlPlane.waitFor((message) => message.type === "heartbeat");
    const ended = process.exit().then(() =>
      Promise.reject(new Error("The agent exited before it connected"))
    );
    await Promise.race([started, ended]);
    ended.catch(() => {});
    const registeredMs = (controlPlane.registrations[0]?.at ?? NaN) - launchedAt;
    return new AgentUnderTest({ controlPlane, process, registeredMs });
  }

  /** Sends a command and waits for its `complete` message. */
  async command(action: string, payload: { sessionId: string } & Record<string, unknown>): Promise<void> {
    const commandId = this.#controlPlane.command(AGENT_ID, { action, sessionId: payload.sessionId, payload });
    const result = await this.#controlPlane.result(commandId);
    if (result.type === "failed") throw new Error(String(result.payload.error));
  }

  /** Resident memory of the process, in MB. */
  async memoryMb(): Promise<number> {
    const status = await Deno.readTextFile(`/proc/${this.#process.pid}/status`);
    return Number(/VmRSS:\s*(\d+) kB/.exec(status)?.[1]) / 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGTERM");
    await this.#process.exit();
    await this.#controlPlane[Symbol.asyncDispose]();
  }
}
