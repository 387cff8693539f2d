/**
 * Runs the cluster as a program: `deno task cluster [--port PORT] [--kubeconfig FILE]`. Without a file it writes a
 * temporary one. It ends on SIGINT and SIGTERM.
 * @module
 */
import { parseArgs } from "@std/cli";
import { Cluster } from "./cluster.ts";

const USAGE = "Usage: deno task cluster [--port PORT] [--kubeconfig FILE]";

/** Serves a cluster until a signal is received, and prints how to use it. */
async function main(): Promise<void> {
  const unknown: string[] = [];
  const { port = "0", kubeconfig = "" } = parseArgs(Deno.args, {
    string: ["port", "kubeconfig"],
    unknown: (argument) => unknown.push(argument),
  }) as { port?: string; kubeconfig?: string };
  if (unknown.length > 0) return fail(`${unknown.join(" ")} is unknown`);
  if (!/^\d{1,5}$/.test(port)) return fail(`--port must be a number: current value is "${port}"`);
  const path = kubeconfig || await Deno.makeTempFile({ prefix: "kubeconfig-" });
  await using cluster = Cluster.start({ port: Number(port) });
  try {
    await Deno.writeTextFile(path, cluster.kubeconfig());
  } catch (error) {
    return fail(`Cannot write --kubeconfig: ${(error as Error).message}`);
  }
  await Deno.stdout.write(
    new TextEncoder().encode(
      `Kubernetes API in memory at ${cluster.url}. To use it:\n  export KUBECONFIG=${path}\n`,
    ),
  );
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, resolve);
  });
}

function fail(problem: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${problem}\n${USAGE}\n`));
  Deno.exitCode = 2;
}

if (import.meta.main) await main();
