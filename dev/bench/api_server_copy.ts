/**
 * A second API server on the data of another one, which a benchmark can kill without ending the cluster.
 * @module
 */
import { delay } from "@std/async";
import { connectToApiServer } from "../api_server.ts";
import { KubeconfigFile } from "../kubeconfig_file.ts";

const PORT_FLAG = "--secure-port=";
const POLL_MS = 100;

/** Runs until it is disposed. */
export class ApiServerCopy implements AsyncDisposable {
  readonly #command: Deno.Command;
  readonly #kubeconfig: KubeconfigFile;
  #process: Deno.ChildProcess;

  private constructor(command: Deno.Command, kubeconfig: KubeconfigFile) {
    this.#command = command;
    this.#kubeconfig = kubeconfig;
    this.#process = command.spawn();
  }

  /** Starts a copy of the API server with this process id, which has the server of the kubeconfig, on another port. */
  static async start({ pid, kubeconfig }: { pid: number; kubeconfig: string }): Promise<ApiServerCopy> {
    const [path = "", ...args] = (await Deno.readTextFile(`/proc/${pid}/cmdline`)).split("\0").slice(0, -1);
    const former = args.find((arg) => arg.startsWith(PORT_FLAG))?.slice(PORT_FLAG.length) ?? "";
    const port = freePort();
    const command = new Deno.Command(path, {
      args: args.map((arg) => arg.startsWith(PORT_FLAG) ? `${PORT_FLAG}${port}` : arg),
      stdout: "null",
      stderr: "null",
    });
    const text = (await Deno.readTextFile(kubeconfig)).replaceAll(`:${former}`, `:${port}`);
    const copy = new ApiServerCopy(command, await KubeconfigFile.write(text));
    await copy.#untilReady();
    return copy;
  }

  /** Path of a kubeconfig for the copy. */
  get kubeconfig(): string {
    return this.#kubeconfig.path;
  }

  /** Kills it, starts it again and waits until it is ready. */
  async restart(): Promise<void> {
    await this.#kill();
    this.#process = this.#command.spawn();
    await this.#untilReady();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#kill();
    await this.#kubeconfig[Symbol.asyncDispose]();
  }

  async #kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.status;
  }

  async #untilReady(): Promise<void> {
    const { server, client } = await connectToApiServer(this.kubeconfig);
    using _ = client;
    while (!await isReady(`${server}/readyz`, client)) await delay(POLL_MS);
  }
}

async function isReady(url: string, client: Deno.HttpClient): Promise<boolean> {
  try {
    const response = await fetch(url, { client });
    await response.text();
    return response.ok;
  } catch {
    return false; // It does not accept connections yet.
  }
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
