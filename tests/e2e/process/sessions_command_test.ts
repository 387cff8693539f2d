import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { AgentProcess } from "../../../dev/agent_process.ts";
import type { SessionRow } from "../../../lib/cli/sessions_table.ts";
import { onEachCluster, Stage, START_WITH_HOME as START } from "../../support/stage.ts";

/** Runs the command; returns its output and exit code. */
async function sessions(
  stage: Stage<AgentProcess>,
  ...args: string[]
): Promise<{ lines: readonly string[]; code: number }> {
  await using command = await stage.startReplica({ args: ["sessions", ...args] });
  const code = await command.exit();
  return { lines: command.output, code };
}

onEachCluster("sessions lists all sessions with their states and reasons", async (cluster) => {
  await using stage = await Stage.startProcess(cluster);
  assertEquals(await sessions(stage), { lines: ["No sessions"], code: 0 });

  for (const sessionId of ["runs", "sleeps", "Ünïcode id"]) {
    assertEquals((await stage.command("start_session", { ...START, sessionId })).error, undefined);
  }
  assertEquals((await stage.command("hibernate_session", { sessionId: "sleeps" })).error, undefined);
  stage.send("start_session", { ...START, sessionId: "waits", template: "stuck", persistentHome: false });
  await stage.untilState("waits", "pending");
  await cluster.until(async () => (await cluster.list("v1", "Pod")).length === 3);

  const { lines, code } = await sessions(stage);
  assertEquals([code, lines.length], [0, 5]);
  assertMatch(
    lines[0] ?? "",
    /^SESSION +USER +TEMPLATE +STATE +POD +NODE +AGE +VIEWERS +LAST USED +HOME +CPU +MEMORY +REASON$/,
  );
  assertMatch(
    lines[1] ?? "",
    /^runs +alice +firefox +running +runs-\S+ +\S+ +[\d.]+m?s +0 +never +runs-home +250m +512Mi$/,
  );
  assertMatch(
    lines[2] ?? "",
    /^sleeps +alice +firefox +hibernated +- +- +[\d.]+m?s +0 +never +sleeps-home +250m +512Mi$/,
  );
  assertMatch(
    lines[3] ?? "",
    /^waits +alice +stuck +pending +waits-\S+ +\S+ +[\d.]+m?s +0 +never +- +250m +512Mi +\S.*$/,
  );
  assertMatch(lines[4] ?? "", /^Ünïcode id +alice +firefox +running +/);

  const json = await sessions(stage, "--output=json");
  const rows = JSON.parse(json.lines.join("\n")).sessions as SessionRow[];
  assertEquals(rows.map(({ session, state }) => [session, state]), [
    ["runs", "running"],
    ["sleeps", "hibernated"],
    ["waits", "pending"],
    ["Ünïcode id", "running"],
  ]);
  assertEquals(rows.filter(({ reason }) => reason !== "").map(({ session }) => session), ["waits"]);
});

onEachCluster("sessions --homes lists the home volumes", async (cluster) => {
  await using stage = await Stage.startProcess(cluster);
  assertEquals((await stage.command("start_session", { ...START, sessionId: "s1" })).error, undefined);
  const { lines, code } = await sessions(stage, "--homes");
  assertEquals([code, lines.length], [0, 2]);
  assertMatch(lines[1] ?? "", /^s1-home +s1 +alice +1Gi +\S+ +used +\S+ +- +-$/);
});

onEachCluster("sessions reports an API error and exits with code 1", async (cluster) => {
  await using stage = await Stage.startProcess(cluster, { throughProxies: true });
  stage.proxies.api.inject({ kind: "status", verb: "list", resource: "pods", code: 403, times: Infinity });
  const { lines, code } = await sessions(stage);
  assertEquals([code, lines.length], [1, 1]);
  assertStringIncludes(lines[0] ?? "", "Cannot list the sessions: Kubernetes refused to read pods: ");
  assertStringIncludes(lines[0] ?? "", "(run k8s-agent doctor for details)");
});
