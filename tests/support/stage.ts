/**
 * What an end-to-end test needs: a cluster, a Control Plane and an agent between them, in the test's own process or in a separate one.
 * @module
 */
import { AgentProcess } from "../../dev/agent_process.ts";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import type { Quirk } from "../../dev/control_plane/quirks.ts";
import type { Timings } from "../../lib/model/timings.ts";
import { type ClusterKind, CLUSTERS, type TestCluster } from "./clusters.ts";
import { LocalAgent, type LocalAgentOptions } from "./local_agent.ts";
import { Proxies } from "./proxies.ts";

/** Id of the agent on a stage. */
export const AGENT_ID = "k8s-e2e";

/** Payload of a start without a home volume, except for the session's id. */
export const START = {
  user: "alice",
  template: "firefox",
  persistentHome: false,
  memory: "512Mi",
  cpu: "250m",
};

/** Payload of a start with a home volume, except for the session's id. */
export const START_WITH_HOME = { ...START, persistentHome: true };

/** Templates besides the built-in ones, whose images never run on simulated nodes. */
const TEMPLATES = {
  missing: "example.com/missing:1",
  crashing: "example.com/crashing:1",
  stuck: "example.com/stuck:1",
};

/** Timings of an agent in the test's process: retries are quick, but follow a pause, and nothing delays results or its end. */
const TIMINGS: Partial<Timings> = {
  requestRetryMs: 20,
  watchRetryMs: 20,
  maxWatchRetryMs: 200,
  pollIntervalMs: 50,
  reconnectMs: 50,
  lateCommandsMs: 50,
  resultHoldMs: 0,
  earlyCloseMs: 0,
  cancelMs: 500,
  journalFlushMs: 500,
};

/** Failure causes end a start a hundred times earlier than in production. */
export const SHORT_GRACE: Partial<Timings> = { graceFactor: 0.01 };

/** What a test may set. */
export interface StageOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Only for an agent in the test's process. */
  readonly timings?: Partial<Timings>;
  /** Path of another kubeconfig for the agent. */
  readonly kubeconfig?: string;
  /** @default {AGENT_ID} */
  readonly agentId?: string;
  /** Namespace for sessions. @default the test's own */
  readonly namespace?: string;
  /** Whether the agent reaches the API server and the Control Plane through proxies that inject faults. @default {false} */
  readonly throughProxies?: boolean;
  /** Quirks of the Control Plane. */
  readonly quirks?: readonly Quirk[];
}

/** What the agents of both modes have in common. */
interface RunningAgent extends AsyncDisposable {
  readonly output: readonly string[];
  line(pattern: RegExp): Promise<string>;
  stop(): void;
  ended(): Promise<void>;
}

/** Starts an agent in one of the two modes. */
type Launcher<Agent> = (options: LocalAgentOptions) => Agent | Promise<Agent>;

/** Cluster, Control Plane and agent. */
export class Stage<Agent extends RunningAgent = LocalAgent> implements AsyncDisposable {
  readonly cluster: TestCluster;
  readonly controlPlane: ControlPlane;
  readonly #launcher: Launcher<Agent>;
  readonly #options: StageOptions;
  readonly #proxies: Proxies | undefined;
  #agent: Agent | undefined;

  private constructor(
    cluster: TestCluster,
    parts: {
      launcher: Launcher<Agent>;
      controlPlane: ControlPlane;
      proxies: Proxies | undefined;
      options: StageOptions;
    },
  ) {
    this.cluster = cluster;
    this.controlPlane = parts.controlPlane;
    this.#launcher = parts.launcher;
    this.#proxies = parts.proxies;
    this.#options = parts.options;
  }

  /** Starts a Control Plane and an agent in the test's process, and waits until they are connected. */
  static async start(cluster: TestCluster, options: StageOptions = {}): Promise<Stage> {
    return await connected(await Stage.launch(cluster, options));
  }

  /** Starts a Control Plane and an agent in the test's process. */
  static async launch(cluster: TestCluster, options: StageOptions = {}): Promise<Stage> {
    return await Stage.#open(cluster, { launcher: startLocally, options });
  }

  /** Starts a Control Plane and an agent as a separate process, and waits until they are connected. */
  static async startProcess(
    cluster: TestCluster,
    options: Omit<StageOptions, "timings"> = {},
  ): Promise<Stage<AgentProcess>> {
    return await connected(await Stage.launchProcess(cluster, options));
  }

  /** Starts a Control Plane and an agent as a separate process. */
  static async launchProcess(
    cluster: TestCluster,
    options: Omit<StageOptions, "timings"> = {},
  ): Promise<Stage<AgentProcess>> {
    return await Stage.#open(cluster, { launcher: AgentProcess.start, options });
  }

  static async #open<Agent extends RunningAgent>(
    cluster: TestCluster,
    { launcher, options }: { launcher: Launcher<Agent>; options: StageOptions },
  ): Promise<Stage<Agent>> {
    const controlPlane = ControlPlane.start({ quirks: options.quirks ?? [] });
    const proxies = options.throughProxies ? await Proxies.start(cluster, controlPlane.url) : undefined;
    const stage = new Stage<Agent>(cluster, { launcher, controlPlane, proxies, options });
    stage.#agent = await stage.startReplica();
    return stage;
  }

  /** The agent that was started last. */
  get agent(): Agent {
    if (!this.#agent) throw new Error("Cannot use the agent before it is started");
    return this.#agent;
  }

  /** The proxies between the agent and the other two. */
  get proxies(): Proxies {
    if (!this.#proxies) throw new Error("Cannot use proxies without the option throughProxies");
    return this.#proxies;
  }

  /** Waits until the agent is connected to the Control Plane. */
  async untilConnected(): Promise<void> {
    await this.agent.line(/Starting heartbeat sender/);
  }

  /** Starts the next agent after the last one has ended, with the same options or others, and waits until it is connected. */
  async startNext(options: StageOptions = {}): Promise<void> {
    this.#agent = await this.startReplica(options);
    await this.untilConnected();
  }

  /** Stops the agent gracefully and starts the next one, with the same options or others. */
  async restart(options: StageOptions = {}): Promise<void> {
    this.agent.stop();
    await this.agent.ended();
    await this.startNext(options);
  }

  /** Starts one more agent beside the stage's, with the same options or others; the test disposes it. */
  async startReplica(options: StageOptions = {}): Promise<Agent> {
    const { agentId = AGENT_ID, args = [], env = {}, timings, kubeconfig, namespace, throughProxies } = {
      ...this.#options,
      ...options,
    };
    const proxies = throughProxies ? this.#proxies : undefined;
    return await this.#launcher({
      args: [
        `--agent-id=${agentId}`,
        `--control-plane-url=${proxies?.controlPlaneUrl ?? this.controlPlane.url}`,
        `--kubeconfig=${kubeconfig ?? proxies?.kubeconfig ?? this.cluster.kubeconfig}`,
        `--namespace=${namespace ?? this.cluster.namespace}`,
        `--templates=${JSON.stringify(TEMPLATES)}`,
        "--storage-size=1Gi",
        ...args,
      ],
      env: { HEARTBEAT_INTERVAL: "1s", ...env },
      timings,
    });
  }

  /** Sends a command and returns its id. */
  send(action: string, payload: Readonly<Record<string, unknown>>): string {
    return this.controlPlane.command(this.#options.agentId ?? AGENT_ID, {
      action,
      sessionId: String(payload.sessionId),
      payload,
    });
  }

  /** Sends a command and returns the payload of its result. */
  async command(
    action: string,
    payload: Readonly<Record<string, unknown>>,
  ): Promise<Record<string, unknown>> {
    const { payload: result } = await this.controlPlane.result(this.send(action, payload));
    return result;
  }

  /** All results of a command, as message types. */
  results(commandId: string): string[] {
    return this.controlPlane.messages
      .filter(({ message: { type, payload } }) =>
        (type === "complete" || type === "failed") && payload.commandId === commandId
      )
      .map(({ message }) => message.type);
  }

  /** The states that were reported for a session, in order. */
  states(sessionId: string): string[] {
    return this.controlPlane.messages
      .filter(({ message }) => message.type === "status" && message.payload.sessionId === sessionId)
      .map(({ message }) => String(message.payload.state));
  }

  /** The status messages (the texts in `platformMetadata`) that were reported for a session, in order. */
  messages(sessionId: string): string[] {
    return this.controlPlane.messages.flatMap(({ message: { type, payload } }) => {
      const { message } = payload.platformMetadata as { message?: string } ?? {};
      return type === "status" && payload.sessionId === sessionId && message ? [message] : [];
    });
  }

  /** The payload of a session's last status; empty if there is none. */
  lastStatus(sessionId: string): Readonly<Record<string, unknown>> {
    const last = this.controlPlane.messages.findLast(({ message: { type, payload } }) =>
      type === "status" && payload.sessionId === sessionId
    );
    return last?.message.payload ?? {};
  }

  /** How many requests of a kind, such as `create deployments`, the agent has sent through the proxy. */
  requestCount(kind: string): number {
    return this.proxies.api.requests.filter(({ verb, resource }) => `${verb} ${resource}` === kind).length;
  }

  /** Waits until a status message was reported for a session. */
  async untilMessage(sessionId: string, message: string): Promise<void> {
    await this.controlPlane.waitFor(() => this.messages(sessionId).includes(message));
  }

  /** Waits until a state is the last that was reported for a session. */
  async untilState(sessionId: string, state: string): Promise<void> {
    await this.controlPlane.waitFor(({ type, payload }) =>
      type === "status" && payload.sessionId === sessionId && this.states(sessionId).at(-1) === state
    );
  }

  /** Pings the agent: it has then received everything sent before, and everything that it sent before has arrived. */
  async roundTrip(): Promise<void> {
    const pongs = () => this.controlPlane.messages.filter(({ message }) => message.type === "pong").length;
    const before = pongs();
    this.controlPlane.send(AGENT_ID, { type: "ping" });
    await this.controlPlane.waitFor(({ type }) => type === "pong" && pongs() > before);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#proxies?.clearFaults();
    await this.#agent?.[Symbol.asyncDispose]();
    await this.#proxies?.[Symbol.asyncDispose]();
    await this.controlPlane[Symbol.asyncDispose]();
  }
}

/** A stage with an agent in either mode. */
export type AnyStage = Stage<RunningAgent>;

/** Kills the agent and starts the next one, with the same options or others. */
export async function killAndRestart(stage: Stage<AgentProcess>, options: StageOptions = {}): Promise<void> {
  stage.agent.kill("SIGKILL");
  await stage.agent.exit();
  await stage.startNext(options);
}

async function connected<Agent extends RunningAgent>(stage: Stage<Agent>): Promise<Stage<Agent>> {
  await stage.untilConnected();
  return stage;
}

/** Unless the test says otherwise, the agent never gives up to reconnect, and does not wait for running commands when the test ends. */
function startLocally({ args, env, timings }: LocalAgentOptions): LocalAgent {
  return LocalAgent.start({
    args,
    env: { RECONNECT_ATTEMPTS: "0", DRAIN_TIMEOUT: "0s", ...env },
    timings: { ...TIMINGS, ...timings },
  });
}

/** Registers a test for each kind of cluster that is available. */
export function onEachCluster(
  name: string,
  test: (cluster: TestCluster, context: Deno.TestContext) => Promise<void>,
  kinds: readonly ClusterKind[] = CLUSTERS,
): void {
  for (const kind of kinds.filter(({ isMissing }) => !isMissing)) {
    Deno.test({
      name: `${name} (${kind.name})`,
      fn: async (context) => {
        await using cluster = await kind.open();
        await test(cluster, context);
      },
    });
  }
}
