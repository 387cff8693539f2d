/**
 * The commands of the operator's guide, run one after the other on a real API server by kubectl, where there is one.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { REAL, type TestCluster } from "../support/clusters.ts";
import { blocks, COMMANDS } from "../support/operations_page.ts";
import { onEachCluster } from "../support/stage.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const HAS_KUBECTL = await new Deno.Command("kubectl", { args: ["version", "--client"] }).output()
  .then(({ success }) => success, () => false);

/** A shell in which the guide's namespace is the test's, and `k8s-agent` runs from source. */
class Shell implements AsyncDisposable {
  readonly #folder: string;
  readonly #cluster: TestCluster;
  readonly #controlPlane = ControlPlane.start();

  private constructor(folder: string, cluster: TestCluster) {
    this.#folder = folder;
    this.#cluster = cluster;
  }

  static async open(cluster: TestCluster): Promise<Shell> {
    const folder = await Deno.makeTempDir();
    const shell = new Shell(folder, cluster);
    await shell.#copy("k8s");
    await Deno.writeTextFile(`${folder}/FILE`, "0123456789abcdef");
    await Deno.writeTextFile(`${folder}/tls.yaml`, blocks("yaml")[0] ?? "");
    return shell;
  }

  async run(command: string): Promise<string> {
    const { success, stdout, stderr } = await new Deno.Command("bash", {
      args: ["-c", this.#adapted(command)],
      cwd: this.#folder,
      env: { KUBECONFIG: this.#cluster.kubeconfig, NO_COLOR: "1" },
    }).output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assert(success, `${command}\n${text}`);
    return text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#controlPlane[Symbol.asyncDispose]();
    await Deno.remove(this.#folder, { recursive: true });
  }

  /** Kinds and the namespace stay, as other tests use them; the doctor's patient is this cluster. */
  #adapted(command: string): string {
    const { namespace } = this.#cluster;
    const isShared = /^kubectl delete .*(crds|namespace\.yaml)/.test(command);
    return command
      .replace(/^k8s-agent /, `${Deno.execPath()} run -P --config ${ROOT}deno.json ${ROOT}main.ts `)
      .replace("wss://control.example.com", `${this.#controlPlane.url} --namespace=${namespace}`)
      .replace("-n streamspace", `-n ${namespace}`)
      .replace(/$/, isShared ? " --dry-run=server" : "");
  }

  async #copy(folder: string): Promise<void> {
    await Deno.mkdir(`${this.#folder}/${folder}`);
    for await (const { name, isDirectory } of Deno.readDir(`${ROOT}${folder}`)) {
      const path = `${folder}/${name}`;
      if (isDirectory) await this.#copy(path);
      else {await Deno.writeTextFile(
          `${this.#folder}/${path}`,
          this.#moved(await Deno.readTextFile(ROOT + path)),
        );}
    }
  }

  #moved(text: string): string {
    const { namespace } = this.#cluster;
    return text.replaceAll("namespace: streamspace", `namespace: ${namespace}`)
      .replaceAll("  name: streamspace\n", `  name: ${namespace}\n`);
  }
}

onEachCluster(
  "every command of the operator's guide does what it says",
  async (cluster, context) => {
    await using shell = await Shell.open(cluster);
    for (const command of COMMANDS) {
      const needsMore = command.includes("needs the Prometheus operator");
      await context.step({ name: command, ignore: needsMore, fn: async () => void await shell.run(command) });
    }
    assertEquals((await cluster.list("apps/v1", "Deployment")).length, 0);
  },
  HAS_KUBECTL ? [REAL] : [{ ...REAL, isMissing: true }],
);
