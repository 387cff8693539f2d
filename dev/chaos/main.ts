// deno-lint-ignore-file no-console -- a command-line program
/**
 * `deno task chaos`: starts and stops sessions while the agent, its connections and the API server are killed, cut and slowed down, following a
 * plan that a seed determines. At the end it checks that nothing was lost.
 *
 *     deno task chaos [--seed N] [--duration 5m] [--kubeconfig FILE] [--api-server-pid PID] [--output FILE.md]
 *
 * Without a kubeconfig it uses the in-memory API of dev/cluster. Exits with 0 if all checks pass, 1 if not, 2 for an invalid command line.
 * @module
 */
import { type ChaosArguments, readArguments, USAGE } from "./arguments.ts";
import type { Violation } from "./checks.ts";
import type { History } from "./history.ts";
import type { Logbook } from "./logbook.ts";
import { footprintTable, reportTable } from "./report.ts";
import { runChaos, type RunOutcome } from "./run.ts";
import { Stage } from "./stage.ts";

/** Timeout for the first connection of the agent, in milliseconds. */
const START_MS = 60_000;

async function main(): Promise<number> {
  let given: ChaosArguments;
  try {
    given = readArguments(Deno.args);
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n${USAGE}`);
    return 2;
  }
  const interrupt = new AbortController();
  const onSignal = () => interrupt.abort(new Error("interrupted"));
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, onSignal);
  try {
    return await chaos(given, interrupt.signal);
  } catch (error) {
    log(`The run was aborted: ${error instanceof Error ? error.stack ?? error.message : error}`);
    return 1;
  } finally {
    for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.removeSignalListener(signal, onSignal);
  }
}

async function chaos(given: ChaosArguments, signal: AbortSignal): Promise<number> {
  const seed = given.seed ?? crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  const kubeconfig = given.kubeconfig ?? Deno.env.get("KUBECONFIG") ?? "";
  const { durationMs, apiServerPid } = given;
  const replay = replayCommand({ ...given, kubeconfig, seed });
  log(`Seed ${seed}; repeat with: ${replay}`);
  const cluster = kubeconfig === "" ? "in memory" : "from kubeconfig";
  log(`API server: ${kubeconfig === "" ? "in memory" : kubeconfig}`);

  await using stage = await Stage.set(
    { kubeconfig, apiServerPid, onEvent: log },
    AbortSignal.any([signal, AbortSignal.timeout(START_MS)]),
  );
  const outcome = await runChaos(stage, { seed, durationMs, log, signal });
  const { performer, streams, history, before, after } = outcome;
  const table = reportTable({
    seed,
    durationMs,
    cluster,
    agent: Deno.env.get("K8S_AGENT") ? "executable" : "source",
    counts: performer.counts,
    streams,
    records: history.records(),
    failovers: stage.logbook.leaders - 1,
    violations: outcome.violations.length,
    excused: outcome.excused.length,
    before,
    after,
  });
  const text = [table, footprintTable(outcome.samples), ...sentences(outcome)].join("\n\n");
  for (const violation of outcome.violations) printContext(violation, { history, logbook: stage.logbook });
  console.log(`\n${text}\n`);
  log(`Seed ${seed}; repeat with: ${replay}`);
  if (given.output !== undefined) await Deno.writeTextFile(given.output, `# Chaos\n\n${text}\n`);
  return outcome.violations.length === 0 ? 0 : 1;
}

function sentences({ violations, excused }: RunOutcome): string[] {
  const list = (title: string, texts: readonly string[]) =>
    texts.length > 0 ? [`${title}:`, texts.map((text) => `- ${text}`).join("\n")] : [];
  return [...list("Violations", violations.map(({ text }) => text)), ...list("Excused", excused)];
}

/** Prints the history of the session that a violation is about. */
function printContext(
  { text, commandId, sessionId }: Violation,
  { history, logbook }: { history: History; logbook: Logbook },
): void {
  console.log(`\nVIOLATION ${text}`);
  const ofCommand = history.records().find(({ command }) => command.commandId === commandId);
  const about = sessionId ?? ofCommand?.command.sessionId;
  if (about === undefined) return;
  const ids = history.records().filter(({ command }) => command.sessionId === about)
    .map(({ command }) => `Command ${command.commandId}`);
  for (const line of history.about(about)) console.log(`    ${line}`);
  for (const line of logbook.about([...ids, `Session ${about} `, `session ${about} `, `"${about}"`])) {
    console.log(`    ${line}`);
  }
}

function replayCommand({ seed, durationMs, kubeconfig, apiServerPid }: ChaosArguments): string {
  return [
    `deno task chaos --seed ${seed} --duration ${durationMs / 1000}s`,
    ...(kubeconfig === "" ? [] : [`--kubeconfig ${kubeconfig}`]),
    ...(apiServerPid === undefined ? [] : [`--api-server-pid ${apiServerPid}`]),
  ].join(" ");
}

function log(line: string): void {
  // performance.now() counts from the start of the program.
  console.log(`${(performance.now() / 1000).toFixed(2).padStart(7)}s  ${line}`);
}

if (import.meta.main) Deno.exitCode = await main();
