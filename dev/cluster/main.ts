/**
 * Runs the cluster as a program: `deno task cluster [--port PORT] [--kubeconfig FILE]`. Without a file it writes a
 * temporary one. It ends on SIGINT and SIGTERM.
 * @module
 */
import { parseArgs } from "@std/cli";
import { Cluster } from "./cluster.ts";

/** Serves a cluster until a signal is received, and prints how to use it. */
async function main(): Promise<void> {
  const { port, kubeconfig } = parseArgs(Deno.args, { string: ["port", "kubeconfig"] });
  const path = typeof kubeconfig === "string"
    ? kubeconfig
    : await Deno.makeTempFile({ prefix: "kubeconfig-" });
  await using cluster = Cluster.start({ port: Number(port ?? 0) });
  await Deno.writeTextFile(path, cluster.kubeconfig());
  await Deno.stdout.write(
    new TextEncoder().encode(
      `Kubernetes API in memory at ${cluster.url}. To use it:\n  export KUBECONFIG=${path}\n`,
    ),
  );
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, resolve);
  });
}

if (import.meta.main) await main();
