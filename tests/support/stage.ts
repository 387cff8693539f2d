/**
 * Everything an end-to-end test needs on one stage: a cluster, a Control Plane and the agent between them as a process of its own.
 * @module
 */
import { AgentProcess } from "../../dev/agent_process.ts";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { type ClusterKind, CLUSTERS, type TestCluster } from "./clusters.ts";
import { Proxies } from "./proxies.ts";

/** Id of the agent on a stage. */
export const AGENT_ID = "k8s-e2e";

/** What a start says of a session without a home. */
export const START = {
  user: "alice",
  template: "firefox",
  persistentHome: false,
  memory: "512Mi",
  cpu: "250m",
};

/** What a start says of a session with a home. */
export const START_WITH_HOME = { ...START, persistentHome: true };

/** Images of the simulated nodes that do not start, beside the built-in templates. */
const TEMPLATES = {
  missing: "example.com/missing:1",
  crashing: "example.com/crashing:1",
  stuck: "example.com/stuck:1",
};

/** What a test may set. */
export interface StageOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Path of another kubeconfig for the agent. */
  readonly kubeconfig?: string;
  /** Namespace for sessions other than the test's own. */
  readonly namespace?: string;
  /** Whether the agent finds the API server and the Control Plane behind proxies that make faults. */
  readonly throughProxies?: boolean;
}

/** Cluster, Control Plane and agent. */
export class Stage implements AsyncDisposable {
  readonly cluster: TestCluster;
  readonly controlPlane: ControlPlane;
  readonly #options: StageOptions;
  readonly #proxies: Proxies | undefined;
  #agent: AgentProcess | undefined;

  private constructor(
    cluster: TestCluster,
    parts: { controlPlane: ControlPlane; proxies: Proxies | undefined; options: StageOptions },
  ) {
    this.cluster = cluster;
    this.controlPlane = parts.controlPlane;
    this.#proxies = parts.proxies;
    this.#options = parts.options;
  }

  /** Sets the stage and waits until the agent can be commanded. */
  static async set(cluster: TestCluster, options: StageOptions = {}): Promise<Stage> {
    const stage = await Stage.launch(cluster, options);
    await stage.untilUp();
    return stage;
  }

  /** Sets the stage and waits for nothing. */
  static async launch(cluster: TestCluster, options: StageOptions = {}): Promise<Stage> {
    const controlPlane = ControlPlane.start();
    const proxies = options.throughProxies ? await Proxies.start(cluster, controlPlane.url) : undefined;
    const stage = new Stage(cluster, { controlPlane, proxies, options });
    stage.#agent = await stage.replica();
    return stage;
  }

  /** The agent as it runs now. */
  get agent(): AgentProcess {
    if (!this.#agent) throw new Error("Cannot use the agent before it is started");
    return this.#agent;
  }

  /** What stands between the agent and the others. */
  get proxies(): Proxies {
    if (!this.#proxies) throw new Error("Cannot use proxies on a stage without them");
    return this.#proxies;
  }

  /** Waits until the agent can be commanded. */
  async untilUp(): Promise<void> {
    await this.agent.line(/Starting heartbeat sender/);
  }

  /** Starts a new agent after the old one has ended, with the same options or others. */
  async relaunch(options: StageOptions = {}): Promise<void> {
    this.#agent = await this.replica(options);
    await this.untilUp();
  }

  /** Kills the agent and starts a new one, with the same options or others. */
  async killAndRelaunch(options: StageOptions = {}): Promise<void> {
    this.agent.kill("SIGKILL");
    await this.agent.exit();
    await this.relaunch(options);
  }

  /** Gives a command and returns its id. */
  give(action: string, payload: Readonly<Record<string, unknown>>): string {
    return this.controlPlane.command(AGENT_ID, { action, sessionId: String(payload.sessionId), payload });
  }

  /** Gives a command and waits for its result, whose payload it returns. */
  async command(
    action: string,
    payload: Readonly<Record<string, unknown>>,
  ): Promise<Record<string, unknown>> {
    const { payload: result } = await this.controlPlane.result(this.give(action, payload));
    return result;
  }

  /** States of a session in the order they were told. */
  states(sessionId: string): string[] {
    return this.controlPlane.messages
      .filter(({ message }) => message.type === "status" && message.payload.sessionId === sessionId)
      .map(({ message }) => String(message.payload.state));
  }

  /** What was said about a session beside its states, in the order it was told. */
  messages(sessionId: string): string[] {
    return this.controlPlane.messages.flatMap(({ message: { type, payload } }) => {
      const { message } = payload.platformMetadata as { message?: string } ?? {};
      return type === "status" && payload.sessionId === sessionId && message ? [message] : [];
    });
  }

  /** Waits until something was said about a session. */
  async untilTold(sessionId: string, message: string): Promise<void> {
    await this.controlPlane.waitFor(() => this.messages(sessionId).includes(message), {
      signal: AbortSignal.timeout(30_000),
    });
  }

  /** What was told last of a session. */
  lastStatus(sessionId: string): Readonly<Record<string, unknown>> {
    const told = this.controlPlane.messages.findLast(({ message: { type, payload } }) =>
      type === "status" && payload.sessionId === sessionId
    );
    return told?.message.payload ?? {};
  }

  /** Starts one more agent like the stage's, or with other options, which the test has to end. */
  async replica(options: StageOptions = {}): Promise<AgentProcess> {
    const { args = [], env = {}, kubeconfig, namespace, throughProxies } = { ...this.#options, ...options };
    const proxies = throughProxies ? this.#proxies : undefined;
    return await AgentProcess.start({
      args: [
        `--agent-id=${AGENT_ID}`,
        `--control-plane-url=${proxies?.controlPlaneUrl ?? this.controlPlane.url}`,
        `--kubeconfig=${kubeconfig ?? proxies?.kubeconfig ?? this.cluster.kubeconfig}`,
        `--namespace=${namespace ?? this.cluster.namespace}`,
        `--templates=${JSON.stringify(TEMPLATES)}`,
        "--storage-size=1Gi",
        ...args,
      ],
      env: { HEARTBEAT_INTERVAL: "1s", ...env },
    });
  }

  /** How often the API was asked for something by way of the proxy, such as `create deployments`. */
  asked(what: string): number {
    return this.proxies.api.requests.filter(({ verb, resource }) => `${verb} ${resource}` === what).length;
  }

  /** The answers to a command. */
  answers(commandId: string): string[] {
    return this.controlPlane.messages
      .filter(({ message: { type, payload } }) =>
        (type === "complete" || type === "failed") && payload.commandId === commandId
      )
      .map(({ message }) => message.type);
  }

  /** Waits until the agent has heard all that was sent before, and all that it had said until then has come. */
  async exchange(): Promise<void> {
    const pongs = () => this.controlPlane.messages.filter(({ message }) => message.type === "pong").length;
    const before = pongs();
    this.controlPlane.send(AGENT_ID, { type: "ping" });
    await this.controlPlane.waitFor(({ type }) => type === "pong" && pongs() > before);
  }

  /** Waits until a state is the last that was told of a session. */
  async untilState(sessionId: string, state: string): Promise<void> {
    await this.controlPlane.waitFor(
      ({ type, payload }) =>
        type === "status" && payload.sessionId === sessionId && this.states(sessionId).at(-1) === state,
      { signal: AbortSignal.timeout(30_000) },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent?.[Symbol.asyncDispose]();
    await this.#proxies?.[Symbol.asyncDispose]();
    await this.controlPlane[Symbol.asyncDispose]();
  }
}

/** Registers a test once for each kind of cluster; one that is not at hand is ignored by name. */
export function onEachCluster(
  name: string,
  test: (cluster: TestCluster, context: Deno.TestContext) => Promise<void>,
  kinds: readonly ClusterKind[] = CLUSTERS,
): void {
  for (const kind of kinds) {
    Deno.test({
      name: `${name} (${kind.name})`,
      ignore: kind.isMissing,
      fn: async (context) => {
        await using cluster = await kind.open();
        await test(cluster, context);
      },
    });
  }
}
