/**
 * The agent as a program: signals, exit codes and what it leaves to the next process.
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { V1Lease } from "@kubernetes/client-node";
import { AgentProcess } from "../../../dev/agent_process.ts";
import { MEMORY } from "../../support/clusters.ts";
import { HEALTH_ARGS, unready } from "../../support/scrape.ts";
import { onEachCluster, Stage, START_WITH_HOME } from "../../support/stage.ts";

const START = { sessionId: "s1", ...START_WITH_HOME };
const STUCK = { ...START, template: "stuck" };

onEachCluster("a session is started, hibernated, woken and stopped by the program", async (cluster) => {
  await using stage = await Stage.startProcess(cluster);
  for (const action of ["start_session", "hibernate_session", "wake_session", "stop_session"]) {
    assertEquals((await stage.command(action, { ...START, deletePVC: true })).error, undefined, action);
  }
  await stage.untilState("s1", "terminated");
  assertEquals(stage.states("s1"), [
    "pending",
    "running",
    "hibernated",
    "pending",
    "running",
    "terminated",
  ]);
  assertEquals(await cluster.leftovers(), []);
});

onEachCluster(
  "SIGTERM lets running commands finish, leaves new ones to the next process and ends with exit code 0",
  async (cluster) => {
    await using stage = await Stage.startProcess(cluster, { args: HEALTH_ARGS, throughProxies: true });
    const reached = stage.proxies.hang("create deployments");
    const running = stage.send("start_session", START);
    await reached;
    stage.agent.kill("SIGTERM");
    await stage.controlPlane.waitFor(({ type, payload }) =>
      type === "heartbeat" && payload.status === "draining"
    );
    assertEquals(await unready(stage.agent), ["commands: shutting down"]);
    const left = stage.send("stop_session", { sessionId: "other" });
    await stage.controlPlane.waitFor(({ type, payload }) => type === "ack" && payload.commandId === left);
    stage.proxies.api.clearFaults();
    assertEquals((await stage.controlPlane.result(running)).type, "complete");
    assertEquals(await stage.agent.exit(), 0);
    assertEquals(stage.results(left), []);
    assertEquals(stage.controlPlane.connections.map(({ closed }) => closed?.code), [1000]);
  },
);

onEachCluster("SIGTERM ends the agent while its connection is half-open", async (cluster) => {
  await using stage = await Stage.startProcess(cluster, { throughProxies: true });
  stage.proxies.controlPlaneLink.mode = { kind: "half-open" };
  stage.agent.kill("SIGTERM");
  await stage.agent.line(/Stopped/);
  assertEquals(await stage.agent.exit(), 0);
}, [MEMORY]);

onEachCluster(
  "a second signal ends the agent immediately, and the next process continues its commands",
  async (cluster) => {
    await using stage = await Stage.startProcess(cluster);
    const running = stage.send("start_session", STUCK);
    await stage.untilState("s1", "pending");
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

Deno.test("an unreachable Control Plane ends the agent with exit code 1 after all attempts", async () => {
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
  const lines = agent.output.map((line) => line.replace(/^\S+ (?=\[K8sAgent\])/, ""));
  assert(
    lines.some((line) => /^\[K8sAgent\] Reconnecting in 2(\.\d)?s \(attempt 1 of 1\)$/.test(line)),
    lines.join("\n"),
  );
  assertStringIncludes(lines.at(-1) ?? "", "--reconnect-attempts=1");
});

onEachCluster(
  "a replica whose lease is taken over ends with exit code 3 and leaves its sessions alone",
  async (cluster) => {
    const args = ["--leader-election", "--pod-name=replica-a"];
    await using stage = await Stage.startProcess(cluster, { args });
    await stage.command("start_session", START);
    const before = await cluster.leftovers();
    const [lease] = await cluster.list("coordination.k8s.io/v1", "Lease") as [V1Lease];
    const { name = "" } = lease.metadata ?? {};
    await cluster.change({
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name },
      spec: { holderIdentity: "another-replica" },
    });
    assertEquals(await stage.agent.exit(), 3);
    assertEquals(await cluster.leftovers(), before);
  },
);

Deno.test("invalid settings end the program with exit code 2 and all problems in one message", async () => {
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
    '  - --max-cpu (MAX_CPU) must be an amount of cores such as 64 or 64000m: current value is "lots" (--max-cpu)',
    '  - --heartbeat-interval (HEARTBEAT_INTERVAL) must be between 1s and 20s: current value is "1h" (HEARTBEAT_INTERVAL)',
  ]);
});

onEachCluster(
  "the agent exits with code 2 when the health address that is set is in use",
  async (cluster) => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    await using stage = await Stage.launchProcess(cluster, {
      args: [`--health-addr=127.0.0.1:${listener.addr.port}`],
    });
    assertEquals(await stage.agent.exit(), 2);
    assertStringIncludes(
      stage.agent.output.at(-1) ?? "",
      `  - --health-addr (HEALTH_ADDR): cannot listen on 127.0.0.1:${listener.addr.port}: it is in use by another program, choose another address or off`,
    );
  },
  [MEMORY],
);
