/**
 * What an agent that was killed leaves to the next process, besides the command that was running.
 * @module
 */
import { assertEquals } from "@std/assert";
import type { V1ConfigMap } from "@kubernetes/client-node";
import { Actor } from "../../support/actor.ts";
import { AGENT_ID, killAndRestart, onEachCluster, Stage, START } from "../../support/stage.ts";

const STUCK = { sessionId: "s1", ...START, template: "stuck" };

onEachCluster(
  "a repeated command gets the same result later and from the next process",
  async (cluster) => {
    await using stage = await Stage.startProcess(cluster, { throughProxies: true });
    const payload = { sessionId: "s1", ...START };
    const commandId = stage.send("start_session", payload);
    await stage.controlPlane.result(commandId);
    const assertRepeated = async () => {
      await stage.roundTrip();
      const before = stage.results(commandId).length;
      stage.controlPlane.command(AGENT_ID, {
        action: "start_session",
        sessionId: "s1",
        payload,
        commandId,
      });
      await stage.controlPlane.waitFor(() => stage.results(commandId).length > before);
    };
    await assertRepeated();
    await killAndRestart(stage);
    await assertRepeated();
    // After a graceful shutdown the journal is empty, and the session's objects hold the result.
    await stage.restart();
    await assertRepeated();
    assertEquals(new Set(stage.results(commandId)), new Set(["complete"]));
    assertEquals(stage.requestCount("create deployments"), 1);
    assertEquals([...stage.controlPlane.problems], []);
  },
);

onEachCluster("the next process starts the same sessions within the session limit", async (cluster) => {
  await using stage = await Stage.startProcess(cluster, { args: ["--max-sessions=10"] });
  const ids = stage.controlPlane.commandFrame(
    AGENT_ID,
    Array.from(
      { length: 30 },
      (_, index) => ({ action: "start_session", sessionId: `s${index}`, payload: START }),
    ),
  );
  const acknowledged = new Set<unknown>();
  await stage.controlPlane.waitFor(({ type, payload }) =>
    type === "ack" && acknowledged.add(payload.commandId).size === ids.length
  );
  await killAndRestart(stage);
  const results = await Promise.all(ids.map((id) => stage.controlPlane.result(id)));
  assertEquals(
    results.map(({ type, payload }) => payload.error ?? type),
    ids.map((_, index) =>
      index < 10 ? "complete" : `Cannot start session "s${index}": at capacity: 10 of 10 sessions`
    ),
  );
  assertEquals((await cluster.list("apps/v1", "Deployment")).length, 10);
  assertEquals([...stage.controlPlane.problems], []);
});

onEachCluster(
  "the next process reports why the previous one hibernated a session",
  async (cluster) => {
    await using stage = await Stage.startProcess(cluster, { throughProxies: true });
    const reached = stage.proxies.holdBack("patch deployments");
    await stage.command("start_session", { sessionId: "s1", ...START, maxSessionDuration: "1s" });
    await reached;
    await killAndRestart(stage);
    await stage.untilState("s1", "hibernated");
    assertEquals(stage.lastStatus("s1").platformMetadata, {
      podName: "",
      podIP: "",
      nodeName: "",
      reason: "MaxDuration",
      message: "it reached its maximum duration of 1s",
    });
  },
);

onEachCluster("what ended without a process is reported once, whatever restarts follow", async (cluster) => {
  await using stage = await Stage.startProcess(cluster, { throughProxies: true });
  await stage.command("start_session", { sessionId: "s1", ...START });
  await stage.command("start_session", { sessionId: "s2", ...START });
  stage.agent.stop();
  await stage.agent.ended();
  await cluster.delete("apps/v1", "Deployment", "s1");
  await cluster.delete("apps/v1", "Deployment", "s2");
  await cluster.delete("v1", "Service", "s2");
  await cluster.untilLeft(["Service/s1"]);
  await stage.startNext();
  const expected = [["pending", "running", "failed"], ["pending", "running", "terminated"]];
  const states = () => [stage.states("s1"), stage.states("s2")];
  await stage.controlPlane.waitFor(() => String(states()) === String(expected));
  await cluster.until(async () => {
    const [service] = await cluster.list("v1", "Service");
    const journals = await cluster.list("v1", "ConfigMap") as V1ConfigMap[];
    return service?.metadata?.annotations?.["stream.space/status"]?.includes("failed") === true &&
      !journals.some(({ data = {} }) => Object.values(data).includes("s1\ns2"));
  });
  for (const _ of [1, 2]) {
    await killAndRestart(stage);
    // The monitor of the new process reports before it answers a command.
    await stage.command("wake_session", { sessionId: "s3" });
    assertEquals(states(), expected);
  }
});

onEachCluster("a session stays failed when a wake of it fails and the agent is killed", async (cluster) => {
  await using stage = await Stage.startProcess(cluster);
  await stage.command("start_session", { sessionId: "s1", ...START, template: "unknown" });
  await stage.command("wake_session", { sessionId: "s1" });
  await killAndRestart(stage);
  await stage.command("wake_session", { sessionId: "s2" });
  await stage.roundTrip();
  assertEquals(new Set(stage.states("s1")), new Set(["failed"]));
});

onEachCluster("the next process reports a failed start again with its reason", async (cluster) => {
  await using stage = await Stage.startProcess(cluster, { args: ["--start-timeout=1s"] });
  await stage.command("start_session", STUCK);
  await stage.untilState("s1", "failed");
  const { platformMetadata } = stage.lastStatus("s1");
  const before = stage.states("s1").length;
  await killAndRestart(stage);
  await stage.controlPlane.waitFor(() => stage.states("s1").length > before);
  assertEquals(stage.lastStatus("s1").platformMetadata, platformMetadata);
});

onEachCluster("the next process completes a start with the template of the command", async (cluster) => {
  await using stage = await Stage.startProcess(cluster);
  const spec = { baseImage: "example.com/web:1", ports: [{ name: "web", containerPort: 6901 }] };
  const payload = { sessionId: "s1", ...START, template: "gimp", templateManifest: { Spec: spec } };
  const commandId = stage.send("start_session", payload);
  await stage.untilState("s1", "pending");
  await killAndRestart(stage);
  const { payload: { result } } = await stage.controlPlane.result(commandId);
  assertEquals((result as Record<string, unknown> | undefined)?.vncPort, 6901);
});

const REJECTED: Array<[name: string, args: string[], problem: string]> = [
  [
    "image it must not use",
    ["--allowed-images=none/*"],
    'image "example.com/stuck:1" is not allowed: see --allowed-images',
  ],
  [
    "CPU limit it cannot meet",
    ["--max-cpu=2"],
    '"cpu" must be at most 2 cores, the limit of this agent, but is "3"',
  ],
];

for (const [name, args, problem] of REJECTED) {
  onEachCluster(
    `the next process fails a start with an ${name}, and deletes its objects`,
    async (cluster) => {
      await using stage = await Stage.startProcess(cluster, { args: ["--max-cpu=4"] });
      const start = stage.send("start_session", { ...STUCK, cpu: "3" });
      await new Actor(cluster).begun("s1");
      await killAndRestart(stage, { args });
      const { payload } = await stage.controlPlane.result(start);
      assertEquals(payload.error, `Cannot start session "s1": template "stuck": ${problem}`);
      await stage.untilState("s1", "failed");
      await cluster.untilEmpty();
    },
  );
}
