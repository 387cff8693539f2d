/**
 * A shell that runs the commands of a page as its reader does: in a folder with copies of the shipped files, against the test's cluster and
 * a Control Plane of its own, with the agent's source as the program.
 * @module
 */
import { assert } from "@std/assert";
import { retry } from "@std/async";
import denoJson from "../../deno.json" with { type: "json" };
import { AgentProcess } from "../../dev/agent_process.ts";
import { bundleAgent } from "../../dev/agent_bundle.ts";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { Background } from "./background.ts";
import type { TestCluster } from "./clusters.ts";
import { filesOf, type Page } from "./doc_pages.ts";
import { ExecPlugin } from "./exec_plugin.ts";
import { HELM } from "./rendering.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const AGENT_ID = "k8s-docs";
const SESSION_ID = "docs-firefox";

/** Files that the reader brings along. */
const OWN_FILES = ["FILE", "ca.pem", "client.pem", "client.key"];

/** Programs that run until they are stopped, and the output by which they are ready. */
const BACKGROUND: ReadonlyArray<readonly [command: RegExp, output: RegExp]> = [
  [/^(?:npx -y deno@\S+|deno) task dev\b/, /http:\/\/localhost:\d+/],
  [/^deno task control-plane/, /http:\/\/[\d.]+:\d+/],
  [/^deno task cluster/, /export KUBECONFIG=/],
  [/^deno run .*main\.ts$/, /Starting heartbeat sender/],
];

/** The shell; close it after use. */
export class DocShell implements AsyncDisposable {
  readonly #folder: string;
  readonly #cluster: TestCluster;
  readonly #namespace: string;
  readonly #stack = new AsyncDisposableStack();
  readonly #env: Record<string, string>;
  readonly #controlPlane: ControlPlane;
  /** Of the Control Plane that the page has its reader start. */
  #startedUrl = "";
  #commandId = "";
  #plugin: ExecPlugin | undefined;
  #session: Promise<unknown> | undefined;
  #agentKubeconfig: Promise<string> | undefined;

  private constructor(folder: string, cluster: TestCluster, namespace: string) {
    this.#folder = folder;
    this.#cluster = cluster;
    this.#namespace = namespace;
    this.#stack.defer(() => Deno.remove(folder, { recursive: true }));
    this.#controlPlane = this.#stack.use(ControlPlane.start());
    this.#env = {
      AGENT_ID,
      CONTROL_PLANE_URL: this.#controlPlane.url,
      NAMESPACE: namespace,
      KUBECONFIG: cluster.kubeconfig,
      HEALTH_ADDR: "off",
      NO_COLOR: "1",
    };
  }

  /** Opens a shell for a page; its objects go to that namespace. */
  static async open(cluster: TestCluster, page: Page, namespace = cluster.namespace): Promise<DocShell> {
    const shell = new DocShell(await Deno.makeTempDir(), cluster, namespace);
    await shell.#execute(`cp -rL ${ROOT}k8s ${ROOT}examples .`);
    // API servers that are built from source may report no version.
    await shell.#execute("sed -i /^kubeVersion/d k8s/chart/Chart.yaml");
    await shell.#move("k8s");
    await shell.#move("examples");
    for (const name of OWN_FILES) await Deno.writeTextFile(`${shell.#folder}/${name}`, "0123456789abcdef");
    for (const [name, text] of filesOf(page)) {
      await Deno.writeTextFile(`${shell.#folder}/${name}`, shell.#moved(text));
    }
    return shell;
  }

  /**
   * Runs a command, which has to succeed.
   *
   * @returns the output of a command that ends by itself
   * @throws {AssertionError} with its output when it fails
   */
  async run(command: string): Promise<string> {
    const [, name, value] = /^export (\w+)=(.*)$/.exec(command) ?? [];
    const [, isReady] = BACKGROUND.find(([pattern]) => pattern.test(command)) ?? [];
    const adapted = await this.#adapted(command);
    let output = "";
    if (name && value) this.#env[name] = this.#localized(value);
    else if (isReady) await this.#runInBackground(adapted, isReady);
    else output = await this.#succeed(adapted);
    this.#commandId = /"commandId":\s*"([^"]+)"/.exec(output)?.[1] ?? this.#commandId;
    if (command.includes("PROGRAM")) await this.#plugin?.used();
    return output;
  }

  /** Installs kinds in the cluster until they are disposed. */
  async install(kinds: readonly unknown[]): Promise<AsyncDisposable> {
    const path = `${this.#folder}/kinds.json`;
    await Deno.writeTextFile(path, JSON.stringify({ apiVersion: "v1", kind: "List", items: kinds }));
    await this.#succeed(
      "kubectl apply -f kinds.json && kubectl wait --for=condition=Established -f kinds.json",
    );
    return { [Symbol.asyncDispose]: async () => void await this.#execute("kubectl delete -f kinds.json") };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  /** What stands for the page's command here. Kinds and the namespace are not deleted, as other tests use them. */
  async #adapted(command: string): Promise<string> {
    if (command.includes("PROGRAM")) await this.#installPlugin();
    if (command.includes("SESSION")) await (this.#session ??= this.#startSession());
    const [, inPod] = /^kubectl .* exec .* -- (k8s-agent .*)$/.exec(command) ?? [];
    const isShared = /^kubectl delete .*(crds|namespace\.yaml)/.test(command);
    const local = inPod
      ? `${inPod} --agent-id=${AGENT_ID} --control-plane-url=wss://control.example.com --kubeconfig=${await this
        .#kubeconfigOfAgent()}`
      : command;
    return this.#localized(local)
      .replace(/^k8s-agent (.*)$/, `${await agentProgram()} $1 --namespace=${this.#namespace}`)
      .replace(/^(?:npx -y deno@\S+|deno) task (\S+)/, (_, task) => `cd ${ROOT} && ${taskCommand(task)}`)
      .replace(/^deno run (.*)main\.ts$/, `${Deno.execPath()} run -c ${ROOT}deno.json $1${ROOT}main.ts`)
      .replace("--kubeconfig=kubeconfig", `--kubeconfig=${this.#folder}/kubeconfig`)
      .replace(/^curl /, "curl --silent --show-error --fail ")
      .replace(/^helm /, `${HELM.path} `)
      .replace(/$/, isShared ? " --dry-run=server" : "");
  }

  /** Text of the page with its placeholders, namespace and addresses replaced. */
  #localized(text: string): string {
    return text
      .replace("PROGRAM", this.#plugin?.program ?? "")
      .replace("COMMAND_ID", this.#commandId)
      .replace("SESSION", SESSION_ID)
      .replace("$HOME/.kube/config", this.#cluster.kubeconfig)
      .replace("wss://control.example.com", this.#controlPlane.url)
      .replace(/\w+:\/\/localhost:8000/, (url) => this.#startedUrl.replace(/^\w+/, url.split(":")[0] ?? ""))
      .replaceAll(/(-n |--namespace |NAMESPACE=)streamspace\b/g, `$1${this.#namespace}`);
  }

  async #runInBackground(command: string, isReady: RegExp): Promise<void> {
    const [, folder = this.#folder, program = ""] = /^(?:cd (\S+) && )?(.*)$/s.exec(command) ?? [];
    const port = /control_plane|dev\/dev\.ts/.test(program) ? " --port=0" : "";
    const background = this.#stack.use(Background.start(program + port, { cwd: folder, env: this.#env }));
    const [output] = await background.output(isReady);
    if (port) this.#startedUrl = output;
  }

  async #installPlugin(): Promise<void> {
    this.#plugin ??= this.#stack.use(await ExecPlugin.install(this.#cluster, this.#folder));
    this.#env.KUBECONFIG = this.#plugin.kubeconfig;
  }

  async #startSession(): Promise<void> {
    const args = [`--agent-id=${AGENT_ID}`, `--control-plane-url=${this.#controlPlane.url}`];
    const place = [`--kubeconfig=${this.#cluster.kubeconfig}`, `--namespace=${this.#namespace}`];
    const agent = this.#stack.use(await AgentProcess.start({ args: [...args, ...place] }));
    await agent.line(/Starting heartbeat sender/);
    const payload = { sessionId: SESSION_ID, user: "alice", template: "firefox" };
    const command = { action: "start_session", sessionId: SESSION_ID, payload };
    const { type } = await this.#controlPlane.result(this.#controlPlane.command(AGENT_ID, command));
    assert(type === "complete");
  }

  #kubeconfigOfAgent(): Promise<string> {
    return this.#agentKubeconfig ??= this.#cluster.kubeconfigOf("k8s-agent").then((path) => {
      this.#stack.defer(() => Deno.remove(path));
      return path;
    });
  }

  async #succeed(command: string): Promise<string> {
    return await retry(async () => {
      const { code, output } = await this.#execute(command);
      // A diff that is not empty is no failure.
      assert(code === 0 || (code === 1 && command.startsWith("kubectl diff")), `${command}\n${output}`);
      return output;
    }, { isRetriable: isTooSoon, minTimeout: 1000, jitter: 0 });
  }

  async #execute(command: string): Promise<{ code: number; output: string }> {
    const { code, stdout, stderr } = await new Deno.Command("bash", {
      args: ["-o", "pipefail", "-c", command],
      cwd: this.#folder,
      env: { ...this.#env, KUBECONFIG: this.#cluster.kubeconfig },
    }).output();
    return { code, output: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
  }

  /** Moves manifests into the test's namespace. */
  async #move(folder: string): Promise<void> {
    for await (const { name, isDirectory } of Deno.readDir(`${this.#folder}/${folder}`)) {
      const path = `${this.#folder}/${folder}/${name}`;
      if (isDirectory) await this.#move(`${folder}/${name}`);
      if (!name.endsWith(".yaml")) continue;
      await Deno.writeTextFile(path, this.#moved(await Deno.readTextFile(path)));
    }
  }

  #moved(text: string): string {
    return text.replaceAll("namespace: streamspace", `namespace: ${this.#namespace}`)
      .replaceAll("  name: streamspace\n", `  name: ${this.#namespace}\n`);
  }
}

async function agentProgram(): Promise<string> {
  return `${Deno.execPath()} run -P -c ${ROOT}deno.json ${await bundleAgent()}`;
}

/** What `deno task` runs. */
function taskCommand(task: string): string {
  const tasks: Readonly<Record<string, string>> = denoJson.tasks;
  const command = tasks[task];
  if (command === undefined) throw new Error(`deno.json has no task "${task}"`);
  // Not the test's cluster: the reader has none.
  return command.replace(/^deno/, `env -u KUBECONFIG ${Deno.execPath()}`);
}

/**
 * Whether kubectl failed because the test is faster than a person: a second restart within a second, waiting for a kind without
 * a status, or for a Session that the agent has not written yet.
 */
function isTooSoon(error: unknown): boolean {
  return error instanceof Error &&
    /restart has already been triggered|\.status\.conditions accessor error|sessions\.stream\.space "[^"]*" not found/
      .test(error.message);
}
