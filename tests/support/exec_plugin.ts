/**
 * A kubeconfig that runs a program for its credentials, and an API server that requires them.
 * Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
 * @module
 */
import type { TestCluster } from "./clusters.ts";

const TOKEN = "token-of-the-plug-in";

/** Kubeconfig and program in a folder; disposing it stops the server. */
export class ExecPlugin implements AsyncDisposable {
  /** Path of the program. */
  readonly program: string;
  /** Path of the kubeconfig that runs it. */
  readonly kubeconfig: string;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #accepted = Promise.withResolvers<void>();

  private constructor(folder: string, apiServer: string) {
    this.program = `${folder}/get-token`;
    this.kubeconfig = `${folder}/exec-kubeconfig`;
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      if (request.headers.get("authorization") !== `Bearer ${TOKEN}`) {
        return new Response("", { status: 401 });
      }
      this.#accepted.resolve();
      const { pathname, search } = new URL(request.url);
      const { method, headers, body } = request;
      return fetch(apiServer + pathname + search, { method, headers, body });
    });
  }

  /** Writes program and kubeconfig into a folder, for a cluster without encryption. */
  static async install(cluster: TestCluster, folder: string): Promise<ExecPlugin> {
    const plugin = new ExecPlugin(folder, cluster.config.getCurrentCluster()?.server ?? "");
    const apiVersion = "client.authentication.k8s.io/v1";
    const credential = { apiVersion, kind: "ExecCredential", status: { token: TOKEN } };
    await Deno.writeTextFile(plugin.program, `#!/bin/sh\necho '${JSON.stringify(credential)}'\n`, {
      mode: 0o755,
    });
    const exec = { apiVersion, command: plugin.program, interactiveMode: "Never" };
    await Deno.writeTextFile(
      plugin.kubeconfig,
      JSON.stringify({
        clusters: [{ name: "c", cluster: { server: `http://127.0.0.1:${plugin.#server.addr.port}` } }],
        users: [{ name: "u", user: { exec } }],
        contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
        "current-context": "c",
      }),
    );
    return plugin;
  }

  /** Waits until a request came with the program's token. */
  async used(): Promise<void> {
    await this.#accepted.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}
