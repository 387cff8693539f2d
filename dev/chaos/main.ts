// deno-lint-ignore-file no-console -- a program that speaks to whoever started it
/**
 * `deno task chaos`: on a real API server sessions churn while the agent, its links and the API server are killed, cut and slowed, by a plan
 * that a seed determines; at the end it is checked that nothing was lost.
 *
 *     deno task chaos [--seed N] [--duration 5m] [--kubeconfig FILE] [--api-server-pid PID] [--output FILE.md]
 *
 * Without a kubeconfig it uses the in-memory API of dev/cluster. Ends with 0 if all checks hold, 1 if not, 2 for an unusable command line.
 * @module
 */
import { type ChaosArguments, readArguments, USAGE } from "./arguments.ts";
import type { Violation } from "./checks.ts";
import type { History } from "./history.ts";
import type { Logbook } from "./logbook.ts";
import { reportTable } from "./report.ts";
import { runChaos, type RunOutcome } from "./run.ts";
import { Stage } from "./stage.ts";

/** Longest time for the agent to be connected at first. */
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
    tell(`The run was broken off: ${error instanceof Error ? error.stack ?? error.message : error}`);
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
  tell(`Seed ${seed}; again: ${replay}`);
  const cluster = kubeconfig === "" ? "in memory" : "from kubeconfig";
  tell(`The API server is ${kubeconfig === "" ? "the one in memory" : `that of ${kubeconfig}`}`);

  await using stage = await Stage.set(
    { kubeconfig, apiServerPid, onEvent: tell },
    AbortSignal.any([signal, AbortSignal.timeout(START_MS)]),
  );
  const outcome = await runChaos(stage, { seed, durationMs, tell, signal });
  const { performer, history, before, after } = outcome;
  const table = reportTable({
    seed,
    durationMs,
    cluster,
    agent: Deno.env.get("K8S_AGENT") ? "executable" : "source",
    counts: performer.counts,
    stories: history.stories(),
    failovers: stage.logbook.leaders - 1,
    violations: outcome.violations.length,
    excused: outcome.excused.length,
    before,
    after,
  });
  const text = [table, ...sentences(outcome)].join("\n\n");
  for (const violation of outcome.violations) printContext(violation, { history, logbook: stage.logbook });
  console.log(`\n${text}\n`);
  tell(`Seed ${seed}; again: ${replay}`);
  if (given.output !== undefined) await Deno.writeTextFile(given.output, `# Chaos\n\n${text}\n`);
  return outcome.violations.length === 0 ? 0 : 1;
}

function sentences({ violations, excused }: RunOutcome): string[] {
  const list = (title: string, texts: readonly string[]) =>
    texts.length > 0 ? [`${title}:`, texts.map((text) => `- ${text}`).join("\n")] : [];
  return [...list("Violations", violations.map(({ text }) => text)), ...list("Excused", excused)];
}

/** All that is known of what a violation is about. */
function printContext(
  { text, commandId, sessionId }: Violation,
  { history, logbook }: { history: History; logbook: Logbook },
): void {
  console.log(`\nVIOLATION ${text}`);
  const ofCommand = history.stories().find(({ command }) => command.commandId === commandId);
  const about = sessionId ?? ofCommand?.command.sessionId;
  if (about === undefined) return;
  const ids = history.stories().filter(({ command }) => command.sessionId === about)
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

function tell(line: string): void {
  // performance.now() counts from the start of the program.
  console.log(`${(performance.now() / 1000).toFixed(2).padStart(7)}s  ${line}`);
}

if (import.meta.main) Deno.exitCode = await main();
