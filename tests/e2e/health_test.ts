import { assertEquals, assertMatch } from "@std/assert";
import { retry } from "@std/async";
import { AgentProcess } from "../../dev/agent_process.ts";
import { MEMORY } from "../support/clusters.ts";
import { HEALTH_ARGS, healthUrl, probe, scrape, unready } from "../support/scrape.ts";
import { onEachCluster, Stage } from "../support/stage.ts";

const START = { sessionId: "s1", user: "alice", template: "firefox", persistentHome: false };

onEachCluster("a connected agent is alive and ready, and says why", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: HEALTH_ARGS });
  // The watches are open when a command has run.
  await stage.command("start_session", START);
  assertEquals(await probe(stage.agent, "/readyz"), {
    status: 200,
    report: {
      status: "ok",
      checks: {
        leadership: { ok: true, reason: "leader election is disabled" },
        registered: { ok: true, reason: "registered" },
        link: { ok: true, reason: "connected" },
        watches: { ok: true, reason: "in sync" },
        commands: { ok: true, reason: "accepting commands" },
      },
    },
  });
  assertEquals(await probe(stage.agent, "/healthz"), {
    status: 200,
    report: {
      status: "ok",
      checks: {
        eventLoop: { ok: true, reason: "responsive" },
        leaseLoop: { ok: true, reason: "leader election is disabled" },
      },
    },
  });
});

onEachCluster("an agent without a Control Plane is alive and not ready", async (cluster) => {
  await using agent = await AgentProcess.start({
    args: [
      ...HEALTH_ARGS,
      "--agent-id=lonely",
      "--control-plane-url=ws://127.0.0.1:9",
      "--reconnect-attempts=0",
      `--kubeconfig=${cluster.kubeconfig}`,
      `--namespace=${cluster.namespace}`,
    ],
  });
  await agent.line(/Reconnecting in/);
  assertEquals((await probe(agent, "/healthz")).status, 200);
  const reason = "the Control Plane is unreachable, retrying, see the log";
  // Nothing reports that the watches are in sync, which takes longer on a busy machine.
  await retry(
    async () => assertEquals(await unready(agent), [`registered: ${reason}`, `link: ${reason}`]),
    { minTimeout: 200, multiplier: 1, maxAttempts: 50 },
  );
  assertEquals((await probe(agent, "/readyz")).status, 503);
});

onEachCluster("an agent that waits for approval is not ready, and says so", async (cluster) => {
  await using stage = await Stage.launch(cluster, { args: HEALTH_ARGS, throughProxies: true });
  stage.controlPlane.answerRegistration({ status: 202, body: { message: "later" } });
  stage.proxies.controlPlaneLink.mode = { kind: "pass" };
  await stage.agent.line(/Waiting for an administrator of the Control Plane to approve this agent/);
  const reason = "waiting for approval by an administrator of the Control Plane";
  assertEquals((await unready(stage.agent)).slice(0, 2), [`registered: ${reason}`, `link: ${reason}`]);
}, [MEMORY]);

onEachCluster("an agent whose watch is rejected is not ready until it is in sync again", async (cluster) => {
  await using stage = await Stage.start(cluster, { args: HEALTH_ARGS, throughProxies: true });
  await stage.command("start_session", START);
  const { api } = stage.proxies;
  api.inject({ kind: "status", code: 503, verb: "watch", resource: "pods", times: Infinity });
  api.endWatches();
  await stage.agent.line(/Cannot watch pods, retrying/);
  assertEquals(await unready(stage.agent), ["watches: not in sync: pods"]);
  assertEquals((await scrape(stage.agent)).get('k8s_agent_watch_synced{resource="pods"}'), 0);
  api.clearFaults();
  await stage.agent.line(/Watching pods again/);
  assertEquals(await unready(stage.agent), []);
});

onEachCluster(
  "leader and standby replica are ready, and report which they are",
  async (cluster) => {
    const argsOf = (name: string) => [...HEALTH_ARGS, "--leader-election", `--pod-name=${name}`];
    await using stage = await Stage.start(cluster, { args: argsOf("replica-a") });
    await stage.command("start_session", START);
    await using second = await stage.startReplica({ args: argsOf("replica-b") });
    await second.line(/Waiting for leadership: replica-a_\w+ is the leader/);
    for (
      const [agent, leadership, link, leader] of [
        [stage.agent, "leader", "connected", 1],
        [second, "standby replica", "standby replica", 0],
      ] as const
    ) {
      const { status, report } = await probe(agent, "/readyz");
      assertEquals([status, report.checks.leadership?.reason, report.checks.link?.reason], [
        200,
        leadership,
        link,
      ]);
      const { report: { checks } } = await probe(agent, "/healthz");
      assertMatch(checks.leaseLoop?.reason ?? "", /^last iteration \S+ ago$/);
      assertEquals((await scrape(agent)).get("k8s_agent_leader"), leader);
    }
  },
);

onEachCluster("a replica that cannot read the lease is not ready", async (cluster) => {
  await using stage = await Stage.launch(cluster, {
    args: [...HEALTH_ARGS, "--leader-election"],
    throughProxies: true,
  });
  stage.proxies.api.inject({ kind: "status", code: 403, resource: "leases", times: Infinity });
  await stage.agent.line(/Cannot read the lease/);
  assertEquals((await unready(stage.agent))[0], "leadership: the lease cannot be read, see the log");
}, [MEMORY]);

onEachCluster(
  "the health server answers GET and HEAD at its three paths, and nothing else",
  async (cluster) => {
    await using stage = await Stage.start(cluster, {
      args: HEALTH_ARGS,
      env: { AGENT_API_KEY: "s3cret-key" },
    });
    const url = await healthUrl(stage.agent);
    const answers: unknown[] = [];
    for (
      const [method, path] of [
        ["GET", "/metrics?name[]=x"],
        ["HEAD", "/healthz"],
        ["POST", "/metrics"],
        ["DELETE", "/readyz"],
        ["GET", "/"],
        ["GET", "/metrics/"],
        ["GET", "/../etc/passwd"],
      ] as const
    ) {
      const response = await fetch(`${url}${path}`, { method });
      const text = await response.text();
      assertEquals(text.includes("s3cret-key"), false);
      answers.push(
        `${method} ${path}: ${response.status}${method === "HEAD" ? ` and ${text.length} bytes` : ""}`,
      );
    }
    assertEquals(answers, [
      "GET /metrics?name[]=x: 200",
      "HEAD /healthz: 200 and 0 bytes",
      "POST /metrics: 405",
      "DELETE /readyz: 405",
      "GET /: 404",
      "GET /metrics/: 404",
      "GET /../etc/passwd: 404",
    ]);
  },
  [MEMORY],
);
