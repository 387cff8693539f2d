/**
 * The entry point: runs the command that the arguments select, and turns signals and errors into exit codes.
 * @module
 */
import denoJson from "./deno.json" with { type: "json" };
import { run } from "./lib/agent.ts";
import { loadConfig } from "./lib/cli/config.ts";
import { diagnose } from "./lib/doctor/doctor.ts";
import { exitCodeOf, formatReport } from "./lib/doctor/report.ts";
import { ConfigError, KubeconfigError, LeadershipError, messageOf } from "./lib/common/errors.ts";
import { helpText } from "./lib/cli/command_line.ts";
import { configureLog, log } from "./lib/common/log.ts";
import type { Config } from "./lib/cli/options.ts";
import { PROXY_VARIABLES } from "./lib/common/proxies.ts";
import { listHomes } from "./lib/cli/homes_table.ts";
import { listSessions } from "./lib/cli/sessions_table.ts";

const EXIT_FAILURE = 1;
const EXIT_BAD_CONFIG = 2;
const EXIT_LEADERSHIP_LOST = 3;
/** Exit codes by signal: 128 plus its number, as shells report it. */
const SIGNALS = new Map<Deno.Signal, number>([["SIGINT", 130], ["SIGTERM", 143]]);

// Exit explicitly: a half-open connection would keep the process alive.
if (import.meta.main) Deno.exit(await main());

async function main(): Promise<number> {
  try {
    const invocation = loadConfig({
      args: Deno.args,
      env: (name) => Deno.env.get(name),
      readFile: (path) => Deno.readTextFileSync(path),
    });
    // The runtime would apply these to Kubernetes, too, although they are for the Control Plane only.
    for (const name of PROXY_VARIABLES) Deno.env.delete(name);
    switch (invocation.kind) {
      case "help":
        print(helpText());
        return 0;
      case "version":
        print(`k8s-agent ${denoJson.version}`);
        return 0;
      case "check-config":
        print(JSON.stringify(invocation.config, mapsToObjects, 2));
        return 0;
      case "doctor": {
        const findings = await diagnose(invocation.config);
        print(formatReport(findings, invocation.output));
        return exitCodeOf(findings);
      }
      case "sessions":
        return await printList(() =>
          invocation.homes
            ? listHomes(invocation.config, invocation.output)
            : listSessions(invocation.config, invocation.output)
        );
      case "run":
        return await runUntilSignal(invocation.config);
    }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    printError(error.message);
    return EXIT_BAD_CONFIG;
  }
}

/** Runs the agent; the first signal starts a graceful shutdown, a second one exits immediately. */
async function runUntilSignal(config: Config): Promise<number> {
  const { logFormat: format, logLevel: level, agentId } = config;
  configureLog({ format, level, agentId });
  const stop = new AbortController();
  const listeners = [...SIGNALS].map(([signal, code]) => {
    const listener = () => stop.signal.aborted ? Deno.exit(code) : stop.abort();
    Deno.addSignalListener(signal, listener);
    return [signal, listener] as const;
  });
  try {
    await run(config, stop.signal);
    log.info("Stopped");
    return 0;
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    log.error("{reason}", { reason: messageOf(error) });
    if (error instanceof KubeconfigError) return EXIT_BAD_CONFIG;
    return error instanceof LeadershipError ? EXIT_LEADERSHIP_LOST : EXIT_FAILURE;
  } finally {
    for (const [signal, listener] of listeners) Deno.removeSignalListener(signal, listener);
  }
}

async function printList(list: () => Promise<string>): Promise<number> {
  try {
    print(await list());
    return 0;
  } catch (error) {
    // The doctor names the server, and what to do; the error of a kubeconfig does so itself.
    const hint = error instanceof KubeconfigError ? "" : " (run k8s-agent doctor for details)";
    printError(`Cannot list the sessions: ${messageOf(error)}${hint}`);
    return EXIT_FAILURE;
  }
}

function mapsToObjects(_key: string, value: unknown): unknown {
  return value instanceof Map ? Object.fromEntries(value) : value;
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

function printError(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}
