import { assert, assertEquals } from "@std/assert";
import { AGENT_ID, type AnyStage, onEachCluster, SHORT_GRACE, Stage, START } from "../support/stage.ts";

const HOME = { apiVersion: "v1", kind: "PersistentVolumeClaim", metadata: { name: "s1-home" } };
const LIMIT = 30;

/** Sends 100 starts in one frame; returns their ids. */
function sendHundredStarts(stage: AnyStage): string[] {
  return stage.controlPlane.commandFrame(
    AGENT_ID,
    Array.from(
      { length: 100 },
      (_, index) => ({ action: "start_session", sessionId: `s${index}`, payload: START }),
    ),
  );
}

/** The results of commands: "complete", or the error. */
async function outcomes(stage: AnyStage, commandIds: readonly string[]): Promise<unknown[]> {
  const signal = AbortSignal.timeout(120_000);
  const results = await Promise.all(commandIds.map((id) => stage.controlPlane.result(id, { signal })));
  return results.map(({ type, payload }) => type === "complete" ? type : payload.error);
}

function atCapacity(sessionId: string, action = "start"): string {
  return `Cannot ${action} session "${sessionId}": at capacity: ${LIMIT} of ${LIMIT} sessions`;
}

/** The first starts complete, and the others exceed the limit. */
const FIRST_SERVED = Array.from(
  { length: 100 },
  (_, index) => index < LIMIT ? "complete" : atCapacity(`s${index}`),
);

onEachCluster("of 100 starts at once the first 30 complete with --max-sessions=30", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: [`--max-sessions=${LIMIT}`] });
  assertEquals(await outcomes(stage, sendHundredStarts(stage)), FIRST_SERVED);
  const beat = await stage.controlPlane.waitFor(({ type, payload }) =>
    type === "heartbeat" && payload.activeSessions === LIMIT
  );
  assertEquals(beat.payload.capacity, {
    maxCpu: 100,
    maxMemory: 128,
    maxSessions: LIMIT,
    cpu: "100 cores",
    memory: "128Gi",
    usedSessions: LIMIT,
    usedCpu: 7.5,
    usedMemory: 15,
  });
  await stage.restart();
  const { error } = await stage.command("start_session", { sessionId: "s99", ...START });
  assertEquals(error, atCapacity("s99"));
  assertEquals([...stage.controlPlane.problems], []);
});

onEachCluster("a session cannot be woken while another one uses its capacity", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: ["--max-sessions=1"] });
  await stage.command("start_session", { sessionId: "s1", ...START });
  await stage.command("hibernate_session", { sessionId: "s1" });
  await stage.command("start_session", { sessionId: "s2", ...START });
  const { error } = await stage.command("wake_session", { sessionId: "s1" });
  assertEquals(error, 'Cannot wake session "s1": at capacity: 1 of 1 sessions');
  await stage.command("stop_session", { sessionId: "s2" });
  const { result } = await stage.command("wake_session", { sessionId: "s1" });
  assert(result);
  await stage.untilState("s1", "running");
  assertEquals(stage.states("s1"), ["pending", "running", "hibernated", "pending", "running"]);
  assertEquals([...stage.controlPlane.problems], []);
});

onEachCluster("CPU and memory are limited like sessions", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: ["--max-cpu=2", "--max-memory=2"] });
  await stage.command("start_session", { sessionId: "s1", ...START, cpu: "1500m", memory: "1536Mi" });
  const cores = await stage.command("start_session", { sessionId: "s2", ...START, cpu: "1" });
  assertEquals(cores.error, 'Cannot start session "s2": at capacity: 1 core requested, 1.5 of 2 in use');
  const memory = await stage.command("start_session", { sessionId: "s2", ...START, memory: "1Gi" });
  assertEquals(
    memory.error,
    'Cannot start session "s2": at capacity: 1Gi of memory requested, 1.5Gi of 2Gi in use',
  );
  const { result } = await stage.command("start_session", { sessionId: "s2", ...START });
  assert(result);
});

onEachCluster("a start that fails or is cancelled releases its capacity", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: ["--max-sessions=1"], timings: SHORT_GRACE });
  const { error } = await stage.command("start_session", { sessionId: "s1", ...START, template: "crashing" });
  assert(String(error).startsWith('Cannot start session "s1": its container crashed'));
  stage.send("start_session", { sessionId: "s2", ...START, template: "stuck" });
  await stage.untilState("s2", "pending");
  await stage.command("stop_session", { sessionId: "s2" });
  const { result } = await stage.command("start_session", { sessionId: "s3", ...START });
  assert(result);
});

onEachCluster(
  "starts create their objects one after the other with --max-concurrent-starts=1, and leave the queue when stopped",
  async (cluster) => {
    await using stage = await Stage.start(cluster, {
      throughProxies: true,
      args: ["--max-concurrent-starts=1"],
    });
    const { proxies, controlPlane } = stage;
    const begun = proxies.hang("create deployments");
    const ids = ["s1", "s2", "s3"].map((sessionId) => stage.send("start_session", { sessionId, ...START }));
    await begun;
    await stage.untilState("s3", "pending");
    const stopping = stage.send("stop_session", { sessionId: "s2" });
    assertEquals(await outcomes(stage, [ids[1] ?? "", stopping]), [
      'Cannot start session "s2": cancelled by stop',
      "complete",
    ]);
    assertEquals([stage.requestCount("create services"), stage.requestCount("create deployments")], [1, 1]);
    proxies.api.clearFaults();
    assertEquals(await outcomes(stage, [ids[0] ?? "", ids[2] ?? ""]), ["complete", "complete"]);
    assertEquals([stage.requestCount("create services"), stage.requestCount("create deployments")], [2, 2]);
    assertEquals([...controlPlane.problems], []);
  },
);

onEachCluster("a start does not hold its slot while it waits", async (cluster) => {
  await cluster.create(
    {
      ...HOME,
      metadata: {
        ...HOME.metadata,
        labels: { app: "streamspace-session", session: "s1" },
        finalizers: ["example.com/hold"],
      },
      spec: { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } },
    } as typeof HOME,
  );
  await cluster.delete("v1", "PersistentVolumeClaim", "s1-home");
  await using stage = await Stage.start(cluster, { args: ["--max-concurrent-starts=1"] });
  // The first start waits for the deletion of a volume, the second one for its pod.
  const first = stage.send("start_session", { sessionId: "s1", ...START, persistentHome: true });
  stage.send("start_session", { sessionId: "s2", ...START, template: "stuck" });
  await stage.command("start_session", { sessionId: "s3", ...START });
  assertEquals(stage.results(first), []);
  await cluster.setFinalizers(HOME, []);
  assertEquals(await outcomes(stage, [first]), ["complete"]);
});
