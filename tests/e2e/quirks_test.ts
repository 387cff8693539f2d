/**
 * The agent with a Control Plane that has the quirks of a real one.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { MEMORY } from "../support/clusters.ts";
import { onEachCluster, Stage, START } from "../support/stage.ts";

/** A record of the Control Plane's API. */
async function record(stage: Stage, path: string): Promise<Record<string, unknown>> {
  const response = await fetch(`${stage.controlPlane.url}/api/v1/${path}`);
  return await response.json();
}

onEachCluster("late-sent does not overwrite a result, which is sent once", async (cluster) => {
  const timings = { resultHoldMs: 200 };
  await using stage = await Stage.start(cluster, { quirks: ["late-sent"], timings });
  const ids = [
    stage.send("start_session", { ...START, sessionId: "s1" }),
    stage.send("hibernate_session", { sessionId: "s1" }),
    stage.send("wake_session", { sessionId: "nobody" }),
    stage.send("stop_session", { sessionId: "s1" }),
  ];
  for (const id of ids) await stage.controlPlane.result(id);
  await stage.roundTrip();
  for (const id of ids) {
    const { status, sentAt, completedAt } = await record(stage, `commands/${id}`);
    assert(status === "completed" || status === "failed");
    const tookMs = Date.parse(String(completedAt)) - Date.parse(String(sentAt));
    assert(tookMs >= 150 && tookMs < 2000, `The result came after ${tookMs} ms`);
    assertEquals(stage.results(id).length, 1);
  }
  assertEquals([...stage.controlPlane.problems], []);
}, [MEMORY]);
