import { assert, assertEquals } from "@std/assert";
import { AgentProcess } from "../../dev/agent_process.ts";
import { ControlPlane } from "../../dev/control_plane/control_plane.ts";
import { MEMORY } from "../support/clusters.ts";
import { AGENT_ID, onEachCluster, Stage, START_WITH_HOME } from "../support/stage.ts";

const START = { sessionId: "s1", ...START_WITH_HOME };

/** A log line without its time. */
function text(line: string): string {
  return line.replace(/^\S+ (?=\[K8sAgent\])/, "");
}

onEachCluster("the agent logs the documented lines in their order", async (cluster) => {
  await using stage = await Stage.start(cluster, {
    args: ["--region=us-east-1", "--heartbeat-interval=10s"],
  });
  assertEquals(stage.agent.output.map(text), [
    `[K8sAgent] Starting agent: ${AGENT_ID} (platform: kubernetes, region: us-east-1)`,
    "[K8sAgent] Connecting to Control Plane...",
    `[K8sAgent] Registered successfully: ${AGENT_ID} (status: online)`,
    "[K8sAgent] WebSocket connected",
    `[K8sAgent] Connected to Control Plane: ${stage.controlPlane.url.replace("http", "ws")}`,
    "[K8sAgent] Starting heartbeat sender (interval: 10s)",
  ]);
  assertEquals(stage.controlPlane.registrations[0]?.body, {
    agentId: AGENT_ID,
    platform: "kubernetes",
    region: "us-east-1",
    capacity: { maxCpu: 100, maxMemory: 128, maxSessions: 100, cpu: "100 cores", memory: "128Gi" },
    metadata: { namespace: cluster.namespace, kubernetes: true },
  });
}, [MEMORY]);

onEachCluster(
  "C5 a command whose link is cut is finished, and its result comes over the next one",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { throughProxies: true });
    const reached = stage.proxies.hang("create deployments");
    const commandId = stage.send("start_session", START);
    await reached;
    stage.controlPlane.disconnect(AGENT_ID);
    await stage.agent.line(/Disconnected from Control Plane/);
    stage.proxies.api.clearFaults();
    const { type, payload } = await stage.controlPlane.result(commandId);
    assertEquals([type, (payload.result as Record<string, unknown>).state], ["complete", "running"]);
    // A new registration comes before the new connection.
    assertEquals([stage.controlPlane.registrations.length, stage.controlPlane.connections.length], [2, 2]);
    await stage.controlPlane.waitFor((message) =>
      message.type === "status" && message.payload.state === "running"
    );
    assertEquals([...stage.controlPlane.problems], []);
  },
);

onEachCluster("R6 SIGTERM lets a running command end, refuses new ones and ends with 0", async (cluster) => {
  await using stage = await Stage.startProcess(cluster, { throughProxies: true });
  const reached = stage.proxies.hang("create deployments");
  const running = stage.send("start_session", START);
  await reached;
  stage.agent.kill("SIGTERM");
  await stage.controlPlane.waitFor((message) =>
    message.type === "heartbeat" && message.payload.status === "draining"
  );
  const refused = await stage.command("stop_session", { sessionId: "other" });
  assertEquals(refused.error, "The agent is stopping and accepts no more commands");
  stage.proxies.api.clearFaults();
  assertEquals((await stage.controlPlane.result(running)).type, "complete");
  assertEquals(await stage.agent.exit(), 0);
  assertEquals(stage.controlPlane.connections.map(({ closed }) => closed?.code), [1000]);
});

onEachCluster(
  "R6 R11 a command that does not end in time is left to the next process, which answers it",
  async (cluster) => {
    await using stage = await Stage.start(cluster, { args: ["--drain-timeout=0s"] });
    const running = stage.send("start_session", { ...START, template: "stuck" });
    await stage.controlPlane.waitFor((message) =>
      message.type === "status" && message.payload.state === "pending"
    );
    stage.controlPlane.send(AGENT_ID, { type: "shutdown", payload: { reason: "maintenance" } });
    await stage.agent.ended();
    await stage.startNext();
    const stopped = await stage.command("stop_session", { sessionId: "s1", deletePVC: true });
    assertEquals(stopped.error, undefined);
    const { payload } = await stage.controlPlane.result(running);
    assertEquals(payload.error, 'Cannot start session "s1": cancelled by stop');
    assertEquals(await cluster.leftovers(), []);
    assertEquals([...stage.controlPlane.problems], []);
  },
  [MEMORY],
);

onEachCluster(
  "R6 a second signal ends the agent at once, and leaves what is at work to the next process",
  async (cluster) => {
    await using stage = await Stage.startProcess(cluster);
    const running = stage.send("start_session", { ...START, template: "stuck" });
    await stage.controlPlane.waitFor((message) =>
      message.type === "status" && message.payload.state === "pending"
    );
    stage.agent.kill("SIGTERM");
    await stage.agent.line(/Stopping: no new commands, running ones get 25s/);
    stage.agent.kill("SIGINT");
    assertEquals(await stage.agent.exit(), 130);
    await stage.startNext();
    await stage.command("stop_session", { sessionId: "s1", deletePVC: true });
    const { payload } = await stage.controlPlane.result(running);
    assertEquals(payload.error, 'Cannot start session "s1": cancelled by stop');
  },
  [MEMORY],
);

onEachCluster("K18 the agent carries on while the Kubernetes watch is cut", async (cluster) => {
  await using stage = await Stage.start(cluster);
  await stage.command("start_session", START);
  cluster.cutWatches();
  const asleep = await stage.command("hibernate_session", { sessionId: "s1" });
  assertEquals((asleep.result as Record<string, unknown>).state, "hibernated");
  cluster.expireWatches();
  const woken = await stage.command("wake_session", { sessionId: "s1" });
  assertEquals((woken.result as Record<string, unknown>).state, "running");
}, [MEMORY]);

Deno.test("C1 a Control Plane that is not there ends the agent with 1 once its attempts are used up", async () => {
  await using cluster = await MEMORY.open();
  await using agent = await AgentProcess.start({
    args: [
      "--agent-id=lonely",
      "--control-plane-url=ws://127.0.0.1:9",
      `--kubeconfig=${cluster.kubeconfig}`,
      "--reconnect-attempts=1",
    ],
  });
  assertEquals(await agent.exit(), 1);
  const lines = agent.output.map(text);
  assert(
    lines.some((line) => /^\[K8sAgent\] Reconnecting in 2(\.\d)?s \(attempt 1 of 1\)$/.test(line)),
    lines.join("\n"),
  );
  assertEquals(
    lines.at(-1),
    "[K8sAgent] ERROR: Cannot reach the Control Plane: all attempts failed (--reconnect-attempts=1)",
  );
});

Deno.test("a key is sent with registration and connection, and shown nowhere", async () => {
  await using cluster = await MEMORY.open();
  const key = "0123456789abcdef".repeat(4);
  await using controlPlane = ControlPlane.start({ apiKey: key });
  await using agent = await AgentProcess.start({
    args: [
      "--agent-id=keyed",
      `--control-plane-url=${controlPlane.url}`,
      `--kubeconfig=${cluster.kubeconfig}`,
      "--log-level=debug",
    ],
    env: { AGENT_API_KEY: key },
  });
  await agent.line(/Starting heartbeat sender/);
  assertEquals(controlPlane.registrations[0]?.headers.get("X-Agent-API-Key"), key);
  assertEquals(controlPlane.connections[0]?.headers.get("X-Agent-API-Key"), key);
  assert(!agent.output.join("\n").includes(key));
});

Deno.test("settings that are not valid end the program with 2, all problems in one message and no stack", async () => {
  await using agent = await AgentProcess.start({
    args: ["--max-cpu=lots", "--no-such-flag"],
    env: { HEARTBEAT_INTERVAL: "1h" },
  });
  assertEquals(await agent.exit(), 2);
  assertEquals(agent.output, [
    "Cannot start as the configuration is not valid:",
    "  - --no-such-flag is unknown: see --help",
    "  - --agent-id (AGENT_ID) is required: Unique agent identifier, such as k8s-prod-us-east-1",
    "  - --control-plane-url (CONTROL_PLANE_URL) is required: Control Plane URL, such as wss://control.example.com",
    '  - --max-cpu (MAX_CPU) must be an amount of cores: current value is "lots" (--max-cpu)',
    '  - --heartbeat-interval (HEARTBEAT_INTERVAL) must be between 1s and 20s: current value is "1h" (HEARTBEAT_INTERVAL)',
  ]);
});
