/**
 * One replica of the agent. It restarts when it exits, as in Kubernetes, and has its own proxies to the Control Plane and the API server, which
 * inject faults.
 * @module
 */
import { delay } from "@std/async";
import { AgentProcess } from "../agent_process.ts";
import { ApiProxy } from "../faults/api_proxy.ts";
import { KubeconfigFile } from "../kubeconfig_file.ts";
import { TcpProxy } from "../faults/tcp_proxy.ts";
import { type AgentRun, isLeading, type Logbook, readLine } from "./logbook.ts";

/** What a replica needs. */
export interface ReplicaOptions {
  /** Also its identity in leader election. */
  readonly name: string;
  /** The same for all replicas. */
  readonly args: readonly string[];
  readonly controlPlaneUrl: string;
  readonly apiServer: { readonly server: string; readonly client: Deno.HttpClient };
  readonly logbook: Logbook;
  /** Called when a process starts, exits or becomes the leader. */
  readonly onEvent: (line: string) => void;
}

/** Delay before a restart, in milliseconds. */
const RESTART_MS = 1000;

/** Runs until it is disposed. */
export class Replica implements AsyncDisposable {
  readonly name: string;
  readonly link: TcpProxy;
  readonly api: ApiProxy;
  readonly apiConnection: TcpProxy;
  readonly #options: ReplicaOptions;
  readonly #kubeconfig: KubeconfigFile;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #current: { run: AgentRun; process: AgentProcess; isExpected: boolean } | undefined;

  private constructor(
    options: ReplicaOptions,
    proxies: { link: TcpProxy; api: ApiProxy; apiConnection: TcpProxy; kubeconfig: KubeconfigFile },
  ) {
    this.name = options.name;
    this.#options = options;
    this.link = proxies.link;
    this.api = proxies.api;
    this.apiConnection = proxies.apiConnection;
    this.#kubeconfig = proxies.kubeconfig;
    this.#running = this.#run();
  }

  /** Starts the proxies and the agent. */
  static async start(options: ReplicaOptions): Promise<Replica> {
    const link = await TcpProxy.start(new URL(options.controlPlaneUrl));
    const api = ApiProxy.start(options.apiServer);
    const apiConnection = await TcpProxy.start(new URL(api.url));
    const kubeconfig = await KubeconfigFile.write(
      api.kubeconfig().replace(api.url, `http://127.0.0.1:${apiConnection.port}`),
    );
    return new Replica(options, { link, api, apiConnection, kubeconfig });
  }

  /** Whether its process is the leader according to its log. */
  get isLeading(): boolean {
    return this.#current !== undefined && isLeading(this.#current.run);
  }

  /** Id of the running process, if any. */
  get pid(): number | undefined {
    return this.#current?.process.pid;
  }

  /** The running process in the logbook, if any. */
  get run(): AgentRun | undefined {
    return this.#current?.run;
  }

  /** Kills or terminates the process; it restarts. */
  end(signal: "SIGKILL" | "SIGTERM"): void {
    if (!this.#current) return;
    this.#current.isExpected = true;
    this.#current.process.kill(signal);
  }

  /** Freezes the process for a time. */
  freeze(ms: number): void {
    const process = this.#current?.process;
    if (!process) return;
    process.kill("SIGSTOP");
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      process.kill("SIGCONT");
      this.#options.onEvent(`${this.name} is resumed`);
    }, ms);
    this.#timers.add(timer);
  }

  /** Ends all faults of its proxies. Half-open connections stay so: the agent has to detect them. */
  heal(): void {
    this.link.mode = { kind: "pass" };
    this.apiConnection.mode = { kind: "pass" };
    this.api.clearFaults();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#current?.process.kill("SIGKILL");
    await this.#running;
    for (const part of [this.link, this.apiConnection, this.api, this.#kubeconfig]) {
      await part[Symbol.asyncDispose]();
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await this.#runOnce();
      await delay(RESTART_MS, { signal }).catch(() => {});
    }
  }

  async #runOnce(): Promise<void> {
    const { args, logbook, onEvent } = this.#options;
    const run = logbook.begin(this.name);
    const process = await AgentProcess.start({
      args: [
        ...args,
        `--pod-name=${this.name}`,
        `--control-plane-url=http://127.0.0.1:${this.link.port}`,
        `--kubeconfig=${this.#kubeconfig.path}`,
      ],
      env: { HEARTBEAT_INTERVAL: "2s" },
      onLine: (text) => {
        run.lines.push(readLine(text));
        if (/Leading as|(Lost|Released) leadership|Cannot release the lease|WebSocket connected/.test(text)) {
          onEvent(`${this.name}${run.number}: ${text.replace(/^\S+ (?=\[)/, "")}`);
        }
      },
    });
    const current = { run, process, isExpected: false };
    this.#current = current;
    if (this.#closing.signal.aborted) process.kill("SIGKILL");
    const code = await process.exit();
    this.#current = undefined;
    run.end = { at: Date.now(), code, isExpected: current.isExpected || this.#closing.signal.aborted };
    onEvent(`${this.name}${run.number} exited with code ${code}`);
  }
}
