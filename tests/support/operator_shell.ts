/**
 * A shell in which the operator's guide can be tried: its namespace is the test's, its Control Plane the test's, its agent the source.
 * @module
 */
import { assert } from "@std/assert";
import { retry } from "@std/async";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import type { TestCluster } from "./clusters.ts";
import { YAML_FILES } from "./operations_page.ts";
import { HELM } from "./rendering.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** Files that the guide's reader brings along. */
const OWN_FILES = ["FILE", "ca.pem", "client.pem", "client.key"];

/** Stand-ins for the kinds of the Prometheus operator, which a bare API server does not know. */
export const PROMETHEUS_KINDS: readonly unknown[] = ["PodMonitor", "PrometheusRule"].map((kind) => {
  const [group, singular] = ["monitoring.coreos.com", kind.toLowerCase()];
  const schema = { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${singular}s.${group}` },
    spec: {
      group,
      scope: "Namespaced",
      names: { kind, singular, plural: `${singular}s` },
      versions: [{ name: "v1", served: true, storage: true, schema }],
    },
  };
});

/** The shell, in a folder with copies of what is shipped. */
export class OperatorShell implements AsyncDisposable {
  readonly #folder: string;
  readonly #cluster: TestCluster;
  readonly #controlPlane = ControlPlane.start();
  /** Of the agent's account, from when there is one. */
  #kubeconfig: string | undefined;

  private constructor(folder: string, cluster: TestCluster) {
    this.#folder = folder;
    this.#cluster = cluster;
  }

  /** Opens it. */
  static async open(cluster: TestCluster): Promise<OperatorShell> {
    const shell = new OperatorShell(await Deno.makeTempDir(), cluster);
    await shell.#execute(`cp -rL ${ROOT}k8s ${ROOT}examples .`);
    await shell.#move("k8s");
    await shell.#move("examples");
    for (const name of OWN_FILES) await Deno.writeTextFile(`${shell.#folder}/${name}`, "0123456789abcdef");
    for (const [name, text] of YAML_FILES) {
      await Deno.writeTextFile(`${shell.#folder}/${name}`, shell.#moved(text));
    }
    return shell;
  }

  /** Runs a command of the guide, which has to succeed. */
  async run(command: string): Promise<void> {
    await this.#succeed(await this.#adapted(command));
  }

  /** Has the cluster know some kinds until they are disposed. */
  async install(kinds: readonly unknown[]): Promise<AsyncDisposable> {
    const path = `${this.#folder}/kinds.json`;
    await Deno.writeTextFile(path, JSON.stringify({ apiVersion: "v1", kind: "List", items: kinds }));
    await this.#succeed(
      "kubectl apply -f kinds.json && kubectl wait --for=condition=Established -f kinds.json",
    );
    return { [Symbol.asyncDispose]: async () => void await this.#execute("kubectl delete -f kinds.json") };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#controlPlane[Symbol.asyncDispose]();
    await Deno.remove(this.#folder, { recursive: true });
    if (this.#kubeconfig) await Deno.remove(this.#kubeconfig);
  }

  /** Kinds and the namespace stay, as other tests use them; what is executed in a pod runs here, with the rights of the pod. */
  async #adapted(command: string): Promise<string> {
    const { namespace } = this.#cluster;
    const isShared = /^kubectl delete .*(crds|namespace\.yaml)/.test(command);
    const inPod = /^kubectl .* exec .* -- k8s-agent (.*)$/.exec(command)?.[1];
    const kubeconfig = inPod ? ` --kubeconfig=${await this.#kubeconfigOfAgent()}` : "";
    const settings = inPod ? "--agent-id=k8s-example --control-plane-url=wss://control.example.com" : "";
    return (inPod ? `k8s-agent ${inPod} ${settings}` : command)
      .replace(
        /^k8s-agent (.*)$/,
        `${Deno.execPath()} run -P -c ${ROOT}deno.json ${ROOT}main.ts $1${kubeconfig}`,
      )
      .replace(/^helm /, `${HELM.path} `)
      .replace("$HOME/.kube/config", this.#cluster.kubeconfig)
      .replace("wss://control.example.com", `${this.#controlPlane.url} --namespace=${namespace}`)
      .replaceAll(/(-n|--namespace) streamspace\b/g, `$1 ${namespace}`)
      .replace(/$/, isShared ? " --dry-run=server" : "");
  }

  async #kubeconfigOfAgent(): Promise<string> {
    return this.#kubeconfig ??= await this.#cluster.kubeconfigOf("k8s-agent");
  }

  async #succeed(command: string): Promise<void> {
    await retry(async () => {
      const { code, output } = await this.#execute(command);
      // A diff that is not empty is no failure.
      assert(code === 0 || (code === 1 && command.startsWith("kubectl diff")), `${command}\n${output}`);
    }, { isRetriable: isTooSoon, minTimeout: 1000, jitter: 0 });
  }

  async #execute(command: string): Promise<{ code: number; output: string }> {
    const { code, stdout, stderr } = await new Deno.Command("bash", {
      args: ["-o", "pipefail", "-c", command],
      cwd: this.#folder,
      env: { KUBECONFIG: this.#cluster.kubeconfig, NO_COLOR: "1" },
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
    const { namespace } = this.#cluster;
    return text.replaceAll("namespace: streamspace", `namespace: ${namespace}`)
      .replaceAll("  name: streamspace\n", `  name: ${namespace}\n`);
  }
}

/** Whether kubectl refused what no reader of the guide is quick enough for: a second restart within a second, or to wait for a kind without a status. */
function isTooSoon(error: unknown): boolean {
  return error instanceof Error &&
    /restart has already been triggered|\.status\.conditions accessor error/.test(error.message);
}
