/**
 * One replica of the agent, which is launched again when it ends, as Kubernetes would, and its own ways to the Control Plane and to the API
 * server, on which faults can be made.
 * @module
 */
import { delay } from "@std/async";
import { AgentProcess } from "../agent_process.ts";
import { ApiProxy } from "../faults/api_proxy.ts";
import { TcpProxy } from "../faults/tcp_proxy.ts";
import { type AgentRun, isLeading, type Logbook, readLine } from "./logbook.ts";

/** What a replica needs. */
export interface ReplicaOptions {
  /** Also its name in the election. */
  readonly name: string;
  /** The same for all replicas. */
  readonly args: readonly string[];
  readonly controlPlaneUrl: string;
  readonly apiServer: { readonly server: string; readonly client: Deno.HttpClient };
  readonly logbook: Logbook;
  /** Told when a process begins, ends or comes to lead. */
  readonly onEvent: (line: string) => void;
}

/** How soon an agent that ended is launched again, in milliseconds. */
const RELAUNCH_MS = 1000;

/** Runs until it is disposed. */
export class Replica implements AsyncDisposable {
  readonly name: string;
  readonly link: TcpProxy;
  readonly api: ApiProxy;
  readonly apiWay: TcpProxy;
  readonly #options: ReplicaOptions;
  readonly #kubeconfig: string;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #current: { run: AgentRun; process: AgentProcess; isWanted: boolean } | undefined;

  private constructor(
    options: ReplicaOptions,
    ways: { link: TcpProxy; api: ApiProxy; apiWay: TcpProxy; kubeconfig: string },
  ) {
    this.name = options.name;
    this.#options = options;
    this.link = ways.link;
    this.api = ways.api;
    this.apiWay = ways.apiWay;
    this.#kubeconfig = ways.kubeconfig;
    this.#running = this.#run();
  }

  /** Opens the ways and launches the agent. */
  static async start(options: ReplicaOptions): Promise<Replica> {
    const link = await TcpProxy.start(new URL(options.controlPlaneUrl));
    const api = ApiProxy.start(options.apiServer);
    const apiWay = await TcpProxy.start(new URL(api.url));
    const kubeconfig = await Deno.makeTempFile({ prefix: "kubeconfig-" });
    await Deno.writeTextFile(
      kubeconfig,
      api.kubeconfig().replace(api.url, `http://127.0.0.1:${apiWay.port}`),
    );
    return new Replica(options, { link, api, apiWay, kubeconfig });
  }

  /** Whether its process leads now, as far as it has said. */
  get isLeading(): boolean {
    return this.#current !== undefined && isLeading(this.#current.run);
  }

  /** Id of the process, if one is alive. */
  get pid(): number | undefined {
    return this.#current?.process.pid;
  }

  /** The process that is alive, as the logbook has it. */
  get run(): AgentRun | undefined {
    return this.#current?.run;
  }

  /** Kills the process, or tells it to stop; it is launched again. */
  end(signal: "SIGKILL" | "SIGTERM"): void {
    if (!this.#current) return;
    this.#current.isWanted = true;
    this.#current.process.kill(signal);
  }

  /** Lets the process stand still for a time. */
  freeze(ms: number): void {
    const process = this.#current?.process;
    if (!process) return;
    process.kill("SIGSTOP");
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      process.kill("SIGCONT");
      this.#options.onEvent(`${this.name} goes on`);
    }, ms);
    this.#timers.add(timer);
  }

  /** Ends all faults of its ways; connections that are frozen stay so, for the agent to find out. */
  heal(): void {
    this.link.mode = { kind: "pass" };
    this.apiWay.mode = { kind: "pass" };
    this.api.clearFaults();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#current?.process.kill("SIGKILL");
    await this.#running;
    for (const way of [this.link, this.apiWay, this.api]) await way[Symbol.asyncDispose]();
    await Deno.remove(this.#kubeconfig);
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await this.#live();
      await delay(RELAUNCH_MS, { signal }).catch(() => {});
    }
  }

  async #live(): Promise<void> {
    const { args, logbook, onEvent } = this.#options;
    const run = logbook.begin(this.name);
    const process = await AgentProcess.start({
      args: [
        ...args,
        `--pod-name=${this.name}`,
        `--control-plane-url=http://127.0.0.1:${this.link.port}`,
        `--kubeconfig=${this.#kubeconfig}`,
      ],
      env: { HEARTBEAT_INTERVAL: "2s" },
      onLine: (text) => {
        run.lines.push(readLine(text));
        if (/Leading as|(Lost|Released) leadership|Cannot release the lease|WebSocket connected/.test(text)) {
          onEvent(`${this.name}${run.number}: ${text.replace(/^\S+ (?=\[)/, "")}`);
        }
      },
    });
    const current = { run, process, isWanted: false };
    this.#current = current;
    if (this.#closing.signal.aborted) process.kill("SIGKILL");
    const code = await process.exit();
    this.#current = undefined;
    run.end = { at: Date.now(), code, isWanted: current.isWanted || this.#closing.signal.aborted };
    onEvent(`${this.name}${run.number} ended with code ${code}`);
  }
}
