import { assert, assertEquals } from "@std/assert";
import { AGENT_ID, type AnyStage, onEachCluster, SHORT_GRACE, Stage, START } from "../support/stage.ts";

const HOME = { apiVersion: "v1", kind: "PersistentVolumeClaim", metadata: { name: "s1-home" } };
const ROOM = 30;

/** Gives a hundred starts in one frame, and their ids. */
function hundredStarts(stage: AnyStage): string[] {
  return stage.controlPlane.commandFrame(
    AGENT_ID,
    Array.from(
      { length: 100 },
      (_, index) => ({ action: "start_session", sessionId: `s${index}`, payload: START }),
    ),
  );
}

/** What became of commands: "complete", or why not. */
async function outcomes(stage: AnyStage, commandIds: readonly string[]): Promise<unknown[]> {
  const signal = AbortSignal.timeout(120_000);
  const results = await Promise.all(commandIds.map((id) => stage.controlPlane.result(id, { signal })));
  return results.map(({ type, payload }) => type === "complete" ? type : payload.error);
}

function refused(sessionId: string, action = "start"): string {
  return `Cannot ${action} session "${sessionId}": at capacity: ${ROOM} of ${ROOM} sessions`;
}

/** The first of a hundred, as far as there is room, and that there is none for the others. */
const FIRST_COME = Array.from(
  { length: 100 },
  (_, index) => index < ROOM ? "complete" : refused(`s${index}`),
);

onEachCluster("of 100 starts at once the first 30 are served where there is room for 30", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: [`--max-sessions=${ROOM}`] });
  assertEquals(await outcomes(stage, hundredStarts(stage)), FIRST_COME);
  const beat = await stage.controlPlane.waitFor(({ type, payload }) =>
    type === "heartbeat" && payload.activeSessions === ROOM
  );
  assertEquals(beat.payload.capacity, {
    maxCpu: 100,
    maxMemory: 128,
    maxSessions: ROOM,
    cpu: "100 cores",
    memory: "128Gi",
    usedSessions: ROOM,
    usedCpu: 7.5,
    usedMemory: 15,
  });
  await stage.restart();
  const { error } = await stage.command("start_session", { sessionId: "s99", ...START });
  assertEquals(error, refused("s99"));
  assertEquals([...stage.controlPlane.problems], []);
});

onEachCluster("a session is not woken where another has taken its place", async (cluster) => {
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

onEachCluster("cores and memory are bounded as sessions are", async (cluster) => {
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

onEachCluster("a start that fails or is cancelled gives its place back", async (cluster) => {
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
  "starts take turns to create their objects, and leave the queue when stopped",
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

onEachCluster("a turn to create objects is not kept while waiting", async (cluster) => {
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
  // One waits for what is in its way, the next for its pod.
  const first = stage.send("start_session", { sessionId: "s1", ...START, persistentHome: true });
  stage.send("start_session", { sessionId: "s2", ...START, template: "stuck" });
  await stage.command("start_session", { sessionId: "s3", ...START });
  assertEquals(stage.results(first), []);
  await cluster.setFinalizers(HOME, []);
  assertEquals(await outcomes(stage, [first]), ["complete"]);
});
