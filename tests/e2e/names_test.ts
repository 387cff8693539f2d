import { assertEquals, assertMatch } from "@std/assert";
import type { V1Deployment } from "@kubernetes/client-node";
import { onEachCluster, Stage, START_WITH_HOME as START } from "../support/stage.ts";

/** Ids that are not valid object names. */
const IDS = ["alice@example.com", "../x", "a".repeat(65), "名前", "__proto__"];

onEachCluster("any text can be a session id, also after a restart", async (cluster, context) => {
  await using stage = await Stage.start(cluster);
  for (const [i, sessionId] of IDS.entries()) {
    await context.step(JSON.stringify(sessionId), async () => {
      const { result, error } = await stage.command("start_session", { ...START, sessionId });
      assertEquals(error, undefined);
      const { sessionId: reported, service, state } = result as Record<string, unknown>;
      assertEquals([reported, state], [sessionId, "running"]);
      assertMatch(String(service), /^[a-z][a-z0-9-]*--[0-9a-f]{16}$/);
      await stage.untilState(sessionId, "running");
      assertEquals((await cluster.list("apps/v1", "Deployment")).length, i + 1);
    });
  }
  await stage.restart();
  for (const sessionId of IDS) {
    await context.step(`${JSON.stringify(sessionId)} after a restart`, async () => {
      for (const action of ["hibernate_session", "wake_session", "stop_session"]) {
        assertEquals((await stage.command(action, { sessionId, deletePVC: true })).error, undefined);
      }
      await stage.untilState(sessionId, "terminated");
    });
  }
  assertEquals(await cluster.leftovers(), []);
});

onEachCluster(
  "an id that equals the object name of another session is a separate session",
  async (cluster) => {
    await using stage = await Stage.start(cluster);
    const first = await stage.command("start_session", { ...START, sessionId: "Alice" });
    const name = String((first.result as Record<string, unknown>).service);
    const second = await stage.command("start_session", { ...START, sessionId: name });
    assertEquals(second.error, undefined);
    await stage.command("stop_session", { sessionId: name });
    const deployments = await cluster.list("apps/v1", "Deployment") as V1Deployment[];
    assertEquals(deployments.map(({ metadata }) => metadata?.annotations?.["stream.space/session"]), [
      "Alice",
    ]);
  },
);
