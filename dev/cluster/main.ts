/**
 * Runs the in-memory cluster by itself: `deno run -A dev/cluster/main.ts --port 0 --kubeconfig FILE`.
 * It ends on SIGINT and SIGTERM.
 * @module
 */
import { parseArgs } from "@std/cli";
import { Cluster } from "./cluster.ts";

/** Serves a cluster until a signal comes, and tells how to use it. */
async function main(): Promise<void> {
  const { port, kubeconfig } = parseArgs(Deno.args, { string: ["port", "kubeconfig"] });
  if (typeof kubeconfig !== "string") {
    throw new TypeError("Cannot start the cluster: --kubeconfig FILE is missing");
  }
  await using cluster = Cluster.start({ port: Number(port ?? 0) });
  await Deno.writeTextFile(kubeconfig, cluster.kubeconfig());
  await Deno.stdout.write(
    new TextEncoder().encode(`KUBECONFIG=${kubeconfig} kubectl get pods -n streamspace\n`),
  );
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, resolve);
  });
}

if (import.meta.main) await main();
